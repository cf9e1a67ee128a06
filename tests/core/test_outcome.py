"""Whatever a function of one row does becomes a value or the reason for none."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.core.outcome import Outcomes, Status, broken, judged, score_each, shown, told
from rewardsmith.rules.verdict import Verdict

LARGEST = float(np.finfo(np.float32).max)


class Rude:
    """Raises at every question."""

    ndim = 0

    def item(self) -> float:
        raise RuntimeError("not yours")

    def __repr__(self) -> str:
        raise RuntimeError("no picture")


class RudeError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, (0.5, Status.SCORED, "")),
        (True, (1.0, Status.SCORED, "")),
        (-3, (-3.0, Status.SCORED, "")),
        (np.float32(0.5), (0.5, Status.SCORED, "")),
        (np.array(2), (2.0, Status.SCORED, "")),
        (torch.tensor(3.0), (3.0, Status.SCORED, "")),
        (Verdict(0.25, "part of it"), (0.25, Status.SCORED, "part of it")),
        (Verdict(None, "nothing to say"), (0.0, Status.ABSTAINED, "nothing to say")),
        (Verdict(math.nan, "lost"), (0.0, Status.BAD_VALUE, "returned nan")),
        (None, (0.0, Status.ABSTAINED, "")),
        (math.nan, (0.0, Status.BAD_VALUE, "returned nan")),
        (-math.inf, (0.0, Status.BAD_VALUE, "returned -inf")),
        (10**400, (0.0, Status.BAD_VALUE, "returned an integer too large for a float")),
        ("1.0", (0.0, Status.BAD_VALUE, "returned str '1.0', not a number")),
        ([1.0], (0.0, Status.BAD_VALUE, "returned list [1.0], not a number")),
        (1j, (0.0, Status.BAD_VALUE, "returned complex 1j, not a number")),
    ],
)
def test_what_is_returned(value: Any, expected: Any) -> None:
    found = judged(value)
    assert found == expected
    assert type(found[0]) is float
    each = score_each(lambda: value, [()])
    assert each.outcome(0) == expected


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.booleans() | st.none())
def test_the_short_way_is_the_long_way(value: Any) -> None:
    """Most rows are not asked what they are; what comes out must not depend on it."""
    short, long = score_each(lambda: value, [()]).outcome(0), judged(value)
    if type(value) is float and LARGEST < abs(value) < math.inf:
        # Too large for a float32, which is what scores are; said later.
        assert short[0] == value
    else:
        assert short == long


@pytest.mark.parametrize(
    ("error", "status", "remark"),
    [
        (ValueError("no"), Status.FAILED, "raised ValueError: no"),
        (TimeoutError("slow"), Status.TIMEOUT, "raised TimeoutError: slow"),
        (RecursionError(), Status.FAILED, "raised RecursionError: "),
        (MemoryError(), Status.FAILED, "raised MemoryError: "),
        (RudeError(), Status.FAILED, "raised RudeError: (RuntimeError while it was told)"),
    ],
)
def test_what_is_raised(error: Exception, status: Status, remark: str) -> None:
    def call() -> float:
        raise error

    assert broken(error) == (0.0, status, remark)
    assert told(error) == remark
    assert score_each(call, [()]).outcome(0) == (0.0, status, remark)


@pytest.mark.parametrize("value", [Rude(), [Rude()], Verdict(0.5, "x")._replace(value=Rude())])
def test_a_value_that_raises_when_asked_breaks_its_row_alone(value: Any) -> None:
    values = iter([1.0, value, 2.0])
    found = score_each(lambda: next(values), [()] * 3)
    assert (found.values[0], found.values[2]) == (1.0, 2.0)
    assert found.status[0] == found.status[2] == Status.SCORED
    assert found.status[1] in (Status.FAILED, Status.BAD_VALUE)
    assert found.remarks[1]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_ends_a_program_passes_unless_it_is_caught(error: type[BaseException]) -> None:
    def call() -> float:
        raise error

    with pytest.raises(error):
        score_each(call, [()])
    assert score_each(call, [()], catch=BaseException).status == [Status.FAILED]


def test_it_ends_where_it_is_told_to() -> None:
    asked: list[int] = []

    def going(row: int) -> bool:
        asked.append(row)
        return row < 3

    found = score_each(float, [(i,) for i in range(9)], going)
    assert found.values == [0.0, 1.0, 2.0]
    assert asked == [0, 1, 2, 3]
    assert len(found) == len(found.seconds) == len(found.status) == 3


def test_outcomes_side_by_side() -> None:
    one, other = Outcomes(), Outcomes()
    one.add((1.0, Status.SCORED, ""), 0.1)
    one.add((0.0, Status.FAILED, "broke"), 0.2)
    other.add((0.0, Status.TIMEOUT, "late"), 0.3)
    other.add((0.5, Status.SCORED, "half"), 0.4)
    one.extend(other)
    assert [one.outcome(i) for i in range(len(one))] == [
        (1.0, Status.SCORED, ""),
        (0.0, Status.FAILED, "broke"),
        (0.0, Status.TIMEOUT, "late"),
        (0.5, Status.SCORED, "half"),
    ]
    assert one.seconds == [0.1, 0.2, 0.3, 0.4]
    assert len(other) == 2


def test_time_is_the_calls() -> None:
    import time

    found = score_each(lambda wait: time.sleep(wait) or 1.0, [(0.0,), (0.05,)])
    assert found.seconds[0] < 0.05 <= found.seconds[1] < 5.0


def test_statuses_are_ordered_from_best_to_worst() -> None:
    assert [status.name.lower() for status in sorted(Status)] == [
        "scored", "abstained", "timeout", "failed", "bad_value", "unscored",
    ]  # fmt: skip


def test_values_are_shown_in_a_line() -> None:
    assert shown("a" * 100) == f"str '{'a' * 36}..."
    assert shown(1.5) == "float 1.5"
    assert shown(Rude()) == "Rude (RuntimeError while it was told)"


@pytest.mark.parametrize("length", [500, 501, 5_000_000])
def test_long_messages_are_cut(length: int) -> None:
    """Each row keeps its own, and it may hold the whole text of the row."""
    text = "a" * (length - 3) + "end"
    message = told(ValueError(text))
    assert len(message) < 600
    assert message.startswith("raised ValueError: aaa")
    assert message.endswith("end")
    assert (f"({length:,} letters)" in message) == (length > 500)
    assert (message == f"raised ValueError: {text}") == (length <= 500)
