"""Our reward as OpenRLHF's ``reward_func``: ``(queries, prompts, labels)`` to tensors.

OpenRLHF calls it from many threads with one row at a time. Rows that wait together are scored
together. It has no place for a row without a score, so such a row has to be given a number, or to
stop the run.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any, Literal, TypeAlias

import torch

from ...core.catalog import nearest
from ...core.errors import ScoreError, SpecError
from ...core.outcome import Status
from ...core.reward import Reward
from ...core.rollouts import Rollouts
from ..batcher import Batcher
from ..columns import read_by
from ..scorer import STATUSES, Scored, Scorer, decided, numbers
from ..versions import note_version
from .query import Completions
from .rows import Row, Rows

Numbers: TypeAlias = dict[str, Any]
_log = logging.getLogger(__name__)


class RewardFunction:
    """A reward that OpenRLHF calls as its ``reward_func``; works from any thread, and pickles.

    Columns are ``prompt``, ``completion`` and those of the label. ``extra_logs`` holds every part:
    see :attr:`~rewardsmith.adapters.scorer.Scored.numbers`.

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        missing: what a row without a score is worth: a finite number, or ``"raise"``. It has to be
            given: OpenRLHF can leave no row out.
        label: the column that a label is; ``"json"`` where it is a JSON object (or a dict), whose
            keys are columns.
        columns: our names: theirs, where they differ.
        special_tokens: what is removed at the end of completions; default
            :data:`~.query.END_TOKENS`, or the tokenizer's own.
        tokenizer: the name or path of the tokenizer (or itself), for prompts that it changes.
        score_part: the path of the part that is given as ``scores``, which dynamic filtering
            expects between 0 and 1; default the reward itself.
        executor: ``"processes"``, or ``"inline"``: where the call is, with nothing to end a row
            that hangs.
        workers: how many processes.
        timeout: seconds that a row may take in one; None waits for ever.

    Raises:
        ValueError: ``missing`` is not given, or cannot be used.
        TypeError: the reward is none.
        SpecError: there is no ``score_part``, or the reward compares rows.
        MissingColumn: the reward reads a column that OpenRLHF does not have.
    """

    def __init__(
        self,
        reward: Reward | str | PathLike[str],
        *,
        missing: Literal["raise"] | float | None = None,
        label: str = "answer",
        columns: Mapping[str, str] | None = None,
        special_tokens: Sequence[str] | None = None,
        tokenizer: Any = None,
        score_part: str | None = None,
        executor: Literal["processes", "inline"] = "processes",
        workers: int = 2,
        timeout: float | None = 10.0,
    ) -> None:
        note_version("openrlhf")
        self.missing = decided(missing, "OpenRLHF")
        self.scorer = Scorer(
            reward,
            columns=columns,
            missing=self.missing,
            executor=executor,
            workers=workers,
            timeout=timeout,
        ).by_row("OpenRLHF")
        _check_part(self.scorer.reward, score_part)
        self.rows = Rows(self.scorer, label, Completions(special_tokens, tokenizer))
        self.score_part = score_part
        self._names: tuple[str, ...] = ()
        self._batches: Batcher[Row, Scored] = Batcher(self._score)

    def __call__(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]
    ) -> Numbers:
        """What OpenRLHF asks for, of n rows.

        Args:
            queries: prompt and completion in one text, decoded with special tokens.
            prompts: the prompts alone.
            labels: what the data set says of each.

        Returns:
            ``rewards`` and ``scores``, tensors [n], and ``extra_logs``, name -> [n]; all finite.

        Raises:
            ScoreError: a row has no score and ``missing`` is ``"raise"``. Like all that is raised
                here, it is logged as an error first, for OpenRLHF does not tell.
            MissingColumn: the reward needs a column that no row has had yet.
            ValueError: lists of different lengths.
            TypeError: tokens in the place of text.
        """
        with aloud():
            rows = self.rows(queries, prompts, labels)
            waiting = [self._batches.submit(row) for row in rows]
            numbers = self._numbers([one.result() for one in waiting])
        logs = {name: torch.tensor(values) for name, values in numbers["extra_logs"].items()}
        return {name: torch.tensor(numbers[name]) for name in ("rewards", "scores")} | {
            "extra_logs": logs
        }

    async def answer(self, rows: Sequence[Row]) -> Numbers:
        """As calling it, of rows made by :attr:`rows`, with lists in the place of tensors."""
        with aloud():
            return self._numbers(await asyncio.gather(*map(self._batches.ask, rows)))

    def _score(self, rows: list[Row]) -> list[Scored]:
        whole = [row.values for row in rows if not row.trouble]
        found = self.scorer.each(whole) if whole else []
        if found:
            self._names = tuple(found[0].numbers)
        rest = iter(found)
        return [self._failed(row.trouble) if row.trouble else next(rest) for row in rows]

    def _failed(self, trouble: str) -> Scored:
        """A row that never reached the reward, with the numbers that the others have."""
        self._names = self._names or _names(self.scorer.reward)
        numbers = dict.fromkeys(self._names, 0.0) | {"status/failed": 1.0}
        return Scored(None, Status.FAILED, trouble, numbers)

    def _numbers(self, found: Sequence[Scored]) -> Numbers:
        rewards = [self._given(one) for one in found]
        names = found[0].numbers if found else {}
        logs = {name: [one.numbers[name] for one in found] for name in names}
        scores = rewards
        if self.score_part and found:
            part = self.score_part
            columns = zip(logs[f"reward/{part}"], logs[f"scored/{part}"], strict=True)
            scores = [self._part_given(value, known) for value, known in columns]
        return {"rewards": rewards, "scores": scores, "extra_logs": logs}

    def _given(self, one: Scored) -> float:
        value = one.number(self.missing)
        if one.value is None:
            status = one.status.name.lower()
            _log.warning("a row without a score gets %g: %s %s", value, status, one.error)
        return value

    def _part_given(self, value: float, known: float) -> float:
        if known or self.missing != "raise":
            return value if known else float(self.missing)
        raise ScoreError(
            "a part without a score, which was to be `scores`", part=self.score_part or ""
        )


@contextmanager
def aloud() -> Iterator[None]:
    """Log what is raised: OpenRLHF takes note of it as information, and fails later, elsewhere."""
    try:
        yield
    except Exception as error:
        _log.error("no reward for OpenRLHF: %s: %s", type(error).__name__, error)
        raise


def _check_part(reward: Reward, score_part: str | None) -> None:
    paths = [path for path, node in reward.walk() if path and isinstance(node, Reward)]
    if score_part is not None and score_part not in paths:
        raise SpecError(f"score_part: no part {score_part!r}{nearest(score_part, paths)}")


def _names(reward: Reward) -> tuple[str, ...]:
    """The names of a row's numbers, where no row was scored yet."""
    nothing = Rollouts({name: [] for name in sorted(read_by(reward)) or ["row"]})
    try:
        with torch.no_grad():
            return tuple(numbers(reward(nothing)))
    except Exception:  # noqa: BLE001 - asked about no rows, a user's reward may do anything
        paths = [path for path, _ in reward.walk() if path]
    parts = [f"{kind}/{path}" for path in paths for kind in ("reward", "scored")]
    return (*(f"status/{status.name.lower()}" for status in STATUSES), *parts)
