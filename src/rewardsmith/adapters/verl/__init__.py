"""verl: a reward of ours in its training, and its reward functions as rewards of ours.

verl is told by its configuration, and finds everything under this package's name::

    reward.reward_manager.source=importlib
    reward.reward_manager.name=RewardManager
    reward.reward_manager.module.path=pkg://rewardsmith.adapters.verl
    +reward.custom_reward_function.reward_kwargs.reward=/path/of/reward.yaml
    +reward.custom_reward_function.reward_kwargs.missing=raise

or, for a reward manager of verl's own, by a function::

    reward.custom_reward_function.path=pkg://rewardsmith.adapters.verl
    reward.custom_reward_function.name=compute_score

A sample without a score ends the scoring there, or with ``missing=0.0`` gets that number.

With ``VERL_USE_EXTERNAL_MODULES=rewardsmith.adapters.verl.register`` in the environment, verl knows
our advantage estimators and policy losses as ``rewardsmith_NAME``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "RewardManager": "manager",
    "VerlReward": "reward",
    "compute_score": "scoring",
    "compute_score_sync": "scoring",
    "verl_rows": "data",
    "write_parquet": "data",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .data import verl_rows as verl_rows
    from .data import write_parquet as write_parquet
    from .manager import RewardManager as RewardManager
    from .reward import VerlReward as VerlReward
    from .scoring import compute_score as compute_score
    from .scoring import compute_score_sync as compute_score_sync


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
