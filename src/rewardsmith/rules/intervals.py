"""The overlap of ranges of years (093, VaseVL; arXiv 2509.17191)."""

import re
from itertools import islice
from typing import Any, TypeAlias

from .extraction import AUTO, find_answer
from .verdict import Verdict

Interval: TypeAlias = tuple[int, int]
"""The first and the last year; years before our era are negative."""

# Digits next to a letter or a decimal point are no year: 5th century, 1901.5.
_YEAR = re.compile(
    r"(?:(?<!\w)(?P<prior>A\.?\s?D\.?)\s{0,3})?"
    r"(?P<sign>[-\u2212\u2013])?(?<![\w.])"
    r"(?P<digits>\d{1,6})(?:['\u2019]?(?P<decade>s)(?!\w))?"
    r"(?:\s{0,3}(?:(?P<before>B\.?\s?C\.?(?:\s?E\b)?)|(?P<after>A\.?\s?D|C\.?\s?E))(?!\w))?"
    r"(?![^\W_]|[.]\d)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+")


def interval_overlap(
    completion: str, gold: Any, *, answer: str = AUTO, strict: bool = False
) -> float | Verdict:
    """``|A and B| / |A or B|`` in years of the answer's range and the reference's.

    Years are counted with both ends, so that the overlap is 1 for equal ranges and only for them,
    and a single year is a range of one. The formula is our reading of "interval overlap".

    Args:
        completion: the text.
        gold: two whole numbers, or text with one or two years; see :func:`read_interval`.
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

    It is two whole numbers, one, or text with one or two years, such as ``-550 to -525``,
    ``550-525 b.c.``, ``550 BC to 525``, ``c. 480 BCE``, ``30 BC - AD 14``, ``1901/1905``. BC behind
    the last year is meant for both, and BC behind the first for a smaller second one. The second of
    ``1901-05`` is 1905. A decade, ``1950s``, is its ten years; of a century (``1900s``, ``5th
    century``) and of decimals nobody knows which years are meant, and they are no range.

    Raises:
        ValueError: it is none.
    """
    if hasattr(text, "tolist"):
        text = text.tolist()
    if isinstance(text, str):
        years = _years(text)
    else:
        given = text if isinstance(text, list | tuple) else [text]
        years = [_whole(year) for year in given]
    if not 1 <= len(years) <= 2:
        raise _no_range(text)
    first, last = years[0], years[-1]
    turned = first[0] > last[0]
    return (min(first[0], last[0]), max(first[1], last[1])), turned


def _no_range(text: Any) -> ValueError:
    return ValueError(f"{str(text)[:40]!r} is not one or two years")


def _whole(year: Any) -> Interval:
    # From tables with gaps, whole numbers come as floats.
    year = year.item() if hasattr(year, "item") else year
    if isinstance(year, float) and year.is_integer():
        year = int(year)
    if type(year) is not int:
        raise _no_range(year)
    return year, year


def _years(text: str) -> list[Interval]:
    """The first and the last year of each end of a range."""
    ends = list(islice(_YEAR.finditer(text), 3))
    # A number that is no year makes of all of it something else.
    if len(ends) != sum(1 for _ in islice(_NUMBER.finditer(text), 3)) or len(ends) > 2:
        raise _no_range(text)
    signed = [_is_signed(text, *ends[:i][-1:], end) for i, end in enumerate(ends)]
    numbers = [int(end["digits"]) for end in ends]
    if len(ends) == 2 and not any(signed):
        numbers[1] = _written_out(text, *ends)
    eras = [bool(sign or end["before"]) for sign, end in zip(signed, ends, strict=True)]
    bare = [not (eras[i] or end["prior"] or end["after"]) for i, end in enumerate(ends)]
    if len(ends) == 2:
        eras[0] |= bare[0] and bool(ends[1]["before"])
        eras[1] |= bare[1] and bool(ends[0]["before"]) and numbers[1] < numbers[0]
    years = []
    for end, number, before in zip(ends, numbers, eras, strict=True):
        if end["decade"] and (number % 10 or not number % 100):
            raise _no_range(text)
        until = number + 9 if end["decade"] else number
        years.append((-until, -number) if before else (number, until))
    return years


def _is_signed(text: str, *ends: re.Match[str]) -> bool:
    """Whether the dash before the last of these years is its sign, and not between the two."""
    year = ends[-1]
    between = len(ends) > 1 and not text[ends[0].end() : year.start()].strip()
    return bool(year["sign"]) and not between


def _written_out(text: str, first: re.Match[str], last: re.Match[str]) -> int:
    """The second year, of which only the last digits may be written, as in 1901-05."""
    digits, short = first["digits"], last["digits"]
    plain = not (first["before"] or last["before"] or first["decade"])
    between = text[first.end() : last.start("digits")].strip()
    if not plain or len(digits) != 4 or len(short) > 2 or between not in _RANGE:
        return int(short)
    number = int(digits[: 4 - len(short)] + short)
    if number < int(digits):
        raise _no_range(text)
    return number


_RANGE = ("-", "\u2013", "\u2212", "/")
