"""How likely one of k answers is right, from n that were sampled."""

from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike


def pass_at_k_rate(n: ArrayLike, c: ArrayLike, k: int) -> Float64[np.ndarray, " *p"]:
    """``1 - C(n - c, k) / C(n, k)`` for each prompt: pass@k from n answers, c of them right.

    Unbiased: it is the share of the sets of k among the n answers that hold a right one. With
    ``1 - (1 - c/n)^k`` the same answer may be drawn twice, which makes it too low. As a product,
    ``1 - prod_{i < k} (n - c - i) / (n - i)``, nothing overflows.

    Args:
        n: how many answers each prompt has.
        c: how many of them are right.
        k: how many would be drawn.

    Returns:
        float64, of the shape that n and c have together: exactly 0 where c is 0, exactly 1 where
        fewer than k are wrong.

    Raises:
        ValueError: n or c is no whole number, c is outside [0, n], k is below 1, or n < k.

    Source: Chen et al. 2021 (2107.03374), eq. 1.
    """
    many, right = np.broadcast_arrays(_whole("n", n), _whole("c", c))
    if k < 1:
        raise ValueError(f"pass_at_k_rate: k is {k}, it must be at least 1")
    _refuse(many < k, many, f"answers, k is {k}: sample at least k")
    _refuse((right < 0) | (right > many), right, "right answers, which is not within 0 and n")
    missed = np.ones(many.shape)
    for i in range(k):
        missed = missed * np.maximum(many - right - i, 0.0) / (many - i)
    return np.asarray(1.0 - missed)


def _whole(name: str, numbers: ArrayLike) -> Any:
    given = np.asarray(numbers, dtype=np.float64)
    _refuse(~np.isfinite(given) | (given != np.floor(given)), given, f"as {name}: no whole number")
    return given


def _refuse(broken: Any, numbers: Any, told: str) -> None:
    if broken.any():
        at = int(np.flatnonzero(broken)[0])
        raise ValueError(f"pass_at_k_rate: prompt {at} has {numbers.ravel()[at]:g} {told}")
