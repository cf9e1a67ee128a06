"""Tiny RLVR: a language model of 89,000 weights, tasks with verifiable answers, and measures.

A run of a few hundred updates takes about a minute on one CPU thread, so that a claim about a loss,
a sampler or an estimator can be tried with several seeds.

>>> task = modular_addition()  # doctest: +SKIP
>>> model = load_model(warm_start(task, seed=0))  # doctest: +SKIP
>>> measure(model, tokenizer(), task, task.rows("held_out")[:256]).pass_at  # doctest: +SKIP
{1: 0.243, 8: 0.801}
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Bed": "bed",
    "Measures": "measures",
    "Task": "tasks",
    "addition": "tasks",
    "copying": "tasks",
    "countdown": "countdown_task",
    "demonstration_loss": "warm",
    "four_domains": "tasks",
    "load_model": "warm",
    "measure": "measures",
    "mixed": "tasks",
    "modular_addition": "tasks",
    "parity": "tasks",
    "reversal": "tasks",
    "thinking": "thinking_task",
    "tiny_model": "model",
    "tokenizer": "model",
    "warm_start": "warm",
}

__all__ = list(_HOMES)

if TYPE_CHECKING:
    from .bed import Bed
    from .countdown_task import countdown
    from .measures import Measures, measure
    from .model import tiny_model, tokenizer
    from .tasks import (
        Task,
        addition,
        copying,
        four_domains,
        mixed,
        modular_addition,
        parity,
        reversal,
    )
    from .thinking_task import thinking
    from .warm import demonstration_loss, load_model, warm_start


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
