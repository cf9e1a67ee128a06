"""TRL: a reward of ours as its reward functions, and its reward functions as signals of ours.

>>> trainer = GRPOTrainer(model, reward_funcs=to_trl("reward.yaml"), ...)  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {"TRLReward": "reward", "to_trl": "function"}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .function import to_trl
    from .reward import TRLReward


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
