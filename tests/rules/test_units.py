from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.units import is_known, same_unit, unit_of

SAME = [
    ("km", "kilometers"), ("m", "metre"), ("cm^2", "cm2"), ("cm^2", "square cm"),
    ("kg/m^3", "kg per cubic meter"), ("km/h", "km per hour"), ("m s^{-1}", "m/s"), ("h", "hours"),
    ("hr", "hour"), ("lbs", "pounds"), ("mL", "cm^3"), ("L", "liter"), ("$", "dollars"),
    ("eggs", "egg"), ("Eggs", "eggs"), ("µm", "um"), ("kg m^2", "kg*m^2"), ("€", "EUR"),
]  # fmt: skip
DIFFERENT = [
    ("m", "s"), ("m", "cm"), ("m", "m^2"), ("apples", "pears"), ("km/h", "km"), ("$", "€"),
    ("lb", "oz"), ("Mm", "mm"), ("cubic m", "square m"), ("!", "?"), ("s", "m/s"), ("pound", "£"),
    ("ms", "m s"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), SAME)
def test_same(a, b):
    assert same_unit(a, b)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different(a, b):
    assert not same_unit(a, b)


SIZES = {
    "km": 1000, "mm": "1/1000", "inch": "254/10000", "ft": "3048/10000", "mile": "1609344/1000",
    "kg": 1000, "lb": "45359237/100000", "hour": 3600, "day": 86400, "ms": "1/1000",
    "mL": "1/1000000", "km/h": "10/36", "gallon": "3785411784/1000000000000", "cents": "1/100",
}  # fmt: skip


@pytest.mark.parametrize(("unit", "size"), SIZES.items())
def test_sizes_are_exact(unit, size):
    assert unit_of(unit).size == Fraction(size)


@pytest.mark.parametrize("text", ["5", "!", "m^", "^2", "m^12", "(m)"])
def test_what_is_no_unit(text):
    with pytest.raises(ValueError, match="unit"):
        unit_of(text)


def test_known():
    assert is_known("cm")
    assert not is_known("egg")
    assert not is_known("xy")


@given(st.lists(st.sampled_from(["m", "km", "s", "egg"]), min_size=1, max_size=4), st.data())
def test_the_order_of_factors_does_not_matter(names, data):
    shuffled = data.draw(st.permutations(names))
    assert unit_of(" ".join(names)) == unit_of("*".join(shuffled))
