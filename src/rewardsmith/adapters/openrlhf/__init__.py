"""OpenRLHF: its reward function, its reward server and its agent executor, from one reward.

>>> reward_func = RewardFunction("reward.yaml", missing="raise")  # doctest: +SKIP
>>> AgentExecutor = agent_executor(reward_func)  # doctest: +SKIP
>>> uvicorn.run(app(reward_func))  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "END_TOKENS": "query",
    "RewardFunction": "function",
    "agent_executor": "agent",
    "app": "server",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .agent import agent_executor
    from .function import RewardFunction
    from .query import END_TOKENS
    from .server import app


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
