"""Which prompts to generate for, and which of the groups that come of it to train on.

Names load on first use: nothing is imported until it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Where a name lives.
_HOMES = {
    "DynamicSampling": "dynamic",
    "PredictiveSampling": "predictive",
    "PromptSampler": "prompts",
    "Shuffled": "prompts",
}

__all__ = ["DynamicSampling", "PredictiveSampling", "PromptSampler", "Shuffled"]

if TYPE_CHECKING:
    from .dynamic import DynamicSampling
    from .predictive import PredictiveSampling
    from .prompts import PromptSampler, Shuffled


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
