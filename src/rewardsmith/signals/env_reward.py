"""The environment's own reward, or a number that it reports beside it."""

from typing import Any

import numpy as np
from torch import Tensor

from ..core.acting import Floats, Step, Terms
from ..core.catalog import method
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores


@method("env_reward", kind="signal")
class EnvReward(Reward):
    """The reward that the environment gave at each step.

    Args:
        column: another number per step instead: a key of ``info`` such as ``reward_forward``, by
            which an environment reports a part of its reward.

    Raises:
        MissingColumn: the rollouts or the environment's infos do not have it.
        ValueError: the column does not hold one number per step.
    """

    def __init__(self, column: str = "env_reward") -> None:
        super().__init__()
        self.column = column
        self.declare(needs={column}, granularity="dense")

    def forward(self, rollouts: Rollouts) -> Scores:
        values = rollouts.column(self.column, needed_by=self.method_name)
        if not isinstance(values, Tensor) or values.ndim != 2:
            raise ValueError(f"env_reward: column {self.column!r} is not one number per step")
        return Scores.dense(values, rollouts.action_mask)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        values = s.column(self.column, needed_by=self.method_name)
        return np.asarray(values, dtype=np.float64), carry
