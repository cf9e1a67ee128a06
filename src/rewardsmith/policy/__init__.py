"""From scores to gradients: advantages, policy losses, KL, and weights that move.

``advantages`` and ``losses`` hold pure functions on tensors, by name; ``estimator`` makes an
``Estimator`` of an advantage function, ``objective`` a loss that a trainer can call; ``kl`` is a
module, and ``weights`` holds those that move.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["advantages", "estimator", "kl", "losses", "objective", "weights"]

if TYPE_CHECKING:
    from . import advantages, estimator, kl, losses, objective, weights


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
