"""Agents whose learning rule is the point: tabular Q-learning, REINFORCE, behavior cloning, GRPO.

Names load on first use: nothing is imported until it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Baseline": "reinforce",
    "Cloned": "behavior_cloning",
    "GRPOTrainer": "grpo",
    "NetworkPolicy": "behavior_cloning",
    "Policy": "reinforce",
    "QTable": "q_learning",
    "Recipe": "recipe",
    "Reinforce": "reinforce",
    "TablePolicy": "reinforce",
    "TabularEnv": "q_learning",
    "clone_behavior": "behavior_cloning",
    "learn_q": "q_learning",
    "linear": "q_learning",
    "power": "q_learning",
    "read_recipe": "recipe",
}

if TYPE_CHECKING:
    from .behavior_cloning import Cloned, NetworkPolicy, clone_behavior
    from .grpo import GRPOTrainer
    from .q_learning import QTable, TabularEnv, learn_q, linear, power
    from .recipe import Recipe, read_recipe
    from .reinforce import Baseline, Policy, Reinforce, TablePolicy


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
