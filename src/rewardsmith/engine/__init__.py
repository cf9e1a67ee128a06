"""How work is run: executors with deadlines, and a cache of what they found."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {"DiskCache": "cache", "Processes": "processes", "Ray": "ray", "executor": "executor"}

if TYPE_CHECKING:
    from .cache import DiskCache
    from .executor import executor
    from .processes import Processes
    from .ray import Ray


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
