"""OpenEnv: our reward as a tree of its rubrics, and its rubrics as rewards of ours.

>>> env = MyEnvironment(rubric=to_openenv("reward.yaml", missing=0.0))  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "OpenEnvReward": "reward",
    "openenv_factory": "rubric",
    "to_openenv": "rubric",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .reward import OpenEnvReward
    from .rubric import openenv_factory, to_openenv


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
