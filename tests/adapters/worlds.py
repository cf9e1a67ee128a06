"""A world whose every number is known by hand, rewards of it, and worlds made by others.

In episode k, after t steps, the position is 10 k + t; the environment pays t * (1 + action).
"""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Text, Tuple
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import FlattenObservation, TransformAction

from rewardsmith.core.algebra import WeightedSum
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping

GAMMA = 0.9
Plan = Sequence[tuple[int, str]]
PLAN: Plan = ((3, "terminated"), (2, "truncated"), (1, "terminated"), (4, "truncated"))


class Walk(gymnasium.Env[Any, Any]):
    """Episodes of planned lengths and ends, over and over.

    Args:
        plan: (steps, how it ends) of each episode in turn.
        kind: what is observed: "box", "dict", "tuple", "image" or "text".
        rare: the info key ``rare`` is reported at even times only.
    """

    def __init__(self, plan: Plan = PLAN, kind: str = "box", rare: bool = False) -> None:
        self.plan, self.kind, self.rare = plan, kind, rare
        self.action_space = Discrete(3)
        self.episode, self.t = -1, 0
        box = Box(-1e6, 1e6, (1,), np.float32)
        spaces = {
            "box": box,
            "dict": Dict({"position": box, "clock": Box(0, 100, (2,), np.float32)}),
            "tuple": Tuple((box, Box(0, 100, (2,), np.float32))),
            "image": Box(0, 255, (36, 36, 3), np.uint8),
            "text": Dict({"position": box, "mission": Text(20)}),
        }
        self.observation_space = spaces[kind]

    @property
    def position(self) -> int:
        return 10 * self.episode + self.t

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode = 0 if seed is not None else self.episode + 1
        self.t = 0
        return self._obs(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        length, end = self.plan[self.episode % len(self.plan)]
        self.t += 1
        over = self.t == length
        info = {**self._info(), "gain": 0.25 * float(action)}
        reward = float(self.t * (1 + action))
        return self._obs(), reward, over and end == "terminated", over and end != "terminated", info

    def _obs(self) -> Any:
        position = np.array([self.position], dtype=np.float32)
        clock = np.array([self.t, 1], dtype=np.float32)
        if self.kind == "dict":
            return {"position": position, "clock": clock}
        if self.kind == "tuple":
            return position, clock
        if self.kind == "text":
            return {"position": position, "mission": f"room {10**self.t}"}
        if self.kind == "image":
            return np.full((36, 36, 3), self.position % 256, dtype=np.uint8)
        return position

    def _info(self) -> dict[str, Any]:
        info = {"x": 0.5 * self.position, "room": f"room {self.episode}", "odd": bool(self.t % 2)}
        if self.rare and self.t % 2 == 0:
            info["rare"] = 7.0
        return info


def vector(n: int = 2, mode: Any = AutoresetMode.NEXT_STEP, **kwargs: Any) -> SyncVectorEnv:
    """``n`` walks whose plans begin at different places, so that they end at different times."""
    plans = [PLAN[i % len(PLAN) :] + PLAN[: i % len(PLAN)] for i in range(n)]
    makers = [lambda plan=plan: Walk(plan=plan, **kwargs) for plan in plans]
    return SyncVectorEnv(makers, autoreset_mode=mode)


class Objectives(Walk):
    """Pays two numbers: what the walk pays, and -1 for each step.

    Args:
        as_list: a Python list of them, as some environments do, instead of an array.
    """

    def __init__(self, as_list: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.as_list = as_list
        self.reward_space = Box(-100.0, 100.0, (2,), np.float32)

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        paid: Any = [reward, -1.0]
        return obs, paid if self.as_list else np.array(paid), terminated, truncated, info


class ObjectivesVector(SyncVectorEnv):
    """As vector environments of several objectives do: a row of numbers per environment."""

    def __init__(self, makers: Sequence[Callable[[], Any]], **kwargs: Any) -> None:
        super().__init__(makers, **kwargs)
        self._rewards = np.zeros((len(makers), 2))


class Told(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Reports ``x``, the mean of what is observed, and ``speed``, by how much it changed."""

    x = 0.0

    def reset(self, **kwargs: Any) -> Any:
        obs, info = self.env.reset(**kwargs)
        self.x = _mean(obs)
        return obs, {**info, "x": self.x, "speed": 0.0}

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = self.env.step(action)
        before, self.x = self.x, _mean(obs)
        return obs, reward, terminated, truncated, {**info, "x": self.x, "speed": self.x - before}


def _mean(obs: Any) -> float:
    return float(np.mean(obs["position"] if isinstance(obs, dict) else obs))


def _cart_pole(i: int) -> gymnasium.Env[Any, Any]:
    return gymnasium.make("CartPole-v1", max_episode_steps=4 + i)


def _door_key(i: int) -> gymnasium.Env[Any, Any]:
    from minigrid.wrappers import ImgObsWrapper

    env = gymnasium.make("MiniGrid-DoorKey-5x5-v0", max_episode_steps=4 + i)
    return FlattenObservation(ImgObsWrapper(env))


def _half_cheetah(i: int) -> gymnasium.Env[Any, Any]:
    env = gymnasium.make("HalfCheetah-v5", max_episode_steps=4 + i)
    torques = np.linspace(-1.0, 1.0, 18, dtype=np.float32).reshape(3, 6)
    return TransformAction(env, lambda action: torques[action], Discrete(3))


def _walk(kind: str) -> Callable[[int], gymnasium.Env[Any, Any]]:
    return lambda i: Walk(plan=PLAN[i:] + PLAN[:i], kind=kind)


WORLDS: dict[str, Callable[[int], gymnasium.Env[Any, Any]]] = {
    "cart pole": _cart_pole,
    "door key": _door_key,
    "half cheetah": _half_cheetah,
    "dict": _walk("dict"),
    "image": _walk("image"),
}
"""Environments of every kind, with few actions and short episodes; the i-th ends at other times."""


def makers(kind: str, n: int) -> list[Callable[[], gymnasium.Env[Any, Any]]]:
    """How to make n environments of a kind, each of which reports ``x`` and ``speed``."""
    return [lambda i=i: Told(WORLDS[kind](i)) for i in range(n)]  # type: ignore[misc]


def run(env: VectorEnv, steps: int, seed: int = 0) -> list[tuple[Any, ...]]:
    """Steps with actions that differ between environments and times.

    Where environments do not reset by themselves, those that are done are reset.
    """
    env.reset(seed=seed)
    n, kinds = env.num_envs, int(env.single_action_space.n)  # type: ignore[attr-defined]
    waits = env.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    found = []
    for t in range(steps):
        found.append(env.step((np.arange(n) + t) % kinds))
        done = found[-1][2] | found[-1][3]
        if waits and done.any():
            env.reset(options={"reset_mask": done})
    return found


# --- functions ------------------------------------------------------------------------------------


def thrift(action: Any) -> Any:
    return -0.5 * np.asarray(action)


def progress(obs: Any, next_obs: Any) -> Any:
    return (level(next_obs) - level(obs)).astype(np.float64)


def level(obs: Any) -> Any:
    """A potential, or what it stands on, of any kind of observation."""
    leaf = obs["position"] if isinstance(obs, dict) else obs
    return leaf.reshape(len(leaf), -1).astype(np.float64).mean(axis=1)


def half(x: Any) -> Any:
    """A potential of a key of info."""
    return np.asarray(x, dtype=np.float64)


def named(room: Any) -> Any:
    """A step function of text."""
    return np.array([float(name.split()[1]) for name in room])


def oddness(odd: Any) -> Any:
    """A step function of a bool that environments report as Python does."""
    return np.where(odd, 1.0, 0.0)


def floor(x: Any) -> Any:
    """A key of a state, for counting."""
    return np.floor(x).astype(int)


# --- rewards --------------------------------------------------------------------------------------


def parts() -> Reward:
    return WeightedSum(
        {"env": EnvReward(), "thrift": Function(thrift, step=True)}, {"env": 1.0, "thrift": 2.0}
    )


def shaped_by_obs() -> Reward:
    return PotentialShaping(EnvReward(), level)


def shaped_by_info() -> Reward:
    return PotentialShaping(parts(), half)


def moved() -> Reward:
    return WeightedSum({"move": Function(progress, step=True), "gain": EnvReward("gain")})


def texts() -> Reward:
    return WeightedSum({"room": Function(named, step=True), "odd": Function(oddness, step=True)})


def look_back() -> Reward:
    return PotentialShaping(EnvReward(), lambda x, action: x + action, advice="look_back")


def bonus() -> Reward:
    return WeightedSum({"env": EnvReward(), "bonus": CountBonus(1.0, key=floor)})


REWARDS = {
    "env": EnvReward,
    "parts": parts,
    "shaped by obs": shaped_by_obs,
    "shaped by info": shaped_by_info,
    "moved": moved,
    "texts": texts,
    "look back": look_back,
    "bonus": bonus,
}
