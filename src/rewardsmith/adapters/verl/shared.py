"""One reward as verl asks for it: a sample at a time, a dict of numbers back."""

import threading
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ...core.errors import SpecError
from ..row_scorer import RowScorer
from ..scorer import Row, Scored, decided
from ..telling import check_options
from ..versions import note_version

_WHERE = "+reward.custom_reward_function.reward_kwargs"


class SampleScorer(RowScorer):
    """Scores verl's samples with the reward of a file.

    Args:
        given: ``reward``, the path of a ``reward.yaml``; ``missing``, what a sample without a score
            gets, a finite number or ``"raise"``; and what :class:`~..scorer.Options` has.
        own: the columns that verl itself gives, see :class:`~..scorer.Scorer`.
        prepare: makes rows of what is submitted.

    Raises:
        SpecError: ``reward`` is not given, there is no such file, it cannot be read, or the reward
            compares samples with each other.
        ValueError: ``missing`` is not given, or an option is none of those there are.
        TypeError: ``reward`` is no path, or an option that there is not.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        *,
        own: Sequence[str] = ("completion",),
        prepare: Callable[[list[Any]], Sequence[Row]] | None = None,
    ) -> None:
        note_version("verl")
        check_options("rewardsmith in verl (reward_kwargs of compute_score)", given, _FURTHER)
        options: dict[str, Any] = {**given}
        path, missing = _path(options.pop("reward", None)), options.pop("missing", None)
        try:
            decided(missing, "verl")
        except ValueError as error:
            raise ValueError(f"{error} (in verl's configuration {_WHERE}.missing=raise)") from None
        super().__init__(path, "verl", missing=missing, own=own, prepare=prepare, **options)

    def told(self, scored: Scored) -> dict[str, float]:
        """A score as verl's dict: ``score``, and the numbers of every part.

        Raises:
            ScoreError: it has none, and ``missing`` is ``"raise"``.
        """
        return {"score": self.number(scored), **scored.numbers}


_FURTHER = ("reward", "missing")
_scorers: dict[str, SampleScorer] = {}
_lock = threading.Lock()


def shared(**given: Any) -> SampleScorer:
    """This process's scorer for a file and options: samples under way together share a batch.

    Raises:
        SpecError, ValueError, TypeError: as :class:`SampleScorer`.
    """
    # The folder too: a relative path is looked up there.
    key = repr((Path.cwd(), sorted(given.items())))
    with _lock:
        if key not in _scorers:
            _scorers[key] = SampleScorer(given)
        return _scorers[key]


def _path(reward: Any) -> Path:
    if reward is None:
        raise SpecError(f"say which reward: {_WHERE}.reward=/path/of/reward.yaml")
    if not isinstance(reward, str | PathLike):
        raise TypeError(f"reward is the path of a reward.yaml, not {type(reward).__name__}")
    path = Path(reward).expanduser()
    if not path.is_file():
        told = "there is no such file"
        if not path.is_absolute():
            told += (
                f" in {Path.cwd()}, the current folder of this process (verl's Ray workers may "
                "have another one than you): give an absolute path"
            )
        raise SpecError(told, file=str(reward))
    return path.resolve()
