"""Whether a completion's final answer is a number near enough to the right one, in its unit."""

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from .extraction import AUTO, find_answer
from .forms import equation, is_name
from .maths import gold_answer, written
from .numbers import Number, is_unit, read
from .units import NONE, Unit, unit_of
from .verdict import Verdict

UNITS = ("required", "optional", "ignored")
_ABOUT = re.compile(
    r"(?:≈|~|\\approx(?![A-Za-z])|\\sim(?![A-Za-z])|about\b|approximately\b)\s*", re.I
)


def grade(
    completion: str,
    gold: Any,
    *,
    answer: str = AUTO,
    rel_tol: float = 0.0,
    abs_tol: float = 0.0,
    unit: str = "optional",
) -> float | Verdict:
    """1 if ``|a - g| <= max(rel_tol |g|, abs_tol)`` in the gold number's unit, else 0.

    Computed with rational numbers, tolerances as they are written. ``18%`` is 18 and 0.18. An
    infinity or NaN is no number.

    Args:
        completion: the text.
        gold: the right number, perhaps with a unit.
        answer: where the answer stands, see :func:`~.extraction.find_answer`. There it may follow
            ``x =`` and a word or sign for *about*.
        rel_tol: tolerance relative to the gold number.
        abs_tol: tolerance in the gold number's unit.
        unit: whether the answer's unit is ``required``, may be left out (``optional``), or is
            ``ignored``. One that is given has to be of the gold unit's dimension, and is converted;
            only if gold has none it may be any, unless ``required``: then none.

    Raises:
        ValueError: ``gold`` is no number.
    """
    right = _gold(gold if type(gold) is str else written(gold))
    found = find_answer(completion, answer)
    if found is None:
        return Verdict(0.0, "no answer found")
    sides = equation(found)
    if len(sides) == 2 and is_name(sides[0]):
        found = sides[1]
    about = _ABOUT.match(found)
    number = read(found[about.end() :] if about else found, letters=True)
    if number is not None and number.unit and not right.unit and not is_unit(number.unit):
        number = None  # 5 x and 5 K are other numbers than 5, unless units are asked for
    if number is None:
        return Verdict(0.0, f"{found[:80]!r} is no number")
    factor = Fraction(1)
    if unit != "ignored":
        size, why = _conversion(right, number, unit)
        if size is None:
            return Verdict(0.0, why)
        factor = size
    target = right.value
    allowed = max(Fraction(str(rel_tol)) * abs(target), Fraction(str(abs_tol)))
    if any(abs(value - target) <= allowed for value in _values(number, right, factor)):
        return 1.0
    return Verdict(0.0, f"answered {found[:80]!r}")


def _values(number: Number, right: Number, factor: Fraction) -> list[Fraction]:
    if number.percent == right.percent:
        return [number.value * factor]
    if number.percent:
        return [number.value, number.value / 100]
    return [number.value, number.value * 100]


def _conversion(right: Number, number: Number, unit: str) -> tuple[Fraction | None, str]:
    """What the answer is multiplied with to be in the gold unit, or None and why."""
    if not number.unit:
        if right.unit and unit == "required":
            return None, f"no unit, expected {right.unit!r}"
        return Fraction(1), ""
    if not right.unit:
        return (None, "a unit, expected none") if unit == "required" else (Fraction(1), "")
    wanted = _unit(right.unit)
    try:
        given = unit_of(number.unit)
    except ValueError as error:
        return None, str(error)
    if given.powers != wanted.powers:
        return None, f"unit {number.unit!r}, expected {right.unit!r}"
    return given.size / wanted.size, ""


def _unit(text: str) -> Unit:
    return unit_of(text) if text else NONE


@lru_cache(maxsize=4096)
def _gold(text: str) -> Number:
    right = gold_answer(text)
    number = right.number or read(right.text, letters=True)
    if number is None:
        raise ValueError(f"gold {text[:80]!r} is no number")
    return number
