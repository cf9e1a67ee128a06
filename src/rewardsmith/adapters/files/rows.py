"""Rows of text as rollouts, a chunk at a time: JSON lines, Parquet, the hub's data sets.

A row is a mapping; its keys are columns. What a row does not have is MISSING there. A path such as
``reward_model.ground_truth`` names what is inside a column.
"""

import hashlib
import json
import sys
from array import array
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ...core.catalog import nearest
from ...core.columns import value_at
from ...core.errors import SpecError
from ...core.reward import Scope
from ...core.rollouts import Rollouts
from ...core.rowcall import MISSING
from .label_table import RESERVED, Piece
from .records import Record, reader

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
        required: those of ``columns`` that are MISSING in every row if the file does not have them,
            instead of being left out.

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
        required: Collection[str] = (),
    ) -> None:
        self.name = "standard input" if data == "-" else data
        places = {ours: (names or {}).get(ours, ours) for ours in (*columns, *(names or {}))}
        self._group = group or (names or {}).get("group")
        paths = {*places.values(), *copied, *filter(None, [self._group])}
        self._reader = reader(data, {path for path in paths if "." in path})
        theirs = sorted(self._reader.keys)
        for column in [*copied, *filter(None, [self._group])]:
            if column not in theirs:
                raise SpecError(
                    f"there is no column {column!r}{nearest(column, theirs)}", file=data
                )
        for ours, path in (names or {}).items():
            if path not in theirs and ours != "group":
                hint = nearest(path, theirs)
                raise SpecError(f"there is no column {path!r} to be {ours!r}{hint}", file=data)
        for column in copied:
            if column in RESERVED or column.startswith("_"):
                raise SpecError(f"the labels have a column {column!r} of their own", file=data)
        self._copied = list(copied)
        found = {ours: path for ours, path in places.items() if path in theirs}
        read = found | {name: name for name in required if name not in found}
        self._names = {o: path for o, path in read.items() if o in columns and o != "group"}
        self.columns = sorted({*theirs, *found, *(["group"] if self._group else [])})
        """Every name that rollouts of this file could have."""

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
        self, size: int, start: int = 0, stop: int | None = None, *, scope: Scope = "row"
    ) -> Iterator[Piece]:
        """Chunks of ``size`` rows in the data's order, from the ``start``-th to before ``stop``.

        Where one begins depends only on where the one before it began. It ends early if it holds
        much text, and goes on to the end of its last group where ``scope`` is the group.

        Raises:
            SpecError: a group whose rows do not lie together, where ``scope`` is the group.
        """
        by_group = scope == "group"
        seen: set[Hashable] = set()
        if by_group:
            seen |= {self._id(record) for record in islice(self._reader.records(0), start)}
        limit = _BYTES if scope != "batch" else sys.maxsize
        pending: list[Record] = []
        last: Hashable = None
        text = 0
        for record in islice(self._reader.records(start), None if stop is None else stop - start):
            if by_group and (group := self._id(record)) != last:
                if len(pending) >= size or text >= limit:
                    yield self._piece(pending, start)
                    start, pending, text = start + len(pending), [], 0
                self._begin(record, group, seen)
                last = group
            pending.append(record)
            text += record.size
            # At once, so that what comes next and cannot be read takes none of it along.
            if not by_group and (len(pending) == size or text >= limit):
                yield self._piece(pending, start)
                start, pending, text = start + len(pending), [], 0
        if pending:
            yield self._piece(pending, start)

    def _piece(self, records: Sequence[Record], start: int) -> Piece:
        values = [record.values for record in records]
        rows = {ours: [value_at(row, path) for row in values] for ours, path in self._names.items()}
        group = None if self._group is None else [self._id(record) for record in records]
        return Piece(
            Rollouts(rows or {"row": [*range(start, start + len(records))]}, group=group),
            start,
            [record.place for record in records],
            {name: [_or_none(value_at(row, name)) for row in values] for name in self._copied},
            None if group is None else array("Q", map(_number, group)),
        )

    def _id(self, record: Record) -> Hashable:
        """A row's group; a row that has none is a group of its own."""
        value = _or_none(value_at(record.values, self._group or ""))
        if value is None:
            return ("alone", record.place)
        if isinstance(value, str | int):
            return value
        return ("json", json.dumps(value, sort_keys=True, default=str))

    def _begin(self, record: Record, group: Hashable, seen: set[Hashable]) -> None:
        if group in seen:
            raise SpecError(
                f"{record.place}: group {group!r} began earlier in the file; this reward compares "
                "the rows of a group, and they have to lie together: sort the file by "
                f"{self._group!r}"
            )
        seen.add(group)


def _or_none(value: Any) -> Any:
    return None if value is MISSING else value


def _number(key: Any) -> int:
    digest = hashlib.blake2b(repr(key).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
