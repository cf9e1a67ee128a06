"""Answers that may be a little off: numbers, words, ranges of years."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.intervals import interval_overlap, overlap, read_interval
from rewardsmith.rules.relaxed import keyword_f1, relaxed_match
from rewardsmith.rules.verdict import Verdict


def value(judged: float | Verdict) -> float | None:
    return judged.value if isinstance(judged, Verdict) else judged


def says(answer: Any) -> str:
    return f"I looked at 2 charts. <answer>{answer}</answer>"


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "gold", "matches"),
    [
        ("105", 100, True),
        ("105.0001", 100, False),
        ("95", "100", True),
        ("94.99", "100", False),
        ("-105", -100, True),
        ("100", -100, False),
        ("0", 0, True),
        ("0.0001", 0, False),
        ("1,049", "$1,000", True),
        ("0.12", "12%", True),
        ("12%", "12", True),
        ("12%", "0.12", True),
        ("12%", "12.5%", True),
        ("12%", "13%", False),
        ("Blue  Whale", "blue whale", True),
        ("whale", "blue whale", False),
        ("12", "twelve", False),
        ("twelve", "12", False),
        # The known weakness: a tolerance is meant for quantities.
        ("1900", "2000", True),
    ],
)
def test_relaxed_match(answer: str, gold: Any, matches: bool) -> None:
    judged = relaxed_match(says(answer), gold)
    assert value(judged) == float(matches)
    assert matches or (isinstance(judged, Verdict) and answer in judged.why)


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.integers(0, 99))
def test_the_tolerance_is_exact(answer: int, gold: int, percent: int) -> None:
    expected = abs(answer - gold) <= Fraction(percent, 100) * abs(gold)
    found = value(relaxed_match(says(answer), gold, tolerance=percent / 100))
    assert found == float(expected)


def test_no_answer_and_a_chosen_place() -> None:
    assert relaxed_match("<think>100", 100) == (0.0, "no answer found")
    assert value(relaxed_match("Result: 100", 100, answer="Result:")) == 1.0


@pytest.mark.parametrize("gold", [None, "", "  ", True, math.nan, math.inf, {"a": 1}])
def test_a_broken_reference_is_an_error(gold: Any) -> None:
    for rule in (relaxed_match, keyword_f1, interval_overlap):
        with pytest.raises(ValueError, match=r"reference|gold is|is not one or two years"):
            rule(says(1), gold)


@pytest.mark.parametrize(
    "gold",
    [
        np.float64(1.0), np.float32(1.0), np.int64(1), np.array(1.0), torch.tensor(1.0),
        torch.tensor(1), Fraction(1), 1.0, "1",
    ],
)  # fmt: skip
def test_golds_of_numpy_and_torch_are_numbers(gold: Any) -> None:
    assert value(relaxed_match(says("1"), gold)) == 1.0
    assert value(relaxed_match(says("2"), gold)) == 0.0
    # What a number is called in Python is no part of it.
    assert value(keyword_f1(says("np float64 tensor float32 array"), gold)) == 0.0
    assert value(keyword_f1(says("1"), gold)) == (1.0 if "." not in str(gold) else 2 / 3)


@pytest.mark.parametrize("gold", [np.float64("nan"), np.bool_(True), np.array([1.0, 2.0])])
def test_broken_golds_of_numpy_are_errors(gold: Any) -> None:
    for rule in (relaxed_match, keyword_f1):
        with pytest.raises(ValueError, match="gold is"):
            rule(says(1), gold)


# --- words ----------------------------------------------------------------------------------------


def test_keywords_by_hand() -> None:
    # 2 of 3 words, and 2 of 4.
    assert value(keyword_f1(says("A rider, mounted"), "Rider (mounted) and horse")) == 4 / 7
    assert value(keyword_f1(says("ship"), "rider")) == 0.0
    assert value(keyword_f1("no answer here", "rider")) == 0.0
    with pytest.raises(ValueError, match="holds no word"):
        keyword_f1(says("rider"), "--")


def test_an_accent_is_one_however_it_is_written() -> None:
    one, two = "Caf\u00e9 STRASSE", "cafe\u0301 stra\u00dfe"
    assert value(keyword_f1(says(one), two)) == value(keyword_f1(says(two), one)) == 1.0
    assert value(relaxed_match(says(one), two)) == value(relaxed_match(says(two), one)) == 1.0
    assert value(keyword_f1(says("cafe"), "caf\u00e9")) == 0.0


words = st.lists(st.sampled_from(["horse", "rider", "ship", "sea"]), min_size=1)


@given(words, words)
def test_keywords_are_sets(answer: list[str], gold: list[str]) -> None:
    found = value(keyword_f1(says(" ".join(answer)), " ".join(gold)))
    assert found == value(keyword_f1(says(" ".join(gold)), " ".join(answer)))
    assert found is not None
    assert (found == 1.0) == (set(answer) == set(gold))
    assert (found == 0.0) == set(answer).isdisjoint(gold)


# --- years ----------------------------------------------------------------------------------------

YEARS = "-550 to -525"


@pytest.mark.parametrize(
    ("text", "interval", "turned"),
    [
        (YEARS, (-550, -525), False),
        ("550-525 BC", (-550, -525), False),
        ("550 – 525 B.C.", (-550, -525), False),
        ("c. 550 BC to 525 BC", (-550, -525), False),
        ("480 BCE", (-480, -480), False),
        ("-480", (-480, -480), False),
        ("1901/1905", (1901, 1905), False),
        ("1905-1901", (1901, 1905), True),
        ((3, 5), (3, 5), False),
        (7, (7, 7), False),
    ],
)
def test_ways_to_write_a_range(text: Any, interval: tuple[int, int], turned: bool) -> None:
    assert read_interval(text) == (interval, turned)


def test_overlap_by_hand() -> None:
    # 11 years of 26 + 26 - 11.
    assert value(interval_overlap(says("540-515 BC"), YEARS)) == 16 / 36
    assert value(interval_overlap(says("524 BC"), YEARS)) == 0.0
    assert value(interval_overlap(says("525 BC"), YEARS)) == 1 / 26
    assert value(interval_overlap(says("archaic"), YEARS)) == 0.0
    assert value(interval_overlap(says("550, 540, 525 BC"), YEARS)) == 0.0


def test_a_range_from_its_end() -> None:
    turned = interval_overlap(says("-525 to -550"), YEARS)
    assert turned == (1.0, "'-525 to -550' was turned around")
    strict = interval_overlap(says("-525 to -550"), YEARS, strict=True)
    assert strict == (0.0, "'-525 to -550' ends before it begins")
    assert value(interval_overlap(says(YEARS), [-525, -550])) == 1.0
    with pytest.raises(ValueError, match="ends before it begins"):
        interval_overlap(says(YEARS), [-525, -550], strict=True)


years = st.tuples(st.integers(-60, 60), st.integers(0, 40)).map(lambda p: (p[0], p[0] + p[1]))


@given(years, years)
def test_overlap_is_one_for_equal_ranges_only(a: tuple[int, int], b: tuple[int, int]) -> None:
    assert overlap(a, b) == overlap(b, a)
    assert (overlap(a, b) == 1) == (a == b)
    assert overlap(a, b) == len({*range(a[0], a[1] + 1)} & {*range(b[0], b[1] + 1)}) / len(
        {*range(a[0], a[1] + 1)} | {*range(b[0], b[1] + 1)}
    )
