"""How long a completion is."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, TypeAlias, get_args

from .verdict import Verdict

Unit: TypeAlias = Literal["words", "characters", "tokens"]
UNITS: tuple[str, ...] = get_args(Unit)


def grade(
    completion: Any,
    *,
    low: float = 0.0,
    high: float | None = None,
    slack: float = 0.0,
    unit: Unit = "words",
) -> float | Verdict:
    """1 for a length L in [low, high], falling to 0 over ``slack`` on both sides.

    ``max(0, 1 - d / slack)`` with ``d = max(low - L, L - high, 0)``; 0 outside if slack is 0.

    Args:
        completion: the text; with ``tokens``, the list of token ids.
        low: the shortest length that earns 1.
        high: the longest; None sets no limit.
        slack: how far outside nothing is earned any more.
        unit: what is counted.
    """
    n = measured(completion, unit)
    off = max(low - n, 0.0 if high is None else n - high, 0.0)
    if off == 0:
        return 1.0
    why = f"{n} {unit}, which is {'fewer than' if n < low else 'more than'} "
    why += f"{low:g}" if n < low else f"{high:g}"
    return Verdict(max(0.0, 1.0 - off / slack) if slack else 0.0, why)


def overlong(
    completion: Any, *, max_length: int, cache: int, unit: Unit = "tokens"
) -> float | Verdict:
    """DAPO's soft overlong punishment of a length L (its equation 13).

    0 up to ``max_length - cache``; ``(max_length - cache - L) / cache`` up to ``max_length``; -1
    beyond.
    """
    n = measured(completion, unit)
    free = max_length - cache
    if n <= free:
        return 0.0
    why = f"{n} {unit}, which is more than {free}"
    return Verdict((free - n) / cache if n <= max_length else -1.0, why)


def measured(completion: Any, unit: Unit) -> int:
    """The length in words (what whitespace separates), characters (code points) or token ids."""
    if unit == "tokens":
        return len(token_ids(completion))
    return len(completion.split()) if unit == "words" else len(completion)


def token_ids(value: Any) -> Sequence[Any]:
    """The token ids of a row.

    Raises:
        TypeError: it is no list of integers. An array may be padded, and does not say where.
    """
    if not isinstance(value, list | tuple) or (value and not isinstance(value[0], Integral)):
        raise TypeError(
            f"tokens are counted in a column of lists of token ids, without padding; this is "
            f"{type(value).__name__}"
        )
    return value
