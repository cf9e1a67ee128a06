"""Whitening: marked numbers with mean 0 and variance 1."""

import math

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from ...core.warn import warn_caller
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
    batch to batch. Values that are all the same give exactly 0. No gradient flows through it: an
    advantage is a number.

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
    if values.ndim != 2 or mask.shape != values.shape:
        shapes = f"{[*values.shape]}, mask {[*mask.shape]}"
        raise ValueError(f"{method}: values have the shape {shapes}; both have to be [N, T]")
    values, mask = values.detach(), mask.bool()
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
    keep: Bool[Tensor, " n"] | None = None,
) -> tuple[float, float]:
    """Mean of all marked steps, and the factor that brings them to variance 1.

    Args:
        method: who asks.
        rows: [N, 3] the moments of each row, as of :meth:`Series.moments`.
        eps: see :func:`whiten`.
        ddof: likewise.
        floor: likewise.
        ranks: likewise.
        keep: [N] the rows that have a score. If there are none on any rank, the factor is 0 and a
            warning tells of it.

    Raises:
        ValueError: see :func:`whiten`.
    """
    if ddof not in (0, 1):
        raise ValueError(f"{method}: ddof is {ddof}, it must be 0 or 1")
    for name, least in {"eps": eps, "floor": floor}.items():
        if not 0.0 <= least < math.inf:
            raise ValueError(f"{method}: {name} is {least}, it must be finite and at least 0")
    number, middle, squares = rows.unbind(dim=1)
    kept = rows.new_ones(()) if keep is None else keep.sum().to(rows)
    count, total, some = summed(torch.stack([number.sum(), number @ middle, kept]), ranks).tolist()
    if not some:
        warn_caller(f"{method}: no row of the batch has a score (keep): nothing trains")
        return 0.0, 0.0
    if count <= ddof:
        told = "no step is marked" if count == 0 else "only one step is marked"
        fix = "; mark more, or give ddof=0" if count else ""
        raise ValueError(f"{method}: {told}, whitening is undefined{fix}")
    # Of many rows, the mean is rounded by more than equal values may differ from it: what it lacks
    # is summed with the squares.
    mean = total / count
    away = middle - mean
    apart = torch.stack([number @ away, (squares + number * away * away).sum()])
    lack, spread = summed(apart, ranks).tolist()
    mean += lack / count
    variance = (spread - lack * lack / count) / (count - ddof)
    if not math.isfinite(variance):
        raise ValueError(f"{method}: the variance of finite numbers overflows")
    if variance <= (_RESIDUE * mean) ** 2:
        return mean, 0.0
    return mean, max(variance + eps, floor) ** -0.5
