"""Groups of rows, and sums over them: N numbers, on the host, in float64."""

from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

Ids: TypeAlias = Sequence[Hashable] | Tensor | np.ndarray
"""Who belongs together: any hashables, in any order, as many rows of each as there are."""


class Groups:
    """Rows that share an id, numbered in the order in which the ids appear.

    Sums take one pass whatever the ids are: strings, sparse numbers, groups of unequal size, rows
    of a group that lie apart. Nothing is allocated by the size of an id.

    Args:
        ids: one for each row.
    """

    def __init__(self, ids: Ids) -> None:
        plain = ids.tolist() if isinstance(ids, Tensor | np.ndarray) else ids
        self.ids: list[Any] = list(dict.fromkeys(plain))
        """The id of each group."""
        number = {i: k for k, i in enumerate(self.ids)}
        self.index: Int64[np.ndarray, " n"] = np.fromiter(
            map(number.__getitem__, plain), np.int64, len(plain)
        )
        """[N] the number of each row's group."""

    def __len__(self) -> int:
        return len(self.ids)

    def sum(self, values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " k"]:
        """Each group's sum."""
        # Of no rows, bincount gives integers.
        return np.bincount(self.index, values, len(self.ids)).astype(np.float64, copy=False)

    def count(self, keep: Bool[np.ndarray, " n"] | None = None) -> Float64[np.ndarray, " k"]:
        """How many rows each group has, or how many that are kept."""
        return np.bincount(self.index, keep, len(self.ids)).astype(np.float64)

    def ranked(self, values: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Rows sorted by group and, within it, from the largest value to the smallest.

        Rows that tie stay in their order.
        """
        return np.lexsort((-values, self.index))
