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
        finite = self.values.isfinite().reshape(len(self.values), -1).all(dim=1)
        if not bool(finite[self.keep].all()):
            row = int((self.keep & ~finite).nonzero()[0])
            raise ValueError(f"row {row} trains on an advantage that is not finite")
