"""How the rows of a reward are run: the executor protocol, and the one that needs nothing.

An executor runs a :class:`~.rowcall.RowCall` on rows, each by itself. Which one does is set by a
context variable (``with rs.executor(...)``). Before it runs, equal rows are found (each is run
once), and rows that a cache knows.
"""

import pickle
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .outcome import Outcome, Outcomes, Status, score_each
from .rowcall import RowCall

Row: TypeAlias = tuple[Any, ...]


@runtime_checkable
class Executor(Protocol):
    """Runs a function on rows."""

    def run(self, call: RowCall, rows: Sequence[Row]) -> Outcomes:
        """The outcome of each row, in their order."""
        ...


@runtime_checkable
class Cache(Protocol):
    """Remembers the outcomes of rows."""

    def get(self, call: RowCall, rows: Sequence[Row]) -> list[Outcome | None]:
        """What is known of each row."""
        ...

    def put(self, call: RowCall, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
        """Remember some rows."""
        ...


class Inline:
    """Runs rows here, one after the other. Nothing can end a row that hangs."""

    def run(self, call: RowCall, rows: Sequence[Row]) -> Outcomes:
        return score_each(call.bound(), rows)


@dataclass(frozen=True)
class Execution:
    """What runs rows, and what is asked before."""

    executor: Executor
    cache: Cache | None = None
    dedupe: bool = True


_execution: ContextVar[Execution | None] = ContextVar("_execution", default=None)


def current() -> Execution | None:
    """What was set around this call, if anything."""
    return _execution.get()


@contextmanager
def using(execution: Execution) -> Iterator[Execution]:
    """Run the rows of every reward inside with this."""
    token = _execution.set(execution)
    try:
        yield execution
    finally:
        _execution.reset(token)


@dataclass
class Evaluated:
    """The outcomes of rows, and where each came from."""

    values: NDArray[np.float64]
    status: NDArray[np.int8]
    remarks: dict[int, str]
    seconds: NDArray[np.float32]
    """How long each took; NaN for rows that were not run."""
    origin: NDArray[np.int8]
    """Each one of RAN, TWIN, CACHED or UNRUN."""

    @classmethod
    def of_nothing(cls, n: int) -> "Evaluated":
        """N rows of which nothing is known yet."""
        return cls(
            np.zeros(n),
            np.full(n, int(Status.UNSCORED), dtype=np.int8),
            {},
            np.full(n, np.nan, dtype=np.float32),
            np.zeros(n, dtype=np.int8),
        )

    @classmethod
    def failed(cls, n: int, remark: str) -> "Evaluated":
        """N rows that could not be run, and why."""
        found = cls.of_nothing(n)
        found.status[:] = int(Status.FAILED)
        found.remarks = dict.fromkeys(range(n), remark)
        found.origin[:] = UNRUN
        return found

    def put(self, rows: Sequence[int], part: "Evaluated") -> None:
        """Fill in some rows."""
        for name in ("values", "status", "seconds", "origin"):
            getattr(self, name)[rows] = getattr(part, name)
        self.remarks.update({rows[i]: remark for i, remark in part.remarks.items()})


RAN, TWIN, CACHED, UNRUN = 0, 1, 2, 3
"""A row was run, took over the outcome of an equal row, was found in the cache, or was not run."""


def evaluate(call: RowCall, rows: Sequence[Row], execution: Execution) -> Evaluated:
    """The outcome of each row; equal rows are run once."""
    first, inverse = _unique(rows) if execution.dedupe else (None, None)
    distinct = rows if first is None else [rows[i] for i in first]
    outcomes, cached = _run(call, distinct, execution)
    values = np.array(outcomes.values, dtype=np.float64)
    status = np.array(outcomes.status, dtype=np.int8)
    seconds = np.array(outcomes.seconds, dtype=np.float32)
    origin = np.where(cached, CACHED, RAN).astype(np.int8)
    seconds[cached] = np.nan
    if first is None or inverse is None:
        return Evaluated(values, status, outcomes.remarks, seconds, origin)
    remarks = outcomes.remarks
    if remarks:
        remarks = {i: remarks[j] for i, j in enumerate(inverse.tolist()) if j in remarks}
    twin = np.ones(len(rows), dtype=bool)
    twin[first] = False
    return Evaluated(
        values[inverse],
        status[inverse],
        remarks,
        np.where(twin, np.float32(np.nan), seconds[inverse]),
        np.where(twin, np.int8(TWIN), origin[inverse]),
    )


def _run(
    call: RowCall, rows: Sequence[Row], execution: Execution
) -> tuple[Outcomes, NDArray[np.bool_]]:
    """Outcomes of distinct rows, and which of them the cache had."""
    cache, n = execution.cache, len(rows)
    if cache is None:
        return execution.executor.run(call, rows), np.zeros(n, dtype=bool)
    known = cache.get(call, rows)
    missing = [i for i, outcome in enumerate(known) if outcome is None]
    ran = execution.executor.run(call, [rows[i] for i in missing])
    # What broke may work the next time.
    keep = [k for k in range(len(missing)) if ran.status[k] in (Status.SCORED, Status.ABSTAINED)]
    cache.put(call, [rows[missing[k]] for k in keep], [ran.outcome(k) for k in keep])
    outcomes, k = Outcomes(), 0
    for outcome in known:
        if outcome is None:
            outcomes.add(ran.outcome(k), ran.seconds[k])
            k += 1
        else:
            outcomes.add(outcome)
    return outcomes, np.array([outcome is not None for outcome in known], dtype=bool)


def _unique(rows: Sequence[Row]) -> tuple[list[int] | None, NDArray[np.int64] | None]:
    """The first of each kind of row, and which kind each row is; None where all differ."""
    key = _key_of(rows)
    seen: dict[Hashable, int] = {}
    first: list[int] = []
    inverse = np.empty(len(rows), dtype=np.int64)
    try:
        for i, row in enumerate(rows):
            kind = seen.setdefault(key(row), len(first))
            if kind == len(first):
                first.append(i)
            inverse[i] = kind
    except (TypeError, pickle.PicklingError, AttributeError, RecursionError):
        return None, None  # what cannot be compared is run
    return (None, None) if len(first) == len(rows) else (first, inverse)


def _key_of(rows: Sequence[Row]) -> Callable[[Row], Hashable]:
    """How rows are compared: by themselves where equal means the same, else by their bytes.

    1, 1.0 and True are equal, and so are 0.0 and -0.0; a function may tell them apart.
    """
    plain = all(set(map(type, column)) <= {str, type(None)} for column in zip(*rows, strict=True))
    return _itself if plain else pickle.dumps


def _itself(row: Row) -> Hashable:
    return row
