"""Other rollouts than the ones that were made, scored again: answers that are cut."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "OutlierTruncation": "truncation",
    "length_limits": "truncation",
}

if TYPE_CHECKING:
    from .truncation import OutlierTruncation, length_limits


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
