"""Advantages: what a policy gradient multiplies."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
        finite = self.values.isfinite()
        finite = finite.all(dim=1) if by_step else finite
        if not bool(finite[self.keep].all()):
            row = int((self.keep & ~finite).nonzero()[0])
            raise ValueError(f"row {row} trains on an advantage that is not finite")
