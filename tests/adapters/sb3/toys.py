"""Rewards and worlds for what happens at the end of an episode, and for goals."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete
from tests.adapters.worlds import Walk

from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores


class Spread(Reward):
    """An episode's environment reward, spread evenly over its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(needs={"env_reward"}, granularity="dense")

    def forward(self, rollouts: Rollouts) -> Scores:
        mask = rollouts.action_mask
        total = (rollouts["env_reward"].float() * mask).sum(dim=1, keepdim=True)
        return Scores.dense(total / mask.sum(dim=1, keepdim=True) * mask, mask)


class Outcome(Reward):
    """The last position of the episode, as an outcome; abstains where it is ``silent``."""

    def __init__(self, silent: float = -1.0) -> None:
        super().__init__()
        self.silent = silent
        self.declare(needs={"next_obs"})

    def forward(self, rollouts: Rollouts) -> Scores:
        last = rollouts.last_action()
        values = rollouts["next_obs"][torch.arange(len(rollouts)), last, 0].float()
        status = torch.where(values == self.silent, 1, 0).to(torch.int8)
        return Scores.outcome(values, status)


class Reach(gymnasium.Env[Any, Any]):
    """Walk on a line to a goal; episodes last ``length`` steps.

    Observations are a goal environment's: ``observation`` [position, time], ``achieved_goal``
    [position], ``desired_goal``. ``vectorized`` says whether ``compute_reward`` takes batches.
    """

    def __init__(self, length: int = 5, vectorized: bool = True) -> None:
        self.length, self.vectorized = length, vectorized
        goal = Box(-100, 100, (1,), np.float32)
        self.observation_space = Dict(
            {
                "observation": Box(-100, 100, (2,), np.float32),
                "achieved_goal": goal,
                "desired_goal": goal,
            }
        )
        self.action_space: Any = Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.position, self.t = 0.0, 0
        self.goal = float(self.np_random.integers(-5, 6))
        return self._obs(), {"distance": abs(self.goal)}

    def step(self, action: Any) -> Any:
        self.position += float(action) - 1.0
        self.t += 1
        obs = self._obs()
        reward = float(self.compute_reward(obs["achieved_goal"], obs["desired_goal"], {}))
        info = {"distance": abs(self.position - self.goal)}
        return obs, reward, False, self.t == self.length, info

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        if not self.vectorized:
            return -1.0 if abs(float(achieved[0]) - float(desired[0])) > 0.5 else 0.0
        return -(np.abs(achieved - desired)[..., 0] > 0.5).astype(np.float64)

    def _obs(self) -> dict[str, Any]:
        def at(*numbers: float) -> Any:
            return np.array(numbers, dtype=np.float32)

        return {
            "observation": at(self.position, self.t),
            "achieved_goal": at(self.position),
            "desired_goal": at(self.goal),
        }


def near(next_obs: Any) -> Any:
    """A part that knows the goals only."""
    return -np.abs(next_obs["achieved_goal"] - next_obs["desired_goal"])[:, 0]


def hurry(next_obs: Any, action: Any) -> Any:
    """A part that reads what no goal tells: the rest of the observation, and the action."""
    moved = np.asarray(action).reshape(len(next_obs["observation"])) - 1.0
    ahead = next_obs["desired_goal"][:, 0] - next_obs["observation"][:, 0]
    toward = np.sign(np.round(ahead, 3))
    return 0.1 * moved * toward - 0.01 * next_obs["observation"][:, 1]


class Arrive(Reach):
    """Walks on the same line, but an episode terminates where the goal is reached."""

    def step(self, action: Any) -> Any:
        obs, reward, _, truncated, info = super().step(action)
        there = reward == 0.0
        return obs, reward, there, truncated and not there, info


class Reuses(Walk):
    """Tells its infos in one dict and one array, that it writes again and again."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.told: dict[str, Any] = {"x": np.zeros(1)}

    def _info(self) -> dict[str, Any]:
        self.told["x"][0] = 0.5 * self.position
        self.told["gain"] = 0.0
        return self.told

    def step(self, action: Any) -> Any:
        *shown, _ = super().step(action)
        return *shown, self.told


def first_of(x: Any) -> Any:
    """A potential of an array of infos."""
    return x[:, 0]
