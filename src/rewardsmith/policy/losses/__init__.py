"""Policy losses: log-probabilities and advantages in, one number to descend out.

Names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Aggregation": "aggregation",
    "PolicyLoss": "tokens",
    "cispo": "detached",
    "clip_cov": "covariance",
    "dapo": "clipping",
    "dcpo": "dynamic_bounds",
    "dhpo": "hybrid",
    "dppo": "divergence",
    "dro": "divergence",
    "elastic_clip": "elastic",
    "etr": "elastic",
    "gmpo": "sequence_ratio",
    "group_variance": "elastic",
    "gspo": "sequence_ratio",
    "herl": "retried",
    "importance_weight": "importance",
    "kl_cov": "covariance",
    "off_policy_mask": "importance",
    "policy_gradient": "detached",
    "ppo": "clipping",
    "probability_bounds": "dynamic_bounds",
    "retried_weight": "retried",
    "sapo": "soft_gate",
    "value_loss": "value",
    "vespo": "soft_gate",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .aggregation import Aggregation as Aggregation
    from .clipping import dapo as dapo
    from .clipping import ppo as ppo
    from .covariance import clip_cov as clip_cov
    from .covariance import kl_cov as kl_cov
    from .detached import cispo as cispo
    from .detached import policy_gradient as policy_gradient
    from .divergence import dppo as dppo
    from .divergence import dro as dro
    from .dynamic_bounds import dcpo as dcpo
    from .dynamic_bounds import probability_bounds as probability_bounds
    from .elastic import elastic_clip as elastic_clip
    from .elastic import etr as etr
    from .elastic import group_variance as group_variance
    from .hybrid import dhpo as dhpo
    from .importance import importance_weight as importance_weight
    from .importance import off_policy_mask as off_policy_mask
    from .retried import herl as herl
    from .retried import retried_weight as retried_weight
    from .sequence_ratio import gmpo as gmpo
    from .sequence_ratio import gspo as gspo
    from .soft_gate import sapo as sapo
    from .soft_gate import vespo as vespo
    from .tokens import PolicyLoss as PolicyLoss
    from .value import value_loss as value_loss


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
