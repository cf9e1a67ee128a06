"""Our reward as OpenRLHF's ``reward_func``: ``(queries, prompts, labels)`` to tensors.

OpenRLHF calls it from many threads with one row at a time. Rows that wait together are scored
together. It has no place for a row without a score, so such a row has to be given a number, or to
stop the run.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any, Literal, TypeAlias, Unpack

import torch

from ...core.catalog import nearest
from ...core.errors import ScoreError, SpecError
from ...core.reward import Reward
from ..row_scorer import RowScorer
from ..scorer import Options, Scored
from ..telling import check_options
from ..versions import note_version
from .query import Completions
from .rows import Rows, Sample

Numbers: TypeAlias = dict[str, Any]
_log = logging.getLogger(__name__)


class RewardFunction:
    """A reward that OpenRLHF calls as its ``reward_func``; works from any thread, and pickles.

    Columns are ``prompt``, ``completion`` and those of the label. ``extra_logs`` holds every part:
    see :attr:`~rewardsmith.adapters.scorer.Scored.numbers`.

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        missing: what a row without a score is worth: ``"raise"``, or a finite number, and the log
            says why. It has to be given: OpenRLHF can leave no row out.
        label: the column that a label is; ``"json"`` where it is a JSON object (or a dict), whose
            keys are columns.
        special_tokens: what is removed at the end of completions; default
            :data:`~.query.END_TOKENS`, or the tokenizer's own.
        tokenizer: the name or path of the tokenizer (or itself), for prompts that it changes.
        score_part: the path of the part that is given as ``scores``, which dynamic filtering
            expects between 0 and 1; default the reward itself.
        options: see :class:`~..scorer.Options`.

    Raises:
        ValueError: ``missing`` is not given, or cannot be used.
        TypeError: the reward is none, or an option that there is not.
        SpecError: there is no ``score_part``, or the reward compares rows.
        MissingColumn: the reward reads a column that OpenRLHF does not have.
    """

    def __init__(
        self,
        reward: Reward | str | PathLike[str],
        *,
        missing: Literal["raise"] | float | None = None,
        label: str = "answer",
        special_tokens: Sequence[str] | None = None,
        tokenizer: Any = None,
        score_part: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        note_version("openrlhf")
        check_options("RewardFunction", options, _FURTHER)
        self.by_row = RowScorer(reward, "OpenRLHF", missing=missing, own=_OWN, **options)
        _check_part(self.by_row.scorer.reward, score_part)
        self.rows = Rows(self.by_row.scorer, label, Completions(special_tokens, tokenizer))
        self.score_part = score_part

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
            samples = self.rows(queries, prompts, labels)
            waiting = [None if s.trouble else self.by_row.submit(s.values) for s in samples]
            pairs = zip(samples, waiting, strict=True)
            numbers = self._numbers(
                [one.result() if one else self.by_row.failed(s.trouble) for s, one in pairs]
            )
        logs = {name: torch.tensor(values) for name, values in numbers["extra_logs"].items()}
        return {name: torch.tensor(numbers[name]) for name in ("rewards", "scores")} | {
            "extra_logs": logs
        }

    async def answer(self, samples: Sequence[Sample]) -> Numbers:
        """As calling it, of samples made by :attr:`rows`, with lists in the place of tensors."""
        with aloud():
            return self._numbers(await asyncio.gather(*map(self._asked, samples)))

    async def _asked(self, sample: Sample) -> Scored:
        if sample.trouble:
            return self.by_row.failed(sample.trouble)
        return await self.by_row.ask(sample.values)

    def _numbers(self, found: Sequence[Scored]) -> Numbers:
        rewards = [self.by_row.number(one) for one in found]
        names = found[0].numbers if found else {}
        logs = {name: [one.numbers[name] for one in found] for name in names}
        scores = rewards
        if self.score_part and found:
            part = self.score_part
            columns = zip(logs[f"reward/{part}"], logs[f"scored/{part}"], strict=True)
            scores = [self._part_given(value, known) for value, known in columns]
        return {"rewards": rewards, "scores": scores, "extra_logs": logs}

    def _part_given(self, value: float, known: float) -> float:
        missing = self.by_row.missing
        if known or missing != "raise":
            return value if known else float(missing)
        raise ScoreError(
            "a part without a score, which was to be `scores`", part=self.score_part or ""
        )


_OWN = ("completion", "prompt")
_FURTHER = ("missing", "label", "special_tokens", "tokenizer", "score_part")


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
