"""Infos as columns: a list of dicts, or Gymnasium's dict of arrays with masks.

A key is there only if every environment that counts has it. What Gymnasium fills in for the others
(0 or None) is no value, and is never read as one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.reward import Reward


class InfoColumns(Mapping[str, Any]):
    """A list of info dicts, read as columns; a key counts as present if every dict has it."""

    def __init__(self, infos: Sequence[Mapping[str, Any]]) -> None:
        self.infos = infos
        self._columns: dict[str, Any] = {}

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


def read_by(reward: Reward) -> frozenset[str]:
    """The columns that a tree reads, with those that its functions read only if they are there."""
    optional = (name for _, node in reward.walk() for name in getattr(node, "optional", ()))
    return reward.needs.union(optional)
