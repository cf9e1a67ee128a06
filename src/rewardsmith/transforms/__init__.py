"""Reward -> reward: bounds, centering, normalization, potential shaping, tiers, views."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Bounded": "pointwise",
    "Centered": "running",
    "Clip": "pointwise",
    "PotentialShaping": "potential",
    "RunningNorm": "running",
    "Symlog": "pointwise",
    "Tiers": "tiers",
    "View": "view",
}

if TYPE_CHECKING:
    from .pointwise import Bounded, Clip, Symlog
    from .potential import PotentialShaping
    from .running import Centered, RunningNorm
    from .tiers import Tiers
    from .view import View


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
