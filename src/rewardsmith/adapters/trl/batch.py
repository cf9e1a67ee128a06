"""What TRL calls a reward function with, as rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..scorer import Row

_NO_COLUMNS = frozenset({"trainer_state", "log_extra", "log_metric", "environments"})
"""What TRL gives reward functions beside columns."""


@dataclass(frozen=True)
class Batch:
    """What TRL calls a reward function with."""

    prompts: Sequence[Any]
    completions: Sequence[Any]
    completion_ids: Sequence[Any] | None
    given: Mapping[str, Any]
    """Data set columns, and what is no column."""

    def columns(self) -> dict[str, Any]:
        """What has an entry for each row, under TRL's names, as it was given."""
        columns: dict[str, Any] = {"prompt": self.prompts, "completion": self.completions}
        if self.completion_ids is not None:
            columns["completion_ids"] = self.completion_ids
        for name, values in self.given.items():
            if name not in _NO_COLUMNS and _is_column(values):
                columns[name] = values
        return columns

    def rows(self, read: Iterable[str] = ()) -> list[Row]:
        """The batch by row, under TRL's names.

        Args:
            read: the names that have to be columns if they were given.

        Raises:
            TypeError: one of those is no column.
            ValueError: a column is not as long as the others.
        """
        n = len(self.completions)
        columns = {name: _values(values) for name, values in self.columns().items()}
        for name in sorted(self.given.keys() & set(read) - columns.keys()):
            raise TypeError(
                f"{name!r} is {type(self.given[name]).__name__} and no column: give a list of {n}, "
                "one for each completion"
            )
        for name, values in columns.items():
            if len(values) != n:
                raise ValueError(f"column {name!r} has {len(values)} rows, not {n} as completions")
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


class Snapshot:
    """What a batch held when it was evaluated; lists may be filled anew and come again.

    It holds the columns and what was in them, so that nothing else takes their places in memory.
    """

    def __init__(self, batch: Batch) -> None:
        self._columns = batch.columns()
        self._held = {name: list(_values(column)) for name, column in self._columns.items()}

    def is_of(self, batch: Batch) -> bool:
        """Whether a batch is this one: the same objects, holding the same."""
        columns = batch.columns()
        return columns.keys() == self._columns.keys() and all(
            column is self._columns[name] and _same(list(_values(column)), self._held[name])
            for name, column in columns.items()
        )


def _same(values: list[Any], others: list[Any]) -> bool:
    return len(values) == len(others) and all(
        # Numbers and texts out of an array are made anew each time.
        value is other or (type(value) in (str, int, float, bool) and value == other)
        for value, other in zip(values, others, strict=True)
    )


def _is_column(values: Any) -> bool:
    if isinstance(values, str | bytes | Mapping):
        return False
    try:
        len(values)
    except TypeError:
        return False
    return True


def _values(column: Any) -> Any:
    """A column with plain numbers and texts in it, where it is an array or a tensor of such."""
    return column.tolist() if getattr(column, "ndim", 0) == 1 else column
