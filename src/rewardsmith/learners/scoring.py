"""A reward in a trainer's hands: where its rows run, on which rank, and what is logged of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from ..adapters.scorer import numbers
from ..adapters.trl.evaluation import reasons
from ..adapters.trl.logs import metrics, table, tally
from ..core.execution import Execution, current, using
from ..core.joining import joined_scores
from ..core.learning import learn
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Missing, Scores
from ..ops.ranks import Ranks, share, told_by_first
from .generations import Batch, once, own_rows, without_copies


@dataclass(frozen=True)
class Scoring:
    """What scores a trainer's rollouts, which are those of all ranks on every rank.

    Args:
        reward: what is scored with.
        missing: what a row without a score gets.
        execution: what runs rows of rules.
    """

    reward: Reward
    missing: Missing
    execution: Execution

    def __call__(self, rollouts: Rollouts, ranks: Ranks) -> Scores:
        """Scores of all rows, the same on every rank.

        Rows that are scored alone are scored where they are. Where rows are compared the first rank
        scores all of them, so that no chance of its own makes ranks disagree.

        Raises:
            ScoreError: it failed on another rank, or a row broke and ``missing`` is ``"raise"``. On
                the rank itself, its own error.
        """
        with using(current() or self.execution), torch.no_grad():
            if ranks is None:
                scores = self.reward(rollouts)
            elif self.reward.scope == "row":
                own = torch.arange(len(rollouts))[own_rows(rollouts, ranks)]
                work = partial(self.reward, rollouts.select(own))
                scores = joined_scores(share(work, lambda made: made, ranks)[1])
            else:
                scores = told_by_first(lambda: self.reward(rollouts), ranks)
        return scores.resolve(self.missing, rollouts)

    def learned(self, batch: Batch, ranks: Ranks) -> tuple[Batch, dict[str, float]]:
        """The batch with the scores that it has once the reward has learned from it.

        The first rank learns, and the others take over what it knows. Rows that only fill the batch
        are not learned from.
        """
        if not self.reward.learns:
            return batch, {}
        rows, back = once(batch.places)

        def work() -> tuple[Scores, dict[str, float], Any]:
            with using(current() or self.execution):
                scores, told = learn(self.reward, batch.rollouts.select(rows))
            return scores, told, None if ranks is None else _on_cpu(self.reward.state_dict())

        scores, told, state = told_by_first(work, ranks)
        if state is not None:
            self.reward.load_state_dict(state)
        scores = scores.select(back).resolve(self.missing, batch.rollouts)
        return without_copies(replace(batch, scores=scores)), told


def _on_cpu(state: Any) -> Any:
    """A state as another rank can take it over, whatever device it has."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, Mapping):
        return {name: _on_cpu(value) for name, value in state.items()}
    return state


def told_of(scores: Scores, own: slice) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """For TRL's log: means over all rows, and a column of this rank's rows for each part.

    The columns are each part's values, the status and what went wrong.
    """
    columns = numbers(scores)
    means = {name: mean for name, mean in metrics([tally(columns)]).items() if mean == mean}
    here = {name: values[own] for name, values in columns.items()}
    return means, table(here, dict(reasons(scores, own)))
