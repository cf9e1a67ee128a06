"""The formats of rows of text: JSON lines, Parquet, the hub's data sets."""

import gzip
import json
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from ...core.catalog import nearest
from ...core.columns import value_at
from ...core.errors import SpecError
from ...core.rowcall import MISSING

_PEEKED = 64
_AT_ONCE = 64
"""Rows of a table that become Python objects together."""
_FORMATS = ".jsonl, .jsonl.gz or .parquet"


class Record(NamedTuple):
    """A row, and where it stands."""

    values: Mapping[str, Any]
    place: str
    size: int
    """Bytes, about."""


class Reader(Protocol):
    """What reads one format."""

    @property
    def size(self) -> int | None:
        """How many rows; None if nobody knows, and they come once."""
        ...

    @property
    def keys(self) -> Collection[str]:
        """The columns that any row has, and those of the paths that lead somewhere in any."""
        ...

    @property
    def identity(self) -> list[Any]:
        """What changes when the data does."""
        ...

    def records(self, start: int) -> Iterator[Record]:
        """The rows from the ``start``-th on."""
        ...


def reader(data: str, paths: Collection[str] = ()) -> Reader:
    """The reader of a file, by its name; see :class:`~.rows.Rows`.

    Args:
        data: the file's name.
        paths: paths into columns, of which ``keys`` should tell.
    """
    if data == "-":
        return _Stream(paths)
    if data.startswith("hf:"):
        return _Hub(data, paths)
    path = Path(data)
    if not path.exists():
        near = nearest(path.name, [f.name for f in path.parent.glob("*.*")], or_all=False)
        raise SpecError(f"there is no such file{near}", file=data)
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return _Lines(path, paths)
    if path.suffix == ".parquet":
        return _Table(path)
    raise SpecError(f"rows of text are {_FORMATS} files, hf:NAME or -", file=data)


def _keys(rows: Iterable[Mapping[str, Any]], paths: Collection[str]) -> set[str]:
    found: set[str] = set()
    for row in rows:
        found |= row.keys() | {path for path in paths if value_at(row, path) is not MISSING}
    return found


def _paths(field: pa.Field, above: str = "") -> Iterator[str]:
    """A field's name, and the paths of those inside."""
    yield above + field.name
    if pa.types.is_struct(field.type):
        for inner in field.type:
            yield from _paths(inner, f"{above}{field.name}.")


def _parsed(lines: Iterable[bytes], file: str, skip: int = 0) -> Iterator[Record]:
    """JSON objects, one per line that is not empty."""
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        if skip:
            skip -= 1
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            told = error
            if isinstance(error, json.JSONDecodeError):
                told = f"{error.msg} (column {error.pos + 1})"  # type: ignore[assignment]
            raise SpecError(f"no JSON: {told}", file=file, line=number) from None
        if not isinstance(values, dict):
            raise SpecError(
                f"a row is a JSON object, this is {type(values).__name__}", file=file, line=number
            )
        yield Record(values, f"{file}:{number}", len(line))


class _Lines:
    """JSON lines, plain or gzipped."""

    def __init__(self, path: Path, paths: Collection[str]) -> None:
        self.path = path
        self.size: int | None = 0
        self.keys: set[str] = set()
        sought = set(paths)
        # All of it is read before any of it is scored: a broken line is told at once.
        for record in self.records(0):
            self.size += 1
            self.keys |= record.values.keys()
            if sought and (
                found := {p for p in sought if value_at(record.values, p) is not MISSING}
            ):
                self.keys |= found
                sought -= found
        if not self.size:
            raise SpecError("it holds no rows", file=str(path))
        stat = path.stat()
        self.identity = [path.name, stat.st_size, stat.st_mtime_ns]

    def records(self, start: int) -> Iterator[Record]:
        with self._opened() as file:
            yield from _parsed(file, str(self.path), start)

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        packed = self.path.suffix == ".gz"
        try:
            with gzip.open(self.path) if packed else self.path.open("rb") as file:
                yield file  # type: ignore[misc]
        except (OSError, EOFError, zlib.error) as error:
            told = getattr(error, "strerror", None) or error
            raise SpecError(f"cannot read it: {told}", file=str(self.path)) from None


class _Stream:
    """JSON lines on standard input, which come once; the first rows are looked at for columns."""

    size = None
    identity: list[Any] = []  # noqa: RUF012 - never changed

    def __init__(self, paths: Collection[str]) -> None:
        self._rest = _parsed(sys.stdin.buffer, "standard input")
        self._ahead = list(islice(self._rest, _PEEKED))
        if not self._ahead:
            raise SpecError("it holds no rows", file="standard input")
        self.keys = _keys((record.values for record in self._ahead), paths)

    def records(self, start: int) -> Iterator[Record]:
        ahead, self._ahead = self._ahead, []
        yield from ahead
        # Not `yield from`: a reader that is dropped would close what another goes on reading.
        for record in self._rest:  # noqa: UP028
            yield record


class _Table:
    """Parquet, one row per row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._readable():
            self._file = pq.ParquetFile(path, pre_buffer=False)
        self.size = int(self._file.metadata.num_rows)
        self.keys = {path for field in self._file.schema_arrow for path in _paths(field)}
        if not self.size:
            raise SpecError("it holds no rows", file=str(path))
        stat = path.stat()
        self.identity = [path.name, stat.st_size, stat.st_mtime_ns]

    def records(self, start: int) -> Iterator[Record]:
        row = 0
        with self._readable():
            for batch in self._file.iter_batches(_AT_ONCE):
                if row + batch.num_rows > start:
                    for i, values in enumerate(batch.to_pylist()):
                        if row + i >= start:
                            size = batch.nbytes // batch.num_rows
                            yield Record(values, f"{self.path}: row {row + i}", size)
                row += batch.num_rows

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise SpecError(f"cannot read it: {error}", file=str(self.path)) from None


class _Hub:
    """A data set of the Hugging Face hub, or a folder of one: ``hf:NAME[:SPLIT]``."""

    def __init__(self, data: str, paths: Collection[str]) -> None:
        try:
            import datasets
        except ImportError:
            raise SpecError(
                "data sets of the hub need the package datasets: pip install datasets", file=data
            ) from None
        self.name = data
        name, _, split = data.removeprefix("hf:").partition(":")
        try:
            self._data = datasets.load_dataset(name, split=split or "train")
        except Exception as error:  # noqa: BLE001 - the hub's errors have no common base
            raise SpecError(f"cannot load it: {error}", file=data) from None
        self.size = len(self._data)
        if not self.size:
            raise SpecError("it holds no rows", file=data)
        some = (self._data[i] for i in range(min(_PEEKED, self.size)))
        self.keys = {*self._data.column_names, *_keys(some, paths)}
        self.identity = [data, str(self._data._fingerprint)]

    def records(self, start: int) -> Iterator[Record]:
        for row in range(start, len(self._data)):
            values = self._data[row]
            size = sum(len(v) for v in values.values() if isinstance(v, str))
            yield Record(values, f"{self.name}: row {row}", size)
