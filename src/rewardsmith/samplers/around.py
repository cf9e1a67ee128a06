"""Samplers around another one, which says what to propose."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from ..core.rollouts import Rollouts
from ..core.scores import Scores
from .prompts import PromptSampler, Shuffled


class Around(PromptSampler):
    """A sampler which leaves the choice of prompts, and of what trains, to another.

    Args:
        of: the other; None for all prompts in turn, each pass in a new order.

    Raises:
        ValueError: the other generates answers or has them retried, and would not be asked to.
    """

    def __init__(self, of: PromptSampler | None = None) -> None:
        super().__init__()
        self.of = Shuffled() if of is None else of
        if self.of.generates or self.of.retries:
            raise ValueError(
                f"{self.default_name()}: {self.of.default_name()} makes answers itself, and is not "
                "asked to below another sampler; put it around this one"
            )
        self.rounds, self.short = self.of.rounds, self.of.short
        self.batches = 0
        """How many were begun."""

    @property
    def temperature(self) -> float | None:  # type: ignore[override]
        """The other's."""
        return self.of.temperature

    def over(self, pool: Sequence[Mapping[str, Any]]) -> None:
        super().over(pool)
        self.of.over(pool)

    def begin(self) -> None:
        super().begin()
        self.of.begin()
        self.batches += 1

    def choose(self, n: int) -> Sequence[int]:
        return self.of.propose(n)

    def observe(self, rollouts: Rollouts, scores: Scores) -> dict[str, float]:
        return self.of.observe(rollouts, scores)

    def select(self, rollouts: Rollouts, scores: Scores) -> Bool[Tensor, " n"]:
        return self.of.select(rollouts, scores)

    def why(self) -> str:
        return self.of.why()

    def own_state(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        self.batches = int(state["batches"])
