"""Running mean and variance, exact over any split into batches."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass
class Moments:
    """Count, mean and sum of squared deviations, in float64 whatever the rewards are stored in."""

    count: float = 0.0
    mean: float = 0.0
    m2: float = 0.0

    def add(self, values: ArrayLike) -> None:
        """Take in a batch (Welford's update for batches, by Chan, Golub and LeVeque).

        ``delta = mean_b - mean; mean += delta n_b / n; m2 += m2_b + delta^2 n_a n_b / n``
        """
        batch = np.asarray(values, dtype=np.float64).ravel()
        if batch.size == 0:
            return
        mean = float(batch.mean())
        m2 = float(((batch - mean) ** 2).sum())
        total = self.count + batch.size
        delta = mean - self.mean
        self.m2 += m2 + delta * delta * self.count * batch.size / total
        self.mean += delta * batch.size / total
        self.count = total

    @property
    def variance(self) -> float:
        """The population variance; 0 before anything was seen."""
        return self.m2 / self.count if self.count else 0.0

    def state(self) -> dict[str, float]:
        """Plain numbers to save."""
        return {"count": self.count, "mean": self.mean, "m2": self.m2}

    @classmethod
    def of_state(cls, state: Mapping[str, float]) -> "Moments":
        """What :meth:`state` saved."""
        return cls(**state)
