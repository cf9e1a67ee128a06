"""How long a completion is: within a band, or over a limit."""

import math

from ..core.catalog import Paper, method
from ..core.contract import Contract
from ..core.outcome import Status
from ..core.rows import RowReward
from ..rules.length import UNITS, Unit, grade, overlong


@method("length", kind="signal")
class Length(RowReward):
    """1 for a length in [low, high], falling linearly to 0 over ``slack`` on both sides.

    ``max(0, 1 - d / slack)`` with ``d = max(low - L, L - high, 0)``; 0 outside if ``slack`` is 0.

    Args:
        low: the shortest length that earns 1.
        high: the longest; None sets no limit.
        slack: how far outside nothing is earned any more.
        unit: what is counted: ``"words"`` (what whitespace separates: not for scripts without
            spaces), ``"characters"`` (code points), or ``"tokens"``.
        completion: the column; with ``"tokens"``, one of lists of token ids, such as
            ``completion_ids``.

    Raises:
        ValueError: neither low nor high, bounds that are negative, not finite or out of order, a
            negative slack, or an unknown unit.
    """

    contract = Contract(
        full={"completion": "two words"},
        zero={"completion": "as many as five words"},
        malformed={"completion": ""},
        arguments={"low": 2, "high": 3},
    )

    def __init__(
        self,
        low: float = 0.0,
        high: float | None = None,
        slack: float = 0.0,
        unit: Unit = "words",
        completion: str = "completion",
    ) -> None:
        super().__init__()
        if low == 0 and high is None:
            raise ValueError("length: give low, high or both")
        numbers = [low, slack] if high is None else [low, high, slack]
        if not all(0 <= number < math.inf for number in numbers):
            raise ValueError(f"length: low {low}, high {high}, slack {slack}: finite numbers >= 0")
        if high is not None and low > high:
            raise ValueError(f"length: low {low} lies above high {high}")
        _check_unit("length", unit)
        self.low, self.slack = float(low), float(slack)
        self.high = None if high is None else float(high)
        self.unit, self.completion = unit, completion
        options = {"low": self.low, "high": self.high, "slack": self.slack, "unit": unit}
        self.by_row(grade, (completion,), options, text=unit != "tokens")


@method(
    "overlong",
    kind="signal",
    paper=Paper(
        "2503.14476", "DAPO: An Open-Source LLM Reinforcement Learning System at Scale", 2025
    ),
)
class Overlong(RowReward):
    """DAPO's soft overlong punishment, to be added to the reward of the task.

    For a length L: 0 up to ``max_length - cache``; ``(max_length - cache - L) / cache`` from there
    to ``max_length``; -1 beyond. Between -1 and 0 (equation 13 of the paper).

    Args:
        max_length: the longest that is not punished in full.
        cache: how far before it the punishment begins; 0 makes it a step.
        unit: ``"tokens"``, ``"words"`` or ``"characters"``; see :class:`Length`.
        completion: the column; with ``"tokens"``, one of lists of token ids.

    Raises:
        ValueError: max_length below 1, a cache that is negative or larger than it, or an unknown
            unit.
    """

    contract = Contract(
        full={"completion_ids": [5, 6]},
        zero={"completion_ids": [5] * 9},
        malformed={"completion_ids": "text"},
        malformed_status=Status.FAILED,
        arguments={"max_length": 8, "cache": 4},
    )

    def __init__(
        self,
        max_length: int,
        cache: int = 0,
        unit: Unit = "tokens",
        completion: str = "completion_ids",
    ) -> None:
        super().__init__()
        if max_length < 1:
            raise ValueError(f"overlong: max_length is {max_length}, it must be at least 1")
        if not 0 <= cache <= max_length:
            raise ValueError(f"overlong: cache {cache} must lie between 0 and {max_length}")
        _check_unit("overlong", unit)
        self.max_length, self.cache = max_length, cache
        self.unit, self.completion = unit, completion
        options = {"max_length": max_length, "cache": cache, "unit": unit}
        text = unit != "tokens"
        self.by_row(overlong, (completion,), options, bounds=(-1.0, 0.0), text=text)


def _check_unit(name: str, unit: str) -> None:
    if unit not in UNITS:
        raise ValueError(f"{name}: unit is {unit!r}, not one of {', '.join(UNITS)}")
