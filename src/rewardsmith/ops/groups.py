"""Groups of rows, and sums over them: N numbers, on the host, in float64."""

import reprlib
from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

Ids: TypeAlias = Sequence[Hashable] | Tensor | np.ndarray
"""Who belongs together: any hashables, in any order, as many rows of each as there are."""


_PLAIN = frozenset({str, int, bytes})
"""Types of ids that are equal to themselves and hash by what they say."""


class Groups:
    """Rows that share an id.

    Sums take one pass whatever the ids are: strings, sparse numbers, groups of unequal size, rows
    of a group that lie apart. Nothing is allocated by the size of an id.

    Args:
        ids: one for each row.
        method: who asks; errors begin with it.

    Raises:
        ValueError: not one hashable id for each row, or an id that no other row can have: NaN, or a
            tensor in a list, which is hashed by its place in memory.
    """

    def __init__(self, ids: Ids, method: str = "Groups") -> None:
        if isinstance(ids, Tensor):
            ids = ids.numpy(force=True)
        if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and ids.ndim == 1:
            # Sorted, numbers take as long whether they are near to each other or far apart.
            found, index = np.unique(ids, return_inverse=True)
            self.ids: list[Any] = found.tolist()
            """The id of each group."""
            self.index: Int64[np.ndarray, " n"] = index.astype(np.int64, copy=False)
            """[N] the number of each row's group."""
            return
        plain = listed(ids, method)
        try:
            self.ids = list(dict.fromkeys(plain))
        except TypeError as error:
            raise _odd(method, str(error)) from None
        if not _PLAIN.issuperset(map(type, self.ids)):
            for i in self.ids:
                if isinstance(i, Tensor) or i != i:
                    raise _odd(method, f"one is {reprlib.repr(i)}")
        number = {i: k for k, i in enumerate(self.ids)}
        self.index = np.fromiter(map(number.__getitem__, plain), np.int64, len(plain))

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


def listed(ids: Ids, method: str) -> Sequence[Hashable]:
    """Ids as Python has them: one for each row."""
    if type(ids) is list:
        return ids
    if isinstance(ids, Tensor | np.ndarray):
        if ids.ndim != 1:
            raise _odd(method, f"the shape is {[*ids.shape]}")
        plain: list[Hashable] = ids.tolist()
        return plain
    if not hasattr(ids, "__len__"):
        raise _odd(method, f"this is {reprlib.repr(ids)}")
    return ids


def _odd(method: str, found: str) -> ValueError:
    return ValueError(
        f"{method}: group needs one hashable id per row, such as a text or a number, as a list or "
        f"a tensor [N]; {found}"
    )
