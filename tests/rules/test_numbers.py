from fractions import Fraction
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.maths import same
from rewardsmith.rules.numbers import is_unit, read

READ = {
    "18": 18,
    "018": 18,
    "+5": 5,
    "-0.5": "-1/2",
    ".5": "1/2",
    "- 5": -5,
    "1,234": 1234,
    "1{,}234": 1234,
    r"1\,234": 1234,
    r"1,\!234": 1234,
    "1,234,567.5": "2469135/2",
    "$1,234.50": "2469/2",
    "-$18": -18,
    "$-18": -18,
    r"\$18": 18,
    "€5": 5,
    "1.5e3": 1500,
    "2E-2": "1/50",
    r"0.\overline{3}": "1/3",
    r"0.1\overline{6}": "1/6",
    "1/2": "1/2",
    "1/2/2": "1/4",
    r"\frac{1}{2}": "1/2",
    r"\dfrac12": "1/2",
    r"-\frac{1}{2}": "-1/2",
    r"\frac{1}{-2}": "-1/2",
    r"\frac{1+2}{3^2}": "1/3",
    "2 1/2": "5/2",
    "-2 1/2": "-5/2",
    r"2\frac{1}{2}": "5/2",
    "3½": "7/2",
    "½": "1/2",
    "2 + 3 * 4": 14,
    "(2 + 3) * 4": 20,
    "2(3)": 6,
    "(2)(3)": 6,
    "10 - 2 - 3": 5,
    "-2^2": -4,
    "(-2)^2": 4,
    "2^3^2": 512,
    "2**3": 8,
    "2^{-3}": "1/8",
    "2^-3": "1/8",
    r"3 \cdot 4 \times 5 \div 6": 10,
    r"\left( 1 + 2 \right) 3": None,
    r"\left( 1 + 2 \right) * 3": 9,
    "−5": -5,
    "１８": 18,
    "5²": 25,
    "6×7": 42,
    "18 dollars": 18,
    "18 eggs per day": 18,
    "18 feet of rope": 18,
    r"5\text{ cm}^2": 5,
    "5cm": 5,
    "5 m": 5,
    "60 km/h": 60,
    "18/day": 18,
    r"90^\circ": 90,
    "90°": 90,
    "1.8 billion": 1800000000,
    "3 dozen eggs": 36,
    "2 thousand": 2000,
}
UNREAD = [
    "", " ", "x", "-", "+", "()", "(5", "5)", "5 +", "1,00", "12,34", "1,2345", "0,123", "1 234",
    "5.", "18...", "3.14…", "inf", "nan", "NaN", "infinity", r"\infty", "1_000", "0x10", "1e", "5x",
    "5m", "3 ab", "5xy", "2 4/3", "1/2(3)", "1/0", "0^0", "0^-1", "4^{1/2}", "18 or 19",
    "18 and 20", "5 to 6", "5 of 6", "5 out of 6", "5 not 6", "3 halves", "2 thirds", "18 is wrong",
    "18 x", "(1,234)", "10:30", "5!", r"\pm 5", "not 5", "one", "1\x008", "\x00", "\ud800",
    "5\ud800", "2,", "5%%", "5% of 3", "12 hours 30 minutes", "1 000",
    "18 twenty", "18 point five", "18 lakh", "18 sevenths",
    "18 hundredths", "18 zillion", "18 millionths", "18 gross", "18 less two", "18 base eight",
    "18 basis points", "18 more", "18 nope", "18 equals nineteen", "18 K", "$18 K",
    "9^{9^{9^9}}", "10^9999", "9" * 3000,
    "(" * 50 + "5" + ")" * 50, "-" * 100 + "5", "٣x", "1.2.3",
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), READ.items())
def test_read(text, value):
    number = read(text)
    assert (None if number is None else number.value) == (value and Fraction(value))


@pytest.mark.parametrize("text", UNREAD)
def test_what_is_no_number_here(text):
    assert read(text) is None


def test_small_differences_count():
    assert read("1/2^99").value != read("1/2^98").value
    assert read("2/2^99").value == read("1/2^98").value


@pytest.mark.parametrize("text", ["18%", r"18\%", "18 %", "18 percent"])
def test_percent(text):
    assert read(text) == (18, True, "")


def test_letters_are_units_on_request():
    assert read("5m") is None
    assert read("5m", letters=True).unit == "m"


@pytest.mark.parametrize(
    "text", ["eggs", "km/h", "m", "cubic feet", "miles per hour", "in", "/day"]
)
def test_units(text):
    assert is_unit(text)


@pytest.mark.parametrize(
    "text", ["", "or", "x", "k", "hundred", "of", "than 5", "a" * 81, "!", "q"]
)
def test_no_units(text):
    assert not is_unit(text)


# --- properties -----------------------------------------------------------------------------------

rationals = st.fractions(max_denominator=10**6).filter(lambda x: abs(x.numerator) < 10**12)
decimals = st.builds(
    lambda n, k: Fraction(n, 10**k), st.integers(-(10**15), 10**15), st.integers(0, 9)
)


def as_decimal(x: Fraction, grouped: str = "") -> str:
    digits = f"{abs(x.numerator) * 10**9 // x.denominator:010d}"
    whole, part = digits[:-9], digits[-9:].rstrip("0")
    if grouped:
        whole = f"{int(whole):,}".replace(",", grouped)
    return "-" * (x < 0) + whole + ("." + part if part else "")


FRACTIONS = [
    str,
    lambda x: rf"\frac{{{x.numerator}}}{{{x.denominator}}}",
    lambda x: rf"{'-' * (x < 0)}\dfrac{{{abs(x.numerator)}}}{{{x.denominator}}}",
    lambda x: f"({x.numerator}) / ({x.denominator})",
    lambda x: f"{x.numerator} \\div {x.denominator}",
    lambda x: f"{x} dollars",
    lambda x: mixed(x),
]
DECIMALS = [
    as_decimal,
    lambda x: as_decimal(x, ","),
    lambda x: as_decimal(x, "{,}"),
    lambda x: as_decimal(x, r"\,"),
    lambda x: as_decimal(x) + " eggs per day",
    lambda x: as_decimal(x).replace("-", "−"),
    lambda x: as_decimal(x).replace("-", "-$") if x < 0 else "$" + as_decimal(x),
    lambda x: as_decimal(x * 1000) + "e-3",
    lambda x: as_decimal(x * 100) + r" \times 10^{-2}",
    lambda x: as_decimal(x) + ("0" if "." in as_decimal(x) else ".00"),
]


def mixed(x: Fraction) -> str:
    whole, rest = divmod(abs(x), 1)
    return "-" * (x < 0) + (f"{whole} {rest}" if whole and rest else f"{abs(x)}")


@given(rationals, st.sampled_from(FRACTIONS))
def test_what_is_written_as_a_fraction_is_read(x, form):
    assert read(form(x)).value == x


@given(decimals, st.sampled_from(DECIMALS))
def test_what_is_written_as_a_decimal_is_read(x, form):
    assert read(form(x)).value == x


@given(st.lists(st.tuples(decimals, st.sampled_from(DECIMALS)), min_size=3, max_size=3), st.data())
def test_equality_is_an_equivalence(written, data):
    """Among numbers without percent signs and units; a few values, so that some are equal."""
    few = data.draw(st.lists(st.sampled_from([x for x, _ in written]), min_size=3, max_size=3))
    a, b, c = (read(form(x))._replace(unit="") for x, (_, form) in zip(few, written, strict=True))
    assert same(a, a)
    assert same(a, b) == same(b, a)
    assert same(a, c) or not (same(a, b) and same(b, c))


@given(st.text(alphabet="0123456789.,+-*/^(){}$% \\fracdotems½²\x00\ud800", max_size=60))
def test_nothing_breaks_it(text):
    number = read(text)
    assert number is None or isinstance(number.value, Fraction)


@pytest.mark.parametrize(
    "piece", ["1+", "(", "-", "2^", "1,", "1 ", r"\frac{", "5 a-", "{", r"\text{", "9", "½", "²"]
)
def test_time_is_linear(piece):
    started = process_time()
    read(piece * (5_000_000 // len(piece)))
    read(piece * (2000 // len(piece)))
    assert process_time() - started < 0.2
