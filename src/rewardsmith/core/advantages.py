"""Advantages: what a policy gradient multiplies."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(eq=False)
class Advantages:
    """One number per rollout or per step, and which rows train at all.

    Raises:
        ValueError: shapes that do not agree, or a value that trains and is not finite.
    """

    values: Float[Tensor, "n"] | Float[Tensor, "n t"]
    keep: Bool[Tensor, " n"]
    weight: Float[Tensor, "n t"] | None = None
    """A factor for each step; 1 if there is none."""
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.values) != len(self.keep):
            raise ValueError(f"{len(self.values)} advantages, {len(self.keep)} keep flags")
        if self.weight is not None and self.weight.shape[:1] != self.keep.shape:
            raise ValueError(f"{len(self.weight)} rows of weights, {len(self.keep)} keep flags")
        by_step = self.values.ndim == 2
        if self.weight is not None and by_step and self.weight.shape != self.values.shape:
            shapes = f"{[*self.values.shape]} and {[*self.weight.shape]}"
            raise ValueError(f"advantages and their weights have the shapes {shapes}")
        # A sum is finite if all of it is, unless it overflows; that is found out below.
        if math.isfinite(float(self.values.sum())):
            return
        finite = self.values.isfinite()
        finite = finite.all(dim=1) if by_step else finite
        broken = self.keep & ~finite
        if bool(broken.any()):
            row = int(broken.nonzero()[0])
            raise ValueError(f"row {row} trains on an advantage that is not finite")
        # What does not train must not turn a sum into NaN either: 0 * inf is NaN.
        self.values = torch.where(self.values.isfinite(), self.values, 0.0)

    def by_step(self, mask: Bool[Tensor, "n t"]) -> Float[Tensor, "n t"]:
        """Advantages [N, T] with their weights: 0 where ``mask`` is, and in rows that do not train.

        One number per rollout stands at each of its steps.
        """
        values = self.values if self.values.ndim == 2 else self.values[:, None]
        if self.weight is not None:
            values = values * self.weight
        if not bool(self.keep.all()):
            mask = mask & self.keep[:, None]
        return values * mask
