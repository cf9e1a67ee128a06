"""Episodes as Stable-Baselines3 shows them: their last observations, and what they sum to."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...core.acting import Floats, Step, Terms
from ...core.combination import dense_view
from ...core.reward import Reward
from ...core.rollouts import Rollouts
from ...core.scores import Scores
from ..meter import TOTAL


class Unpaid(Reward):
    """0 at every step: what an episode earns is known when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(needs=(), granularity="dense")

    def forward(self, rollouts: Rollouts) -> Scores:
        return Scores.dense(torch.zeros(rollouts.mask.shape), rollouts.action_mask)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        return np.zeros(len(s.first)), carry


def sums_of(scores: Scores, rollouts: Rollouts) -> dict[str, list[float]]:
    """Part -> the sum over each rollout, the whole under ``total``; 0 where it has no score."""
    return {
        path or TOTAL: dense_view(part, rollouts)[0].double().sum(dim=1).tolist()
        for path, part in scores.walk()
    }


def true_next(obs: Any, dones: NDArray[np.bool_], infos: list[dict[str, Any]]) -> Any:
    """The observations as the episodes ended, where SB3 already shows those of the reset."""
    if not dones.any():
        return obs
    if isinstance(obs, dict):
        return {
            name: true_next(value, dones, [_below(info, name) for info in infos])
            for name, value in obs.items()
        }
    true = obs.copy()
    for i in dones.nonzero()[0]:
        true[i] = infos[i]["terminal_observation"]
    return true


def _below(info: dict[str, Any], name: str) -> dict[str, Any]:
    last = info.get("terminal_observation")
    return {} if last is None else {"terminal_observation": last[name]}
