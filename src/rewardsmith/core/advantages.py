"""Advantages: what a policy gradient multiplies."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Own = TypeVar("Own", bound="Advantages")


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
        if self.values.shape[:1] != self.keep.shape:
            raise ValueError(f"{len(self.values)} advantages, {len(self.keep)} keep flags")
        if self.weight is not None and (
            self.weight.ndim != 2
            or self.weight.shape[:1] != self.keep.shape
            or (self.values.ndim == 2 and self.weight.shape != self.values.shape)
        ):
            raise ValueError(
                f"advantages have the shape {[*self.values.shape]}, their weights "
                f"{[*self.weight.shape]}; a weight is one for each step"
            )
        if _finite(self.values):
            return
        finite = self.values.isfinite()
        broken = self.keep & ~(finite.all(dim=1) if finite.ndim == 2 else finite)
        if bool(broken.any()):
            row = int(broken.nonzero()[0])
            raise ValueError(f"row {row} trains on an advantage that is not finite")

    def by_step(self, mask: Bool[Tensor, "n t"]) -> Float[Tensor, "n t"]:
        """Advantages [N, T] with their weights; 0 outside ``mask`` and in rows that do not train.

        One number per rollout stands at each of its steps.
        """
        values = self.values if self.values.ndim == 2 else self.values[:, None]
        if self.weight is not None:
            return torch.where(self.masked(mask), values * self.weight, 0.0)
        if self.values.ndim == 2 or not bool(self.keep.all()):
            return torch.where(self.masked(mask), values, 0.0)
        # Bytes become floats many times as fast as bools do.
        return mask.bool().view(torch.uint8).to(values.dtype).mul_(values)

    def masked(self, mask: Bool[Tensor, "n t"]) -> Bool[Tensor, "n t"]:
        """The steps that train: ``mask`` without the rows that do not."""
        return mask.bool() & self.keep[:, None]

    def select(self: Own, rows: Sequence[int] | slice | Tensor) -> Own:
        """Those of some rows, such as a micro-batch: indices, a slice, or a bool mask."""
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, values=self.values[rows], keep=self.keep[rows], weight=weight)


def _finite(values: Tensor) -> bool:
    if values.device.type == "cpu" and values.ndim == 1 and values.dtype != torch.bfloat16:
        # For N numbers, NumPy is done when an operation of torch begins.
        return bool(np.isfinite(values.numpy(force=True)).all())
    # A sum is finite if all of it is; where it overflows, the slow way finds nothing.
    return math.isfinite(float(values.detach().sum()))
