"""Numbers as people write them, read exactly.

A text is a number if all of it is arithmetic on integers and decimals that :func:`read` knows,
perhaps with a currency sign before it and a percent sign, a word for a power of ten or a unit
behind it. Its value is a rational number, so that equal means equal. What it does not know, and
what would be too large, is None: not decided here.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from .arithmetic import NotKnownError, Reader
from .glyphs import plain
from .units import is_known

LONGEST = 2000
"""Characters of the longest text that is read."""


class Number(NamedTuple):
    """A number that was read."""

    value: Fraction
    percent: bool = False
    """Whether a percent sign followed; ``value`` is the number before it."""
    unit: str = ""
    """What followed, as it was written."""


def read(text: str, *, letters: bool = False) -> Number | None:
    r"""The number that a text is, or None if it is none that is known here.

    Known are integers and decimals (``18``, ``-0.5``, ``.5``), thousands in groups of three
    (``1,234``, ``1{,}234``, ``1\,234``), ``1.5e3``, repeating decimals (``0.\overline{3}``),
    fractions (``1/2``, ``\frac{1}{2}``, ``\frac12``), mixed numbers (``2 1/2``,
    ``2\frac{1}{2}``), and ``+ - * / ^`` with brackets, ``\cdot``, ``\times`` and ``\div``.

    Args:
        text: the text.
        letters: whether one letter right behind a number is a unit (``5m``), not a variable.
    """
    if _SIMPLE.fullmatch(text):
        unit = "$" if "$" in text else ""
        return Number(_decimal(text.replace("$", "").replace(",", "")), unit=unit)
    if len(text) > LONGEST:
        return None
    reader = Reader(plain(text))
    try:
        value = reader.amount()
    except NotKnownError:
        return None
    rest, glued = reader.rest(), reader.glued()
    if glued and (not letters if len(rest) == 1 and rest.isalpha() else not _apart(rest)):
        return None
    return _with_suffix(value, reader.currency, rest)


# One sign, one dollar, well-formed thousands, one decimal point.
_SIMPLE = re.compile(
    r"[+-]?\$?(?:[0-9]{1,300}|[1-9][0-9]{0,2}(?:,[0-9]{3}){1,99})(?:\.[0-9]{1,300})?"
)


def _decimal(digits: str) -> Fraction:
    whole, _, part = digits.partition(".")
    return Fraction(int(whole + part), 10 ** len(part)) if part else Fraction(int(whole))


# --- what may stand behind a number ---------------------------------------------------------------

_DEGREES = re.compile(r"\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})")
_PERCENT = re.compile(r"\\?%|percent\b|per cent\b")
_FACTORS = {
    "dozen": 12,
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_WORD = r"[^\W\d_]+(?:'[^\W\d_]+)?"
_RAISED = r"(?:[1-9]|\s*\^\s*(?:-?[1-9]|\{\s*-?[1-9]\s*\}))?"
_UNIT = re.compile(
    rf"(?:/\s*)?(?:{_WORD}|\\?\$|[€£¥₹₩]){_RAISED}"
    rf"(?:(?:\s*/\s*|\s*\*\s*|-|\s+){_WORD}{_RAISED}){{0,5}}"
)
_WORDS = re.compile(_WORD)
# Before one of these a number is not the amount, or not all of it.
_NO_UNIT = frozenset({
    "and", "approximately", "around", "between", "billion", "billions", "but", "cubed",
    "divided", "dozen", "dozens", "eighth", "eighths", "either", "else", "except", "few",
    "fifth", "fifths", "fourth", "fourths", "half", "halves", "hundred", "hundreds", "if",
    "infinity", "instead", "is", "isn't", "maybe", "million", "millions", "minus", "mod",
    "modulo", "neither", "never", "no", "nor", "not", "off", "or", "over", "perhaps", "pi",
    "plus", "possibly", "quarter", "quarters", "rather", "score", "should", "sixth", "sixths",
    "sqrt", "squared", "tenth", "tenths", "than", "then", "third", "thirds", "thousand",
    "thousands", "through", "times", "to", "trillion", "trillions", "unless", "until",
    "versus", "vs", "was", "were", "wrong",
})  # fmt: skip
# Nor do these name anything by themselves.
_JOINING = frozenset({
    "a", "about", "an", "as", "at", "by", "each", "every", "for", "her", "his", "in", "of",
    "on", "per", "the", "their",
})  # fmt: skip


def _apart(rest: str) -> bool:
    """Whether what follows without a space makes no product: ``5cm``, ``5/day``; not ``5xy``."""
    return not rest[:1].isalpha() or is_known(rest)


def _with_suffix(value: Fraction, currency: str, rest: str) -> Number | None:
    """The number with what stands around it, or None if that is no unit."""
    if not rest:
        return Number(value, unit=currency)
    rest = _DEGREES.sub(" degrees ", rest).strip()
    percent = _PERCENT.match(rest)
    if percent:
        # 5 % of what?
        return None if rest[percent.end() :].strip() else Number(value, percent=True)
    word, _, after = rest.partition(" ")
    if word in _FACTORS:
        value, rest = value * _FACTORS[word], after.strip()
    if not rest:
        return Number(value, unit=currency)
    if not is_unit(rest):
        return None
    if currency:
        rest = currency + rest if rest.startswith(("/", "per ")) else currency
    return Number(value, unit=rest)


def is_unit(text: str) -> bool:
    """Whether a text behind a number may say what was counted."""
    if len(text) > 80 or not _UNIT.fullmatch(text):
        return False
    if is_known(text):
        return True
    words = [word.lower() for word in _WORDS.findall(text)]
    if words and words[0] in _JOINING and words[0] != "per":
        return False  # 5 of ..., 5 a day
    return all(
        word.lower() in _JOINING
        or (word.lower() not in _NO_UNIT if len(word) > 2 else is_known(word))
        for word in _WORDS.findall(text)
    )
