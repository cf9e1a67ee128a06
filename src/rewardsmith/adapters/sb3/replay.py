"""Replay buffers that pay the reward as it is now, whatever it was when the step was taken.

A reward that learns, or a bonus that wears off, has changed by the time a step is replayed. These
buffers keep what the reward reads of each step and compute it anew for every sample.

>>> SAC(..., env, replay_buffer_class=RewardReplayBuffer)  # doctest: +SKIP
>>> model.learn(10_000, callback=RewardCallback())  # doctest: +SKIP
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from ...core.acting import Floats, Step
from ...core.reward import Reward
from ..goals import check_markov, paid
from ..recorder import Reading
from .env import RewardVecEnv, find_reward_env

Where: TypeAlias = NDArray[np.int64]
"""Transitions of a buffer of n environments: row * n + environment."""


class StepStore:
    """What a reward reads of the last ``size`` steps of n environments."""

    def __init__(self, reward: Reward, size: int) -> None:
        self.reading, self.size = Reading(reward), size
        self._columns: dict[str, Any] | None = None

    def put(self, step: Step, row: int) -> None:
        """Keep a step in a row, over what was there."""
        read = self.reading.of(step)
        if self._columns is None:
            self._columns = self._empty(read)
        # A key of info that one step lacks is no column any more: old rows would be read as new.
        for field in ("info", "prev_info"):
            for key in self._columns[field].keys() - read[field].keys():
                del self._columns[field][key]
        self._columns = _written(self._columns, read, row)

    def steps(self, where: Where) -> Step:
        """Some steps, beside each other as if of as many environments."""
        assert self._columns is not None
        read = _read(self._columns, where)
        empty = dict.fromkeys(("obs", "action", "next_obs", "env_reward"))
        return Step(**(empty | read), live=np.ones(len(where), dtype=np.bool_))

    def _empty(self, column: Any) -> Any:
        if isinstance(column, Mapping):
            return {name: self._empty(value) for name, value in column.items()}
        return np.zeros((self.size, *np.shape(column)), dtype=np.asarray(column).dtype)


def _written(columns: Any, read: Any, row: int) -> Any:
    if isinstance(columns, dict):
        for name, column in columns.items():
            columns[name] = _written(column, read[name], row)
        return columns
    kind = np.asarray(read).dtype
    if kind != columns.dtype:
        # The first step may have shown whole numbers, or short text.
        columns = columns.astype(np.result_type(columns, kind), copy=False)
    columns[row] = read
    return columns


def _read(columns: Any, where: Where) -> Any:
    if isinstance(columns, dict):
        return {name: _read(column, where) for name, column in columns.items()}
    return at(columns, where)


def at(column: NDArray[Any], where: Where) -> NDArray[Any]:
    """Some transitions of a column [size, n, ...]: a copy [len(where), ...]."""
    # Several times as fast as indexing with rows and environments.
    return column.reshape(-1, *column.shape[2:]).take(where, axis=0)


class Relabels(ReplayBuffer):
    """The part that all relabeling buffers share."""

    reward_env: RewardVecEnv | None = None
    store: StepStore
    _kept: Step | None = None

    def attach(self, env: VecEnv) -> None:
        """Take the reward, and the steps, of a model's environments.

        Args:
            env: a ``RewardVecEnv``, with the wrappers that the model has around it.

        Raises:
            ValueError: there is none, its reward carries memory between steps, or the number of
                environments or their spaces are not the buffer's.
        """
        found = find_reward_env(env)
        if found is None:
            raise ValueError(
                f"{type(self).__name__} needs environments that pay a reward of ours: attach a "
                "RewardVecEnv"
            )
        check_markov(found.reward)
        if env.num_envs != self.n_envs:
            raise ValueError(
                f"the replay buffer was made for {self.n_envs} environments, and these are "
                f"{env.num_envs}: make as many, or start with an empty buffer"
            )
        _check_spaces(self, env)
        if not hasattr(self, "store"):
            self.store = StepStore(found.reward, self.buffer_size)
        self.reward_env = found

    @property
    def _env(self) -> RewardVecEnv:
        if self.reward_env is None:
            raise ValueError(
                f"{type(self).__name__} does not know the reward: train with "
                "callback=RewardCallback(), or call buffer.attach(env) with the RewardVecEnv"
            )
        return self.reward_env

    def keep(self) -> None:
        """Keep the step that the environments have just taken, in the row to be written.

        Raises:
            ValueError: they took none since the last one that was kept.
        """
        step = self._env.meter.last
        if step is None or step is self._kept:
            raise ValueError(
                f"{type(self).__name__} keeps what the reward reads of the last step of its "
                f"environments, and they took none {'yet' if step is None else 'since the last'}: "
                "fill it by model.learn(), or add each step right after env.step()"
            )
        self.store.put(step, self.pos)
        self._kept = step

    def rewards_now(self, step: Step, env: VecNormalize | None) -> NDArray[np.float32]:
        """The rewards [n, 1] of some steps, on the scale that the learner sees."""
        rewards: Floats = paid(self._env.reward, step).reshape(-1, 1)
        return self._normalize_reward(rewards, env).astype(np.float32)

    def somewhere(self, rows: NDArray[np.int64]) -> Where:
        """These rows, each of an environment drawn at random."""
        drawn = np.random.randint(0, self.n_envs, size=len(rows))
        return rows.astype(np.int64) * self.n_envs + drawn

    def ends(self, where: Where) -> NDArray[np.float32]:
        """[n, 1]: 1 where an episode terminated; one that was cut off is to be bootstrapped."""
        ends: NDArray[np.float32] = at(self.dones, where) * (1 - at(self.timeouts, where))
        return ends.reshape(-1, 1)

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        # `goals` of hindsight replay holds the environments.
        state.pop("goals", None)
        return {**state, "reward_env": None, "_kept": None}


class RewardReplayBuffer(Relabels):
    """A ``ReplayBuffer`` whose samples are paid by the reward as it is now.

    :class:`RewardCallback` connects it with the environments. Samples are those of SB3 in every
    other respect: episodes that were cut off are bootstrapped (``handle_timeout_termination``),
    ``VecNormalize`` scales what it scales.

    Raises:
        ValueError: ``optimize_memory_usage``, which keeps no true next observations; a reward that
            carries memory between steps.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _refuse_small(self)

    def add(self, *args: Any, **kwargs: Any) -> None:
        self.keep()
        super().add(*args, **kwargs)

    def _get_samples(
        self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None
    ) -> ReplayBufferSamples:
        where = self.somewhere(batch_inds)
        columns: tuple[Any, ...] = (
            self._normalize_obs(at(self.observations, where), env),
            at(self.actions, where),
            self._normalize_obs(at(self.next_observations, where), env),
            self.ends(where),
            self.rewards_now(self.store.steps(where), env),
        )
        return ReplayBufferSamples(*(self.to_torch(column, copy=False) for column in columns))


class RewardDictReplayBuffer(Relabels, DictReplayBuffer):
    """A ``DictReplayBuffer`` whose samples are paid by the reward as it is now.

    See :class:`RewardReplayBuffer`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _refuse_small(self)

    def add(self, *args: Any, **kwargs: Any) -> None:
        self.keep()
        super().add(*args, **kwargs)

    def _get_samples(  # type: ignore[override]
        self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None
    ) -> DictReplayBufferSamples:
        where = self.somewhere(batch_inds)
        return dict_samples(
            self,
            {key: at(value, where) for key, value in self.observations.items()},
            {key: at(value, where) for key, value in self.next_observations.items()},
            where,
            self.rewards_now(self.store.steps(where), env),
            env,
        )


def dict_samples(
    buffer: Any,
    obs: dict[str, NDArray[Any]],
    next_obs: dict[str, NDArray[Any]],
    where: Where,
    rewards: NDArray[np.float32],
    env: VecNormalize | None,
) -> DictReplayBufferSamples:
    """A batch as SB3's learners take it, from observations as they were stored."""

    def tensors(column: dict[str, NDArray[Any]]) -> Any:
        normal: Any = buffer._normalize_obs(column, env)
        return {key: buffer.to_torch(value, copy=False) for key, value in normal.items()}

    return DictReplayBufferSamples(
        observations=tensors(obs),
        actions=buffer.to_torch(at(buffer.actions, where), copy=False),
        next_observations=tensors(next_obs),
        dones=buffer.to_torch(buffer.ends(where), copy=False),
        rewards=buffer.to_torch(rewards, copy=False),
    )


def _check_spaces(buffer: ReplayBuffer, env: VecEnv) -> None:
    sees, saw = _shapes(env.observation_space), _shapes(buffer.observation_space)
    if sees != saw:
        raise ValueError(
            f"the replay buffer was made for observations of shape {saw}, and these environments "
            f"show {sees}: start with an empty buffer, or attach model.get_env() with its wrappers"
        )
    if env.action_space != buffer.action_space:
        raise ValueError(
            f"the replay buffer was made for actions of {buffer.action_space}, and these "
            f"environments take {env.action_space}: start with an empty buffer"
        )


def _shapes(space: Any) -> Any:
    if isinstance(space, spaces.Dict):
        return {name: _shapes(inner) for name, inner in space.spaces.items()}
    return list(space.shape)


def _refuse_small(buffer: ReplayBuffer) -> None:
    if buffer.optimize_memory_usage:
        raise ValueError(
            "optimize_memory_usage overwrites the last observation of each episode, which rewards "
            "read: leave it out"
        )
