"""A reward for trainers that ask for one row at a time."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from os import PathLike
from typing import Any, TypeAlias, Unpack

from ..core.errors import MissingColumn, SpecError
from ..core.execution import Execution, current, using
from ..core.outcome import Status
from ..core.reward import Reward
from ..core.scores import Missing
from .batcher import Batcher
from .scorer import Options, Row, Scored, Scorer, decided
from .telling import Unscored

_log = logging.getLogger(__name__)
ELSEWHERE = "take it out, or train where rows come together (TRL)"
_Asked: TypeAlias = tuple[Any, Execution | None]


class RowScorer:
    """Scores rows that come one at a time, those that wait together in one batch; it pickles.

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        trainer: whose rows they are, for messages.
        missing: what a row without a score gets. Where a trainer ``leaves_out`` rows it may be
            ``"missing"``; else it has to be a number or ``"raise"``.
        leaves_out: whether the trainer has room for a row without a score.
        own: see :class:`~.scorer.Scorer`.
        prepare: makes rows of what is submitted, a batch of them at once (to decode tokens, say).
        instead: what to do about a reward that compares rows.
        options: see :class:`~.scorer.Options`.

    Raises:
        SpecError: the file cannot be read, or the reward compares rows; with the part that does.
        ValueError: ``missing`` was not decided, or as :class:`~.scorer.Scorer`.
        TypeError: it is neither a reward nor a path.
    """

    def __init__(
        self,
        reward: Reward | str | PathLike[str],
        trainer: str,
        *,
        missing: Missing | None,
        leaves_out: bool = False,
        own: Sequence[str] = ("completion",),
        prepare: Callable[[list[Any]], Sequence[Row]] | None = None,
        instead: str = ELSEWHERE,
        **options: Unpack[Options],
    ) -> None:
        policy = "missing" if leaves_out and missing is None else missing
        self.missing = policy if leaves_out and policy else decided(missing, trainer)
        self.scorer = Scorer(reward, missing=self.missing, own=own, **options)
        refuse_comparing(self.scorer.reward, trainer, instead)
        self._unscored = Unscored(_log)
        # Inline is one row after the other: what is not made for threads may be run that way.
        at_once = 1 if self.scorer.inline else 4
        # Of the scorer and not of this: what its threads hold must not keep this alive.
        self._batches: Batcher[_Asked, Scored | Exception] = Batcher(
            partial(_scored, self.scorer, prepare), at_once
        )

    def __call__(self, row: Any) -> Scored:
        """The score of a row.

        Raises:
            MissingColumn: the reward needs a column that no row has had so far.
            TypeError: the completion is token ids.
        """
        return self.submit(row).result()

    def submit(self, row: Any) -> "Future[Scored]":
        """The score of a row, when it is there."""
        return self._batches.submit((row, current()))  # type: ignore[return-value]

    async def ask(self, row: Any) -> Scored:
        """The score of a row, for whoever is on an event loop."""
        return await self._batches.ask((row, current()))  # type: ignore[return-value]

    def number(self, scored: Scored) -> float:
        """A row's reward, or what the caller decided that it gets; the reason for that is logged.

        Raises:
            ScoreError: it has none, and no number was decided.
        """
        number = scored.number(self.missing)
        self._unscored(scored, number)
        return number

    def failed(self, message: str) -> Scored:
        """What a row is that never reached the reward."""
        numbers = dict.fromkeys(self.scorer.names, 0.0) | {"status/failed": 1.0}
        return Scored(None, Status.FAILED, "", message, numbers)


def _scored(
    scorer: Scorer, prepare: Callable[[list[Any]], Sequence[Row]] | None, asked: list[_Asked]
) -> list[Scored | Exception]:
    """The scores of a batch; rows of callers with other executors are run by those."""
    rows = [row for row, _ in asked]
    made = rows if prepare is None else prepare(rows)
    found: list[Scored | Exception] = [LookupError()] * len(asked)
    by_execution: dict[int, tuple[Execution | None, list[int]]] = {}
    for i, (_, execution) in enumerate(asked):
        by_execution.setdefault(id(execution), (execution, []))[1].append(i)
    for execution, where in by_execution.values():
        for i, one in zip(where, _each(scorer, [made[i] for i in where], execution), strict=True):
            found[i] = one
    return found


def _each(
    scorer: Scorer, rows: list[Row], execution: Execution | None
) -> Sequence[Scored | Exception]:
    try:
        if execution is None:
            return scorer.each(rows)
        with using(execution):
            return scorer.each(rows)
    except (MissingColumn, TypeError) as error:
        if len(rows) == 1:
            return [error]
        # Which rows wait together is chance: one that cannot be read must not fail its neighbors.
        return [_each(scorer, [row], execution)[0] for row in rows]


def refuse_comparing(reward: Reward, trainer: str, instead: str = ELSEWHERE) -> None:
    """Refuse a reward that compares rows, for a trainer that shows one at a time.

    Raises:
        SpecError: it does; with the part.
    """
    if reward.scope == "row":
        return
    nodes = [(path, node) for path, node in reward.walk() if isinstance(node, Reward)]
    path, node = [pair for pair in nodes if pair[1].scope != "row"][-1]
    raise SpecError(
        f"{node.label()} compares the rows of a {node.scope}, and {trainer} shows one row at a "
        f"time: {instead}",
        path=path,
    )
