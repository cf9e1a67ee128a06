"""Lengths: bands, ramps, and the soft overlong punishment."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.rules.length import grade, measured, overlong
from rewardsmith.rules.verdict import Verdict


def value(graded: Any) -> float:
    return float(graded.value if isinstance(graded, Verdict) else graded)


def test_golden_numbers() -> None:
    band = {"low": 4, "high": 6, "slack": 4, "unit": "characters"}
    values = [value(grade("x" * n, **band)) for n in range(12)]
    assert values == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    step = {"low": 2, "high": 3}
    assert [value(grade("w " * n, **step)) for n in range(5)] == [0.0, 0.0, 1.0, 1.0, 0.0]
    assert grade("a b c d", high=2) == Verdict(0.0, "4 words, which is more than 2")
    assert grade("a", low=2.5) == Verdict(0.0, "1 words, which is fewer than 2.5")


def test_overlong_golden_numbers() -> None:
    # L_max 16, L_cache 4: as equation 13 has it, (12 - L) / 4 between 12 and 16.
    values = [
        value(overlong([7] * n, max_length=16, cache=4)) for n in (0, 12, 13, 14, 15, 16, 17, 99)
    ]
    assert values == [0.0, 0.0, -0.25, -0.5, -0.75, -1.0, -1.0, -1.0]
    steps = [value(overlong([7] * n, max_length=3, cache=0)) for n in (3, 4)]
    assert steps == [0.0, -1.0]


@given(
    low=st.integers(0, 20),
    width=st.integers(0, 20),
    slack=st.floats(0, 20),
    cache=st.integers(0, 30),
)
@settings(max_examples=60)
def test_monotone_on_the_ramps(low: int, width: int, slack: float, cache: int) -> None:
    high = low + width
    texts = ["x" * n for n in range(high + 25)]
    band = [value(grade(t, low=low, high=high, slack=slack, unit="characters")) for t in texts]
    assert all(0.0 <= v <= 1.0 for v in band)
    assert band[: low + 1] == sorted(band[: low + 1])
    assert band[low : high + 1] == [1.0] * (width + 1)
    assert band[high:] == sorted(band[high:], reverse=True)
    over = [
        value(overlong(t, max_length=30, cache=cache, unit="characters"))
        for t in ["x" * n for n in range(40)]
    ]
    assert over == sorted(over, reverse=True)
    assert over[: 31 - cache] == [0.0] * (31 - cache)
    assert over[31:] == [-1.0] * 9


def test_units() -> None:
    assert measured(" two\nwords\t", "words") == 2
    assert measured("a\ud800\0b", "characters") == 4
    assert measured([1, 2, 3], "tokens") == measured((np.int64(1), 2, 3), "tokens") == 3
    assert measured([], "tokens") == 0


@pytest.mark.parametrize(
    "row",
    ["text", None, torch.tensor([1, 2]), np.array([1, 2]), ["a"], [{"role": "assistant"}], {}],
)
def test_what_are_no_tokens(row: Any) -> None:
    with pytest.raises(TypeError, match="lists of token ids"):
        measured(row, "tokens")
