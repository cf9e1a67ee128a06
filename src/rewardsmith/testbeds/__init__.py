"""Small exact worlds, in which a claim about a reward is checked against the truth.

Every value, occupancy and optimal policy can be computed, so nothing rests on another estimate.
Language models that are trained on verifiable answers are in ``testbeds.rlvr``.
Names load on first use: nothing is imported until it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "EnumerableLM",
    "Gridworld",
    "HorizonValues",
    "PassRates",
    "TabularMDP",
    "Tomato",
    "TomatoEnv",
    "Values",
    "always_terminates",
    "expected_return",
    "finite_horizon",
    "greedy_policy",
    "gridworld_mdp",
    "occupancy",
    "optimal_actions",
    "policy_order",
    "policy_values",
    "random_mdp",
    "sample_episodes",
    "shaped",
    "tomato_mdp",
    "uniform_policy",
    "value_iteration",
]

# Where a name lives, unless in `tabular`.
_HOMES = {
    "EnumerableLM": "language",
    "Gridworld": "gridworld",
    "PassRates": "pass_rates",
    "Tomato": "tomato",
    "TomatoEnv": "tomato_env",
    "gridworld_mdp": "gridworld",
    "tomato_mdp": "tomato",
}

if TYPE_CHECKING:
    from .gridworld import Gridworld, gridworld_mdp
    from .language import EnumerableLM
    from .pass_rates import PassRates
    from .tabular import (
        HorizonValues,
        TabularMDP,
        Values,
        always_terminates,
        expected_return,
        finite_horizon,
        greedy_policy,
        occupancy,
        optimal_actions,
        policy_order,
        policy_values,
        random_mdp,
        sample_episodes,
        shaped,
        uniform_policy,
        value_iteration,
    )
    from .tomato import Tomato, tomato_mdp
    from .tomato_env import TomatoEnv


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f".{_HOMES.get(name, 'tabular')}", __name__), name)
    raise AttributeError(f"module 'rewardsmith.testbeds' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
