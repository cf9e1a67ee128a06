"""What a reward tells TRL's log: metrics of every batch, and columns of the completions table."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..scorer import Scored

LogMetric = Callable[[str, float], Any]
LogExtra = Callable[[str, list[Any]], Any]


def tally(rows: Sequence[Scored]) -> tuple[int, dict[str, float]]:
    """How many rows, and the sums of their numbers."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums.update(row.numbers)
    return len(rows), dict(sums)


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


def table(rows: Sequence[Scored]) -> dict[str, list[Any]]:
    """Columns with an entry for each row: the parts' values, None without one, and the status."""
    columns: dict[str, list[Any]] = {}
    for key in rows[0].numbers if rows else ():
        kind, _, path = key.partition("/")
        if kind == "reward":
            has = f"scored/{path}"
            columns[key] = [row.numbers[key] if row.numbers[has] else None for row in rows]
    columns["status"] = [row.status.name.lower() for row in rows]
    return columns
