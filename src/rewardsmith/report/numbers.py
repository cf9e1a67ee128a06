"""How a report writes numbers: as many digits as their uncertainty deserves.

All functions return text and write what is missing (None or not finite) as an en dash.
"""

from collections.abc import Iterable, Sequence
from math import floor, isfinite, log10

MISSING = "–"


def number(x: float | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits, thousands separated, and a real minus sign."""
    if x is None or not isfinite(x):
        return MISSING
    return fixed(x, _decimals(abs(x), digits))


def places(values: Iterable[float], digits: int = 3) -> int:
    """How many decimals a column of numbers needs, so that they all have the same.

    Enough for ``digits`` significant digits of the largest of them and one less of their range:
    0.931 and 0.028 need three, 412 and 3.1 none, 1,000.12 and 1,000.98 two.
    """
    x = [value for value in values if isfinite(value)]
    if not x:
        return 0
    largest = _decimals(max(map(abs, x)), digits)
    return max(largest, min(_decimals(max(x) - min(x), digits - 1), largest + 3))


def estimate(
    center: float | None, interval: Sequence[float] | None, decimals: int
) -> tuple[str, str]:
    """A center and its interval: ``("0.931", "[0.910, 0.950]")``, the second empty without one."""
    if center is None or not isfinite(center):
        return MISSING, ""
    if interval is None or not all(isfinite(x) for x in interval):
        return fixed(center, decimals), ""
    low, high = interval
    return fixed(center, decimals), f"[{fixed(low, decimals)}, {fixed(high, decimals)}]"


def percent(share: float | None) -> str:
    """A share of 1 as whole percent."""
    return MISSING if share is None or not isfinite(share) else f"{fixed(100 * share, 0)} %"


def signed(x: float | None) -> str:
    """A correlation: its sign always shown, two decimals, three where it would vanish in two."""
    if x is None or not isfinite(x):
        return MISSING
    decimals = 2 if abs(x) >= 0.01 or x == 0 else 3
    return ("+" if x > 0 else "") + fixed(x, decimals)


def count(n: float | None) -> str:
    """A whole number with thousands separated."""
    return MISSING if n is None or not isfinite(n) else fixed(round(n), 0)


def fixed(x: float, decimals: int) -> str:
    """A finite number with so many decimals, thousands separated, and a real minus sign."""
    text = f"{x:,.{decimals}f}"
    # A number that rounds to zero has no sign.
    if text.startswith("-") and not text.strip("-0.,"):
        text = text[1:]
    return text.replace("-", "\N{MINUS SIGN}")


def _decimals(size: float, digits: int) -> int:
    """How many decimals show ``digits`` significant digits of a number of this size."""
    if size == 0:
        return 0
    return max(0, min(digits + 3, digits - 1 - floor(log10(size))))
