"""Gymnasium: ``rs.wrap(env, reward)`` for single and vector environments.

Every step's ``info`` carries ``env_reward`` (what the environment paid) and ``reward_terms`` (each
part's value by path, the whole under ``total``); the last step of an episode also ``reward_sums``
(their sums over the episode) and ``env_return`` (the sum of what the environment paid).

In a vector environment these are arrays [n] with Gymnasium's ``_name`` masks, 0 where masked. Where
episodes end and begin in the same step (``AutoresetMode.SAME_STEP``), Gymnasium moves the infos of
an episode's last step into ``infos["final_info"]``: there they are too, as they would be if each
environment had been wrapped by itself.
"""

from collections.abc import Mapping
from typing import Any, Literal, overload

import gymnasium
import numpy as np
import yaml
from gymnasium.error import ResetNeeded
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import (
    AsyncVectorEnv,
    AutoresetMode,
    SyncVectorEnv,
    VectorEnv,
    VectorWrapper,
)
from numpy.typing import NDArray

from ..core.reward import Reward
from ..core.spec import loads
from .columns import InfoColumns, VectorColumns, final_columns
from .goals import GoalReward, VectorizedGoals
from .meter import Meter
from .observed import arrays, check_rows, check_space, final_obs, number, one
from .recorder import Reading


@overload
def wrap(
    env: VectorEnv,
    reward: Reward | Mapping[str, Any],
    *,
    gamma: float | None = ...,
    missing: Any = ...,
) -> "VectorRewardWrapper": ...
@overload
def wrap(
    env: gymnasium.Env[Any, Any],
    reward: Reward | Mapping[str, Any],
    *,
    gamma: float | None = ...,
    missing: Any = ...,
) -> "RewardWrapper": ...
def wrap(
    env: gymnasium.Env[Any, Any] | VectorEnv,
    reward: Reward | Mapping[str, Any],
    *,
    gamma: float | None = None,
    missing: Literal["raise"] | float = "raise",
) -> "RewardWrapper | VectorRewardWrapper":
    """Let an environment pay ``reward`` instead of its own.

    Statistics are of the reward that they see. A wrapper *outside* this one that sums rewards
    (Gymnasium's RecordEpisodeStatistics, Stable-Baselines3's Monitor, which it puts around an
    environment by itself) reports ``reward``, not the task's return. That is in ``env_return``, or
    put the statistics inside.

    A reward that learns is paid as it is, and does not learn here: teach it with
    ``rs.learn(reward, rollouts)``.

    Args:
        env: a Gymnasium environment, single or vector.
        reward: a reward that can be computed while acting, or the plain data of one, as
            :func:`rewardsmith.dump` gives it.
        gamma: the learner's discount factor, for rewards that need it (potential shaping).
        missing: what a step does whose reward is no finite number: ``"raise"``, or count as this
            number.

    Raises:
        TypeError: ``env`` is no Gymnasium environment, or ``reward`` no reward.
        ValueError: the environment already pays a reward of ours; the reward cannot be computed
            while acting; or the vector environment reuses its observation buffer. At a reset: what
            it shows is not what its space says.
        SpecError: the data describe no reward, or a node was given another gamma.
    """
    if isinstance(env, VectorEnv):
        return VectorRewardWrapper(env, reward, gamma=gamma, missing=missing)
    if isinstance(env, gymnasium.Env):
        return RewardWrapper(env, reward, gamma=gamma, missing=missing)
    raise TypeError(
        f"expected a Gymnasium environment, got {type(env).__module__}.{type(env).__name__}; "
        "a VecEnv of Stable-Baselines3 is wrapped by RewardVecEnv"
    )


class RewardWrapper(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """One environment that pays another reward; see :func:`wrap`.

    ``gymnasium.make(env.spec)`` builds it again, with the same reward object, or with a copy of it
    as it is now where another wrapper was put outside. ``env.spec.to_json()`` raises TypeError for
    a reward that was given as an object; one that was given as plain data is written down (what it
    learned is not). The spec of a *vector* environment does not record its wrappers.
    """

    pays_a_rewardsmith_reward = True
    """By this attribute an environment that is wrapped is known, in a process of its own too."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        reward: Reward | Mapping[str, Any],
        *,
        gamma: float | None = None,
        missing: Literal["raise"] | float = "raise",
    ) -> None:
        _refuse_twice(env)
        RecordConstructorArgs.__init__(
            self, reward=reward, gamma=gamma, missing=missing, _disable_deepcopy=True
        )
        gymnasium.Wrapper.__init__(self, env)
        self.meter = Meter(_built(reward), 1, gamma=gamma, missing=missing)
        self._keys = Reading(self.meter.reward).keys
        self._goals: GoalReward | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        seen = one(obs)
        check_space(seen, self.env.observation_space)
        self.meter.reset(seen, InfoColumns([dict(info)], self._keys))
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, env_reward, terminated, truncated, info = self.env.step(action)
        # Copied, as the observations are: environments may reuse both.
        next_obs, columns = one(obs), InfoColumns([dict(info)], self._keys)
        total = self.meter.step(
            action=one(action),
            next_obs=next_obs,
            env_reward=[env_reward],
            terminated=np.array([terminated], dtype=np.bool_),
            truncated=np.array([truncated], dtype=np.bool_),
            info=columns,
        )
        self.meter.advance(next_obs, columns)
        info = {
            **info,
            "env_reward": number(env_reward),
            "reward_terms": {path: float(v[0]) for path, v in self.meter.terms.items()},
        }
        if terminated or truncated:
            info["reward_sums"] = {path: float(v[0]) for path, v in self.meter.sums.items()}
            info["env_return"] = number(self.meter.paid[0])
        return obs, float(total[0]), terminated, truncated, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        """What this reward pays for another goal: a number, or [n] for goals [n, ...].

        Args:
            achieved_goal: of the observation space's ``achieved_goal``, one or n of them.
            desired_goal: as many.
            info: one dict, or one per goal; empty where it is unknown.

        Raises:
            AttributeError: the environment has no ``compute_reward``.
            ValueError: the reward carries memory from step to step, or a part of it reads what no
                goal tells.
        """
        if self._goals is None:
            if not self.env.has_wrapper_attr("compute_reward"):
                raise AttributeError(
                    "this environment has no compute_reward, so that no goal can be relabeled"
                )
            own = VectorizedGoals(self.env.get_wrapper_attr("compute_reward"))
            self._goals = GoalReward(self.meter.reward, own)
        achieved, desired = np.asarray(achieved_goal), np.asarray(desired_goal)
        one_goal = self.observation_space["achieved_goal"].shape  # type: ignore[index]
        if achieved.shape != one_goal:
            return self._goals(achieved, desired, info)
        return float(self._goals(achieved[None], desired[None], [info])[0])


class VectorRewardWrapper(VectorWrapper, RecordConstructorArgs):
    """A vector environment that pays another reward; see :func:`wrap`.

    How episodes follow each other is the vector environment's ``metadata["autoreset_mode"]``:

    - ``NEXT_STEP`` (also where it says nothing): the step after an episode's end is a dummy that
      nothing in the infos marks: its action is ignored, its reward is 0, and it enters no part's
      account.
    - ``SAME_STEP``: the observation shown at an episode's end is that of the next one; rewards are
      computed from the last one, ``infos["final_obs"]``, and ``infos["final_info"]``.
    - ``DISABLED``: finished environments wait for ``reset(options={"reset_mask": mask})``, which
      begins the account of those rows only.

    Raises:
        ResetNeeded: at a step in ``DISABLED`` mode, while a finished environment was not reset.
        ValueError: at a reset of some environments in another mode; at an episode's end in
            ``SAME_STEP`` mode without ``final_obs``; as for :func:`wrap`.
    """

    def __init__(
        self,
        env: VectorEnv,
        reward: Reward | Mapping[str, Any],
        *,
        gamma: float | None = None,
        missing: Literal["raise"] | float = "raise",
    ) -> None:
        _refuse_twice(env)
        if getattr(env.unwrapped, "copy", True) is False:
            raise ValueError(
                "the vector environment overwrites the last observation (copy=False), which a "
                "reward of obs and next_obs would misread; build it with copy=True"
            )
        RecordConstructorArgs.__init__(
            self, reward=reward, gamma=gamma, missing=missing, _disable_deepcopy=True
        )
        VectorWrapper.__init__(self, env)
        mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._next_step = mode == AutoresetMode.NEXT_STEP
        self._same_step = mode == AutoresetMode.SAME_STEP
        self._waits = mode == AutoresetMode.DISABLED
        self.meter = Meter(_built(reward), env.num_envs, gamma=gamma, missing=missing)
        self._spaces = env.single_observation_space, env.single_action_space
        self._live = self._all = np.ones(env.num_envs, dtype=np.bool_)
        self._done: NDArray[np.bool_] | None = None

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        rows = None if options is None else options.get("reset_mask")
        if rows is not None and not self._waits:
            raise ValueError(
                "options['reset_mask'] would reset a few environments: leave it out, those that "
                "are done reset by themselves; or build them with AutoresetMode.DISABLED"
            )
        # Vector environments take the mask out of the options, but whoever is outside reads it too.
        options = None if options is None else dict(options)
        obs, info = self.env.reset(seed=seed, options=options)
        seen = arrays(obs, self._spaces[0])
        check_rows(seen, self.num_envs)
        check_space(seen, self._spaces[0])
        left = None if rows is None or self._done is None else self._done & ~rows
        self._live, self._done = self._all, left if left is not None and left.any() else None
        self.meter.reset(seen, VectorColumns(info, self._all if rows is None else rows), rows)
        return obs, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        before = self._done
        if before is not None and self._waits:
            raise ResetNeeded(
                f"environments {np.flatnonzero(before).tolist()} are done; reset them before the "
                "next step: env.reset(options={'reset_mask': terminated | truncated})"
            )
        obs, env_reward, terminated, truncated, info = self.env.step(actions)
        seen = next_obs = obs if type(obs) is np.ndarray else arrays(obs, self._spaces[0])
        if type(actions) is not np.ndarray:
            actions = arrays(actions, self._spaces[1])
        done = terminated | truncated
        some_done = np.count_nonzero(done) > 0
        live = self._live
        columns: Mapping[str, Any] = VectorColumns(info, live)
        if some_done and self._same_step:
            next_obs, columns = final_obs(seen, info, done), final_columns(info, done)
        rewards = self.meter.step(
            action=actions,
            next_obs=next_obs,
            env_reward=env_reward,
            terminated=terminated,
            truncated=truncated,
            info=columns,
            live=None if live is self._all else live,
        )
        real = live.copy()
        told = {
            **info,
            "env_reward": env_reward,
            "_env_reward": real,
            "reward_terms": self.meter.terms,
            "_reward_terms": real,
        }
        if some_done:
            self._tell_ends(told, done)
        self._done = done if some_done else None
        if self._next_step:
            self._live = self._all if self._done is None else ~done
            if self._live is not live:
                # Of the rows that act next, which may be others.
                columns = VectorColumns(info, self._live)
            self.meter.advance(seen, columns, first=before)
        elif some_done and self._same_step:
            self.meter.advance(seen, VectorColumns(info, self._all), first=done)
        else:
            self.meter.advance(seen, columns)
        # Copied, so that a wrapper around this one may rescale it in place and leave the infos be.
        return obs, rewards.copy(), terminated, truncated, told

    def _tell_ends(self, told: dict[str, Any], done: NDArray[np.bool_]) -> None:
        sums, paid = self.meter.sums_where(done)
        told["reward_sums"], told["_reward_sums"] = sums, done
        told["env_return"], told["_env_return"] = paid, done
        if self._same_step:
            ours = ("env_reward", "reward_terms", "reward_sums", "env_return")
            last = {name: _where(done, told[name]) for name in ours}
            masks = dict.fromkeys((f"_{name}" for name in ours), done)
            told["final_info"] = told.get("final_info", {}) | last | masks
            told["_final_info"] = done


def _built(reward: Reward | Mapping[str, Any]) -> Reward:
    if isinstance(reward, Mapping):
        return loads(yaml.safe_dump({"reward": dict(reward)}))
    return reward


def _refuse_twice(env: Any) -> None:
    """Raise if the environment, or one within it, pays a reward of ours.

    Raises:
        ValueError: it does; the environment's reward would then be another reward of ours.
    """
    if _pays(env):
        raise ValueError(
            "this environment already pays a reward of ours, which this one would take for the "
            "environment's own; wrap once, with both in one tree: rs.WeightedSum({...})"
        )


def _pays(env: Any) -> bool:
    while isinstance(env, VectorWrapper):
        if isinstance(env, VectorRewardWrapper):
            return True
        env = env.env
    mark = "pays_a_rewardsmith_reward"
    if isinstance(env, SyncVectorEnv | AsyncVectorEnv):
        return any(env.call("has_wrapper_attr", mark))
    return isinstance(env, gymnasium.Env) and env.has_wrapper_attr(mark)


def _where(rows: NDArray[np.bool_], values: Any) -> Any:
    """Values [n] or [n, k], or a dict of such, with 0 in the other rows."""
    if isinstance(values, dict):
        return {name: _where(rows, item) for name, item in values.items()}
    return np.where(rows if values.ndim == 1 else rows[:, None], values, 0.0)
