"""Agents whose learning rule is the point: tabular Q-learning, REINFORCE, behavior cloning.

Names load on first use: nothing is imported until it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Baseline": "reinforce",
    "Cloned": "behavior_cloning",
    "NetworkPolicy": "behavior_cloning",
    "Policy": "reinforce",
    "QTable": "q_learning",
    "Reinforce": "reinforce",
    "TablePolicy": "reinforce",
    "TabularEnv": "q_learning",
    "clone_behavior": "behavior_cloning",
    "learn_q": "q_learning",
    "linear": "q_learning",
    "power": "q_learning",
}

if TYPE_CHECKING:
    from .behavior_cloning import Cloned, NetworkPolicy, clone_behavior
    from .q_learning import QTable, TabularEnv, learn_q, linear, power
    from .reinforce import Baseline, Policy, Reinforce, TablePolicy


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
