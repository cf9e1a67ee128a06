"""Transforms by the statistics of what was seen so far: centered, running_norm.

The statistics change in ``update`` only, before :func:`~rewardsmith.core.learning.learn` scores the
batch, and are saved with the state. While acting, a rollout is paid before its update. SB3's
on-policy learners train on rewards that are then written anew, and a relabeling replay buffer
computes them anew in every sample; elsewhere the new statistics pay from the next step on.

On an episodic task, subtracting a mean at every step pays for short (or long) episodes: it changes
what is optimal unless all episodes are of one length. Scaling alone does not.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch

from ..core.acting import Floats, Step, Terms
from ..core.catalog import Paper, method
from ..core.combination import mapped
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from ..ops.moments import Moments


class _Running(Reward):
    """One child, whose scored values feed running moments."""

    when = "before"
    of: Reward

    def __init__(self) -> None:
        super().__init__()
        self.moments = Moments()

    def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
        """Take in the child's scores of this batch (scored rows and steps only)."""
        with torch.no_grad():
            own = self.of(rollouts)
        self.moments.add(own.values[own.scored if own.at is None else own.at].double().numpy())
        return {"mean": self.moments.mean, "std": math.sqrt(self.moments.variance)}

    def get_extra_state(self) -> dict[str, float]:
        return self.moments.state()

    def set_extra_state(self, state: Mapping[str, float]) -> None:
        self.moments = Moments.of_state(state)


@method(
    "centered",
    kind="transform",
    paper=Paper("2405.09999", "Reward Centering", 2024),
)
class Centered(_Running):
    """``r - mean``, the mean over every scored value that was seen (0 before the first update).

    The paper's simple variant: the mean is that of the rewards under the data-collecting policy.
    """

    def __init__(self, of: Reward) -> None:
        super().__init__()
        self.of = of

    def forward(self, rollouts: Rollouts) -> Scores:
        return mapped(self.of(rollouts), lambda values: values - self.moments.mean)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        values, carry = self.step_children(s, carry, out)
        return values["of"] - self.moments.mean, carry


@method("running_norm", kind="transform")
class RunningNorm(_Running):
    """``(r - mean) / sqrt(var + eps)``, over every scored value that was seen.

    Before the first update it is the identity.

    Args:
        of: the reward.
        center: subtract the mean; False only scales, which keeps the sign and, up to a positive
            factor, the task.
        eps: keeps a constant reward from dividing by 0.

    Raises:
        ValueError: eps is not positive.
    """

    def __init__(self, of: Reward, center: bool = True, eps: float = 1e-8) -> None:
        super().__init__()
        if not (math.isfinite(eps) and eps > 0):
            raise ValueError(f"running_norm: eps is {eps}, it must be a positive number")
        self.of, self.center, self.eps = of, center, float(eps)

    def forward(self, rollouts: Rollouts) -> Scores:
        return mapped(self.of(rollouts), self._normalize)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        values, carry = self.step_children(s, carry, out)
        return self._normalize(values["of"]), carry

    def _normalize(self, values: Any) -> Any:
        if self.moments.count == 0:
            return values
        shift = self.moments.mean if self.center else 0.0
        return (values - shift) / math.sqrt(self.moments.variance + self.eps)
