"""Policy losses: log-probabilities and advantages in, one number to descend out.

Names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Aggregation": "aggregation",
    "PolicyLoss": "tokens",
    "dapo": "clipping",
    "ppo": "clipping",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .aggregation import Aggregation as Aggregation
    from .clipping import dapo as dapo
    from .clipping import ppo as ppo
    from .tokens import PolicyLoss as PolicyLoss


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
