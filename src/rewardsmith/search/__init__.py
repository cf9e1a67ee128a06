"""Reward at inference time: attempts in stages, verified and ranked."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Attempt": "staged",
    "Budget": "staged",
    "Found": "staged",
    "Stage": "staged",
    "staged_search": "staged",
    "worth_training_on": "staged",
}

if TYPE_CHECKING:
    from .staged import Attempt, Budget, Found, Stage, staged_search, worth_training_on


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
