"""A reward as a trainer of language models calls it: rows in, scores out.

Every such trainer has rows under names of its own, calls from whatever thread, task or process it
likes, and has its own idea of a row without a score. The first two are settled here, once; the last
is :meth:`Scored.given`, with which each adapter says it in its trainer's words.
"""

import sys
import warnings
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from os import PathLike
from typing import Any, Literal, TypeAlias, TypedDict

import torch

from ..core import spec
from ..core.algebra import WeightedMean
from ..core.columns import value_at
from ..core.errors import MissingColumn, ScoreError, SpecError
from ..core.execution import Execution, Inline, current, using
from ..core.outcome import Status
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.rowcall import MISSING
from ..core.rows import preloads
from ..core.scores import Missing, Scores, as_missing
from .columns import read_by

Row: TypeAlias = Mapping[str, Any]
"""A trainer's row: a mapping whose keys are columns by the trainer's names."""
STATUSES = (Status.SCORED, Status.ABSTAINED, Status.TIMEOUT, Status.FAILED, Status.BAD_VALUE)
"""What a row can have once scoring is over."""


class Options(TypedDict, total=False):
    """How rows are read and run, in every adapter."""

    columns: Mapping[str, str] | None
    """Our names: theirs, where they differ, beside those of the file and before them; a path such
    as ``extra_info.answer`` names what is inside."""
    executor: Literal["processes", "inline"]
    """``"processes"`` (default), or ``"inline"``: where the call is, with nothing to end a row that
    hangs."""
    workers: int
    """How many processes; 2. Rewards that want as many, with the same timeout, share them."""
    timeout: float | None
    """Seconds that a row may take in one; 10. None waits for ever."""


class Scorer:
    """Scores a trainer's rows with a reward; works from any thread, and pickles.

    Rows run in worker processes, which start with the first rows in each process that scores,
    unless ``with rs.executor(...)`` around the call says otherwise. Scoring never changes the
    reward, but for its mode, which is that of evaluation from here on (``reward.eval()``).

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        missing: what a row without a score gets: ``"missing"`` leaves it without, ``"raise"``
            raises where a row broke, a finite number stands for it.
        own: the columns that the trainer itself gives by our names. A file may say where recorded
            data has them; what was just generated is meant here, unless ``columns`` says so too.
        columns: see :class:`Options`.
        executor: likewise.
        workers: likewise.
        timeout: likewise.

    Raises:
        SpecError: the file cannot be read, or the reward needs a whole data set.
        ValueError: ``missing`` or the executor is none of those, there are no workers, or the
            timeout is not positive.
        TypeError: it is neither a reward nor a path.

    Warns:
        UserWarning: the reward learns, or the file says more than a reward.
    """

    def __init__(
        self,
        reward: Reward | str | PathLike[str],
        *,
        missing: Missing = "missing",
        own: Collection[str] = ("completion",),
        columns: Mapping[str, str] | None = None,
        executor: Literal["processes", "inline"] = "processes",
        workers: int = 2,
        timeout: float | None = 10.0,
    ) -> None:
        names = spec.columns(reward) if isinstance(reward, str | PathLike) else {}
        unread = spec.training(reward) if isinstance(reward, str | PathLike) else []
        if unread:
            warnings.warn(
                f"{reward} says {', '.join(unread)}, which only rewardsmith.learners.grpo reads: "
                "here the reward alone is used, and the trainer's own settings say the rest",
                stacklevel=_outside(),
            )
        reward = _reward(reward)
        if reward.scope == "dataset":
            raise SpecError(
                "this reward compares every row with the whole data set, which no trainer has at "
                "hand: label the data with `rewardsmith score` instead"
            )
        if reward.learns:
            warnings.warn(
                f"{reward.label()} learns, and trainers only ask for scores: it is used as it "
                "stands, and does not learn here",
                stacklevel=_outside(),
            )
        self.reward: Reward = reward.eval()
        self.columns = {o: t for o, t in names.items() if o not in own} | dict(columns or {})
        self._named = {ours for ours, path in (columns or {}).items() if path not in own}
        self.missing = as_missing(missing)
        self.inline = executor == "inline"
        self._run_by = (executor, workers, timeout)
        execution(reward, *self._run_by)
        self._read = sorted(read_by(reward) - {"group"})
        # Rows may come one at a time: a row without a column that others had is that row's failure.
        self._seen: set[str] = set()

    @property
    def names(self) -> list[str]:
        """The keys of :attr:`Scored.numbers`, before there is a row."""
        paths = [p for p, node in self.reward.walk() if p and isinstance(node, Reward)]
        states = [f"status/{status.name.lower()}" for status in STATUSES]
        return states + [f"{kind}/{path}" for path in paths for kind in ("reward", "scored")]

    def __call__(self, rows: Sequence[Row], group: Sequence[Hashable] | None = None) -> Scores:
        """Scores of rows, before ``missing`` is applied.

        Args:
            rows: one for each completion.
            group: who is compared with whom; default the column that ``columns`` says, if any.

        Raises:
            MissingColumn: the reward needs a column that no row has had so far.
            TypeError: completions are token ids.
        """
        rollouts = self._rollouts(rows, group)
        with using(current() or execution(self.reward, *self._run_by)), torch.no_grad():
            return self.reward(rollouts)

    def each(self, rows: Sequence[Row], group: Sequence[Hashable] | None = None) -> "list[Scored]":
        """As calling it, row by row."""
        return scored(self(rows, group))

    def weights(self) -> dict[str, float]:
        """Part -> weight of the root, for trainers that add parts up.

        Raises:
            SpecError: the parts do not add up to it: it is no weighted sum.
        """
        weights = self.reward.coefficients()
        # A mean divides by the weights of the parts that did not abstain: others on every row.
        if weights and not isinstance(self.reward, WeightedMean):
            return weights
        raise SpecError(
            f"only the parts of a weighted_sum add up to the whole, and the root is "
            f"{self.reward.label()}: leave out split, or make the root a weighted_sum"
        )

    def lacking(self, ours: str, row: Row, hint: str = "") -> MissingColumn:
        """The error for a column that no row has, with who reads it and what there is."""
        nodes = [node for _, node in self.reward.walk() if isinstance(node, Reward)]
        reader = next((n.label() for n in reversed(nodes) if ours in n.needs), "")
        told = f"{reader} ({hint})" if hint else reader
        return MissingColumn(self.columns.get(ours, ours), needed_by=told, present=_paths(row))

    def _rollouts(self, rows: Sequence[Row], group: Sequence[Hashable] | None) -> Rollouts:
        theirs = {ours: self.columns.get(ours, ours) for ours in self._read}
        columns = {ours: [value_at(row, path) for row in rows] for ours, path in theirs.items()}
        here = {
            ours
            for ours, values in columns.items()
            if any(value is not MISSING for value in values)
        }
        self._seen |= here
        # What the caller named has to be there, even if it could be done without.
        wanted = self.reward.always_needs | self._named
        for ours in wanted & columns.keys() - self._seen:
            raise self.lacking(ours, rows[0] if rows else {})
        for value in columns.get("completion", ()):
            if _is_tokens(value):
                raise TypeError(
                    "the completions are token ids; this reward reads text: decode them first "
                    "(tokenizer.batch_decode)"
                )
        if group is None and "group" in self.columns:
            group = [_id(value_at(row, self.columns["group"]), i) for i, row in enumerate(rows)]
        # What is read only where it is there depends on these rows, and not on those before them.
        here |= self.reward.needs & self._seen
        columns = {ours: values for ours, values in columns.items() if ours in here}
        return Rollouts(columns or {"row": [*range(len(rows))]}, group=group)


@dataclass(frozen=True)
class Scored:
    """One row's score, flat, for trainers that take a row at a time and log numbers."""

    value: float | None
    """None where it has no score."""
    status: Status
    part: str
    """Where it broke: the path of the part, "" for the root or where nothing did."""
    message: str
    """What went wrong there, "" where nothing did."""
    numbers: dict[str, float]
    """The same keys for every row of a reward, all finite: ``status/NAME`` is 1 for the row's
    status and 0 for the others, ``reward/PATH`` a part's value (0 where it has none), and
    ``scored/PATH`` whether it has one. So the mean of a part is that of ``reward/PATH`` divided by
    that of ``scored/PATH``."""

    @property
    def error(self) -> str:
        """What went wrong, with its place."""
        return f"{self.part}: {self.message}" if self.part else self.message

    def given(self, missing: Missing) -> float | None:
        """The value, or what the caller's policy gives a row without one.

        Raises:
            ScoreError: the policy is ``"raise"`` and the row broke (abstaining is not breaking).
        """
        if self.value is not None or missing == "missing":
            return self.value
        if missing != "raise":
            return float(missing)
        if self.status is Status.ABSTAINED:
            return None
        raise self.refusal()

    def number(self, missing: Missing) -> float:
        """As :meth:`given`, for trainers that take nothing but a number.

        Raises:
            ScoreError: there is none.
        """
        value = self.given(missing)
        if value is None:
            raise self.refusal()
        return value

    def refusal(self) -> ScoreError:
        """The error that says why there is no score."""
        told = self.message or "there is no score, and this trainer cannot leave a row out"
        return ScoreError(f"{self.status.name.lower()}: {told}", part=self.part)


def decided(missing: Missing | None, trainer: str) -> Missing:
    """What the caller said about rows without a score, for a trainer that takes only numbers.

    Raises:
        ValueError: nothing that can be done.
    """
    if missing is None or missing == "missing":
        raise ValueError(
            f"{trainer} cannot leave a row without a score out: say missing=0.0, or another number "
            "that such a row gets, or missing='raise' to end the run at the first"
        )
    return as_missing(missing)


def scored(scores: Scores) -> list[Scored]:
    """Scores row by row, with every part as numbers."""
    columns = numbers(scores)
    rows = zip(*columns.values(), strict=True)
    known, total = scores.scored.tolist(), scores.total().tolist()
    return [
        Scored(
            total[i] if known[i] else None,
            Status(code),
            *scores.errors.get(i, ("", "")),
            dict(zip(columns, row, strict=True)),
        )
        for i, (code, row) in enumerate(zip(scores.status.tolist(), rows, strict=True))
    ]


def numbers(scores: Scores) -> dict[str, list[float]]:
    """The columns of :attr:`Scored.numbers`, each with an entry for every row."""
    columns = {
        f"status/{status.name.lower()}": (scores.status == status).double().tolist()
        for status in STATUSES
    }
    for path, part in scores.walk():
        if path:
            columns[f"reward/{path}"] = torch.where(part.scored, part.total(), 0.0).tolist()
            columns[f"scored/{path}"] = part.scored.double().tolist()
    return columns


def _outside() -> int:
    """The stack level of whoever called rewardsmith, for a warning of the function that asks."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame, level = frame.f_back, level + 1
    return level


_PACKAGE = __name__.partition(".")[0]


def _reward(given: Any) -> Reward:
    if isinstance(given, str | PathLike):
        return spec.load(given)
    if not isinstance(given, Reward):
        fix = "; decorate it with @rs.reward" if callable(given) else ""
        raise TypeError(f"{type(given).__name__} is neither a reward nor a path of one{fix}")
    return given


def execution(
    reward: Reward, executor: str, workers: int = 2, timeout: float | None = 10.0
) -> Execution:
    """What runs a reward's rows; the same workers for all that ask for such.

    Raises:
        ValueError: no such executor, no workers, or a timeout that is not positive.
    """
    if executor == "inline":
        return Execution(Inline())
    if executor != "processes":
        raise ValueError(f"no executor {executor!r} here; there are 'processes' and 'inline'")
    return _processes(workers, timeout, tuple(sorted(preloads(reward))))


@cache
def _processes(workers: int, timeout: float | None, preload: tuple[str, ...]) -> Execution:
    from ..engine.processes import Processes

    return Execution(Processes(workers, timeout, preload))


def _paths(row: Row, above: str = "") -> list[str]:
    """A row's columns, and what is inside of those that are mappings."""
    found: list[str] = []
    for name, value in row.items():
        inside = _paths(value, f"{above}{name}.") if isinstance(value, Mapping) else []
        found += inside or [f"{above}{name}"]
    return found


def _is_tokens(completion: Any) -> bool:
    if hasattr(completion, "dtype"):
        return not isinstance(completion, str)
    return isinstance(completion, list | tuple) and bool(completion) and type(completion[0]) is int


def _id(value: Any, row: int) -> Hashable:
    """A row's group; a row that has none is a group of its own."""
    if value is MISSING or value is None:
        return ("alone", row)
    return value if isinstance(value, Hashable) else repr(value)
