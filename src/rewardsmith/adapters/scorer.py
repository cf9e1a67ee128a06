"""A reward as a trainer of language models calls it: rows in, scores out.

Every such trainer has rows under names of its own, calls from whatever thread, task or process it
likes, and has its own idea of a row without a score. The first two are settled here, once; the last
is :meth:`Scored.given`, with which each adapter says it in its trainer's words.
"""

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, TypeAlias

import torch

from ..core import spec
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
STATUSES = (Status.SCORED, Status.ABSTAINED, Status.TIMEOUT, Status.FAILED, Status.BAD_VALUE)
"""What a row can have once scoring is over."""


class Scorer:
    """Scores a trainer's rows with a reward; works from any thread, and pickles.

    Rows run in worker processes of its own, which start with the first rows in each process that
    scores, unless ``with rs.executor(...)`` around the call says otherwise. Scoring never changes
    the reward.

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        columns: our names: theirs, where they differ, beside those of the file (but for what it
            calls ``completion``); a path such as ``extra_info.answer`` names what is inside.
        missing: what a row without a score gets: ``"missing"`` leaves it without, ``"raise"``
            raises where a row broke, a finite number stands for it.
        executor: ``"processes"``, or ``"inline"``: where the call is, with nothing to end a row
            that hangs.
        workers: how many processes.
        timeout: seconds that a row may take in one; None waits for ever.

    Raises:
        SpecError: the file cannot be read, or the reward needs a whole data set.
        ValueError: ``missing`` or the executor is none of those, there are no workers, or the
            timeout is not positive.
        TypeError: it is neither a reward nor a path.

    Warns:
        UserWarning: the reward learns.
    """

    def __init__(
        self,
        reward: Reward | str | PathLike[str],
        *,
        columns: Mapping[str, str] | None = None,
        missing: Missing = "missing",
        executor: Literal["processes", "inline"] = "processes",
        workers: int = 2,
        timeout: float | None = 10.0,
    ) -> None:
        names: dict[str, str] = {}
        if isinstance(reward, str | PathLike):
            names = spec.columns(str(reward))
            # A file may say where recorded data has completions. A trainer's are new, and to score
            # the recorded ones in their place would be silently wrong.
            names.pop("completion", None)
            reward = spec.load(str(reward)).eval()
        if not isinstance(reward, Reward):
            raise TypeError(f"{type(reward).__name__} is neither a reward nor a path of one")
        if reward.scope == "dataset":
            raise SpecError(
                "this reward compares every row with the whole data set, which no trainer has at "
                "hand: label the data with `rewardsmith score` instead"
            )
        if reward.learns:
            warnings.warn(
                f"{reward.label()} learns, and trainers only ask for scores: it is used as it "
                "stands, and does not learn here",
                stacklevel=3,
            )
        self.reward, self.columns = reward, names | dict(columns or {})
        self.missing = as_missing(missing)
        self._read = sorted(read_by(reward) - {"group"})
        # Rows may come one at a time: a row without a column that others had is that row's failure.
        self._seen: set[str] = set()
        self._execution = _execution(executor, workers, timeout, reward)

    def __call__(self, rows: Sequence[Row], group: Sequence[Hashable] | None = None) -> Scores:
        """Scores of rows, before ``missing`` is applied.

        Args:
            rows: mappings, one for each completion; keys are columns by the trainer's names.
            group: who is compared with whom; default the column that ``columns`` says, if any.

        Raises:
            MissingColumn: the reward needs a column that no row has had so far.
            TypeError: completions are token ids.
        """
        rollouts = self._rollouts(rows, group)
        with using(current() or self._execution), torch.no_grad():
            return self.reward(rollouts)

    def by_row(self, trainer: str) -> "Scorer":
        """Itself, for a trainer that shows one row at a time.

        Raises:
            SpecError: the reward compares rows, with the part that does.
        """
        if self.reward.scope == "row":
            return self
        path, node = [
            (path, node)
            for path, node in self.reward.walk()
            if isinstance(node, Reward) and node.scope != "row"
        ][-1]
        raise SpecError(
            f"{node.label()} compares the rows of a {node.scope}, and {trainer} shows one row at a "
            "time: take it out, or train where rows come together (TRL)",
            path=path,
        )

    def each(self, rows: Sequence[Row], group: Sequence[Hashable] | None = None) -> "list[Scored]":
        """As calling it, row by row."""
        return scored(self(rows, group))

    def _rollouts(self, rows: Sequence[Row], group: Sequence[Hashable] | None) -> Rollouts:
        theirs = {ours: self.columns.get(ours, ours) for ours in self._read}
        columns = {ours: [value_at(row, path) for row in rows] for ours, path in theirs.items()}
        self._seen |= {ours for ours, values in columns.items() if _any(values)}
        for ours in self.reward.always_needs & columns.keys() - self._seen:
            raise self._lacking(ours, theirs[ours], rows)
        for value in columns.get("completion", ()):
            if _is_tokens(value):
                raise TypeError(
                    "the completions are token ids; this reward reads text: decode them first "
                    "(tokenizer.batch_decode)"
                )
        if group is None and "group" in self.columns:
            group = [_id(value_at(row, self.columns["group"]), i) for i, row in enumerate(rows)]
        columns = {ours: values for ours, values in columns.items() if ours in self._seen}
        return Rollouts(columns or {"row": [*range(len(rows))]}, group=group)

    def _lacking(self, ours: str, theirs: str, rows: Sequence[Row]) -> MissingColumn:
        nodes = [node for _, node in self.reward.walk() if isinstance(node, Reward)]
        readers = [node.label() for node in nodes if ours in node.needs]
        present = {key for row in rows[:1] for key in row}
        return MissingColumn(theirs, needed_by=readers[-1] if readers else "", present=present)


@dataclass(frozen=True)
class Scored:
    """One row's score, flat, for trainers that take a row at a time and log numbers."""

    value: float | None
    """None where it has no score."""
    status: Status
    error: str
    """What went wrong, with the part; "" where nothing did."""
    numbers: dict[str, float]
    """The same keys for every row of a reward, all finite: ``status/NAME`` is 1 for the row's
    status and 0 for the others, ``reward/PATH`` a part's value (0 where it has none), and
    ``scored/PATH`` whether it has one. So the mean of a part is that of ``reward/PATH`` divided by
    that of ``scored/PATH``."""

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
        raise ScoreError(f"{self.status.name.lower()}: {self.error}")

    def number(self, missing: Missing) -> float:
        """As :meth:`given`, for trainers that take nothing but a number.

        Raises:
            ScoreError: there is none.
        """
        value = self.given(missing)
        if value is None:
            raise ScoreError(f"{self.status.name.lower()}: this trainer cannot leave a row out")
        return value


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
            _told(scores, i),
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


def _told(scores: Scores, row: int) -> str:
    path, message = scores.errors.get(row, ("", ""))
    return f"{path}: {message}" if path else message


def _execution(executor: str, workers: int, timeout: float | None, reward: Reward) -> Execution:
    if executor == "inline":
        return Execution(Inline())
    if executor != "processes":
        raise ValueError(f"no executor {executor!r} here; there are 'processes' and 'inline'")
    from ..engine.processes import Processes

    return Execution(Processes(workers, timeout, sorted(preloads(reward))))


def _is_tokens(completion: Any) -> bool:
    if hasattr(completion, "dtype"):
        return True
    return isinstance(completion, list | tuple) and bool(completion) and type(completion[0]) is int


def _any(values: Sequence[Any]) -> bool:
    """Whether a column is there at all; a column of nothing is none."""
    return any(value is not MISSING for value in values)


def _id(value: Any, row: int) -> Hashable:
    """A row's group; a row that has none is a group of its own."""
    if value is MISSING or value is None:
        return ("alone", row)
    return value if isinstance(value, Hashable) else repr(value)
