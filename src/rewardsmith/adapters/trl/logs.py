"""What a reward tells TRL's log: metrics of every batch, and columns of the completions table."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..scorer import STATUSES

LogMetric = Callable[[str, float], Any]
LogExtra = Callable[[str, list[Any]], Any]
Columns = Mapping[str, Sequence[float]]
"""What :func:`~..scorer.numbers` gives, of this rank's rows."""


def tally(columns: Columns) -> tuple[int, dict[str, float]]:
    """How many rows, and the sums of their numbers."""
    n = len(next(iter(columns.values()), ()))
    return n, {name: math.fsum(column) for name, column in columns.items()}


def metrics(tallies: Iterable[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """The means over the rows of all tallies; the same keys for every batch of a reward.

    ``reward/PATH`` is the mean over the rows where that part has a score. Where none has, it is
    NaN, which TRL leaves out of its averages.
    """
    n, sums = 0, Counter[str]()
    for rows, found in tallies:
        n += rows
        sums.update(found)
    means: dict[str, float] = {}
    for key, total in sums.items():
        kind, _, path = key.partition("/")
        count = sums[f"scored/{path}"] if kind == "reward" else n
        means[key] = total / count if count else math.nan
    return means


def table(columns: Columns) -> dict[str, list[Any]]:
    """Columns with an entry for each row: the parts' values, None without one, and the status."""
    made: dict[str, list[Any]] = {}
    for key, values in columns.items():
        kind, _, path = key.partition("/")
        if kind == "reward":
            has = columns[f"scored/{path}"]
            made[key] = [value if there else None for value, there in zip(values, has, strict=True)]
    names = [status.name.lower() for status in STATUSES]
    flags = zip(*(columns[f"status/{name}"] for name in names), strict=True)
    made["status"] = [names[row.index(1.0)] for row in flags]
    return made
