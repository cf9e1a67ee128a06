"""Units of measurement: what they are made of, and their exact size."""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple


class Unit(NamedTuple):
    """A product of powers of base units; what is not known is a base unit of its own."""

    size: Fraction
    """In base units: meters, grams, seconds, amperes, kelvins, moles."""
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
    "h": Fraction(100),
    "k": Fraction(1000),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
}
_LONG = {
    "nano": "n", "micro": "u", "milli": "m", "centi": "c", "deci": "d", "hecto": "h", "kilo": "k",
    "mega": "M", "giga": "G", "tera": "T",
}  # fmt: skip


def _table(names: dict[str, tuple[Fraction | int, str]]) -> dict[str, Unit]:
    """By every name: the size, and the base units with their powers (``g m^2 s^-2``)."""
    table = {}
    for spelled, (size, base) in names.items():
        powers = [factor.partition("^")[::2] for factor in base.split()]
        unit = Unit(Fraction(size), tuple(sorted((name, int(n or 1)) for name, n in powers)))
        table.update(dict.fromkeys(spelled.split(), unit))
    return table


# These take prefixes.
_METRIC = _table({
    "m meter metre": (1, "m"), "g gram": (1, "g"), "s second": (1, "s"),
    "l L liter litre": (Fraction(1, 1000), "m^3"), "A amp ampere": (1, "ampere"),
    "K kelvin": (1, "kelvin"), "mol mole": (1, "mole"), "Hz hertz": (1, "s^-1"),
    "N newton": (1000, "g m s^-2"), "Pa pascal": (1000, "g m^-1 s^-2"),
    "J joule": (1000, "g m^2 s^-2"), "W watt": (1000, "g m^2 s^-3"),
    "Wh": (3600000, "g m^2 s^-2"), "V volt": (1000, "g m^2 s^-3 ampere^-1"),
    "Ω ohm": (1000, "g m^2 s^-3 ampere^-2"), "eV": (1, "electronvolt"),
})  # fmt: skip
_SYMBOLS = frozenset({
    "m", "g", "s", "l", "L", "A", "K", "mol", "Hz", "N", "Pa", "J", "W", "Wh", "V", "Ω", "eV",
})  # fmt: skip
_FOOT, _POUND = Fraction(3048, 10000), Fraction(45359237, 100000)
_MPH, _KPH = _FOOT * 5280 / 3600, Fraction(1000, 3600)
# These take none. Feet, pounds and gallons are defined by these numbers.
_OTHER = _table({
    "in inch inches": (_FOOT / 12, "m"), "ft foot feet": (_FOOT, "m"), "yd yard": (_FOOT * 3, "m"),
    "mi mile": (_FOOT * 5280, "m"), "mph": (_MPH, "m s^-1"), "kph kmh": (_KPH, "m s^-1"),
    "ha hectare": (10**4, "m^2"), "lb lbs pound": (_POUND, "g"), "oz ounce": (_POUND / 16, "g"),
    "ton": (1, "ton"), "tonne": (10**6, "g"), "sec": (1, "s"), "min minute": (60, "s"),
    "h hr hour": (3600, "s"), "day": (86400, "s"), "week": (7 * 86400, "s"),
    "gallon gal": ((_FOOT / 12) ** 3 * 231, "m^3"), "$ dollar USD US$": (1, "dollar"),
    "cent": (Fraction(1, 100), "dollar"), "€ EUR": (1, "euro"), "£ GBP": (1, "sterling"),
    "° deg degree": (1, "degree"), "celsius": (1, "celsius"), "fahrenheit": (1, "fahrenheit"),
})  # fmt: skip

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
        unit = _known(factor["name"]) or Unit(Fraction(1), ((_singular(factor["name"]), 1),))
        size *= unit.size**power
        for base, dimension in unit.powers:
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


def _known(name: str) -> Unit | None:
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
                        return base._replace(size=base.size * _PREFIXES[short])
            if form[:1] in _PREFIXES and form[1:] in _SYMBOLS:
                base = _METRIC[form[1:]]
                return base._replace(size=base.size * _PREFIXES[form[0]])
    return None


def _singular(name: str) -> str:
    name = name.lower() if len(name) > 2 else name
    return name[:-1] if len(name) > 3 and name.endswith("s") and not name.endswith("ss") else name
