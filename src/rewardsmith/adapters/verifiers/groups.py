"""Groups of rows that come one group at a time, from tasks or threads, scored together."""

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from itertools import islice
from os import PathLike
from typing import TypeAlias, Unpack

from ...core.errors import MissingColumn, SpecError
from ...core.execution import Execution, current, using
from ...core.reward import Reward
from ...core.scores import Missing
from ..batcher import Batcher
from ..scorer import Options, Row, Scored, Scorer

OWN = ("completion", "prompt")
"""What verifiers gives by our names, whatever a file calls it in data that was recorded."""
_Group: TypeAlias = Sequence[Row]
_Asked: TypeAlias = tuple[_Group, Execution | None]


class GroupScorer:
    """As :class:`~..row_scorer.RowScorer`, for groups of rows; it pickles.

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        missing: what a row without a score gets.
        options: see :class:`~..scorer.Options`.

    Raises:
        SpecError: the file cannot be read, or the reward compares more than the rows of a group.
        ValueError: as :class:`~..scorer.Scorer`.
        TypeError: it is neither a reward nor a path.
    """

    def __init__(
        self,
        reward: Reward | str | PathLike[str],
        *,
        missing: Missing,
        **options: Unpack[Options],
    ) -> None:
        self.scorer = Scorer(reward, missing=missing, own=OWN, **options)
        for path, node in self.scorer.reward.walk():
            if isinstance(node, Reward) and node.scope == "batch":
                raise SpecError(
                    f"{node.label()} compares all rows of a batch, and verifiers scores no more "
                    "than one group together: take it out, or train where batches are scored (TRL)",
                    path=path,
                )
        at_once = 1 if self.scorer.inline else 4
        self._batches: Batcher[_Asked, list[Scored] | Exception] = Batcher(
            partial(_scored, self.scorer), at_once
        )

    def submit(self, rows: _Group) -> "Future[list[Scored]]":
        """The scores of a group, when they are there."""
        return self._batches.submit((rows, current()))  # type: ignore[return-value]

    async def ask(self, rows: _Group) -> list[Scored]:
        """The scores of a group, for whoever is on an event loop."""
        return await self._batches.ask((rows, current()))  # type: ignore[return-value]


def _scored(scorer: Scorer, asked: list[_Asked]) -> list[list[Scored] | Exception]:
    """The scores of a batch; groups of callers with other executors are run by those."""
    found: list[list[Scored] | Exception] = [LookupError()] * len(asked)
    by_execution: dict[int, list[int]] = {}
    for i, (_, execution) in enumerate(asked):
        by_execution.setdefault(id(execution), []).append(i)
    for where in by_execution.values():
        groups = _each(scorer, [asked[i][0] for i in where], asked[where[0]][1])
        for i, one in zip(where, groups, strict=True):
            found[i] = one
    return found


def _each(
    scorer: Scorer, groups: list[_Group], execution: Execution | None
) -> list[list[Scored] | Exception]:
    rows = [row for group in groups for row in group]
    ids = [i for i, group in enumerate(groups) for _ in group]
    try:
        with nullcontext() if execution is None else using(execution):
            found = iter(scorer.each(rows, group=ids))
    except (MissingColumn, TypeError) as error:
        if len(groups) == 1:
            return [error]
        # Which groups wait together is chance: none must fail its neighbors.
        return [_each(scorer, [group], execution)[0] for group in groups]
    return [list(islice(found, len(group))) for group in groups]
