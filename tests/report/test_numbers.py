"""Numbers as a person would write them."""

import pytest

from rewardsmith.report.numbers import (
    MISSING,
    count,
    estimate,
    fixed,
    number,
    percent,
    places,
    signed,
)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.93124, "0.931"),
        (0.02812, "0.0281"),
        (-12.3456, "\N{MINUS SIGN}12.3"),
        (61440.0, "61,440"),
        (0.0, "0"),
        (None, MISSING),
        (float("nan"), MISSING),
    ],
)
def test_three_significant_digits(x: float | None, text: str) -> None:
    assert number(x) == text


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ([0.931, 0.028], 3),
        ([412.0, 3.1], 0),
        ([1000.12, 1000.98], 2),
        ([0.6341, 0.6254], 4),
        ([0.0], 0),
        ([], 0),
        ([float("nan")], 0),
        ([1e9, 1e9 + 1e-6], 3),  # never more than three beyond what the size asks for
    ],
)
def test_a_column_shares_its_decimals(values: list[float], decimals: int) -> None:
    assert places(values) == decimals


def test_an_estimate_shows_its_interval_in_the_same_decimals() -> None:
    assert estimate(0.9312, (0.91, 0.9501), 3) == ("0.931", "[0.910, 0.950]")
    assert estimate(0.9312, None, 3) == ("0.931", "")
    assert estimate(None, (0.0, 1.0), 3) == (MISSING, "")
    assert estimate(0.5, (float("nan"), 1.0), 1) == ("0.5", "")


def test_no_negative_zero() -> None:
    assert fixed(-0.0001, 2) == "0.00"
    assert percent(-0.001) == "0 %"


def test_correlations_carry_their_sign() -> None:
    assert signed(0.3) == "+0.30"
    assert signed(-0.08) == "\N{MINUS SIGN}0.08"
    assert signed(0.0014) == "+0.001"
    assert signed(0.0) == "0.00"
    assert signed(None) == MISSING


def test_counts_and_shares() -> None:
    assert count(61440) == "61,440"
    assert count(None) == MISSING
    assert percent(0.876) == "88 %"
    assert percent(None) == MISSING
