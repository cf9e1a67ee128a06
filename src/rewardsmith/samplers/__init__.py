"""Which prompts to generate for, and which of the groups that come of it to train on.

Names load on first use: nothing is imported until it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Where a name lives.
_HOMES = {
    "Around": "around",
    "BalancedTemperature": "temperature",
    "DomainSampling": "domains",
    "DynamicSampling": "dynamic",
    "FilteredSampler": "filtered",
    "GuidedRetry": "guided_retry",
    "guided_pairs": "guidance",
    "Lookahead": "lookahead",
    "PredictiveSampling": "predictive",
    "PromptSampler": "prompts",
    "Shuffled": "prompts",
    "ThompsonSampling": "thompson",
    "unguided": "guidance",
}

if TYPE_CHECKING:
    from .around import Around
    from .domains import DomainSampling
    from .dynamic import DynamicSampling
    from .filtered import FilteredSampler
    from .guidance import guided_pairs, unguided
    from .guided_retry import GuidedRetry
    from .lookahead import Lookahead
    from .predictive import PredictiveSampling
    from .prompts import PromptSampler, Shuffled
    from .temperature import BalancedTemperature
    from .thompson import ThompsonSampling


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
