"""What came back from a function of one row: a value, or the reason for none.

Whatever it does (raise, return None, NaN or text) becomes a status and a message, never a silent 0.
This file is light: the processes that score rows import it and no torch.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from time import perf_counter
from typing import Any, TypeAlias

from ..rules.verdict import Verdict


class Status(IntEnum):
    """Why a row has no score, from best to worst; a parent takes the worst that it reads."""

    SCORED = 0
    ABSTAINED = 1
    TIMEOUT = 2
    FAILED = 3
    BAD_VALUE = 4
    UNSCORED = 5
    """Where every result starts, so that an interrupt is visible."""


Outcome: TypeAlias = tuple[float, Status, str]
"""A value, its status, and what went wrong ("" if nothing; of a scored row, its reason if any)."""


@dataclass
class Outcomes:
    """The outcomes of some rows, side by side."""

    values: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    remarks: dict[int, str] = field(default_factory=dict)
    """Row -> what went wrong, or why a scored row has its value."""
    seconds: list[float] = field(default_factory=list)
    """How long each took."""

    def __len__(self) -> int:
        return len(self.values)

    def add(self, outcome: Outcome, seconds: float = 0.0) -> None:
        """Append the outcome of the next row."""
        value, status, remark = outcome
        if remark:
            self.remarks[len(self.values)] = remark
        self.values.append(value)
        self.status.append(int(status))
        self.seconds.append(seconds)

    def extend(self, other: "Outcomes") -> None:
        """Append the outcomes of the next rows."""
        n = len(self.values)
        self.remarks.update({n + i: remark for i, remark in other.remarks.items()})
        self.values += other.values
        self.status += other.status
        self.seconds += other.seconds

    def outcome(self, i: int) -> Outcome:
        """One row's."""
        return self.values[i], Status(self.status[i]), self.remarks.get(i, "")


def score_each(
    call: Callable[..., Any],
    rows: Iterable[tuple[Any, ...]],
    going: Callable[[int], bool] | None = None,
    catch: type[BaseException] = Exception,
) -> Outcomes:
    """Call a function on rows, one after the other.

    Args:
        call: takes the columns of one row, by position.
        rows: the columns of each row.
        going: asked before each row, with its number; the work ends where it says no.
        catch: what counts as the row's own failure; more than this passes through.
    """
    outcomes = Outcomes()
    values, status, seconds = outcomes.values, outcomes.status, outcomes.seconds
    for i, row in enumerate(rows):
        if going is not None and not going(i):
            break
        began = perf_counter()
        try:
            value = call(*row)
            took = perf_counter() - began
            # Most rows, without a call for each: NaN and infinities fail the comparison.
            if type(value) is float and -_LARGEST <= value <= _LARGEST:
                values.append(value)
                status.append(0)
                seconds.append(took)
                continue
            outcome = judged(value)  # which asks the value, and that may raise
        except catch as error:
            outcomes.add(broken(error), perf_counter() - began)
            continue
        outcomes.add(outcome, took)
    return outcomes


_LARGEST = 3.4028234663852886e38
"""The largest float32, which is how scores are stored."""


def judged(value: Any) -> Outcome:
    """A returned value as a score, or why it is none."""
    why = ""
    if isinstance(value, Verdict):
        value, why = value
    if value is None:
        return 0.0, Status.ABSTAINED, why
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # a tensor or an array of one number
    if not isinstance(value, bool | int | float):
        return 0.0, Status.BAD_VALUE, f"returned {shown(value)}, not a number"
    try:
        number = float(value)
    except OverflowError:
        return 0.0, Status.BAD_VALUE, "returned an integer too large for a float"
    if not math.isfinite(number):
        return 0.0, Status.BAD_VALUE, f"returned {number}"
    return number, Status.SCORED, why


def broken(error: BaseException) -> Outcome:
    """What was raised instead of a value."""
    return 0.0, Status.TIMEOUT if isinstance(error, TimeoutError) else Status.FAILED, told(error)


_LONGEST = 500
"""Letters of a message: an error may hold the whole text of a row, and is kept for each."""


def told(error: BaseException) -> str:
    """What was raised, in words; a long message is cut in the middle."""
    return f"raised {type(error).__name__}: {_cut(_words(str, error))}"


def _cut(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]} ... ({len(text):,} letters) ... {text[-half:]}"


def shown(value: Any) -> str:
    """A value with its type, cut to a line."""
    text = _words(repr, value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"


def _words(tell: Callable[[Any], str], thing: Any) -> str:
    try:
        return tell(thing)
    except Exception as error:  # noqa: BLE001 - how a thing is told is the user's code as well
        return f"({type(error).__name__} while it was told)"
