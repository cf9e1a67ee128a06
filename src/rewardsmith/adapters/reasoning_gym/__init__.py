"""reasoning-gym: its scorers as a reward of ours, and its problems as rows.

>>> reward = ReasoningGymReward("leg_counting")  # doctest: +SKIP
>>> data = rows("leg_counting", size=1000, seed=1)  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {"ReasoningGymReward": "reward", "rows": "problems"}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .problems import rows
    from .reward import ReasoningGymReward


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
