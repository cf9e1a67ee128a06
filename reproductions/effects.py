"""Effects over seeds, and the verdicts that rest on them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rewardsmith.report.statistics import bootstrap_interval, probability_of_improvement

POWER_80 = 1.43
"""(1.96 + 0.84) / 1.96: how many half widths of a 95 % interval an effect has to have for the
interval of a new run to lie beyond 0 with a probability of 80 %; at one half width it is 50 %."""


def spread(values: Sequence[float]) -> dict[str, float]:
    """The mean over seeds and its 95 % bootstrap interval."""
    low, high = bootstrap_interval(values, np.mean)
    return {"mean": round(float(np.mean(values)), 6), "low": round(low, 6), "high": round(high, 6)}


def by_seed(values: Sequence[float]) -> dict[str, Any]:
    """:func:`spread`, with each seed's value."""
    return {**spread(values), "per_seed": list(values)}


def mean_curve(curves: Sequence[Sequence[float]]) -> list[float]:
    """The mean over seeds of curves of one length, point by point."""
    return np.mean(curves, axis=0).round(4).tolist()


def compare(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """x - y over seeds, and the size of effect that as many seeds show four times in five."""
    told = spread([a - b for a, b in zip(x, y, strict=True)])
    better = round(probability_of_improvement(x, y), 4)
    return {**told, "probability_of_improvement": better, "visible_at_80_power": visible(told)}


def visible(effect: Mapping[str, Any]) -> float | None:
    """The size of effect that as many seeds show four times in five: 1.43 half widths.

    None where all seeds have the same difference, as in arms that are at the floor: their interval
    has no width, which says nothing about what would have been seen.
    """
    width = effect["high"] - effect["low"]
    return round(POWER_80 * width / 2, 6) if width > 0 else None


def judged(effect: Mapping[str, Any], margin: float) -> str:
    """Refuted if a rise by the margin is excluded, else supported if there is a rise at all.

    So a rise that is there, and smaller than the margin, refutes.
    """
    if effect["high"] < margin:
        return "refuted"
    return "supported" if effect["low"] > 0 else "inconclusive"


def raised(effect: Mapping[str, Any], margin: float) -> str:
    """Supported if there is a rise at all, else refuted if a rise by the margin is excluded.

    So a rise that is there supports, however small.
    """
    if effect["low"] > 0:
        return "supported"
    return "refuted" if effect["high"] < margin else "inconclusive"


def all_of(parts: Mapping[str, str]) -> str:
    """A claim's verdict: refuted if a part is, supported if all are, else inconclusive."""
    found = set(parts.values())
    if "refuted" in found:
        return "refuted"
    return "supported" if found == {"supported"} else "inconclusive"


def shown(told: Mapping[str, Any]) -> str:
    """A mean with its interval, and what would have been seen."""
    text = f"{told['mean']:.3f} [{told['low']:.3f}, {told['high']:.3f}]"
    if "visible_at_80_power" not in told:
        return text
    size = told["visible_at_80_power"]
    return f"{text}, " + ("all seeds tie" if size is None else f"visible from {size:.3f}")
