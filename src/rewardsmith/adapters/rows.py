"""Rows of text as rollouts, a chunk at a time: JSON lines, Parquet, the hub's data sets.

A row is a mapping; its keys are columns. What a row does not have is None there. A path such as
``reward_model.ground_truth`` names what is inside a column.
"""

import hashlib
import json
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ..core.catalog import nearest
from ..core.errors import SpecError
from ..core.rollouts import Rollouts
from .labeling import Piece
from .records import Record, reader

_PEEKED = 64
"""Rows that are looked at to know the columns."""
_BYTES = 32 << 20
"""A chunk holds no more text than this, if it holds several rows."""


class Rows:
    """The rows of a file, which is never held whole.

    Args:
        data: a ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file, ``hf:NAME[:SPLIT]`` for a data set
            of the Hugging Face hub (or a folder of one), ``-`` for JSON lines on standard input.
        names: our names: theirs, where they differ.
        columns: the columns to read, by our names.
        group: the column that says who is compared with whom, by their name; default ``names``'s.
        copied: columns to hand through, by their names.

    Raises:
        SpecError: with file and line: it cannot be read, holds no rows or none of a column's; also
            while reading.
    """

    text: Sequence[str] = ()

    def __init__(
        self,
        data: str,
        names: Mapping[str, str] | None = None,
        columns: Collection[str] = (),
        group: str | None = None,
        copied: Sequence[str] = (),
    ) -> None:
        self.name, self._reader = data, reader(data)
        self._names = {name: (names or {}).get(name, name) for name in columns}
        self._group = group or (names or {}).get("group")
        self._copied = list(copied)
        peeked = list(islice(self._reader.records(0), _PEEKED))
        if not peeked:
            raise SpecError("it holds no rows", file=data)
        self._reader.unread(peeked)
        theirs = sorted({key for record in peeked for key in record.values})
        for column in [*self._copied, *filter(None, [self._group])]:
            if not _held(peeked, column):
                raise SpecError(
                    f"there is no column {column!r}{nearest(column, theirs)}", file=data
                )
        given = {ours for ours, path in (names or {}).items() if _held(peeked, path)}
        self.columns = sorted({*theirs, *given, *(n for n in self._names if _held(peeked, n))})
        """Every name that rollouts of this file could have."""
        if self._group:
            self.columns = sorted({*self.columns, "group"})

    @property
    def resumable(self) -> bool:
        """Whether the rows come again when asked again."""
        return self._reader.size is not None

    @property
    def identity(self) -> list[Any]:
        """What changes when the data does."""
        return self._reader.identity

    def __len__(self) -> int:
        """How many rows; 0 if nobody knows before the end."""
        return self._reader.size or 0

    def pieces(
        self, size: int, start: int = 0, stop: int | None = None, *, whole_groups: bool = False
    ) -> Iterator[Piece]:
        """Chunks of ``size`` rows in the data's order, from the ``start``-th to before ``stop``.

        Where one begins depends only on where the one before it began. With ``whole_groups`` a
        chunk goes on to the end of its last group.

        Raises:
            SpecError: a group whose rows do not lie together, with ``whole_groups``.
        """
        records = islice(self._reader.records(start), None if stop is None else stop - start)
        seen: set[int] = set()
        pending: list[Record] = []
        text = 0
        for record in records:
            joins = bool(pending) and self._same_group(pending[-1], record)
            if whole_groups and not joins:
                if len(pending) >= size or text >= _BYTES:
                    yield self._piece(pending, start)
                    start, pending, text = start + len(pending), [], 0
                self._new_group(record, seen)
            pending.append(record)
            text += record.size
            # At once, so that what comes next and cannot be read takes none of it along.
            if not whole_groups and (len(pending) == size or text >= _BYTES):
                yield self._piece(pending, start)
                start, pending, text = start + len(pending), [], 0
        if pending:
            yield self._piece(pending, start)

    def _piece(self, records: Sequence[Record], start: int) -> Piece:
        values = [record.values for record in records]
        rows = {
            ours: [_value(row, path) for row in values]
            for ours, path in self._names.items()
            if ours != "group"
        }
        group = None if self._group is None else [_key(_value(r, self._group)) for r in values]
        return Piece(
            Rollouts(rows or {"row": [*range(start, start + len(records))]}, group=group),
            start,
            [record.place for record in records],
            {name: [_value(row, name) for row in values] for name in self._copied},
            None if group is None else array("Q", map(_number, group)),
        )

    def _same_group(self, one: Record, other: Record) -> bool:
        if self._group is None:
            return False
        return bool(_value(one.values, self._group) == _value(other.values, self._group))

    def _new_group(self, record: Record, seen: set[int]) -> None:
        if self._group is None:
            return
        number = _number(_key(_value(record.values, self._group)))
        if number in seen:
            value = _value(record.values, self._group)
            raise SpecError(
                f"{record.place}: group {value!r} began earlier in the file; this reward compares "
                "the rows of a group, and they have to lie together: sort the file by "
                f"{self._group!r}"
            )
        seen.add(number)


def _value(row: Mapping[str, Any], path: str) -> Any:
    if path in row or "." not in path:
        return row.get(path)
    value: Any = row
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _held(records: Sequence[Record], path: str) -> bool:
    """Whether there is such a column; it may be empty in the rows that are looked at."""
    return any(path in r.values or _value(r.values, path) is not None for r in records)


def _key(value: Any) -> Any:
    """A group's id, which has to be hashable."""
    return value if isinstance(value, str | int) else json.dumps(value, sort_keys=True, default=str)


def _number(key: Any) -> int:
    digest = hashlib.blake2b(repr(key).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
