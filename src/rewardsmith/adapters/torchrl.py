"""torchrl: our reward as a ``Transform`` of its environments, single and batched.

>>> env = TransformedEnv(GymEnv("CartPole-v1"), transform(reward))  # doctest: +SKIP
>>> env.rollout(100)["next", "reward_terms", "novelty"]  # doctest: +SKIP

Under ``next``, ``reward`` becomes our reward, ``env_reward`` is what the environment paid, and each
part's value stands under ``("reward_terms", PATH)``; all are in the environment's reward spec, so
that ``RewardSum`` adds up episodes of any of them. This module imports torchrl only when
:func:`transform` is called.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.acting import FIELDS
from ..core.learning import learn
from ..core.reward import Reward
from .columns import patched, read_by
from .meter import TOTAL, Meter
from .recorder import Recorder

PAID, TERMS = "env_reward", "reward_terms"


def transform(
    reward: Reward,
    *,
    gamma: float | None = None,
    missing: Literal["raise"] | float = "raise",
    obs: str | tuple[str, ...] = "observation",
    training: bool = True,
) -> Any:
    """A torchrl ``Transform`` that pays ``reward`` instead of the environment's own.

    A reward reads ``obs``, ``action`` (numbers, where torchrl has one-hot vectors), ``next_obs``,
    ``env_reward``, ``terminated``, ``truncated`` and ``first``; any other column is an entry of the
    tensordict by name, the one that came with the state that was reached or left. Observations are
    those that this transform sees: what comes after it in a ``Compose`` is not in them. Rewards are
    computed in numpy, on the CPU.

    A learning reward keeps the steps until ``transform.learn()``, which returns its metrics; the
    steps of ``check_env_specs`` are among them.

    Args:
        reward: a reward that can be computed while acting.
        gamma: the learner's discount factor, for rewards that need it.
        missing: what a step does whose reward is no finite number: ``"raise"``, or count as this
            number.
        obs: the key of the observations; nested entries below it are a dict.
        training: keep what a learning reward needs until ``learn()``; False in evaluation.

    Raises:
        ImportError: torchrl is not installed.
        TypeError: it is no reward.
        ValueError: the reward cannot be computed while acting, or (once it is in an environment)
            the environment pays no single number per step, pays a reward of ours already, or resets
            by itself (``native_autoreset=True``).
        SpecError: a node was given another gamma.
    """
    from torchrl.data import Unbounded  # type: ignore[import-not-found, unused-ignore]
    from torchrl.envs.transforms import (  # type: ignore[import-not-found, unused-ignore]
        Transform,
    )

    account = Account(reward, gamma=gamma, missing=missing, obs=obs, training=training)

    class RewardTransform(Transform):  # type: ignore[misc, unused-ignore]
        """Pays a reward of ours; see :func:`transform`."""

        def __init__(self) -> None:
            super().__init__(in_keys=["reward"], out_keys=["reward", PAID, *account.keys])
            # As a submodule: its state is saved with the environment's.
            self.account, self.reward = account, reward

        def learn(self) -> dict[str, float]:
            return account.learn()

        def _reset(self, tensordict: Any, tensordict_reset: Any) -> Any:
            account.reset(tensordict, tensordict_reset)
            return tensordict_reset

        def _step(self, tensordict: Any, next_tensordict: Any) -> Any:
            account.step(tensordict, next_tensordict, self.parent.full_action_spec)
            return next_tensordict

        def _call(self, next_tensordict: Any) -> Any:
            return next_tensordict

        def forward(self, tensordict: Any) -> Any:
            raise NotImplementedError(
                "a reward is paid as the environment steps; for a replay buffer, score the rollouts"
            )

        def transform_reward_spec(self, reward_spec: Any) -> Any:
            if self.parent.__dict__.get("_torchrl_native_autoreset", False):
                raise ValueError(
                    "an environment with native_autoreset=True shows the observation of the reset "
                    "where an episode ended, which a reward would misread: build it without"
                )
            spec = checked_spec(reward_spec)
            for key in ("reward", PAID, *account.keys):
                reward_spec[key] = Unbounded(
                    shape=spec.shape, device=spec.device, dtype=torch.float32
                )
            return reward_spec

    return RewardTransform()


class Account:
    """What the transform does, by torchrl's signatures: ``_reset`` and ``_step`` on tensordicts."""

    def __init__(
        self,
        reward: Reward,
        *,
        gamma: float | None,
        missing: Literal["raise"] | float,
        obs: str | tuple[str, ...],
        training: bool,
    ) -> None:
        self.meter = Meter(reward, 1, gamma=gamma, missing=missing)
        self.recorder = Recorder(reward) if training and reward.learns else None
        self.parts = part_paths(reward)
        self.keys = [(TERMS, path) for path in self.parts]
        self.obs = obs
        read = read_by(reward)
        self.reads_obs = not read.isdisjoint({"obs", "next_obs"})
        self.reads_action = "action" in read
        self.names = sorted(read.difference(FIELDS))
        self.batch: tuple[int, ...] | None = None
        self._last: Any = None

    def learn(self) -> dict[str, float]:
        """Let the reward learn from the steps since the last call; its metrics."""
        rollouts = self.recorder.take() if self.recorder is not None else None
        return {} if rollouts is None else learn(self.meter.reward, rollouts)[1]

    def reset(self, tensordict: Any, reset: Any) -> None:
        """Environments were reset: those that ``_reset`` marks, or all."""
        batch = tuple(reset.batch_size)
        marked = tensordict.get("_reset", None)
        rows = None if marked is None else _array(marked, batch).reshape(-1).astype(np.bool_)
        if batch != self.batch:
            old, self.batch = self.meter, batch
            # Gamma is bound already.
            self.meter = Meter(old.reward, int(np.prod(batch)), missing=old.missing)
            rows = None
        obs = self._obs(reset)
        if rows is not None and obs is not None and self._last is not None:
            # Where nothing was reset, this is not the state that the environments are in.
            obs = patched({"obs": self._last}, {"obs": obs}, rows)["obs"]
        self._last = obs
        self.meter.reset(obs, Entries(reset, self.names, batch), rows)

    def step(self, tensordict: Any, after: Any, action_spec: Any) -> None:
        """Pay a step: write the reward, what the environment paid, and the parts to ``after``."""
        batch = tuple(after.batch_size)
        if batch != self.batch:
            # Environments without a state of their own may be stepped as they are.
            self.reset(_NO_MARKS, tensordict)
        paid = after.get("reward")
        next_obs, info = self._obs(after), Entries(after, self.names, batch)
        stepped = tensordict.get("_step", None)
        truncated = after.get("truncated", None)
        terminated = after.get("terminated", None)
        values = self.meter.step(
            action=self._action(tensordict, action_spec),
            next_obs=next_obs,
            env_reward=_array(paid, batch)[:, 0],
            terminated=_flags(after.get("done") if terminated is None else terminated, batch),
            truncated=_flags(torch.zeros_like(paid) if truncated is None else truncated, batch),
            info=info,
            live=None if stepped is None else _flags(stepped, batch),
        )
        if self.recorder is not None and self.meter.last is not None:
            if not self.meter.last.live.all():
                raise ValueError("a reward cannot learn from a step that some environments skip")
            self.recorder.add(self.meter.last)
        self._last = next_obs
        self.meter.advance(next_obs, info)
        terms = self.meter.terms
        untold = terms.keys() - {TOTAL, *self.parts}
        if untold:
            raise ValueError(
                f"the parts {sorted(untold)} show only in the reward's step(), and torchrl has to "
                "know all keys beforehand: name them in the node's coefficients()"
            )
        unknown = np.full(self.meter.n, np.nan)
        after.set(PAID, paid.to(torch.float32, copy=True))
        after.set("reward", _tensor(values, paid))
        for path, key in zip(self.parts, self.keys, strict=True):
            after.set(key, _tensor(terms.get(path, unknown), paid))

    def _obs(self, tensordict: Any) -> Any:
        if not self.reads_obs:
            return self._unread
        found = tensordict.get(self.obs, None)
        return None if found is None else _array(found, tuple(tensordict.batch_size))

    def _action(self, tensordict: Any, spec: Any) -> Any:
        """The action as other environments have it: an index where torchrl has a one-hot vector."""
        if not self.reads_action:
            return self._unread
        plain = np.array(spec["action"].to_numpy(tensordict.get("action"), safe=False))
        dims = len(tuple(tensordict.batch_size))
        return plain.reshape(self.meter.n, *plain.shape[dims:])

    @property
    def _unread(self) -> Any:
        return np.zeros((self.meter.n, 0))


class Entries(Mapping[str, Any]):
    """The entries of a tensordict that a reward reads, as columns [n, ...], copied.

    A trailing dimension of 1, which torchrl gives to single numbers, is left out.
    """

    def __init__(self, tensordict: Any, names: list[str], batch: tuple[int, ...]) -> None:
        self.columns: dict[str, Any] = {}
        for name in names:
            found = tensordict.get(name, None)
            if found is not None:
                column = _array(found, batch)
                lone = isinstance(column, np.ndarray) and column.shape[1:] == (1,)
                self.columns[name] = column[:, 0] if lone else column

    def __getitem__(self, name: str) -> Any:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


def part_paths(reward: Reward) -> list[str]:
    """Every part that acting writes, by path: the nodes, and what nodes add of their own."""
    paths: dict[str, None] = {}
    for path, node in reward.walk():
        below = f"{path}/" if path else ""
        if isinstance(node, Reward):
            names = [*(name for name, _ in node.children_by_name()), *node.coefficients()]
            paths |= dict.fromkeys(f"{below}{name}" for name in names)
    return list(paths)


def checked_spec(reward_spec: Any) -> Any:
    """The spec of the environment's reward.

    Raises:
        ValueError: there is no ``reward`` of one number per environment, or it is ours already.
    """
    keys = list(reward_spec.keys(True, True))
    if PAID in keys:
        raise ValueError("this environment already pays a reward of ours; combine the two rewards")
    if "reward" not in keys:
        raise ValueError(f"the environment has no 'reward' but {keys}: rename its one reward to it")
    spec = reward_spec["reward"]
    if tuple(spec.shape) != (*reward_spec.shape, 1):
        raise ValueError(
            f"the environment's reward is {list(spec.shape)}, expected one number for each of "
            f"{list(reward_spec.shape)}"
        )
    return spec


class _NoMarks:
    """A tensordict without a ``_reset``: all were reset."""

    def get(self, key: str, default: Any) -> Any:
        return default


_NO_MARKS = _NoMarks()


def _array(value: Any, batch: tuple[int, ...]) -> Any:
    """A tensor [*batch, ...] as an array [n, ...] of its own, or a dict of such."""
    if not isinstance(value, torch.Tensor):
        return {name: _array(value.get(name), batch) for name in value.keys()}  # noqa: SIM118
    shape = (int(np.prod(batch)), *value.shape[len(batch) :])
    # Copied: batched environments write the next step into the same memory.
    return value.detach().cpu().reshape(shape).numpy().copy()


def _flags(value: torch.Tensor, batch: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.asarray(_array(value, batch).reshape(-1), dtype=np.bool_)


def _tensor(values: Any, like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=like.device).reshape(like.shape)
