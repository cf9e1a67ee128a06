"""Hindsight experience replay under our rewards: whole transitions are paid for the new goal."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import DictReplayBufferSamples
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from ...core.acting import Step
from ..goals import VectorizedGoals
from .env import find_reward_env
from .replay import Relabels, Where, at, dict_samples


class RewardHerReplayBuffer(Relabels, HerReplayBuffer):
    """A ``HerReplayBuffer`` that pays our reward for the goals it puts in.

    In a relabeled transition ``desired_goal`` of ``obs`` and ``next_obs`` is the new goal, and
    ``env_reward`` what the environment's ``compute_reward`` says of it; parts of the reward may
    read all of the observation and the action. What they read of ``info`` was told of the old goal.
    Goals are drawn as SB3 draws them (Andrychowicz et al. 2017, arXiv 1707.01495); rewards of
    transitions that keep their goal are computed anew too if the reward learns.

    Raises:
        ValueError: the environment pays no reward of ours, or one that carries memory between
            steps.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._find_reward()

    def set_env(self, env: Any) -> None:
        super().set_env(env)
        self._find_reward()

    def _find_reward(self) -> None:
        if self.env is None or find_reward_env(self.env) is None:
            raise ValueError(
                "RewardHerReplayBuffer needs an environment that pays a reward of ours: wrap it in "
                "RewardVecEnv, or use SB3's HerReplayBuffer"
            )
        self.attach(self.env)

    def attach(self, env: VecEnv) -> None:
        super().attach(env)
        self.goals: VectorizedGoals = self._env.goals()
        self._learns = self._env.reward.learns

    def add(self, *args: Any, **kwargs: Any) -> None:
        self.keep()
        super().add(*args, **kwargs)

    def sample(  # type: ignore[override]
        self, batch_size: int, env: VecNormalize | None = None
    ) -> DictReplayBufferSamples:
        where = self._finished(batch_size)
        virtual = slice(int(self.her_ratio * batch_size))
        goals = self._sample_goals(where[virtual] // self.n_envs, where[virtual] % self.n_envs)
        obs = {key: at(value, where) for key, value in self.observations.items()}
        next_obs = {key: at(value, where) for key, value in self.next_observations.items()}
        obs["desired_goal"][virtual] = next_obs["desired_goal"][virtual] = goals
        # What a reward that does not learn paid for the goals that stay is right still.
        anew = slice(None) if self._learns else virtual
        step = self.store.steps(where[anew])
        _relabel(step, virtual, goals, self._paid(next_obs, where, virtual))
        rewards = self.rewards_now(step, env)
        if not self._learns:
            stored = at(self.rewards, where[virtual.stop :]).reshape(-1, 1)
            kept = self._normalize_reward(stored, env).astype(np.float32)
            rewards = np.concatenate([rewards, kept])
        return dict_samples(self, obs, next_obs, where, rewards, env)

    def _finished(self, batch_size: int) -> Where:
        """Transitions of finished episodes, uniformly."""
        where = self._drawn(batch_size + batch_size // 4)
        while len(where) < batch_size:
            if not self.ep_length.any():
                raise RuntimeError(
                    "no episode has ended yet, so that there are no goals to draw: let "
                    "learning_starts be longer than an episode"
                )
            where = np.concatenate([where, self._drawn(8 * batch_size)])
        return where[:batch_size]

    def _drawn(self, n: int) -> Where:
        # Nearly all transitions are of finished episodes: drawing again those that are not is
        # uniform over the others, and costs nothing beside a search through the whole buffer.
        top = self.buffer_size if self.full else self.pos
        where: Where = np.random.randint(0, top * self.n_envs, size=n)
        return where[at(self.ep_length, where) > 0]

    def _paid(self, next_obs: dict[str, NDArray[Any]], where: Where, virtual: slice) -> Any:
        """What the environment pays for the new goals; None where the reward does not ask."""
        if "env_reward" not in self.store.reading.fields:
            return None
        infos: Any = [{}] * virtual.stop
        if self.copy_info_dict:
            infos = list(at(self.infos, where[virtual]))
        return self.goals(
            next_obs["achieved_goal"][virtual], next_obs["desired_goal"][virtual], infos
        )


def _relabel(step: Step, virtual: slice, goals: NDArray[Any], env_reward: Any) -> None:
    """Put new goals, and what the environment pays for them, into some rows of a step."""
    for obs in (step.obs, step.next_obs):
        if obs is not None:
            obs["desired_goal"][virtual] = goals
    if env_reward is not None and step.env_reward is not None:
        step.env_reward[virtual] = env_reward
