"""Weights that move, of objectives and of imitation.

What they have in common is :mod:`rewardsmith.ops.weights`. Names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "ConvergenceWeights": "convergence",
    "MetaWeight": "imitation",
    "meta_gradient": "imitation",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .convergence import ConvergenceWeights as ConvergenceWeights
    from .imitation import MetaWeight as MetaWeight
    from .imitation import meta_gradient as meta_gradient


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
