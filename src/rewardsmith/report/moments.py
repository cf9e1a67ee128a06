"""Moments of two paired streams that merge exactly: a step correlation pooled over seeds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Below this ratio of standard deviation to |mean| a stream is a constant with float64 rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PairMoments:
    """Count, means and centered sums of products of paired numbers (x, y), in float64.

    m_xx = Σ(x−x̄)², m_yy = Σ(y−ȳ)², m_xy = Σ(x−x̄)(y−ȳ). ``PairMoments()`` is the empty stream, the
    identity of :meth:`merge`.
    """

    n: int = 0
    mean_x: float = 0.0
    mean_y: float = 0.0
    m_xx: float = 0.0
    m_yy: float = 0.0
    m_xy: float = 0.0

    @classmethod
    def of(cls, x: ArrayLike, y: ArrayLike) -> "PairMoments":
        """The moments of x and y, both [n]: two passes (the means first), float64.

        Raises:
            ValueError: the shapes are not one equal axis, or a number is not finite.
        """
        a, b = _stream(x, "x"), _stream(y, "y")
        if a.shape != b.shape:
            raise ValueError(f"x and y must pair up, got shapes {a.shape} and {b.shape}")
        if a.size == 0:
            return cls()
        mean_x, da = _centered(a)
        mean_y, db = _centered(b)
        return cls(
            n=a.size,
            mean_x=mean_x,
            mean_y=mean_y,
            m_xx=float(da @ da),
            m_yy=float(db @ db),
            m_xy=float(da @ db),
        )

    def merge(self, other: "PairMoments") -> "PairMoments":
        """The moments of both streams together.

        With δ = mean_b − mean_a and n = n_a + n_b (Chan, Golub and LeVeque 1983):
        mean = mean_a + δ·n_b/n and m_xy = m_xy,a + m_xy,b + δ_x·δ_y·n_a·n_b/n, likewise m_xx, m_yy.
        """
        if self.n == 0:
            return other
        if other.n == 0:
            return self
        n = self.n + other.n
        share = other.n / n
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        between = self.n * share
        return PairMoments(
            n=n,
            mean_x=self.mean_x + dx * share,
            mean_y=self.mean_y + dy * share,
            m_xx=self.m_xx + other.m_xx + dx * dx * between,
            m_yy=self.m_yy + other.m_yy + dy * dy * between,
            m_xy=self.m_xy + other.m_xy + dx * dy * between,
        )

    @property
    def x_varied(self) -> bool:
        """Whether x took more than one value (up to float64 rounding)."""
        return _varied(self.n, self.mean_x, self.m_xx)

    @property
    def y_varied(self) -> bool:
        """Whether y took more than one value (up to float64 rounding)."""
        return _varied(self.n, self.mean_y, self.m_yy)

    @property
    def correlation(self) -> float | None:
        """Pearson's m_xy / √(m_xx·m_yy) in [−1, 1]; None when either stream never varied."""
        if not (self.x_varied and self.y_varied):
            return None
        # Two roots: the product of the sums may overflow or vanish where their roots do not.
        value = self.m_xy / sqrt(self.m_xx) / sqrt(self.m_yy)
        return max(-1.0, min(1.0, value))

    def to_dict(self) -> dict[str, float]:
        """The six numbers under their field names, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, numbers: Mapping[str, float]) -> "PairMoments":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: a field is missing.
        """
        fields = ("mean_x", "mean_y", "m_xx", "m_yy", "m_xy")
        missing = [name for name in ("n", *fields) if name not in numbers]
        if missing:
            raise ValueError(f"not the moments of a pair: no {', '.join(missing)}")
        return cls(int(numbers["n"]), *(float(numbers[name]) for name in fields))


def _stream(values: ArrayLike, name: str) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"{name} must have one axis, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} holds a number that is not finite")
    return x


def _centered(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    # The mean of a constant may miss it by one ulp; the stream would then seem to vary.
    if x.min() == x.max():
        return float(x[0]), np.zeros_like(x)
    mean = x.mean()
    # What is left of the mean after one subtraction is the rounding of the first; take it off too.
    mean += (x - mean).mean()
    return float(mean), x - mean


def _varied(n: int, mean: float, m: float) -> bool:
    return n > 1 and m > n * (_ROUNDING * mean) ** 2
