"""Stable-Baselines3: environments that pay our reward, a callback, buffers that pay it anew.

>>> env = RewardVecEnv(make_vec_env("CartPole-v1", 8), reward)  # doctest: +SKIP
>>> PPO("MlpPolicy", env).learn(100_000, callback=RewardCallback())  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "EvaluationCallback": "evaluation",
    "RewardCallback": "callback",
    "RewardDictReplayBuffer": "replay",
    "RewardHerReplayBuffer": "her",
    "RewardReplayBuffer": "replay",
    "RewardVecEnv": "env",
    "find_reward_env": "env",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .callback import RewardCallback
    from .env import RewardVecEnv, find_reward_env
    from .evaluation import EvaluationCallback
    from .her import RewardHerReplayBuffer
    from .replay import RewardDictReplayBuffer, RewardReplayBuffer


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
