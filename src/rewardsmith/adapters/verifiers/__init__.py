"""verifiers: our reward as its functions or its rubric, and its functions as rewards of ours.

>>> total, parts = to_verifiers("reward.yaml")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Hooks": "hooks",
    "VerifiersReward": "reward",
    "to_verifiers": "hooks",
    "to_verifiers_episode": "episode",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .episode import to_verifiers_episode
    from .hooks import Hooks, to_verifiers
    from .reward import VerifiersReward


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
