"""Advantage estimators: rewards and groups in, what a policy gradient multiplies out.

Names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "CumulativeAdvantage": "cumulative",
    "EntropyStage": "token_weights",
    "RoleBaseline": "role_baseline",
    "ThoughtLevel": "thoughts",
    "TokenWeight": "token_weights",
    "brpo": "pairwise",
    "completion_probabilities": "durations",
    "completion_weights": "durations",
    "consistency_bonus": "consistency",
    "dcpo_advantages": "cumulative",
    "discounted_returns": "returns",
    "dr_grpo": "group_relative",
    "duration_weight": "durations",
    "duration_weights": "durations",
    "gae": "returns",
    "gdpo": "components",
    "gpg": "active_groups",
    "grpo": "group_relative",
    "negatives_only": "negatives",
    "opo": "length_weighted",
    "optimal_token": "optimal_baseline",
    "pass_at_k": "best_of_group",
    "perplexity_weighted": "token_weights",
    "position_bonus": "token_weights",
    "reference_pairs": "pairwise",
    "reinforce": "returns",
    "reinforce_plus_plus": "returns",
    "reinforce_plus_plus_baseline": "returns",
    "remax": "greedy_baseline",
    "remax_steps": "greedy_baseline",
    "rloo": "leave_one_out",
    "role_advantages": "role_baseline",
    "thought_advantages": "thoughts",
    "turn_discounts": "role_baseline",
    "verpo_advantages": "global_and_local",
    "weighted": "token_weights",
    "whiten": "whitening",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .active_groups import gpg as gpg
    from .best_of_group import pass_at_k as pass_at_k
    from .components import gdpo as gdpo
    from .consistency import consistency_bonus as consistency_bonus
    from .cumulative import CumulativeAdvantage as CumulativeAdvantage
    from .cumulative import dcpo_advantages as dcpo_advantages
    from .durations import completion_probabilities as completion_probabilities
    from .durations import completion_weights as completion_weights
    from .durations import duration_weight as duration_weight
    from .durations import duration_weights as duration_weights
    from .global_and_local import verpo_advantages as verpo_advantages
    from .greedy_baseline import remax as remax
    from .greedy_baseline import remax_steps as remax_steps
    from .group_relative import dr_grpo as dr_grpo
    from .group_relative import grpo as grpo
    from .leave_one_out import rloo as rloo
    from .length_weighted import opo as opo
    from .negatives import negatives_only as negatives_only
    from .optimal_baseline import optimal_token as optimal_token
    from .pairwise import brpo as brpo
    from .pairwise import reference_pairs as reference_pairs
    from .returns import discounted_returns as discounted_returns
    from .returns import gae as gae
    from .returns import reinforce as reinforce
    from .returns import reinforce_plus_plus as reinforce_plus_plus
    from .returns import reinforce_plus_plus_baseline as reinforce_plus_plus_baseline
    from .role_baseline import RoleBaseline as RoleBaseline
    from .role_baseline import role_advantages as role_advantages
    from .role_baseline import turn_discounts as turn_discounts
    from .thoughts import ThoughtLevel as ThoughtLevel
    from .thoughts import thought_advantages as thought_advantages
    from .token_weights import EntropyStage as EntropyStage
    from .token_weights import TokenWeight as TokenWeight
    from .token_weights import perplexity_weighted as perplexity_weighted
    from .token_weights import position_bonus as position_bonus
    from .token_weights import weighted as weighted
    from .whitening import whiten as whiten


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
