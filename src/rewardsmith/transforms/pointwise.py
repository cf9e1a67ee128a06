"""Transforms of each value by itself: clip, bounded, symlog."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.acting import Floats, Step, Terms, void
from ..core.catalog import Paper, method
from ..core.combination import mapped
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores


def clip(values: Tensor, low: float, high: float) -> Tensor:
    """``min(max(r, low), high)``."""
    return values.clamp(low, high)


def bounded(values: Tensor, low: float, high: float, scale: float) -> Tensor:
    """``low + (high - low) * sigmoid(r / scale)``: strictly increasing, unlike a clip."""
    return low + (high - low) * torch.sigmoid(values / scale)


def symlog(values: Tensor) -> Tensor:
    """``sign(r) ln(1 + |r|)``: linear near 0, logarithmic far from it."""
    return torch.sign(values) * torch.log1p(values.abs())


class _Pointwise(Reward):
    """One child, whose every value goes through :meth:`apply_to`."""

    of: Reward

    def forward(self, rollouts: Rollouts) -> Scores:
        return mapped(self.of(rollouts), self.apply_to)

    def apply_to(self, values: Tensor) -> Tensor:
        raise NotImplementedError

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        values, carry = self.step_children(s, carry, out)
        # A copy: arrays that are read-only or reversed cannot be shared with torch.
        applied = self.apply_to(torch.from_numpy(np.array(values["of"]))).numpy()
        return void(applied, values["of"]), carry


@method("clip", kind="transform")
class Clip(_Pointwise):
    """``min(max(r, low), high)``. Rewards beyond the bounds become equal.

    Raises:
        ValueError: ``low`` is not below ``high``.
    """

    def __init__(self, of: Reward, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__()
        _check_bounds("clip", low, high)
        self.of, self.low, self.high = of, float(low), float(high)

    def apply_to(self, values: Tensor) -> Tensor:
        return clip(values, self.low, self.high)


@method("bounded", kind="transform")
class Bounded(_Pointwise):
    """``low + (high - low) * sigmoid(r / scale)``, between finite bounds.

    Args:
        of: the reward.
        low: approached as r falls.
        high: approached as r rises.
        scale: the r that reaches 73 % of the way; in the units of r.

    Raises:
        ValueError: bounds that are not finite and in order, or a scale that is not positive.
    """

    def __init__(self, of: Reward, low: float = 0.0, high: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        _check_bounds("bounded", low, high)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"bounded: the bounds {low}, {high} are not finite")
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"bounded: scale is {scale}, it must be a positive number")
        self.of, self.low, self.high, self.scale = of, float(low), float(high), float(scale)

    def apply_to(self, values: Tensor) -> Tensor:
        return bounded(values, self.low, self.high, self.scale)


@method(
    "symlog",
    kind="transform",
    paper=Paper("2301.04104", "Mastering Diverse Domains through World Models", 2023),
)
class Symlog(_Pointwise):
    """``sign(r) ln(1 + |r|)``, for rewards whose sizes differ by orders of magnitude."""

    def __init__(self, of: Reward) -> None:
        super().__init__()
        self.of = of

    def apply_to(self, values: Tensor) -> Tensor:
        return symlog(values)


def _check_bounds(name: str, low: float, high: float) -> None:
    if not low < high or np.isnan(low) or np.isnan(high):
        raise ValueError(f"{name}: low {low} must lie below high {high}")
