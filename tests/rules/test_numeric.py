import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.numeric import grade
from rewardsmith.rules.verdict import Verdict


def value(answer, gold, **options):
    verdict = grade(f"<answer>{answer}</answer>", gold, **options)
    return verdict.value if isinstance(verdict, Verdict) else verdict


@pytest.mark.parametrize(
    ("answer", "gold", "options", "truth"),
    [
        ("101", "100", {"rel_tol": 0.01}, True),
        ("99", "100", {"rel_tol": 0.01}, True),
        ("101.0000000001", "100", {"rel_tol": 0.01}, False),
        ("-100", "100", {"rel_tol": 0.5}, False),
        ("0.3", "0", {"rel_tol": 0.5}, False),
        ("0.3", "0", {"abs_tol": 0.3}, True),
        ("0.30001", "0", {"abs_tol": 0.3}, False),
        ("3.14", "3.14159", {"abs_tol": 0.01}, True),
        ("3.14", "3.14159", {}, False),
        ("1/3", r"\frac{2}{6}", {}, True),
        ("18%", "0.18", {}, True),
        ("18%", "18", {}, True),
        ("0.18", "18%", {}, True),
        ("19%", "0.18", {"abs_tol": 0.011}, True),
        ("x = 3.14", "3.14", {}, True),
        (r"\approx 3.14", "3.14", {}, True),
        ("about 3.14", "3.14", {}, True),
        ("3 and 4", "3", {}, False),
        ("3-4", "3", {"abs_tol": 1}, False),
        ("inf", "100", {"rel_tol": 0.5}, False),
        ("-inf", "100", {"rel_tol": 0.5}, False),
        ("nan", "100", {"rel_tol": 0.5}, False),
        (r"\infty", "100", {"rel_tol": 0.5}, False),
        ("1e999999", "100", {"rel_tol": 0.5}, False),
    ],
)
def test_tolerances(answer, gold, options, truth):
    assert value(answer, gold, **options) == float(truth)


# answer, gold, and whether it is right where the unit is required, optional, ignored.
UNITS = [
    ("1500 m", "1500 m", 1, 1, 1),
    ("1500m", "1500 m", 1, 1, 1),
    ("1500 meters", "1500 m", 1, 1, 1),
    ("1.5 km", "1500 m", 1, 1, 0),
    ("1500", "1500 m", 0, 1, 1),
    ("1500 kg", "1500 m", 0, 0, 1),
    ("1500 m^2", "1500 m", 0, 0, 1),
    ("1500 m", "1500", 0, 1, 1),
    ("36 km/h", "10 m/s", 1, 1, 0),
    ("36 km/h", "36 m/s", 0, 0, 1),
    ("2 hours", "7200 s", 1, 1, 0),
    ("12 inches", "1 ft", 1, 1, 0),
    ("1 L", "1000 cm^3", 1, 1, 0),
    ("500 cents", "$5", 1, 1, 0),
    ("3 apple", "3 apples", 1, 1, 1),
    ("3 pears", "3 apples", 0, 0, 1),
    ("3 apples per day", "3 apples/day", 1, 1, 1),
    ("0.005 kN", "5 N", 1, 1, 0),
    ("5 N m", "5 J", 1, 1, 1),
    ("5 dB", "5 dB", 1, 1, 1),
    ("5 MB", "5 GB", 0, 0, 1),
    (r"5 \Omega", "5 Ω", 1, 1, 1),
    ("293.15 K", "293.15 K", 1, 1, 1),
    ("20 degrees Celsius", "20 °C", 1, 1, 1),
    ("20 °F", "20 °C", 0, 0, 1),
    ("60 miles per hour", "60 mph", 1, 1, 1),
    ("18 K", "18", 0, 0, 0),
    ("18 x", "18", 0, 0, 0),
]


@pytest.mark.parametrize(("answer", "gold", "required", "optional", "ignored"), UNITS)
def test_units(answer, gold, required, optional, ignored):
    found = [value(answer, gold, unit=unit) for unit in ("required", "optional", "ignored")]
    assert found == [required, optional, ignored]


@pytest.mark.parametrize("gold", [None, "", "x", "inf", "nan", math.nan, math.inf, True, "5 or 6"])
def test_what_is_no_gold(gold):
    with pytest.raises(ValueError, match="gold"):
        value("5", gold)


@pytest.mark.parametrize(
    "gold", [5, 5.0, Fraction(5), "5", "#### 5", np.float32(5), np.int64(5), "5 eV", "5 J/K"]
)
def test_golds(gold):
    assert value("5", gold) == 1.0


def test_a_zero_says_why():
    assert grade("", "5") == (0.0, "no answer found")
    assert grade("<answer>inf</answer>", "5") == (0.0, "'inf' is no number")
    assert grade("<answer>5 kg</answer>", "5 m") == (0.0, "unit 'kg', expected 'm'")
    assert grade("<answer>5</answer>", "5 m", unit="required") == (0.0, "no unit, expected 'm'")


cents = st.integers(-10_000, 10_000).map(lambda n: Fraction(n, 100))


def decimal(x):
    return f"{float(x):.2f}"


@given(cents, cents, st.integers(0, 50), st.integers(0, 5000))
def test_the_formula(a, g, percent, hundredths):
    rel_tol, abs_tol = percent / 100, hundredths / 100
    near = abs(a - g) <= max(Fraction(percent, 100) * abs(g), Fraction(hundredths, 100))
    assert value(decimal(a), decimal(g), rel_tol=rel_tol, abs_tol=abs_tol) == float(near)


@given(st.text(max_size=40), st.sampled_from(["required", "optional", "ignored"]))
def test_no_text_breaks_it(text, unit):
    assert value(text, "5 m", unit=unit) in (0.0, 1.0)
