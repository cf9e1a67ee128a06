"""Gymnasium: ``rs.wrap(env, reward)`` for single and vector environments.

Every step's ``info`` carries ``env_reward`` (what the environment paid) and ``reward_terms`` (each
part's value by path, the whole under ``total``); the last step of an episode also ``reward_sums``.
In a vector environment these are arrays [n] with Gymnasium's ``_name`` masks, 0 where masked.
"""

from typing import Any, Literal, overload

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from ..core.reward import Reward
from .columns import InfoColumns, VectorColumns
from .meter import NO_RELABEL, Meter


@overload
def wrap(
    env: VectorEnv, reward: Reward, *, gamma: float | None = ..., missing: Any = ...
) -> "VectorRewardWrapper": ...
@overload
def wrap(
    env: gymnasium.Env[Any, Any], reward: Reward, *, gamma: float | None = ..., missing: Any = ...
) -> "RewardWrapper": ...
def wrap(
    env: gymnasium.Env[Any, Any] | VectorEnv,
    reward: Reward,
    *,
    gamma: float | None = None,
    missing: Literal["raise"] | float = "raise",
) -> "RewardWrapper | VectorRewardWrapper":
    """Let an environment pay ``reward`` instead of its own.

    Args:
        env: a Gymnasium environment, single or vector.
        reward: a reward that can be computed while acting.
        gamma: the learner's discount factor, for rewards that need it (potential shaping).
        missing: what a step does whose reward is no finite number: ``"raise"``, or count as this
            number.

    Raises:
        ValueError: the reward cannot be computed while acting, or the vector environment resets in
            another mode than next-step, or reuses its observation buffer.
    """
    kind = VectorRewardWrapper if isinstance(env, VectorEnv) else RewardWrapper
    return kind(env, reward, gamma=gamma, missing=missing)  # type: ignore[arg-type]


class RewardWrapper(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """One environment that pays another reward; see :func:`wrap`."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        reward: Reward,
        *,
        gamma: float | None = None,
        missing: Literal["raise"] | float = "raise",
    ) -> None:
        RecordConstructorArgs.__init__(
            self, reward=reward, gamma=gamma, missing=missing, _disable_deepcopy=True
        )
        gymnasium.Wrapper.__init__(self, env)
        self.meter = Meter(reward, 1, gamma=gamma, missing=missing)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        self.meter.reset(_one(obs), InfoColumns([dict(info)]))
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, env_reward, terminated, truncated, info = self.env.step(action)
        # Copied, as the observations are: environments may reuse both.
        next_obs, columns = _one(obs), InfoColumns([dict(info)])
        total = self.meter.step(
            action=_one(action),
            next_obs=next_obs,
            env_reward=[env_reward],
            terminated=np.array([terminated], dtype=np.bool_),
            truncated=np.array([truncated], dtype=np.bool_),
            info=columns,
        )
        self.meter.advance(next_obs, columns)
        info = {
            **info,
            "env_reward": env_reward,
            "reward_terms": {path: float(v[0]) for path, v in self.meter.terms.items()},
        }
        if terminated or truncated:
            info["reward_sums"] = {path: float(v[0]) for path, v in self.meter.sums.items()}
        return obs, float(total[0]), terminated, truncated, info

    def compute_reward(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse to relabel goals: that would bring the environment's own reward back."""
        raise NotImplementedError(NO_RELABEL)


class VectorRewardWrapper(VectorWrapper, RecordConstructorArgs):
    """A vector environment that pays another reward; see :func:`wrap`.

    With next-step autoreset the step after an episode's end is a dummy that nothing in the infos
    marks: its action is ignored, its reward is 0, and it enters no part's account.
    """

    def __init__(
        self,
        env: VectorEnv,
        reward: Reward,
        *,
        gamma: float | None = None,
        missing: Literal["raise"] | float = "raise",
    ) -> None:
        mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        if mode != AutoresetMode.NEXT_STEP:
            raise ValueError(
                f"the vector environment resets by {mode}; build it with "
                "autoreset_mode=AutoresetMode.NEXT_STEP"
            )
        if getattr(env.unwrapped, "copy", True) is False:
            raise ValueError(
                "the vector environment overwrites the last observation (copy=False), which a "
                "reward of obs and next_obs would misread; build it with copy=True"
            )
        RecordConstructorArgs.__init__(
            self, reward=reward, gamma=gamma, missing=missing, _disable_deepcopy=True
        )
        VectorWrapper.__init__(self, env)
        self.meter = Meter(reward, env.num_envs, gamma=gamma, missing=missing)
        self._live = self._all = np.ones(env.num_envs, dtype=np.bool_)
        self._dummy: NDArray[np.bool_] | None = None

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        if options is not None and "reset_mask" in options:
            raise ValueError(
                "options['reset_mask'] would reset a few environments: leave it out, those that "
                "are done reset by themselves at the next step"
            )
        obs, info = self.env.reset(seed=seed, options=options)
        self._live, self._dummy = self._all, None
        self.meter.reset(obs, VectorColumns(info, self._live))
        return obs, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        obs, env_reward, terminated, truncated, info = self.env.step(actions)
        live, columns = self._live, VectorColumns(info, self._live)
        rewards = self.meter.step(
            action=actions,
            next_obs=obs,
            env_reward=env_reward,
            terminated=terminated,
            truncated=truncated,
            info=columns,
            live=None if self._dummy is None else live,
        )
        done = terminated | truncated
        some_done = np.count_nonzero(done) > 0
        self._live = ~done if some_done else self._all
        if self._live is not live:
            # Of the rows that act next, which may be others.
            columns = VectorColumns(info, self._live)
        self.meter.advance(obs, columns, first=self._dummy)
        self._dummy = done if some_done else None
        real = live.copy()
        info = {
            **info,
            "env_reward": env_reward,
            "_env_reward": real,
            "reward_terms": self.meter.terms,
            "_reward_terms": real,
        }
        if some_done:
            info["reward_sums"] = self.meter.sums_where(done)
            info["_reward_sums"] = done
        # Copied, so that a wrapper around this one may rescale it in place and leave the infos be.
        return obs, rewards.copy(), terminated, truncated, info


def _one(value: Any) -> Any:
    """A batch of one, copied."""
    if isinstance(value, dict):
        return {name: _one(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_one(item) for item in value)
    return np.array(value)[None]
