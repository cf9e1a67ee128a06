"""A reward in a trainer's hands: where its rows run, on which rank, and what is logged of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..adapters.scorer import numbers
from ..adapters.telling import Reason
from ..adapters.trl.logs import metrics, table, tally
from ..core.errors import ScoreError
from ..core.execution import Execution, current, using
from ..core.joining import joined_scores
from ..core.learning import learn
from ..core.outcome import Status
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Missing, Scores
from ..ops.ranks import Ranks, gathered
from .generations import own_rows


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
        """Scores of all rows; where rows are scored alone each rank scores its own.

        Raises:
            ScoreError: it failed on another rank. On the rank itself, its own error.
        """
        with using(current() or self.execution), torch.no_grad():
            if ranks is None or self.reward.scope != "row":
                return self.reward(rollouts)
            return self._shared(rollouts, ranks)

    def _shared(self, rollouts: Rollouts, ranks: Ranks) -> Scores:
        own = own_rows(rollouts, ranks)
        error, scores = None, None
        try:
            scores = self.reward(rollouts.select(torch.arange(len(rollouts))[own]))
        except Exception as caught:  # noqa: BLE001 - raised below, once the others have heard
            error = caught
        found = gathered((scores, "" if error is None else f"{error}"), ranks)
        if error is not None:
            raise error
        for rank, (_, failure) in enumerate(found):
            if failure:
                raise ScoreError(f"rank {rank} of {len(found)}: {failure}")
        return joined_scores([scores for scores, _ in found])

    def learned(self, rollouts: Rollouts, scores: Scores) -> tuple[Scores, dict[str, float]]:
        """Scores of a batch that is trained on, once the reward has learned from it.

        A reward that learns sees the whole batch on each rank, and so stays the same on all.
        """
        told: dict[str, float] = {}
        if self.reward.learns:
            with using(current() or self.execution):
                scores, told = learn(self.reward, rollouts)
        return scores.resolve(self.missing, rollouts), told


def told_of(scores: Scores, own: slice) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """For TRL's log: means over all rows, and a column of this rank's rows for each part.

    The columns are each part's values, the status and what went wrong.
    """
    columns = numbers(scores)
    means = {name: mean for name, mean in metrics([tally(columns)]).items() if mean == mean}
    here = {name: values[own] for name, values in columns.items()}
    return means, table(here, _reasons(scores, own))


def _reasons(scores: Scores, own: slice) -> Mapping[int, Reason]:
    found = {}
    for row in range(own.start, own.stop):
        status = Status(int(scores.status[row]))
        if status is not Status.SCORED:
            found[row - own.start] = Reason(status, *scores.errors.get(row, ("", "")))
    return found
