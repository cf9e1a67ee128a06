"""DOT's predictive sampling: as many prompts in one round as the last batches let one expect."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.catalog import Paper, method
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from .filtered import FilteredSampler
from .prompts import PromptSampler


def oversampling(
    kept: Sequence[float], *, first: float = 1.5, least: float = 1.2, most: float = 5.0
) -> float:
    """``clip((1 / mean(k)) (1 + std(k)), least, most)``: prompts to generate for, by group wanted.

    Args:
        kept: k, the shares of groups that were kept in the last batches, between 0 and 1; ddof 0.
        first: what is returned as it is where there is none yet.
        least: the lower bound.
        most: the upper bound, which it is where nothing was kept.
    """
    if not len(kept):
        return first
    mean = float(np.mean(kept))
    needed = (1.0 + float(np.std(kept))) / mean if mean > 0.0 else math.inf
    return min(max(needed, least), most)


@method(
    "predictive_sampling",
    kind="sampler",
    seed=126,
    paper=Paper(
        "2601.03969",
        "Anti-Length Shift: Dynamic Outlier Truncation for Training Efficient Reasoning Models",
        2026,
    ),
)
class PredictiveSampling(FilteredSampler):
    """Propose ``floor(n f)`` prompts in one round; drop groups whose scores are all the same.

    f is :func:`oversampling` of the shares kept in the last ``window`` batches. One round is
    generated together, where :class:`~rewardsmith.samplers.dynamic.DynamicSampling` waits for
    several. Selected groups beyond n are dropped; where n are not reached, the selected ones are
    repeated (``short``); the copies that the authors' code pads with carry no loss. Where the pool
    has fewer prompts left, those are proposed.

    The mean over the window lags: where fewer and fewer groups differ, too few are proposed.

    Args:
        of: who proposes the prompts, and observes all groups; ``shuffled`` by default.
        first: f of the first batch, 1 or more.
        least: the lower bound of f after it, 1 or more.
        most: the upper bound, no less.
        window: how many batches are remembered, 1 or more.
        measure: the part of the scores that has to differ; the total by default.

    Raises:
        ValueError: an option out of range; in ``observe`` and ``select``, as
            :class:`FilteredSampler`.

    Source: Wu et al. 2026, and the authors' ``dot_ray_trainer.py``; defaults of ``run_dot.sh``.
    """

    def __init__(
        self,
        of: PromptSampler | None = None,
        first: float = 1.5,
        least: float = 1.2,
        most: float = 5.0,
        window: int = 20,
        measure: str | None = None,
    ) -> None:
        super().__init__(of, measure)
        if not (1.0 <= least <= most < math.inf and 1.0 <= first < math.inf and window >= 1):
            raise ValueError(
                f"predictive_sampling: first={first}, least={least}, most={most}, window={window}; "
                "first, least and window have to be 1 or more, and most not below least"
            )
        self.first, self.least, self.most = float(first), float(least), float(most)
        self.window = window
        self.rounds, self.short = 1, "repeat"
        self._kept: list[float] = []

    @property
    def factor(self) -> float:
        """How many prompts the next batch proposes for each group wanted."""
        return oversampling(self._kept, first=self.first, least=self.least, most=self.most)

    def choose(self, n: int) -> Sequence[int]:
        left = self.size - len(self.taken)
        return super().choose(min(math.floor(n * self.factor), left))

    def observe(self, rollouts: Rollouts, scores: Scores) -> dict[str, float]:
        """As for any filter; remembers the share ``kept``, and tells the next ``factor`` too."""
        told = super().observe(rollouts, scores)
        self._kept = [*self._kept, told["kept"]][-self.window :]
        return told | {"factor": self.factor}

    def own_state(self) -> dict[str, Any]:
        return {**super().own_state(), "kept": list(self._kept)}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        super().load_own_state(state)
        self._kept = list(state["kept"])
