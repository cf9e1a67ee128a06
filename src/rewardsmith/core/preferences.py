"""Preferences: which of two rollouts is better, and how surely."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor

from .outcome import Status
from .scores import Scores


@dataclass(eq=False)
class Preferences:
    """P comparisons between rows of one ``Rollouts``; they need not be transitive.

    Raises:
        ValueError: lengths that differ, a row compared with itself, or p outside [0, 1].
    """

    a: Int64[Tensor, " p"]
    b: Int64[Tensor, " p"]
    p: Float[Tensor, " p"]
    """P(a over b); 0.5 is a tie."""
    margin: Float[Tensor, " p"] | None = None
    weight: Float[Tensor, " p"] | None = None
    status: Int8[Tensor, " p"] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = [self.a, self.b, self.p, self.margin, self.weight, self.status]
        lengths = {len(column) for column in columns if column is not None}
        if len(lengths) != 1:
            raise ValueError(f"preferences have columns of different lengths {sorted(lengths)}")
        if bool((self.a == self.b).any()):
            raise ValueError("a row is compared with itself")
        if not bool(((self.p >= 0) & (self.p <= 1)).all()):
            raise ValueError("p is a probability: every value lies in [0, 1]")
        if self.status is None:
            self.status = torch.zeros(len(self.a), dtype=torch.int8)

    def __len__(self) -> int:
        return len(self.a)


def win_rate(preferences: Preferences, n: int) -> Scores:
    """Each row's mean probability of winning its comparisons.

    ``values[i] = mean over comparisons of i of (p where i is a, 1 - p where i is b)``, over the
    comparisons that were scored. A row without one takes the worst status of its comparisons; one
    that was compared with nobody has abstained.

    Args:
        preferences: comparisons among n rows.
        n: the number of rows.
    """
    status = preferences.status
    keep = torch.ones(len(preferences)) if status is None else (status == Status.SCORED).float()
    wins = torch.zeros(n).index_add(0, preferences.a, preferences.p.float() * keep)
    wins = wins.index_add(0, preferences.b, (1 - preferences.p.float()) * keep)
    count = torch.zeros(n).index_add(0, preferences.a, keep).index_add(0, preferences.b, keep)
    worst = torch.full((n,), int(Status.ABSTAINED), dtype=torch.int8)
    if status is not None:
        for side in (preferences.a, preferences.b):
            worst = worst.scatter_reduce(0, side, status, "amax")
    compared = torch.where(count > 0, int(Status.SCORED), worst).to(torch.int8)
    return Scores.outcome(wins / count.clamp(min=1), compared)
