"""Infos as columns: a list of dicts, or Gymnasium's dict of arrays with masks.

A key is there only if every environment that counts has it. What Gymnasium fills in for the others
(0 or None) is no value, and is never read as one.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.reward import Reward


class InfoColumns(Mapping[str, Any]):
    """A list of info dicts, read as columns; a key counts as present if every dict has it.

    Args:
        infos: one per environment.
        hold: keys that are read at once, because environments may write what they told again.
    """

    def __init__(self, infos: Sequence[Mapping[str, Any]], hold: Iterable[str] = ()) -> None:
        self.infos = infos
        self._columns: dict[str, Any] = {}
        for name in hold:
            try:
                self._columns[name] = _held(column_of([info[name] for info in infos]))
            except KeyError:
                continue

    def __getitem__(self, name: str) -> Any:
        if name not in self._columns:
            self._columns[name] = column_of([info[name] for info in self.infos])
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return (key for key in self.infos[0] if all(key in info for info in self.infos))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class VectorColumns(Mapping[str, Any]):
    """A vector environment's infos, read as columns; a key is present if every live row has it."""

    def __init__(self, info: Mapping[str, Any], live: NDArray[np.bool_]) -> None:
        self.info, self.live = info, live

    def __getitem__(self, name: str) -> Any:
        column = self.info[name]
        has = self.info.get(f"_{name}")
        if has is not None and np.count_nonzero(has) < len(has) and not has[self.live].all():
            raise KeyError(name)
        if isinstance(column, Mapping):
            return dict(VectorColumns(column, self.live))
        if isinstance(column, np.ndarray) and column.dtype.hasobject and self.live.any():
            # Gymnasium keeps what is no Python number this way, with None on the dummy rows.
            some = column[self.live.argmax()]
            return column_of([v if r else some for v, r in zip(column, self.live, strict=True)])
        return column

    def __iter__(self) -> Iterator[str]:
        for name in self.info:
            if name.startswith("_") and name[1:] in self.info:
                continue
            has = self.info.get(f"_{name}")
            if has is None or has[self.live].all():
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Patched(Mapping[str, Any]):
    """Columns of which some rows come from another source; a key is present if both have it."""

    def __init__(
        self, columns: Mapping[str, Any], source: Mapping[str, Any], rows: NDArray[np.bool_]
    ) -> None:
        self.columns, self.source, self.rows = columns, source, rows

    def __getitem__(self, name: str) -> Any:
        return _patched(self.columns[name], self.source[name], self.rows)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self.columns if name in self.source)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def patched(
    columns: Mapping[str, Any], source: Mapping[str, Any], rows: NDArray[np.bool_]
) -> Mapping[str, Any]:
    """The columns with ``rows`` from ``source``; where it has them all, nobody asks the others."""
    return source if rows.all() else Patched(columns, source, rows)


def _patched(column: Any, source: Any, rows: NDArray[np.bool_]) -> Any:
    if isinstance(column, Mapping):
        return dict(Patched(column, source, rows))
    return put(column, rows, source[rows])


def final_columns(info: Mapping[str, Any], done: NDArray[np.bool_]) -> Mapping[str, Any]:
    """The infos of a step of same-step autoreset, where Gymnasium shows those of the resets."""
    last = VectorColumns(info.get("final_info", {}), done)
    return patched(VectorColumns(info, ~done), last, done)


def put(column: Any, rows: NDArray[np.bool_], values: Any) -> Any:
    """A copy of a column [n, ...] whose ``rows`` hold other values, one each; dicts by key."""
    if isinstance(column, Mapping):
        return {
            key: put(inner, rows, [value[key] for value in values]) for key, inner in column.items()
        }
    if isinstance(column, tuple):
        return tuple(
            put(inner, rows, [value[i] for value in values]) for i, inner in enumerate(column)
        )
    new = column_of(values)
    if (
        column.shape[1:] == new.shape[1:]
        and column.dtype.kind in "biuf"
        and new.dtype.kind in "biuf"
    ):
        kept = np.can_cast(new.dtype, column.dtype, "same_kind")
        column = column.astype(column.dtype if kept else np.result_type(column, new))
        column[rows] = new
        return column
    # Text of another length, or what has no shape of its own.
    items = list(column)
    for row, value in zip(np.flatnonzero(rows), values, strict=True):
        items[row] = value
    return column_of(items)


def column_of(values: Sequence[Any]) -> Any:
    """One value per environment as an array [n, ...], or a dict of such where they are dicts."""
    if all(isinstance(value, Mapping) for value in values):
        shared = [key for key in values[0] if all(key in value for value in values)]
        return {key: column_of([value[key] for value in values]) for key in shared}
    try:
        return np.asarray(values)
    except ValueError:
        # Of different shapes: an array of objects.
        column = np.empty(len(values), dtype=object)
        for i, value in enumerate(values):
            column[i] = value
        return column


def _held(column: Any) -> Any:
    """A column that shares nothing with the values it was made of."""
    if isinstance(column, np.ndarray):
        return copy.deepcopy(column) if column.dtype.hasobject else column
    return {name: _held(inner) for name, inner in column.items()}


def read_by(reward: Reward) -> frozenset[str]:
    """The columns that a tree reads, with those that its functions read only if they are there."""
    optional = (name for _, node in reward.walk() for name in getattr(node, "optional", ()))
    return reward.needs.union(optional)
