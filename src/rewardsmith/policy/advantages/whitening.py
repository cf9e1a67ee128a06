"""Whitening: marked numbers with mean 0 and variance 1."""

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from ...ops.ranks import Ranks, summed
from ...ops.series import Series
from .step_rewards import check_finite

_RESIDUE = 1e-14
"""What rounding leaves of a standard deviation, as a part of the mean."""


def whiten(
    values: Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    *,
    eps: float = 1e-8,
    ddof: int = 1,
    shift: bool = True,
    floor: float = 0.0,
    ranks: Ranks = None,
    dtype: torch.dtype | None = None,
    method: str = "whiten",
) -> Float[Tensor, "n t"]:
    """``(x - mean) / sqrt(var + eps)`` at marked steps, 0 at the others.

    Mean and variance are those of all marked steps of all ranks, in two passes in float64.

    **Biased**, as an estimator's last step: the mean is a baseline that contains the step's own
    value, which is of the order of 1 over the number of marked steps, and the scale differs from
    batch to batch. Values that are all the same give exactly 0.

    Peers: verl has these defaults. OpenRLHF ``ddof=0, eps=0.0, floor=1e-8``. verl's
    ``shift_mean=False`` is ``shift=False``.

    Args:
        values: [N, T] read only where ``mask`` is.
        mask: [N, T] marked steps.
        eps: added to the variance, at least 0, in the unit of values squared.
        ddof: taken from the count: 1 for the sample's variance, 0 for the population's.
        shift: whether the mean becomes 0; without, values are scaled about their mean.
        floor: what the variance is raised to if it is less.
        ranks: processes that hold parts of the batch; they may mark unequal numbers of steps.
        dtype: of the result; that of ``values``, or float32 if that is narrower.
        method: who asks; errors begin with it.

    Returns:
        [N, T].

    Raises:
        ValueError: shapes that disagree; no step is marked, or only one with ``ddof=1``; a marked
            value is not finite (row and step are named); an option is out of its range.

    Source: the normalization of advantages in OpenAI's Baselines (PPO), over tokens.
    """
    if mask.shape != values.shape:
        raise ValueError(f"{method}: values have the shape {[*values.shape]}, mask {[*mask.shape]}")
    series = Series(mask, values)
    rows = series.moments()
    check_finite(method, rows, ranks, values=(values, mask))
    mean, scale = standard(method, rows, eps=eps, ddof=ddof, floor=floor, ranks=ranks)
    kind = dtype or torch.promote_types(values.dtype, torch.float32)
    white = series.tensor(kind, shift=mean, scale=scale)
    return white if shift else torch.where(mask, white + mean, 0.0)


def standard(
    method: str,
    rows: Float64[Tensor, "n 3"],
    *,
    eps: float = 1e-8,
    ddof: int = 1,
    floor: float = 0.0,
    ranks: Ranks = None,
) -> tuple[float, float]:
    """Mean of all marked steps, and the factor that brings them to variance 1.

    Args:
        method: who asks.
        rows: [N, 3] the moments of each row, as of :meth:`Series.moments`.
        eps: see :func:`whiten`.
        ddof: likewise.
        floor: likewise.
        ranks: likewise.

    Raises:
        ValueError: see :func:`whiten`.
    """
    if not eps >= 0.0 or ddof not in (0, 1):
        raise ValueError(
            f"{method}: eps is {eps} and ddof {ddof}; at least 0, and 0 or 1 are valid"
        )
    number, middle, squares = rows.unbind(dim=1)
    sums = summed(torch.stack([number.sum(), number @ middle]), ranks)
    count, total = sums.tolist()
    if count <= ddof:
        told = "no step is marked" if count == 0 else "only one step is marked"
        fix = "; mark more, or give ddof=0" if count else ""
        raise ValueError(f"{method}: {told}, whitening is undefined{fix}")
    mean = total / count
    away = middle - mean
    variance = float(summed((squares + number * away * away).sum(), ranks)) / (count - ddof)
    if variance <= (_RESIDUE * mean) ** 2:
        return mean, 0.0
    return mean, max(variance + eps, floor) ** -0.5
