"""How ranges of years are read."""

import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.intervals import interval_overlap, read_interval
from rewardsmith.rules.verdict import Verdict


def value(answer: str, gold: Any) -> float | None:
    judged = interval_overlap(f"<answer>{answer}</answer>", gold)
    return judged.value if isinstance(judged, Verdict) else judged


@pytest.mark.parametrize(
    "text",
    [
        "550-525 b.c.",
        "550-525 B.C.E.",
        "550-525 B. C.",
        "550–525BC",
        "\u2013550 to \u2013525",
        "\u2212550 to \u2212525",
        "-550 - -525",
        "550 BC to 525",
        "550 BC – 525 BC",
        "550 B.C. - 525 B.C.",
        "between 550 and 525 bce.",
        "Attic, c. 550-525 BC (by the Lysippides Painter)",
        "[-550, -525]",
    ],
)
def test_before_our_era(text: str) -> None:
    assert read_interval(text) == ((-550, -525), False)
    assert value(text, "-550 to -525") == value("-550 to -525", text) == 1.0


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("1901-05", (1901, 1905)),
        ("1901–5", (1901, 1905)),
        ("1901/05", (1901, 1905)),
        ("1901 AD - 1905 AD", (1901, 1905)),
        ("A.D. 1901 - 1905", (1901, 1905)),
        ("30 BC - AD 14", (-30, 14)),
        ("27 BC - 14 CE", (-27, 14)),
        ("30 BC to 300", (-30, 300)),
        ("1950s", (1950, 1959)),
        ("the 1950's", (1950, 1959)),
        ("1950s to 1960s", (1950, 1969)),
        ("1955-1960s", (1955, 1969)),
        ("550s BC", (-559, -550)),
        ("1050-25 BC", (-1050, -25)),
        ("built in 1901.", (1901, 1901)),
    ],
)
def test_eras_short_years_and_decades(text: str, interval: tuple[int, int]) -> None:
    assert read_interval(text) == (interval, False)


@pytest.mark.parametrize(
    "text",
    [
        "1901.5",
        "1901.0 to 1905",
        ".5",
        "1900s",
        "1905s",
        "5th century BC",
        "1998-02",
        "room B12, 1901",
        "1901-1905-1909",
        "12345678",
        "",
        [1901.5],
        [True],
        ["1901"],
        [1, 2, 3],
        np.array([1901.5]),
    ],
)
def test_what_is_no_range(text: Any) -> None:
    with pytest.raises(ValueError, match="is not one or two years"):
        read_interval(text)


@pytest.mark.parametrize(
    "gold",
    [
        np.array([-550, -525]),
        [np.int64(-550), np.int64(-525)],
        [np.float64(-550), np.float64(-525)],
        torch.tensor([-550, -525]),
        [torch.tensor(-550), torch.tensor(-525)],
    ],
)
def test_golds_of_numpy_and_torch(gold: Any) -> None:
    assert value("550-525 BC", gold) == 1.0


@pytest.mark.parametrize("gold", [np.int64(7), np.float64(7.0), torch.tensor(7)])
def test_single_golds_of_numpy_and_torch(gold: Any) -> None:
    assert value("7", gold) == 1.0
    assert value("8", gold) == 0.0


ends = st.tuples(st.integers(1, 3000), st.integers(1, 3000)).filter(lambda p: p[0] > p[1])
eras = st.sampled_from(["BC", "bc", "B.C.", "b.c.e.", "BCE"])


@given(ends, eras, st.sampled_from(["-", "–", " - ", " to ", " until "]))
def test_one_era_at_either_end_is_meant_for_both(
    pair: tuple[int, int], era: str, between: str
) -> None:
    expected = (-pair[0], -pair[1]), False
    assert read_interval(f"{pair[0]}{between}{pair[1]} {era}") == expected
    assert read_interval(f"{pair[0]} {era}{between}{pair[1]}") == expected
    assert read_interval(f"-{pair[0]} to -{pair[1]}") == expected


@pytest.mark.parametrize(
    "text", ["1" * 2_000_000, "1 " * 1_000_000, "A D " * 500_000, "- b.c" * 500_000]
)
def test_time_is_linear(text: str) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match="is not one or two years"):
        read_interval(text)
    assert time.process_time() - began < 2.0
