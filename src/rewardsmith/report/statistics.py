"""Statistics over seeds: few runs, skewed returns, honest intervals.

The definitions are rliable's (Agarwal et al., "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", arXiv 2108.13264) for one task: the interquartile mean, the percentile
bootstrap over runs, and the probability of improvement. Everything here is a pure function of
numbers and deterministic in its ``seed``; nothing is read from a global generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CurveBand",
    "ThresholdSummary",
    "bootstrap_interval",
    "curve_band",
    "interquartile_mean",
    "probability_of_improvement",
    "probability_of_improvement_interval",
    "steps_to_threshold",
    "threshold_summary",
]

Array = NDArray[np.float64]


class Statistic(Protocol):
    """A statistic that reduces one axis, such as ``np.mean`` or :func:`interquartile_mean`."""

    def __call__(self, values: Any, /, *, axis: int) -> Any: ...


@dataclass(frozen=True)
class CurveBand:
    """A learning curve over seeds: at each step the statistic and its interval, all [E]."""

    steps: tuple[int, ...]
    center: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class ThresholdSummary:
    """When the seeds reached a threshold: the median step, and how many of them ever did."""

    median: int | None
    reached: int
    seeds: int


def interquartile_mean(values: ArrayLike, *, axis: int | None = None) -> Any:
    """The mean of the middle half: IQM(x) = mean(x_(k+1) … x_(n−k)) with k = ⌊n/4⌋.

    This is ``scipy.stats.trim_mean(x, 0.25)``, rliable's definition. Only whole values are cut, so
    when n is not divisible by 4 a little *less* than a quarter goes at each end: n = 5, 6, 7 lose
    one value at each end, and n = 1, 2, 3 lose none (the IQM is then the plain mean).

    Args:
        values: [n], or any shape with ``axis``; finite.
        axis: the axis of the runs; None takes all the values together.

    Returns:
        A float for ``axis=None``, otherwise an array without that axis.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    x = _finite(values, "values")
    x = np.sort(x.reshape(-1) if axis is None else np.moveaxis(x, axis, -1), axis=-1)
    n = x.shape[-1]
    if n == 0:
        raise ValueError("the interquartile mean of no values is undefined")
    kept = x[..., n // 4 : n - n // 4]
    # A mean of equal numbers may miss them by one ulp, and a verdict would then see a difference
    # between two constant series of different lengths.
    mean = np.clip(kept.mean(axis=-1), kept[..., 0], kept[..., -1])
    return float(mean) if axis is None else mean


def bootstrap_interval(
    values: ArrayLike,
    statistic: Statistic = interquartile_mean,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile bootstrap over runs: quantiles (1∓level)/2 of statistic(x*).

    Each x* is a draw of n runs from x with replacement. The interval is over *seeds*, so episodes
    of one run must be averaged before. It is too narrow for very few runs: with one run it is that
    point, with two it is at most their range, and at five its coverage is well below ``level``.
    State the number of runs beside it.

    Args:
        values: [n], one number per run; finite.
        statistic: called as ``statistic(x, axis=1)`` on [resamples, n].
        level: in (0, 1).
        resamples: at least 1.
        seed: of the resampling; equal seeds give equal intervals.

    Raises:
        ValueError: no values, a value that is not finite, more than one axis, or ``level`` or
            ``resamples`` out of range.
    """
    x = _runs(values, "values")
    low, high = _bootstrap(x, statistic, level, resamples, seed)
    return float(low), float(high)


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """P(X > Y) + ½ P(X = Y) over all pairs of runs: the Mann-Whitney U of x over (n·m).

    Args:
        x: [n] runs of the candidate; finite.
        y: [m] runs of the baseline; finite.

    Returns:
        A number in [0, 1]: ½ is no difference, and p(x, y) = 1 − p(y, x).

    Raises:
        ValueError: either side has no runs, or a value is not finite.
    """
    return float(_wins(x, y).mean())


def probability_of_improvement_interval(
    x: ArrayLike, y: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap of :func:`probability_of_improvement`, x and y drawn independently.

    Args and errors as there and in :func:`bootstrap_interval`.
    """
    wins = _wins(x, y)
    _check_bootstrap(level, resamples)
    n, m = wins.shape
    rng = np.random.default_rng(seed)
    # How often each run is drawn says all there is to a resample, and keeps it to [resamples, n].
    drawn_x = rng.multinomial(n, np.full(n, 1.0 / n), size=resamples)
    drawn_y = rng.multinomial(m, np.full(m, 1.0 / m), size=resamples)
    draws = ((drawn_x @ wins) * drawn_y).sum(axis=1) / (n * m)
    low, high = np.quantile(draws, _tails(level))
    return float(low), float(high)


def curve_band(
    steps: Sequence[int],
    values: ArrayLike,
    *,
    statistic: Statistic = interquartile_mean,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> CurveBand:
    """The statistic over seeds and its bootstrap interval at each evaluation of a learning curve.

    Whole seeds are resampled (the same draw at every step), so the band is pointwise: it covers
    each step at ``level``, not the whole curve at once.

    Args:
        steps: [E], strictly increasing.
        values: [S, E], one row per seed; finite.
        statistic: called as ``statistic(x, axis=...)`` on [S, E] and on [resamples, S, E].
        level: in (0, 1).
        resamples: at least 1.
        seed: of the resampling.

    Raises:
        ValueError: the shapes disagree, ``steps`` do not increase, or as
            :func:`bootstrap_interval`.
    """
    x = _curves(steps, values)
    low, high = _bootstrap(x, statistic, level, resamples, seed)
    center = np.asarray(statistic(x, axis=0))
    return CurveBand(
        steps=tuple(int(s) for s in steps),
        center=tuple(center.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def steps_to_threshold(
    steps: Sequence[int], values: ArrayLike, threshold: float
) -> tuple[int | None, ...]:
    """For each seed the first evaluated step at which its curve is ≥ ``threshold``, or None.

    Args:
        steps: [E], strictly increasing.
        values: [S, E], one row per seed; finite.
        threshold: in the units of ``values``; finite.

    Raises:
        ValueError: the shapes disagree, ``steps`` do not increase, or something is not finite.
    """
    x = _curves(steps, values)
    if not np.isfinite(threshold):
        raise ValueError(f"threshold must be finite, got {threshold}")
    reached = x >= threshold
    return tuple(int(steps[row.argmax()]) if row.any() else None for row in reached)


def threshold_summary(first_steps: Sequence[int | None]) -> ThresholdSummary:
    """The median of :func:`steps_to_threshold` over seeds, with how many of them reached it.

    A seed that never reached the threshold counts as +∞, so the median is None unless more than
    half of the seeds did (for an even number it is the midpoint of the two middle ones). A median
    of the successful seeds alone would rank a reward that works once in five first.

    Raises:
        ValueError: there are no seeds.
    """
    if not first_steps:
        raise ValueError("no seeds to summarize")
    x = sorted(np.inf if step is None else float(step) for step in first_steps)
    middle = (x[(len(x) - 1) // 2] + x[len(x) // 2]) / 2
    return ThresholdSummary(
        median=round(middle) if np.isfinite(middle) else None,
        reached=sum(step is not None for step in first_steps),
        seeds=len(first_steps),
    )


def _bootstrap(
    x: Array, statistic: Statistic, level: float, resamples: int, seed: int
) -> tuple[Array, Array]:
    """Resample x [n, ...] along axis 0 -> the two ends, each [...]."""
    _check_bootstrap(level, resamples)
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(x), size=(resamples, len(x)))
    draws = np.asarray(statistic(x[rows], axis=1), dtype=np.float64)
    if draws.shape != (resamples, *x.shape[1:]):
        raise ValueError(
            f"statistic must reduce axis 1 of [{resamples}, {len(x)}, ...] and nothing else, "
            f"got shape {draws.shape}"
        )
    # The default quantile interpolates between equal numbers and can leave their range by an ulp.
    low, high = np.clip(np.quantile(draws, _tails(level), axis=0), draws.min(0), draws.max(0))
    return low, high


def _tails(level: float) -> list[float]:
    return [(1.0 - level) / 2.0, (1.0 + level) / 2.0]


def _check_bootstrap(level: float, resamples: int) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")


def _wins(x: ArrayLike, y: ArrayLike) -> Array:
    """[n, m]: 1 where x's run is above y's, ½ on a tie, 0 below."""
    a, b = _runs(x, "x")[:, None], _runs(y, "y")[None, :]
    return np.asarray((a > b) + 0.5 * (a == b), dtype=np.float64)


def _finite(values: ArrayLike, name: str) -> Array:
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError(f"{name} holds a number that is not finite; leave that run out and say so")
    return x


def _runs(values: ArrayLike, name: str) -> Array:
    x = _finite(values, name)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"{name} must be one number per run, at least one, got shape {x.shape}")
    return x


def _curves(steps: Sequence[int], values: ArrayLike) -> Array:
    x = _finite(values, "values")
    if x.ndim != 2 or x.shape[0] == 0 or x.shape[1] != len(steps) or len(steps) == 0:
        raise ValueError(
            f"values must be [seeds, evaluations] with one column per step ({len(steps)}), "
            f"got shape {x.shape}"
        )
    if any(b <= a for a, b in pairwise(steps)):
        raise ValueError("steps must be strictly increasing")
    return x
