"""What a scoring run found, summed up row by row: means, statuses, pass@k, latencies."""

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...core.execution import CACHED, RAN, TWIN
from ...ops.pass_at_k import pass_at_k_rate

_EDGES = np.geomspace(1e-7, 1e4, 11 * 50 + 1)
"""Latencies are counted in bins 4.7 % wide, so that memory does not grow with rows."""
_SLOWEST, _KINDS = 5, 1000


class Slow(NamedTuple):
    """A row that took long."""

    seconds: float
    row: int
    path: str


@dataclass
class Part:
    """What was found of one part, or of the whole (path "")."""

    rows: int = 0
    scored: int = 0
    total: float = 0.0
    binary: bool = True
    """Whether all scores are 0 or 1."""
    runs: "list[NDArray[np.uint64]]" = field(default_factory=list)
    """Rows of a group that follow each other: its number, how many were scored, how many are 1."""
    latency: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(len(_EDGES) + 1, dtype=np.int64)
    )
    origin: Counter[int] = field(default_factory=Counter)

    @property
    def mean(self) -> float:
        """The mean of the scored rows; NaN if there are none."""
        return self.total / self.scored if self.scored else math.nan

    @property
    def ran(self) -> int:
        """How many rows were run; the others were equal to one that was, or cached."""
        return self.origin[RAN]

    @property
    def twins(self) -> int:
        """How many rows took over the outcome of an equal row."""
        return self.origin[TWIN]

    @property
    def cached(self) -> int:
        """How many rows the cache had."""
        return self.origin[CACHED]

    def percentile(self, q: float) -> float:
        """Seconds within which a share ``q`` of the rows that were run took (to 5 %)."""
        count = self.latency.sum()
        if not count:
            return math.nan
        at = int(np.searchsorted(self.latency.cumsum(), q * count))
        return float(_EDGES[min(at, len(_EDGES) - 1)])

    def pass_at(self, k: int) -> float | None:
        """The unbiased estimate of pass@k: ``mean over groups of 1 - C(n - c, k) / C(n, k)``.

        n is the number of a group's rows that were scored, c how many of them are 1. Groups with
        n < k are left out; None if there is no other, or scores are not all 0 or 1.
        """
        if not self.binary or not self.runs:
            return None
        n, c = self._groups()
        enough = n >= k
        if not enough.any():
            return None
        pairs, counts = np.unique(np.stack([n, c])[:, enough], axis=1, return_counts=True)
        return float(np.dot(pass_at_k_rate(pairs[0], pairs[1], k), counts) / counts.sum())

    def _groups(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many rows of each group were scored, and how many of them are 1."""
        runs = np.concatenate(self.runs, axis=1)
        _, inverse = np.unique(runs[0], return_inverse=True)
        n, c = (np.bincount(inverse, weights=counts).astype(np.int64) for counts in runs[1:])
        return n, c

    def largest_group(self) -> int:
        """The rows of the largest group."""
        return int(self._groups()[0].max()) if self.runs else 0


class Tally:
    """Adds up tables of labels with their notes; see :func:`~.labeling.table`."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self.statuses: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        """What went wrong, with its part; of the kinds that came first."""
        self.slowest: list[Slow] = []

    def add(self, table: pa.Table) -> None:
        """Take in the next rows."""
        self.statuses.update(table["status"].to_pylist())
        if "_error" in table.column_names:
            for error in table["_error"].drop_null().to_pylist():
                if error in self.errors or len(self.errors) < _KINDS:
                    self.errors[error] += 1
        groups = _numbers(table, "_group")
        for name in table.column_names:
            if name == "reward" or name.startswith("reward/"):
                path = name.removeprefix("reward").removeprefix("/")
                self._add(self.parts.setdefault(path, Part()), path, table, groups)

    def _add(self, part: Part, path: str, table: pa.Table, groups: Any) -> None:
        column = table[f"reward/{path}" if path else "reward"]
        status = table[f"status/{path}" if path else "status"]
        scored = np.array(status) == "scored"
        values = column.to_numpy()[scored].astype(np.float64)
        part.rows += len(scored)
        part.scored += len(values)
        part.total += float(values.sum())
        part.binary &= bool(np.isin(values, (0.0, 1.0)).all())
        if groups is not None and part.binary and len(values):
            part.runs.append(_runs(groups[scored], values))
        if (origin := _numbers(table, f"_origin/{path}")) is not None:
            part.origin.update(origin.tolist())
        if (seconds := _numbers(table, f"_seconds/{path}")) is not None:
            self._time(part, path, seconds, np.asarray(table["row"]))

    def _time(self, part: Part, path: str, seconds: Any, rows: Any) -> None:
        ran = np.flatnonzero(~np.isnan(seconds))
        bins = np.searchsorted(_EDGES, seconds[ran])
        part.latency += np.bincount(bins, minlength=len(part.latency))
        for i in ran[np.argsort(seconds[ran])[-_SLOWEST:]]:
            slow = Slow(float(seconds[i]), int(rows[i]), path)
            if len(self.slowest) < _SLOWEST:
                heapq.heappush(self.slowest, slow)
            else:
                heapq.heappushpop(self.slowest, slow)


def _runs(groups: NDArray[np.uint64], values: NDArray[np.float64]) -> NDArray[np.uint64]:
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    n = np.diff(np.r_[starts, len(groups)])
    wins = np.add.reduceat(values, starts)
    return np.stack([groups[starts], n.astype(np.uint64), wins.astype(np.uint64)])


def _numbers(table: pa.Table, name: str) -> NDArray[Any] | None:
    return table[name].to_numpy() if name in table.column_names else None
