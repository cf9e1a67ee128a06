"""The overlap of ranges of years (093, VaseVL; arXiv 2509.17191)."""

import re
from typing import Any, TypeAlias

from .extraction import AUTO, find_answer
from .verdict import Verdict

Interval: TypeAlias = tuple[int, int]
"""The first and the last year; years before our era are negative."""

# "-550 to -525", "550-525 BC", "1901/1905", "c. 480". A hyphen behind a digit stands between years.
_YEAR = re.compile(r"(?<!\d)(?:(?<!\d\s)(?<!\d)([-−]))?(\d{1,6})(?!\d)\s{0,3}(BCE?|B\.C\.)?", re.I)


def interval_overlap(
    completion: str, gold: Any, *, answer: str = AUTO, strict: bool = False
) -> float | Verdict:
    """``|A and B| / |A or B|`` in years of the answer's range and the reference's.

    Years are counted with both ends, so that the overlap is 1 for equal ranges and only for them,
    and a single year is a range of one. The formula is our reading of "interval overlap".

    Args:
        completion: the text.
        gold: two whole numbers, or text with one or two years (``550-525 BC``, ``-550 to -525``).
        answer: where the answer stands, see :func:`~.extraction.find_answer`.
        strict: a range whose end lies before its beginning is worth 0 (and an error in the
            reference) instead of being turned around.

    Raises:
        ValueError: the reference is no range.
    """
    right, turned = read_interval(gold)
    if turned and strict:
        raise ValueError(f"the reference {str(gold)[:40]!r} ends before it begins")
    found = find_answer(completion, answer)
    if found is None:
        return Verdict(0.0, "no answer found")
    try:
        given, turned = read_interval(found)
    except ValueError:
        return Verdict(0.0, f"{found[:80]!r} is no range of years")
    if turned and strict:
        return Verdict(0.0, f"{found[:80]!r} ends before it begins")
    value = overlap(given, right)
    return Verdict(value, f"{found[:80]!r} was turned around") if turned else value


def overlap(a: Interval, b: Interval) -> float:
    """``|A and B| / |A or B|`` of two ranges of whole numbers, ends included."""
    both = max(0, min(a[1], b[1]) - max(a[0], b[0]) + 1)
    return both / ((a[1] - a[0] + 1) + (b[1] - b[0] + 1) - both)


def read_interval(text: Any) -> tuple[Interval, bool]:
    """A range, and whether it was written from its end to its beginning.

    Raises:
        ValueError: it is none.
    """
    if hasattr(text, "tolist"):
        text = text.tolist()
    if isinstance(text, str):
        found = _YEAR.findall(text)
        # One BC at the end is meant for both.
        before = bool(found) and bool(found[-1][2])
        years: Any = [-int(y) if sign or bc or before else int(y) for sign, y, bc in found]
    else:
        years = text if isinstance(text, list | tuple) else [text]
    if not 1 <= len(years) <= 2 or any(type(year) is not int for year in years):
        raise ValueError(f"{str(text)[:40]!r} is not one or two years")
    first, last = years[0], years[-1]
    return (min(first, last), max(first, last)), first > last
