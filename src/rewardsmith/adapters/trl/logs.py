"""What a reward tells TRL's log: metrics of every batch, and columns of the completions table."""

import inspect
import math
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..scorer import STATUSES
from ..telling import Reason

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


def table(columns: Columns, troubles: Mapping[int, Reason]) -> dict[str, list[Any]]:
    """Columns with an entry for each row: the parts' values, None without one, the status and why.

    Args:
        columns: see above; none where this rank has no rows.
        troubles: by row, why it has no score.
    """
    if not columns:
        return {}
    made: dict[str, list[Any]] = {}
    for key, values in columns.items():
        kind, _, path = key.partition("/")
        if kind == "reward":
            has = columns[f"scored/{path}"]
            made[key] = [value if there else None for value, there in zip(values, has, strict=True)]
    names = [status.name.lower() for status in STATUSES]
    flags = zip(*(columns[f"status/{name}"] for name in names), strict=True)
    made["status"] = [names[row.index(1.0)] for row in flags]
    rows = range(len(made["status"]))
    made["error"] = [(troubles[row].error or None) if row in troubles else None for row in rows]
    return made


class Log:
    """Gives a trainer what a reward found, under the reward's name; it pickles.

    Args:
        name: what TRL calls the reward. Any but ``"total"`` stands before all that is logged.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.prefix = "" if name == "total" else f"{name}/"

    def __call__(
        self,
        means: Mapping[str, float],
        extra: Mapping[str, list[Any]],
        given: Mapping[str, Any],
        alone: bool,
    ) -> None:
        """Log a batch.

        Args:
            means: of metrics, over all ranks that wait for each other.
            extra: columns of this rank's rows.
            given: what TRL gave, with or without its two functions.
            alone: whether there are ranks that do not wait for each other.

        Warns:
            UserWarning: another reward of the trainer logs under the same names.
        """
        log_metric: LogMetric | None = given.get("log_metric")
        log_extra: LogExtra | None = given.get("log_extra")
        if log_metric is not None:
            self._note_namesakes(log_metric)
            for name, mean in means.items():
                # Where ranks do not wait for each other TRL averages their numbers, and one NaN
                # would take the other ranks' along.
                if not (alone and math.isnan(mean)):
                    log_metric(self.prefix + name, mean)
        if log_extra is not None:
            for name, column in extra.items():
                log_extra(self.prefix + name, column)

    def _note_namesakes(self, log_metric: LogMetric) -> None:
        if not inspect.ismethod(log_metric):
            return
        try:
            names = _names.setdefault(log_metric.__self__, weakref.WeakValueDictionary())
        except TypeError:
            return  # it is no object that can be looked up
        if names.setdefault(self.name, self) is not self:
            warnings.warn(
                f"two rewards of one trainer are called {self.name!r}, and what they log is mixed: "
                "give each a name, to_trl(..., name=)",
                stacklevel=2,
            )


_names: "weakref.WeakKeyDictionary[Any, weakref.WeakValueDictionary[str, Log]]"
_names = weakref.WeakKeyDictionary()
"""By trainer, who logs there under which name."""
