"""Stable-Baselines3: a ``VecEnv`` that pays our reward; a callback that lets it learn and logs it.

>>> env = RewardVecEnv(make_vec_env("CartPole-v1", 8), reward)  # doctest: +SKIP
>>> PPO("MlpPolicy", env).learn(100_000, callback=RewardCallback())  # doctest: +SKIP

The callback gives the reward the learner's gamma, logs every part's episode sums under
``reward/PATH`` (the whole under ``reward/total``), and calls ``rs.learn`` at the end of each
rollout of the learner (off-policy: every ``train_freq`` steps). The rewards of that rollout were
paid already; what was learned shows after it.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from ..core.errors import SpecError
from ..core.learning import learn
from ..core.reward import Reward
from .columns import InfoColumns
from .meter import NO_RELABEL, Meter
from .recorder import Recorder


class RewardVecEnv(VecEnvWrapper):
    """A ``VecEnv`` that pays ``reward``; put it outside Monitor, inside VecNormalize.

    Each ``infos[i]`` carries ``env_reward``, ``reward_terms`` and, at an episode's end,
    ``reward_sums``, as :mod:`rewardsmith.adapters.gymnasium` has them.

    Args:
        venv: the environments.
        reward: a reward that can be computed while acting.
        gamma: the learner's discount factor; :class:`RewardCallback` fills it in.
        missing: what a step does whose reward is no finite number: ``"raise"``, or count as this
            number.
        training: keep what a learning reward needs until :meth:`learn`; False in evaluation.

    Raises:
        ValueError: the reward cannot be computed while acting, or ``venv`` already pays one.
    """

    def __init__(
        self,
        venv: VecEnv,
        reward: Reward,
        *,
        gamma: float | None = None,
        missing: Literal["raise"] | float = "raise",
        training: bool = True,
    ) -> None:
        if find_reward_env(venv) is not None:
            raise ValueError("this VecEnv already pays a reward of ours; combine the two rewards")
        super().__init__(venv)
        self.meter = Meter(reward, venv.num_envs, gamma=gamma, missing=missing)
        self.recorder = Recorder(reward) if training and reward.learns else None
        self._actions: Any = None

    @property
    def reward(self) -> Reward:
        return self.meter.reward

    def reset(self) -> Any:
        obs = self.venv.reset()
        # A list of its own: SB3 replaces the members of this one when an episode ends.
        self.meter.reset(obs, InfoColumns(list(self.venv.unwrapped.reset_infos)))
        if self.recorder is not None:
            self.recorder.cut()
        return obs

    def step_async(self, actions: NDArray[Any]) -> None:
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        obs, env_reward, dones, infos = self.venv.step_wait()
        dones = np.asarray(dones, dtype=np.bool_)
        truncated = np.array([info.get("TimeLimit.truncated", False) for info in infos]) & dones
        rewards = self.meter.step(
            action=self._actions,
            next_obs=_true_next(obs, dones, infos),
            env_reward=env_reward,
            terminated=dones & ~truncated,
            truncated=truncated,
            info=InfoColumns(infos),
        )
        if self.recorder is not None and self.meter.last is not None:
            self.recorder.add(self.meter.last)
        # The state that the next action answers came with the reset's info where an episode ended.
        reset_infos = self.venv.unwrapped.reset_infos
        after = [reset_infos[i] if done else infos[i] for i, done in enumerate(dones)]
        self.meter.advance(obs, InfoColumns(after), first=dones if dones.any() else None)
        return obs, rewards.astype(np.float32), dones, self._told(infos, env_reward, dones)

    def env_method(self, method_name: str, *args: Any, **kwargs: Any) -> list[Any]:
        """As of the environments; raises NotImplementedError where they would relabel goals."""
        if method_name == "compute_reward":
            raise NotImplementedError(NO_RELABEL)
        return self.venv.env_method(method_name, *args, **kwargs)

    def learn(self) -> dict[str, float]:
        """Let the reward learn from the steps since the last call; returns its metrics."""
        rollouts = self.recorder.take() if self.recorder is not None else None
        return {} if rollouts is None else learn(self.reward, rollouts)[1]

    def _told(self, infos: list[dict[str, Any]], env_reward: Any, dones: Any) -> Any:
        names = list(self.meter.terms)
        rows = zip(*(values.tolist() for values in self.meter.terms.values()), strict=True)
        told = [
            {**info, "env_reward": paid, "reward_terms": dict(zip(names, row, strict=True))}
            for info, paid, row in zip(infos, env_reward.tolist(), rows, strict=True)
        ]
        for i in np.flatnonzero(dones):
            told[i]["reward_sums"] = {p: float(v[i]) for p, v in self.meter.sums.items()}
        return told


class RewardCallback(BaseCallback):
    """Gives the reward the learner's gamma, lets it learn, and logs its parts.

    Raises:
        ValueError: at the start of training, if the model's environment pays no reward of ours.
        SpecError: the reward was given another gamma than the learner has.
    """

    def _init_callback(self) -> None:
        env = find_reward_env(self.model.get_env())
        if env is None:
            raise ValueError("RewardCallback needs a model whose environment is a RewardVecEnv")
        self.env = env
        gamma, given = getattr(self.model, "gamma", None), env.meter.gamma
        if gamma is None:
            return
        if given is not None and not math.isclose(given, gamma, rel_tol=1e-9):
            raise SpecError(
                f"RewardVecEnv was given gamma {given}, the learner has {gamma}; leave it out there"
            )
        env.reward.bind(gamma=float(gamma))

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            for path, value in info.get("reward_sums", {}).items():
                self.logger.record_mean(f"reward/{path}", value, _exclude(path))
        return True

    def _on_rollout_end(self) -> None:
        for name, value in self.env.learn().items():
            self.logger.record(f"reward_update/{name}", value, _exclude(name))


def _exclude(name: str) -> str | None:
    # SB3's tables cut names at this length, and end the training when two become the same.
    return "stdout" if len(name) > 30 else None


def find_reward_env(env: Any) -> RewardVecEnv | None:
    """The ``RewardVecEnv`` in a chain of wrappers, if there is one."""
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, RewardVecEnv):
            return env
        env = env.venv
    return None


def _true_next(obs: Any, dones: NDArray[np.bool_], infos: list[dict[str, Any]]) -> Any:
    """The observations as the episodes ended, where SB3 already shows those of the reset."""
    if not dones.any():
        return obs
    if isinstance(obs, dict):
        return {
            name: _true_next(value, dones, [_below(info, name) for info in infos])
            for name, value in obs.items()
        }
    true = obs.copy()
    for i in dones.nonzero()[0]:
        true[i] = infos[i]["terminal_observation"]
    return true


def _below(info: dict[str, Any], name: str) -> dict[str, Any]:
    last = info.get("terminal_observation")
    return {} if last is None else {"terminal_observation": last[name]}
