"""Raw rewards: from the environment, from novelty, from text."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {"CountBonus": "count", "EnvReward": "env_reward"}

if TYPE_CHECKING:
    from .count import CountBonus
    from .env_reward import EnvReward


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
