"""Many rewards into one: routes by task."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {"Router": "router", "gap_weights": "router"}

if TYPE_CHECKING:
    from .router import Router, gap_weights


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
