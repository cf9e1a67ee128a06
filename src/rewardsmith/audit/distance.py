"""How far a predicted reward is from the true one, up to scale and shift."""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pearson_distance(predicted: ArrayLike, truth: ArrayLike) -> float:
    """``D = sqrt((1 - rho) / 2)`` with Pearson's rho over the steps of a trajectory, in [0, 1].

    0 for any increasing affine map of the truth, 1 for any decreasing one. It is EPIC's last step,
    without canonicalization and over the steps at hand: our reading of "the Pearson form of EPIC"
    that factored states were compared by (017, arXiv 2603.09400).

    Args:
        predicted: the rewards [T] of one trajectory (or several, side by side).
        truth: the true ones [T].

    Returns:
        The distance; NaN, with a warning, where either is constant and rho undefined.

    Raises:
        ValueError: the shapes differ, fewer than two steps, or a number that is not finite.
    """
    x, y = (np.asarray(values, dtype=np.float64).ravel() for values in (predicted, truth))
    if x.shape != y.shape or x.size < 2:
        raise ValueError(f"pearson_distance: {x.size} and {y.size} steps; give two or more of each")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("pearson_distance: a reward is not finite")
    for name, values in (("predicted", x), ("true", y)):
        if values.min() == values.max():
            warnings.warn(
                f"pearson_distance: the {name} rewards are constant, so it is undefined",
                stacklevel=2,
            )
            return float("nan")
    x, y = (_standard(values) for values in (x, y))
    rho = float(np.clip(x @ y, -1.0, 1.0))
    return float(np.sqrt((1 - rho) / 2))


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # Halved and scaled first, so that neither the range nor squares can overflow or vanish.
    values = values / np.abs(values).max()
    values = values - values.mean()
    values = values / np.abs(values).max()
    return np.asarray(values / np.sqrt(values @ values))
