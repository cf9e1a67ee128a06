"""The marks that tests gave to programs, read row by row and gathered group by group."""

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

_RUBRICS = (WeightedSum, WeightedMean, Product, Min)
"""Rewards whose parts are the tests."""


class Group(NamedTuple):
    """Rows that are compared, and the task whose pass rates they share with other batches."""

    rows: list[int]
    task: Any


class Reading:
    """The marks of the rows that have some, and the status of all."""

    def __init__(self, tests: Reward, scores: Scores) -> None:
        self.scores, self.status = scores, scores.status.clone()
        self.marks: dict[int, list[float]] = {}
        self.timeouts: dict[int, int] = {}
        self.faults: dict[int, tuple[str, str]] = {}
        for row in scores.scored.nonzero().flatten().tolist():
            if isinstance(tests, _RUBRICS):
                self._criteria(row)
            else:
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

    def _criteria(self, row: int) -> None:
        parts = self.scores.parts
        worst = max(int(part.status[row]) for part in parts.values())
        if worst != Status.SCORED:
            name = next(name for name, part in parts.items() if part.status[row] == worst)
            word = Status(worst).name.lower()
            return self.refuse([row], Status(worst), f"criterion {name!r}: {word}")
        marks = {name: float(part.total()[row].detach()) for name, part in parts.items()}
        for name, mark in marks.items():
            if not 0.0 <= mark <= 1.0:
                message = f"criterion {name!r} is {mark:g}, not within 0 and 1"
                return self.refuse([row], Status.BAD_VALUE, message)
        self.marks[row] = list(marks.values())
        return None


def groups_of(
    rollouts: Rollouts,
    read: Reading,
    node: Reward,
    *,
    task: str | None,
    names: str | None,
    sizes: Mapping[Hashable, int],
) -> list[Group]:
    """Groups of rows with the same tests; the rows of all others are refused in ``read``.

    Args:
        rollouts: what was scored.
        read: the marks.
        node: who asks, for errors.
        task: the column that names each row's task, on which a group has to agree.
        names: the column that names each row's tests, likewise.
        sizes: how many tests a task had before.
    """
    found: dict[int, list[int]] = {}
    for row in sorted(read.marks):
        found.setdefault(int(rollouts.group[row]), []).append(row)
    tasks = None if task is None else _plain(rollouts, task, node)
    tests = None if names is None else _plain(rollouts, names, node)
    known = dict(sizes)
    groups = []
    for rows in found.values():
        fault = _fault(rows, read, tasks, tests)
        group = Group(rows, MISSING if tasks is None else tasks[rows[0]])
        fault = fault or _other_size(group, read, known)
        if fault:
            read.refuse(rows, Status.FAILED, fault)
        else:
            groups.append(group)
    return groups


def _plain(rollouts: Rollouts, name: str, node: Reward) -> list[Any]:
    """A column as plain values, which can be compared."""
    column = rollouts.column(name, needed_by=node.label())
    return [value.tolist() if hasattr(value, "tolist") else value for value in column]


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


def _other_size(group: Group, read: Reading, sizes: dict[Any, int]) -> str | None:
    """Whether its task had another number of tests; a task that is new is noted."""
    if group.task is MISSING:
        return None
    size = len(read.marks[group.rows[0]])
    known = sizes.setdefault(group.task, size)
    return (
        None
        if known == size
        else f"task {group.task!r} has {size} tests here and had {known} before"
    )
