"""rewardsmith: the reward layer for reinforcement learning.

Importing this package is cheap: every name below is loaded from its room when it is first used, so
``import rewardsmith`` pulls in neither torch nor any trainer.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Rollouts": "core.rollouts",
    "Scores": "core.scores",
    "Status": "core.outcome",
    "Preferences": "core.preferences",
    "Advantages": "core.advantages",
    "win_rate": "core.preferences",
    "Reward": "core.reward",
    "RowReward": "core.rows",
    "Contract": "core.contract",
    "check_contract": "core.contract",
    "Step": "core.acting",
    "scan": "core.acting",
    "learn": "core.learning",
    "Comparator": "core.bases",
    "Estimator": "core.bases",
    "Relabel": "core.bases",
    "Sampler": "core.bases",
    "Gate": "core.gate",
    "Min": "core.algebra",
    "Product": "core.algebra",
    "Scale": "core.algebra",
    "Shift": "core.algebra",
    "WeightedMean": "core.algebra",
    "WeightedSum": "core.algebra",
    "reward": "core.decorate",
    "Paper": "core.catalog",
    "method": "core.catalog",
    "methods": "core.catalog",
    "load": "core.spec",
    "dump": "core.spec",
    "executor": "engine.executor",
    "wrap": "adapters.gymnasium",
    "Trajectories": "adapters.files.trajectories",
    "write_trajectories": "adapters.files.trajectories",
    "RewardsmithError": "core.errors",
    "ScoreError": "core.errors",
    "SpecError": "core.errors",
}
_ROOMS = (
    "adapters",
    "audit",
    "combine",
    "credit",
    "learners",
    "policy",
    "samplers",
    "search",
    "signals",
    "studies",
    "testbeds",
    "transforms",
)

if TYPE_CHECKING:
    from . import (
        adapters,
        audit,
        combine,
        credit,
        learners,
        policy,
        samplers,
        search,
        signals,
        studies,
        testbeds,
        transforms,
    )
    from .adapters.files.trajectories import Trajectories, write_trajectories
    from .adapters.gymnasium import wrap
    from .core.acting import Step, scan
    from .core.advantages import Advantages
    from .core.algebra import Min, Product, Scale, Shift, WeightedMean, WeightedSum
    from .core.bases import Comparator, Estimator, Relabel, Sampler
    from .core.catalog import Paper, method, methods
    from .core.contract import Contract, check_contract
    from .core.decorate import reward
    from .core.errors import RewardsmithError, ScoreError, SpecError
    from .core.gate import Gate
    from .core.learning import learn
    from .core.outcome import Status
    from .core.preferences import Preferences, win_rate
    from .core.reward import Reward
    from .core.rollouts import Rollouts
    from .core.rows import RowReward
    from .core.scores import Scores
    from .core.spec import dump, load
    from .engine.executor import executor


__all__ = [
    "Advantages",
    "Comparator",
    "Contract",
    "Estimator",
    "Gate",
    "Min",
    "Paper",
    "Preferences",
    "Product",
    "Relabel",
    "Reward",
    "RewardsmithError",
    "Rollouts",
    "RowReward",
    "Sampler",
    "Scale",
    "ScoreError",
    "Scores",
    "Shift",
    "SpecError",
    "Status",
    "Step",
    "Trajectories",
    "WeightedMean",
    "WeightedSum",
    "adapters",
    "audit",
    "check_contract",
    "combine",
    "dump",
    "engine",
    "executor",
    "learn",
    "learners",
    "load",
    "method",
    "methods",
    "reward",
    "scan",
    "search",
    "signals",
    "studies",
    "testbeds",
    "transforms",
    "win_rate",
    "wrap",
    "write_trajectories",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'rewardsmith' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, *_ROOMS])
