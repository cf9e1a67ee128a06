"""The environment's own reward, or a number that it reports beside it."""

from typing import Any

import numpy as np
from torch import Tensor

from ..core.acting import Floats, Step, Terms
from ..core.catalog import method
from ..core.errors import SpecError
from ..core.outcome import shown
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores


@method("env_reward", kind="signal")
class EnvReward(Reward):
    """The reward that the environment gave at each step.

    Args:
        column: another number per step instead: a key of ``info`` such as ``reward_forward``, by
            which an environment reports a part of its reward.
        index: which number, counted from 0, where the column holds several per step: one objective
            of a multi-objective environment.

    Raises:
        MissingColumn: the rollouts or the environment's infos do not have it.
        ValueError: the index is negative.
        SpecError: the column does not hold numbers, or not one per step; or it has no such index.
    """

    def __init__(self, column: str = "env_reward", index: int | None = None) -> None:
        super().__init__()
        if index is not None and index < 0:
            raise ValueError(f"env_reward: index is {index}, objectives are counted from 0")
        self.column, self.index = column, index
        self.declare(needs={column}, granularity="dense")

    def forward(self, rollouts: Rollouts) -> Scores:
        values = rollouts.column(self.column, needed_by=self.method_name)
        if not isinstance(values, Tensor):
            raise self._refusal("is not one number per step")
        return Scores.dense(self._one_number(values, 2), rollouts.action_mask)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        column = s.column(self.column, needed_by=self.method_name)
        try:
            values = np.asarray(column, dtype=np.float64)
        except (TypeError, ValueError):
            raise self._refusal(f"holds no numbers: {shown(column)}", out.path) from None
        if values.ndim != 1 or self.index is not None:
            values = self._one_number(values, 1, out.path)
        return values, carry

    def _one_number(self, values: Any, dims: int, path: str = "") -> Any:
        """One number per step of an array whose first ``dims`` dimensions count steps."""
        if values.ndim == dims:
            if self.index is None:
                return values
            raise self._refusal("is one number per step; leave index out", path)
        if values.ndim != dims + 1:
            shape = list(values.shape[dims:])
            raise self._refusal(f"is not one number per step but an array {shape}", path)
        several = values.shape[-1]
        if self.index is None:
            arguments = "" if self.column == "env_reward" else f"column: {self.column}, "
            raise self._refusal(
                f"is not one number per step but {several}: take one of them with index=0 (up to "
                f"{several - 1}), in YAML {{env_reward: {{{arguments}index: 0}}}}; a sum weighs "
                "several",
                path,
            )
        if self.index >= several:
            raise self._refusal(f"has {several} numbers per step, no index {self.index}", path)
        return values[..., self.index]

    def _refusal(self, why: str, path: str = "") -> SpecError:
        return SpecError(f"env_reward: column {self.column!r} {why}", path=path)
