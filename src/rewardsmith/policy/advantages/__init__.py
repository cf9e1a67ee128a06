"""Advantage estimators: rewards and groups in, what a policy gradient multiplies out.

Names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "dr_grpo": "group_relative",
    "grpo": "group_relative",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .group_relative import dr_grpo as dr_grpo
    from .group_relative import grpo as grpo


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
