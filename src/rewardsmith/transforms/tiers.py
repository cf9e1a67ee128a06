"""Correctness plus a quality in few zones, and measures of quality to feed it (016, SSL)."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..core.catalog import Paper, method
from ..core.combination import all_scored
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores, first_errors


def levels(zones: int, rho: float = 1.0) -> list[float]:
    """``g_k = (k / (K - 1))^rho`` for k = 0 .. K - 1: convex, from 0 to 1; just 0 for one zone.

    Raises:
        ValueError: no zone, or rho < 1 (a concave ladder amplifies nothing).
    """
    if zones < 1:
        raise ValueError(f"tiers: zones is {zones}, give one or more")
    if not (math.isfinite(rho) and rho >= 1):
        raise ValueError(f"tiers: rho is {rho}, it must be 1 or more")
    return [(k / (zones - 1)) ** rho for k in range(zones)] if zones > 1 else [0.0]


def tiered(quality: Tensor, thresholds: Sequence[float], values: Sequence[float]) -> Tensor:
    """``g_k`` where ``b_k <= S < b_(k+1)``: a quality becomes the level of its zone.

    Args:
        quality: S, any shape.
        thresholds: b_1 < ... < b_(K-1); below the first is zone 0, from the last on zone K - 1.
        values: g_0 .. g_(K-1).

    Raises:
        ValueError: thresholds that do not increase, or not one fewer than levels.
    """
    if len(thresholds) != len(values) - 1:
        raise ValueError(
            f"tiers: {len(values)} zones have {len(values) - 1} thresholds, not {len(thresholds)}"
        )
    edges = [-math.inf, *thresholds, math.inf]
    if not all(low < high for low, high in pairwise(edges)):
        raise ValueError(f"tiers: thresholds {list(thresholds)} do not increase")
    # In the quality's own precision: a score of 0.7 is not to fall short of a threshold of 0.7.
    borders = torch.tensor(list(thresholds), dtype=quality.dtype, device=quality.device)
    zone = torch.bucketize(quality.detach(), borders, right=True)
    return torch.tensor(list(values), dtype=quality.dtype, device=quality.device)[zone]


def gaussian_zone(
    point: Float[Tensor, "n 2"], box: Float[Tensor, "n 4"], sharpness: float = 1.0
) -> Float[Tensor, " n"]:
    """How near a click is to the middle of its target, in (0, 1].

    ``S = exp(-d^2 / 2)`` with ``d^2 = (x - mu)^T Sigma^-1 (x - mu)``, mu the middle of the box and
    ``Sigma = diag((w / 2)^2, (h / 2)^2) / sharpness``: our reading. It does not change when box and
    click are moved or stretched together.

    Args:
        point: x, y of each click.
        box: x1, y1, x2, y2 of each target.
        sharpness: c; at the middle of an edge d^2 = c.

    Raises:
        ValueError: a box without width or height, or a sharpness that is not positive.
    """
    if not (math.isfinite(sharpness) and sharpness > 0):
        raise ValueError(f"gaussian_zone: sharpness is {sharpness}, it must be positive")
    size = box[:, 2:] - box[:, :2]
    flat = ~(size > 0).all(dim=1)
    if bool(flat.any()):
        row = int(flat.nonzero()[0])
        raise ValueError(f"gaussian_zone: box {row}, {box[row].tolist()}, has no width or height")
    middle = (box[:, :2] + box[:, 2:]) / 2
    return torch.exp(-sharpness * ((point - middle) / (size / 2)).square().sum(dim=1) / 2)


def grid_match(
    found: Shaped[Tensor, "n h w"], truth: Shaped[Tensor, "n h w"], block: int = 1
) -> Float[Tensor, " n"]:
    """The share of ``block x block`` tiles of a grid that agree in every cell, in [0, 1].

    With 1 it is the share of cells. What happens to the cells of one tile in both grids does not
    matter. Our reading of the progress score for puzzles.

    Raises:
        ValueError: the grids differ in shape, or do not divide into tiles.
    """
    n, height, width = truth.shape
    if found.shape != truth.shape or block < 1 or height % block or width % block:
        raise ValueError(
            f"grid_match: grids {list(found.shape)} and {list(truth.shape)}, tiles of {block}"
        )
    tiles = (found == truth).reshape(n, height // block, block, width // block, block)
    return tiles.all(dim=4).all(dim=2).flatten(1).float().mean(dim=1)


@method(
    "tiers",
    kind="transform",
    seed=16,
    paper=Paper(
        "2601.22491",
        "SSL: Sweet Spot Learning for Differentiated Guidance in Agentic Optimization",
        2026,
    ),
)
class Tiers(Reward):
    """``R = C + alpha * g_k``, with k the zone that the quality lies in.

    Among equally correct rollouts the better ones earn more, in a few steps that noise in the
    quality rarely crosses. With correctness 0 or 1 and ``alpha < 1``, every correct rollout earns
    more than every incorrect one; ``alpha = 0`` or one zone leave correctness as it is. The form is
    what two reviews tell of the paper; thresholds and levels are our reading: ``b_k = k / K`` and
    ``g_k = (k / (K - 1))^rho``.

    A rollout whose correctness or quality has no score has none here.

    Args:
        correct: C, an outcome.
        quality: S, an outcome; within [0, 1] for the default thresholds.
        alpha: the most that quality can add, in [0, 1).
        zones: K.
        rho: 1 for equal steps, more for steps that grow.
        thresholds: b_1 < ... < b_(K-1), in the units of the quality.

    Raises:
        ValueError: an alpha that breaks the order, no zone, rho < 1, thresholds that do not
            increase or are not K - 1, or a part that scores steps.
    """

    def __init__(
        self,
        correct: Reward,
        quality: Reward,
        alpha: float = 0.5,
        zones: int = 4,
        rho: float = 1.0,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.correct, self.quality = correct, quality
        self.alpha, self.zones, self.rho = float(alpha), zones, float(rho)
        self.thresholds = None if thresholds is None else list(thresholds)
        self.levels = levels(zones, self.rho)
        tiered(torch.zeros(0), self.borders, self.levels)
        if not (math.isfinite(alpha) and alpha >= 0):
            raise ValueError(f"tiers: alpha is {alpha}, it must be 0 or more")
        if self.alpha * (self.levels[-1] - self.levels[0]) >= 1:
            raise ValueError(
                f"tiers: with alpha {alpha} an incorrect rollout could earn as much as a correct "
                "one; take less than 1"
            )
        for name, part in self.children_by_name():
            if part.granularity == "dense":
                raise ValueError(f"tiers: {name} scores steps; it takes outcomes")

    @property
    def borders(self) -> list[float]:
        """The thresholds, equally spaced if none were given."""
        if self.thresholds is not None:
            return self.thresholds
        return [k / self.zones for k in range(1, self.zones)]

    def forward(self, rollouts: Rollouts) -> Scores:
        parts = {"correct": self.correct(rollouts), "quality": self.quality(rollouts)}
        status = all_scored(parts)
        added = tiered(parts["quality"].values, self.borders, self.levels)
        values = parts["correct"].values + self.alpha * added
        return Scores.outcome(values, status, errors=first_errors(parts, status), parts=parts)
