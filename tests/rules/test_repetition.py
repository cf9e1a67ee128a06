"""The n-gram repetition penalty: golden numbers, bounds, and a count by hand."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.rules.repetition import grade
from rewardsmith.rules.verdict import Verdict


def value(graded: Any) -> float:
    return float(graded.value if isinstance(graded, Verdict) else graded)


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [
        ("", 3, 0.0),
        ("one two", 3, 0.0),
        ("one two three", 3, 0.0),
        # Trigrams: aaa aaa -> 1 of 2.
        ("a a a a", 3, -0.5),
        # abc bca cab abc -> 3 of 4.
        ("a b c a b c", 3, -0.25),
        # Bigrams: ab ba ab ba ab -> 2 of 5.
        ("a b a b a b", 2, -0.6),
        # Case does not tell words apart, and neither does whitespace.
        ("The  the\nTHE the", 1, -0.75),
        ("x. x x.", 1, -1 / 3),
    ],
)
def test_golden_numbers(text: str, n: int, expected: float) -> None:
    assert value(grade(text, n=n)) == pytest.approx(expected)
    assert value(grade(text, n=n, max_penalty=-0.05)) == pytest.approx(0.05 * expected)


def test_units() -> None:
    assert value(grade("Ab ab\n\n ab AB \nc", n=1, unit="lines")) == pytest.approx(-1 / 3)
    assert value(grade("aAaA", n=2, unit="characters")) == pytest.approx(-2 / 3)
    assert value(grade([5, 6, 5, 6], n=2, unit="tokens")) == pytest.approx(-1 / 3)
    assert grade([5, 6, 5, 6], n=2, unit="tokens") == Verdict(
        pytest.approx(-1 / 3), "1 of 3 2-grams of tokens are repeated"
    )


@given(
    words=st.lists(st.sampled_from("abc"), max_size=30),
    n=st.integers(1, 5),
    most=st.floats(-5, -0.01),
)
@settings(max_examples=100)
def test_equals_the_count_by_hand(words: list[str], n: int, most: float) -> None:
    grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    repeated = [gram for i, gram in enumerate(grams) if gram in grams[:i]]
    graded = value(grade(" ".join(words), n=n, max_penalty=most))
    assert graded == pytest.approx(most * len(repeated) / max(1, len(grams)))
    assert most < graded <= 0.0


@pytest.mark.parametrize("unit", ["words", "lines", "characters"])
def test_five_megabytes(unit: Any) -> None:
    for text in ("a " * 2_500_000, "\0" * 5_000_000, "\ud800 \n" * 1_600_000):
        assert -1.0 < value(grade(text, unit=unit)) <= 0.0
