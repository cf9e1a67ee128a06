"""Reward at inference time: attempts in stages, verified and ranked."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Attempt": "staged",
    "Budget": "staged",
    "SearchResult": "staged",
    "Stage": "staged",
    "each": "staged",
    "filter_trajectories": "staged",
    "staged_search": "staged",
}

if TYPE_CHECKING:
    from .staged import (
        Attempt,
        Budget,
        SearchResult,
        Stage,
        each,
        filter_trajectories,
        staged_search,
    )


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
