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
        letters: whether every short word is a unit (``5m``, ``5 dB``), and none a variable.
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
    if glued and not letters and ((len(rest) == 1 and rest.isalpha()) or not _apart(rest)):
        return None
    return _with_suffix(value, reader.currency, rest, letters and not reader.currency)


# One sign, one dollar, well-formed thousands, one decimal point.
_SIMPLE = re.compile(
    r"[+-]?\$?(?:[0-9]{1,300}|[1-9][0-9]{0,2}(?:,[0-9]{3}){1,99})(?:\.[0-9]{1,300})?"
)


def _decimal(digits: str) -> Fraction:
    whole, _, part = digits.partition(".")
    return Fraction(int(whole + part), 10 ** len(part)) if part else Fraction(int(whole))


# --- what may stand behind a number ---------------------------------------------------------------

_GREEK_UNITS = re.compile(r"\\(mu|Omega)(?![A-Za-z])\s*")
_TEMPERATURE = re.compile(r"degrees?\s+(?:(C|celsius)|F|fahrenheit)(?![A-Za-z])", re.I)
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
_CARDINALS = frozenset({
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    "hundred", "thousand", "lakh", "crore", "dozen", "score", "grand", "bil", "bln",
    "mil", "mln",
})  # fmt: skip
_ORDINALS = frozenset({
    "half", "halve", "first", "third", "quarter", "fif", "eigh", "nin", "twelf", "twentie",
    "thirtie", "fortie", "fiftie", "sixtie", "seventie", "eightie", "ninetie",
})  # fmt: skip
# Before one of these a number is not the amount, or not all of it.
_NO_UNIT = frozenset({
    "above", "actually", "almost", "and", "approx", "approximately", "around", "base", "basis",
    "below", "between", "but", "cubed", "divided", "doubled", "either", "else", "equal",
    "equals", "error", "except", "factorial", "false", "few", "gross", "guess", "halved", "if",
    "incorrect", "infinity", "instead", "is", "isn't", "less", "maybe", "minus", "mod",
    "modulo", "more", "negative", "neither", "never", "no", "nope", "nor", "not", "off", "or",
    "over", "perhaps", "permille", "pi", "plus", "point", "possibly", "power", "ppm",
    "probably", "raised", "rather", "root", "roughly", "should", "sqrt", "squared", "tenfold",
    "than", "then", "through", "times", "to", "tripled", "under", "unless", "unsure", "until",
    "versus", "vs", "was", "were", "wrong",
})  # fmt: skip
# What stands for a power of ten as well as for a unit.
_SCALES = frozenset({"k", "K", "M", "G", "T", "B"})
# Nor do these name anything by themselves.
_JOINING = frozenset({
    "a", "about", "an", "as", "at", "by", "each", "every", "for", "her", "his", "in", "of",
    "on", "per", "the", "their",
})  # fmt: skip


def _apart(rest: str) -> bool:
    """Whether what follows without a space makes no product: ``5cm``, ``5/day``; not ``5xy``."""
    return not rest[:1].isalpha() or is_known(rest)


def _with_suffix(value: Fraction, currency: str, rest: str, letters: bool) -> Number | None:
    """The number with what stands around it, or None if that is no unit."""
    if not rest:
        return Number(value, unit=currency)
    rest = _DEGREES.sub(" degrees ", rest).strip()
    rest = _TEMPERATURE.sub(lambda found: "celsius" if found[1] else "fahrenheit", rest)
    rest = _GREEK_UNITS.sub(lambda found: "µ" if found[1] == "mu" else "Ω", rest)
    percent = _PERCENT.match(rest)
    if percent:
        # 5 % of what?
        return None if rest[percent.end() :].strip() else Number(value, percent=True)
    word, _, after = rest.partition(" ")
    if word in _FACTORS:
        value, rest = value * _FACTORS[word], after.strip()
    if not rest:
        return Number(value, unit=currency)
    if not is_unit(rest, letters=letters):
        return None
    if currency:
        rest = currency + rest if rest.startswith(("/", "per ")) else currency
    return Number(value, unit=rest)


def is_unit(text: str, *, letters: bool = False) -> bool:
    """Whether a text behind a number may say what was counted.

    Args:
        text: the text.
        letters: whether words of one or two letters are units that are in no table.
    """
    if len(text) > 80 or not _UNIT.fullmatch(text) or (text in _SCALES and not letters):
        return False
    if is_known(text):
        return True
    words = _WORDS.findall(text)
    if words and words[0].lower() in _JOINING and words[0] != "per":
        return False  # 5 of ..., 5 a day
    return all(
        word.lower() in _JOINING
        or ((len(word) > 2 or letters or is_known(word)) and not _counts(word.lower()))
        for word in words
    )


def _counts(word: str) -> bool:
    """Whether a word is of those that change what a number before it says."""
    stem = word.removesuffix("s")
    if word in _NO_UNIT or stem in _CARDINALS or stem in _ORDINALS:
        return True
    stem = stem.removesuffix("th")
    return stem in _CARDINALS or stem in _ORDINALS or stem.endswith("illion")
