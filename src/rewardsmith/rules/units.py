"""Units of measurement: what they are made of, and their exact size."""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple


class Unit(NamedTuple):
    """A product of powers of base units; what is not known is a base unit of its own."""

    size: Fraction
    """In base units: meters, grams, seconds."""
    powers: tuple[tuple[str, int], ...]


NONE = Unit(Fraction(1), ())

_PREFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "µ": Fraction(1, 10**6),
    "μ": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "c": Fraction(1, 100),
    "d": Fraction(1, 10),
    "k": Fraction(1000),
}
_LONG = {
    "nano": "n", "micro": "u", "milli": "m", "centi": "c", "deci": "d", "kilo": "k",
}  # fmt: skip
# Those that take prefixes, and the others. Feet, pounds and gallons are defined by these numbers.
_METRIC = {
    "m": ("m", 1, Fraction(1)), "meter": ("m", 1, Fraction(1)), "metre": ("m", 1, Fraction(1)),
    "g": ("g", 1, Fraction(1)), "gram": ("g", 1, Fraction(1)),
    "s": ("s", 1, Fraction(1)), "second": ("s", 1, Fraction(1)),
    "l": ("m", 3, Fraction(1, 1000)), "L": ("m", 3, Fraction(1, 1000)),
    "liter": ("m", 3, Fraction(1, 1000)), "litre": ("m", 3, Fraction(1, 1000)),
}  # fmt: skip
_FOOT, _POUND = Fraction(3048, 10000), Fraction(45359237, 100000)
_OTHER = {
    "in": ("m", 1, _FOOT / 12), "inch": ("m", 1, _FOOT / 12), "inches": ("m", 1, _FOOT / 12),
    "ft": ("m", 1, _FOOT), "foot": ("m", 1, _FOOT), "feet": ("m", 1, _FOOT),
    "yd": ("m", 1, _FOOT * 3), "yard": ("m", 1, _FOOT * 3),
    "mi": ("m", 1, _FOOT * 5280), "mile": ("m", 1, _FOOT * 5280),
    "lb": ("g", 1, _POUND), "lbs": ("g", 1, _POUND), "pound": ("g", 1, _POUND),
    "oz": ("g", 1, _POUND / 16), "ounce": ("g", 1, _POUND / 16),
    "ton": ("ton", 1, Fraction(1)), "tonne": ("g", 1, Fraction(10**6)),
    "sec": ("s", 1, Fraction(1)), "min": ("s", 1, Fraction(60)), "minute": ("s", 1, Fraction(60)),
    "h": ("s", 1, Fraction(3600)), "hr": ("s", 1, Fraction(3600)), "hour": ("s", 1, Fraction(3600)),
    "day": ("s", 1, Fraction(86400)), "week": ("s", 1, Fraction(7 * 86400)),
    "gallon": ("m", 3, (_FOOT / 12) ** 3 * 231), "gal": ("m", 3, (_FOOT / 12) ** 3 * 231),
    "$": ("dollar", 1, Fraction(1)), "dollar": ("dollar", 1, Fraction(1)),
    "USD": ("dollar", 1, Fraction(1)), "US$": ("dollar", 1, Fraction(1)),
    "cent": ("dollar", 1, Fraction(1, 100)),
    "€": ("euro", 1, Fraction(1)), "EUR": ("euro", 1, Fraction(1)),
    "£": ("pound sterling", 1, Fraction(1)), "GBP": ("pound sterling", 1, Fraction(1)),
    "°": ("degree", 1, Fraction(1)), "deg": ("degree", 1, Fraction(1)),
    "degree": ("degree", 1, Fraction(1)),
}  # fmt: skip

_FACTOR = re.compile(
    r"\s*(?P<over>/|(?:per|a|an)(?![^\W\d_]))?\s*[*-]?\s*"
    r"(?P<name>US\$|\\?[$€£¥₹₩°]|[^\W\d_]+(?:'[^\W\d_]+)?)"
    r"(?:(?P<glued>[1-9])|\s*\^\s*\{?\s*(?P<power>-?[1-9])\s*\}?)?\s*"
)

_RAISED = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}


@lru_cache(maxsize=4096)
def unit_of(text: str) -> Unit:
    """What a unit is made of: ``km/h``, ``kg m^2``, ``meters per second``, ``apples``.

    Raises:
        ValueError: it cannot be read.
    """
    size, at, text = Fraction(1), 0, text.strip()
    powers: dict[str, int] = {}
    raised = 1
    while at < len(text):
        factor = _FACTOR.match(text, at)
        if not factor:
            raise ValueError(f"unit {text[:40]!r} cannot be read")
        at = factor.end()
        power = raised * int(factor["power"] or factor["glued"] or 1)
        power = -power if factor["over"] else power
        raised = 1
        if factor["name"].lower() in _RAISED:
            raised = power * _RAISED[factor["name"].lower()]
            continue
        base, dimension, one = _known(factor["name"]) or (_singular(factor["name"]), 1, Fraction(1))
        size *= one**power
        powers[base] = powers.get(base, 0) + dimension * power
    return Unit(size, tuple(sorted((base, power) for base, power in powers.items() if power)))


def is_known(name: str) -> bool:
    """Whether every part of a unit is in the table."""
    names = [factor["name"] for factor in _FACTOR.finditer(name)]
    return all(part.lower() in _RAISED or _known(part) for part in names)


_LAST = re.compile(
    r"(?<=[\w)}])(?:\s|\\[,;: ])+((?:(?:square|cubic|sq|cu)\s+)?[A-Za-z]{2,20})"
    r"\s*(?:\^\s*\{?\s*[23]\s*\}?)?\Z"
)


def without_unit(text: str) -> str:
    """A text without a unit of the table, or ``units``, at its end."""
    last = _LAST.search(text, max(len(text) - 60, 0))
    if last and (is_known(last[1]) or last[1].endswith("units")):
        return text[: last.start()]
    return text


def same_unit(a: str, b: str) -> bool:
    """Whether two units are the same, by whatever names."""
    try:
        return a == b or unit_of(a) == unit_of(b)
    except ValueError:
        return False


def _known(name: str) -> tuple[str, int, Fraction] | None:
    name = name.removeprefix("\\")
    for spelled in (name, name.lower() if len(name) > 2 else name):
        for form in (spelled, _singular(spelled)):
            found = _METRIC.get(form) or _OTHER.get(form)
            if found:
                return found
            for prefix, short in _LONG.items():
                if form.startswith(prefix) and len(form) > len(prefix) + 2:
                    base = _METRIC.get(form[len(prefix) :])
                    if base:
                        return base[0], base[1], base[2] * _PREFIXES[short]
            if form[:1] in _PREFIXES and form[1:] in ("m", "g", "s", "l", "L"):
                base = _METRIC[form[1:]]
                return base[0], base[1], base[2] * _PREFIXES[form[0]]
    return None


def _singular(name: str) -> str:
    name = name.lower() if len(name) > 2 else name
    return name[:-1] if len(name) > 3 and name.endswith("s") and not name.endswith("ss") else name
