"""One reward as verl asks for it: a sample at a time, a dict of numbers back.

There is one asker per reward file and options in each process, so that samples that are under way
together are scored together, whoever asked for them.
"""

import threading
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from ...core.errors import SpecError
from ...core.scores import Missing
from ..batcher import Batcher
from ..scorer import Row, Scored, Scorer, decided
from ..versions import note_version

_WHERE = "+reward.custom_reward_function.reward_kwargs"


class Asker:
    """Scores verl's samples with the reward of a file.

    Args:
        reward: the path of a ``reward.yaml``.
        missing: what a sample without a score gets: a finite number, or ``"raise"``.
        columns: our names: verl's, where they differ, beside those of the file.
        executor: ``"processes"``, or ``"inline"``.
        workers: processes.
        timeout: seconds that a row may take in one; None waits for ever.

    Raises:
        SpecError: the file cannot be read, or the reward compares samples with each other.
        ValueError: no such executor, no workers, or a timeout that is not positive.
    """

    def __init__(
        self,
        reward: Path,
        missing: Missing,
        columns: Mapping[str, str],
        executor: Literal["processes", "inline"],
        workers: int,
        timeout: float | None,
    ) -> None:
        note_version("verl")
        self.missing = missing
        self.scorer = Scorer(
            reward,
            columns=columns,
            missing=missing,
            executor=executor,
            workers=workers,
            timeout=timeout,
        ).by_row("verl")
        self.batcher: Batcher[Row, Scored] = Batcher(self.scorer.each)

    def told(self, scored: Scored) -> dict[str, float]:
        """A score as verl's dict: ``score``, and the numbers of every part.

        Raises:
            ScoreError: it has none, and ``missing`` is ``"raise"``.
        """
        return {"score": scored.number(self.missing), **scored.numbers}


_askers: dict[tuple[Any, ...], Asker] = {}
_lock = threading.Lock()


def asker(
    reward: str | PathLike[str] | None = None,
    *,
    missing: Missing | None = None,
    columns: Mapping[str, str] | None = None,
    executor: Literal["processes", "inline"] = "processes",
    workers: int = 2,
    timeout: float | None = 10.0,
) -> Asker:
    """This process's asker for a reward file and options, made where there is none yet.

    Raises:
        SpecError: ``reward`` is not given, or there is no such file; and as :class:`Asker`.
        ValueError: ``missing`` is not given, or is neither a finite number nor ``"raise"``.
        TypeError: ``reward`` is no path.
    """
    path = _path(reward)
    try:
        policy = decided(missing, "verl")
    except ValueError as error:
        raise ValueError(f"{error} (in verl's configuration {_WHERE}.missing=0.0)") from None
    names = dict(columns or {})
    key = (path, policy, tuple(sorted(names.items())), executor, workers, timeout)
    with _lock:
        if key not in _askers:
            _askers[key] = Asker(path, policy, names, executor, workers, timeout)
        return _askers[key]


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
