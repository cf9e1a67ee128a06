"""Columns of rollouts: tensors, sequences of Python objects, and nested mappings of tensors."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from .rowcall import MISSING

Column: TypeAlias = Any
"""A tensor, a sequence of Python objects (per rollout), or a dict of such (per step)."""


def factorize(ids: Sequence[Hashable] | Tensor) -> Int64[Tensor, " n"]:
    """Number ids in order of appearance."""
    plain = ids.tolist() if isinstance(ids, Tensor | np.ndarray) else ids
    seen: dict[Hashable, int] = {}
    return torch.tensor([seen.setdefault(i, len(seen)) for i in plain], dtype=torch.int64)


def below(rows: Mapping[str, Column], name: str) -> list[Any] | None:
    """What the mappings of a column hold below it; None where it has no mappings."""
    head, _, path = name.partition(".")
    if not path or head not in rows or not any(isinstance(v, Mapping) for v in rows[head]):
        return None
    found = list(rows[head])
    for key in path.split("."):
        found = [v.get(key, MISSING) if isinstance(v, Mapping) else MISSING for v in found]
    return found


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """A row's column, or what is inside of one; MISSING if it does not have it."""
    if path in row:
        return row[path]
    value: Any = row
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return MISSING
        value = value[key]
    return value


def leaves(column: Column) -> Iterator[Any]:
    """What a column of nested mappings holds."""
    if isinstance(column, Mapping):
        for value in column.values():
            yield from leaves(value)
    else:
        yield column


def mapped(function: Callable[[Any], Any], column: Column) -> Column:
    """The same mappings, with a function of what they hold."""
    if isinstance(column, Mapping):
        return {name: mapped(function, value) for name, value in column.items()}
    return function(column)


def taken(column: Column, index: Tensor) -> Column:
    """The rows at an index."""
    if isinstance(column, Tensor):
        return column[index]
    if isinstance(column, np.ndarray):
        # numpy takes a tensor of one element for a number, and drops the axis.
        return column[index.numpy()]
    return [column[i] for i in index.tolist()]


def pad(columns: Sequence[Column], lengths: Sequence[int], name: str) -> Column:
    """Columns of episodes [T_i, ...], with zeros behind them, as one [N, T, ...]."""
    if isinstance(columns[0], Mapping):
        return {
            key: pad([column[key] for column in columns], lengths, f"{name}.{key}")
            for key in columns[0]
        }
    arrays = [np.asarray(column) for column in columns]
    for i, (array, length) in enumerate(zip(arrays, lengths, strict=True)):
        if len(array) != length:
            raise ValueError(
                f"episode {i}: column {name!r} has {len(array)} steps, the episode has {length}; "
                "of observations give `obs` and `next_obs`, one of each per step"
            )
        # Assigning below would broadcast, and give every entry the same value.
        if array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"episode {i}: column {name!r} has steps of shape {list(array.shape[1:])}, "
                f"episode 0 of {list(arrays[0].shape[1:])}"
            )
    dtype = np.result_type(*arrays)
    padded = np.zeros((len(arrays), max(lengths), *arrays[0].shape[1:]), dtype=dtype)
    for i, array in enumerate(arrays):
        padded[i, : lengths[i]] = array
    return torch.from_numpy(padded)
