"""The marks that tests gave to programs, read row by row and gathered group by group."""

import hashlib
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.algebra import Min, Product, WeightedMean, WeightedSum
from ..core.outcome import Status, shown
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.rowcall import MISSING
from ..core.scores import Scores
from ..rules.marks import marks_of

RUBRICS = (WeightedSum, WeightedMean, Product, Min)
"""Rewards whose parts are the tests."""


class Group(NamedTuple):
    """Rows that are compared, and the task whose pass rates they share with other batches."""

    rows: list[int]
    task: Any
    """MISSING where nothing is remembered of tasks."""
    tests: str
    """A digest of what names the tests; "" where nothing does."""


class Memory(NamedTuple):
    """What is remembered of a task."""

    rates: list[float]
    tests: str
    """Of which tests these are the pass rates; see :class:`Group`."""


class Reading:
    """The marks of the rows that have some, and the status of all."""

    def __init__(self, tests: Reward, scores: Scores) -> None:
        self.scores, self.status = scores, scores.status.clone()
        self.marks: dict[int, list[float]] = {}
        self.timeouts: dict[int, int] = {}
        self.faults: dict[int, tuple[str, str]] = {}
        rows = scores.scored.nonzero().flatten().tolist()
        if isinstance(tests, RUBRICS):
            self._criteria(rows)
        else:
            for row in rows:
                self._tests(row)

    def table(self, rows: Iterable[int]) -> Float[Tensor, "g u"]:
        """The marks of some rows, which have as many each."""
        return torch.tensor([self.marks[row] for row in rows], dtype=torch.float64)

    def refuse(self, rows: Iterable[int], status: Status, message: str) -> None:
        """Give some rows a status and the reason, and take them out."""
        for row in rows:
            self.marks.pop(row, None)
            self.status[row] = int(status)
            if status > Status.ABSTAINED:
                self.faults[row] = ("", message)

    def _tests(self, row: int) -> None:
        why = self.scores.info["why"][row] if "why" in self.scores.info else ""
        try:
            statuses = marks_of(str(why))
        except ValueError as error:
            return self.refuse([row], Status.FAILED, f"`tests` tells no marks: {error}")
        unknown = [j for j, status in enumerate(statuses) if status == "infrastructure"]
        if unknown:
            return self.refuse([row], Status.FAILED, f"test {unknown[0] + 1} could not be run")
        self.marks[row] = [float(status == "passed") for status in statuses]
        self.timeouts[row] = statuses.count("timeout")
        return None

    def _criteria(self, rows: list[int]) -> None:
        if not rows:
            return
        names, parts = [*self.scores.parts], self.scores.parts.values()
        status = torch.stack([part.status[rows] for part in parts], dim=1)
        marks = torch.stack([part.total()[rows].detach() for part in parts], dim=1)
        worst, first = status.max(dim=1)
        fits = (marks >= 0.0) & (marks <= 1.0)
        whole = (worst == Status.SCORED) & fits.all(dim=1)
        for i, (row, read) in enumerate(zip(rows, marks.tolist(), strict=True)):
            if whole[i]:
                self.marks[row] = read
            elif worst[i] != Status.SCORED:
                had = Status(int(worst[i]))
                self.refuse([row], had, f"criterion {names[first[i]]!r}: {had.name.lower()}")
            else:
                j = int((~fits[i]).nonzero()[0])
                message = f"criterion {names[j]!r} is {read[j]:g}, not within 0 and 1"
                self.refuse([row], Status.BAD_VALUE, message)


def check_weights(rubric: Reward) -> None:
    """Refuse a rubric with a criterion that takes away.

    Raises:
        ValueError: a weight is not positive.
    """
    weights: Mapping[str, float] = getattr(rubric, "weights", {})
    for name, weight in weights.items():
        if weight <= 0:
            raise ValueError(
                f"verpo: criterion {name!r} has the weight {weight:g}, and would be paid for like "
                "any other: turn a penalty round (1 - r), or leave it out and add it to the whole"
            )


def groups_of(
    rollouts: Rollouts,
    read: Reading,
    node: Reward,
    *,
    task: str | None,
    names: str | None,
    memory: Mapping[Hashable, Memory],
) -> list[Group]:
    """Groups of rows with the same tests; the rows of all others are refused in ``read``.

    Args:
        rollouts: what was scored.
        read: the marks.
        node: who asks, for errors.
        task: the column that names each row's task, on which a group has to agree.
        names: the column that names each row's tests, likewise.
        memory: what is remembered of tasks.
    """
    found: dict[int, list[int]] = {}
    for row in sorted(read.marks):
        found.setdefault(int(rollouts.group[row]), []).append(row)
    tasks = None if task is None else _plain(rollouts, task, node)
    tests = None if names is None else _plain(rollouts, names, node)
    here: dict[Hashable, tuple[int, str]] = {}
    groups = []
    for rows in found.values():
        fault = _fault(rows, read, tasks, tests)
        if not fault:
            own = MISSING if tasks is None else tasks[rows[0]]
            group = Group(rows, own, "" if tests is None else _digest(tests[rows[0]]))
            fault = _other_tests(group, len(read.marks[rows[0]]), here, memory)
        if fault:
            read.refuse(rows, Status.FAILED, fault)
        else:
            groups.append(group)
    return groups


def _plain(rollouts: Rollouts, name: str, node: Reward) -> list[Any]:
    """A column as plain values, which can be compared."""
    column = rollouts.column(name, needed_by=node.label())
    return [value.tolist() if hasattr(value, "tolist") else value for value in column]


def _digest(names: Any) -> str:
    return hashlib.sha256(repr(names).encode(errors="surrogatepass")).hexdigest()[:16]


def _fault(
    rows: list[int], read: Reading, tasks: list[Any] | None, names: list[Any] | None
) -> str | None:
    """Why these rows cannot be compared, if they cannot."""
    sizes = sorted({len(read.marks[row]) for row in rows})
    if len(sizes) > 1:
        return f"the rows of its group have different numbers of tests, {sizes[0]} and {sizes[-1]}"
    for column, what in ((names, "tests"), (tasks, "tasks")):
        if column is None:
            continue
        if any(column[row] is MISSING for row in rows):
            return f"a row of its group does not name its {what}"
        if any(column[row] != column[rows[0]] for row in rows):
            return f"the rows of its group have different {what}"
    if tasks is not None and type(tasks[rows[0]]) not in (str, int):
        return f"its task is {shown(tasks[rows[0]])}, not a text or an integer"
    return None


def _other_tests(
    group: Group,
    size: int,
    here: dict[Hashable, tuple[int, str]],
    memory: Mapping[Hashable, Memory],
) -> str | None:
    """Whether its task has other tests in this batch or, by their number, in the memory.

    Tests that are named may change between batches, and then the memory is not of them.
    """
    if group.task is MISSING:
        return None
    before, known, tests = memory.get(group.task), size, group.tests
    if before is not None and before.tests == group.tests:
        known = len(before.rates)
    if known == size:  # what the memory refuses is not what others are held to
        known, tests = here.setdefault(group.task, (size, group.tests))
    if known != size:
        return f"task {group.task!r} has {size} tests here and had {known} before"
    if tests != group.tests:
        return f"task {group.task!r} has other tests here than in another group of the batch"
    return None
