"""A reward in a trainer's hands: where its rows run, on which rank, and what is logged of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

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
from ..ops.ranks import Ranks, gathered, rank_of
from .generations import Batch, own_rows, without_copies

T = TypeVar("T")


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
                scores = joined_scores(
                    told_by_all(lambda: self.reward(rollouts.select(own)), ranks)
                )
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
        rows, back = _once(batch.places)

        def work() -> tuple[Scores, dict[str, float], Any]:
            with using(current() or self.execution):
                scores, told = learn(self.reward, batch.rollouts.select(rows))
            return scores, told, None if ranks is None else self.reward.state_dict()

        scores, told, state = told_by_first(work, ranks)
        if state is not None:
            self.reward.load_state_dict(state)
        scores = scores.select(back).resolve(self.missing, batch.rollouts)
        return without_copies(replace(batch, scores=scores)), told


def told_by_all(work: Callable[[], T], ranks: Ranks) -> list[T]:
    """What the work gives on each rank.

    Raises:
        ScoreError: it failed on another rank. On the rank itself, its own error.
    """
    if ranks is None:
        return [work()]
    found: list[T] = []
    error, message = None, ""
    try:
        found = [work()]
    except Exception as caught:  # noqa: BLE001 - raised below, once the others have heard
        error, message = caught, f"{type(caught).__name__}: {caught}"
    told = gathered((found, message), ranks)
    if error is not None:
        raise error
    for rank, (_, failure) in enumerate(told):
        if failure:
            raise ScoreError(f"rank {rank} of {len(told)}: {failure}")
    return [one for part, _ in told for one in part]


def told_by_first(work: Callable[[], T], ranks: Ranks) -> T:
    """What the work gives on the first rank, where alone it is done.

    Raises:
        ScoreError: as :func:`told_by_all`.
    """
    here = rank_of(ranks) == 0
    return next(
        one for one in told_by_all(lambda: work() if here else None, ranks) if one is not None
    )


def _once(places: Tensor) -> tuple[Tensor, Tensor]:
    """The rows whose place comes for the first time, and of each row which of those it is."""
    first: dict[int, int] = {}
    rows, back = list[int](), list[int]()
    for row, place in enumerate(places.tolist()):
        if place not in first:
            first[place] = len(rows)
            rows.append(row)
        back.append(first[place])
    return torch.tensor(rows), torch.tensor(back)


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
