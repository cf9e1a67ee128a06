"""The labels of a data set on their way to a file: written in parts, resumed after a kill.

Beside ``OUT.parquet`` a folder ``OUT.parquet.parts`` holds what is done: a table per chunk, each
there as a whole or not at all. When every row is there, the parts become the file and the folder
goes. A tag says what the labels are of; parts and files with another tag are not taken over.
Columns of parts whose name begins with ``_`` are notes for the summary, and do not reach the file.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...core.errors import SpecError

_KEY = b"rewardsmith.labels"


class Labels:
    """Rows 0, 1, ... of labels, appended in order.

    Args:
        out: the file.
        rows: how many there will be; None if nobody knows.
        tag: what they are labels of: the reward, the data and the options; None if that cannot be
            told, and nothing is taken over.
        missing: what the file says of a row without a score: None leaves it empty.

    Raises:
        SpecError: ``out`` cannot be written, or is a file that is no labels.
    """

    def __init__(
        self, out: Path, rows: int | None, tag: str | None, missing: float | None = None
    ) -> None:
        if out.suffix != ".parquet":
            raise SpecError("labels are written to a .parquet file", file=str(out))
        if out.is_dir():
            raise SpecError("cannot write it: it is a folder", file=str(out))
        self.out, self.rows, self.tag, self.missing = out, rows, tag, missing
        self.folder = out.with_name(out.name + ".parts")
        there = self._facts()
        self.complete = there == self._about(rows) and tag is not None
        """The file is there already."""
        self.replaces = there is not None and not self.complete
        """There is a file, of other labels, until this one is finished."""
        self.stale = False
        """Parts of other labels were found, and thrown away."""
        self._parts: list[Path] = []
        self.done = rows or 0
        """How many rows are on disk."""
        with self._writable():
            if self.complete:
                shutil.rmtree(self.folder, ignore_errors=True)
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            # Before anything is looked at or thrown away: it may be somebody else's.
            self._lock = self._locked()
            note = self.folder / "tag"
            if not note.exists() or note.read_text() != (tag or ""):
                parts = sorted(self.folder.glob("*.parquet"))
                self.stale = bool(parts)
                for path in [note, *parts]:
                    path.unlink(missing_ok=True)
                # At once: a tag that was cut would disown all that is done.
                draft = note.with_name("tag.part")
                draft.write_text(tag or "")
                draft.replace(note)
            elif tag is None:
                for path in self.folder.glob("*.parquet"):
                    path.unlink()
        self._parts, self.done = self._found()

    def broken(self) -> tuple[int, str, str] | None:
        """The first row that broke, among those on disk: its number, status and error."""
        for path in [self.out] if self.complete else self._parts:
            for batch in pq.ParquetFile(path).iter_batches(columns=["row", "status", "error"]):
                for row, status, error in zip(*batch.to_pydict().values(), strict=True):
                    if status not in ("scored", "abstained"):
                        return row, status, error or ""
        return None

    def append(self, table: pa.Table) -> None:
        """Keep the next rows; they are on disk when this returns."""
        path = self.folder / f"{self.done:012d}.parquet"
        with self._writable("; what is done is kept, the same command goes on from there"):
            _write(path, [table], table.schema)
        self._parts.append(path)
        self.done += table.num_rows

    def finish(self, visit: Callable[[pa.Table], None] | None = None) -> None:
        """Put the parts together; afterwards the file is there and the folder is not.

        Args:
            visit: is shown every part, with its notes.
        """
        schemas = [pq.read_schema(path) for path in self._parts]
        rows = self.done if self.rows is None else self.rows
        facts = json.dumps(self._about(rows))
        fields = [field for field in _unified(schemas) if not field.name.startswith("_")]
        schema = pa.schema(fields, metadata={_KEY: facts.encode()})
        with self._writable("; what is done is kept, the same command goes on from there"):
            _write(self.out, self._tables(schema, rows, visit), schema)
        shutil.rmtree(self.folder)
        os.close(self._lock)
        self.complete = True

    def _tables(
        self, schema: pa.Schema, rows: int, visit: Callable[[pa.Table], None] | None
    ) -> Iterator[pa.Table]:
        left = rows
        for path in self._parts:
            table = pq.read_table(path)[:left]
            left -= table.num_rows
            if visit is not None:
                visit(table)
            # A column that a part does not have is empty there.
            missing = [field for field in schema if field.name not in table.column_names]
            for field in missing:
                table = table.append_column(field, pa.nulls(table.num_rows, field.type))
            # Integers among floats may be too large to be exact.
            table = table.select(schema.names).cast(schema, safe=False)
            yield self._filled(table)

    def _filled(self, table: pa.Table) -> pa.Table:
        """With the number that stands for no score, where there is one; statuses stay."""
        if self.missing is None or "reward" not in table.column_names:
            return table
        at = table.column_names.index("reward")
        return table.set_column(at, "reward", table["reward"].fill_null(self.missing))

    def _about(self, rows: int | None) -> dict[str, Any]:
        return {"tag": self.tag, "rows": rows, "missing": self.missing}

    def _locked(self) -> int:
        """Keep others from the parts, for as long as this process lives."""
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(handle)
            raise SpecError("another run is writing it", file=str(self.out)) from None
        return handle

    def _found(self) -> tuple[list[Path], int]:
        """The parts that follow each other from row 0 on, and how many rows they hold."""
        parts: list[Path] = []
        done = 0
        for path in sorted(self.folder.glob("*.parquet")):
            if int(path.stem) != done or (self.rows is not None and done >= self.rows):
                break
            try:
                rows = pq.read_metadata(path).num_rows
            except (OSError, pa.ArrowException):
                break  # a machine that went down may leave a file without what was written
            parts.append(path)
            done += rows
        return parts, done if self.rows is None else min(done, self.rows)

    def _facts(self) -> Any:
        """What the file that is there says of itself."""
        if not self.out.exists():
            return None
        try:
            metadata = pq.read_schema(self.out).metadata or {}
            return json.loads(metadata[_KEY])
        except (OSError, KeyError, ValueError, pa.ArrowException):
            raise SpecError(
                "it exists and holds no labels; remove it, or write to another file",
                file=str(self.out),
            ) from None

    @contextmanager
    def _writable(self, then: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SpecError(
                f"cannot write it: {error.strerror or error}{then}", file=str(self.out)
            ) from None


def _unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """One schema for all parts; a column that is now this and now that becomes text."""
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        types: dict[str, set[pa.DataType]] = {}
        for field in (field for schema in schemas for field in schema):
            types.setdefault(field.name, set()).add(field.type)
        return pa.schema(
            [
                (name, kinds.pop() if len(kinds) == 1 else pa.string())
                for name, kinds in types.items()
            ]
        )


def _write(path: Path, tables: Any, schema: pa.Schema) -> None:
    """Write a file at once or not at all."""
    temporary = path.with_name(path.name + ".part")
    with pq.ParquetWriter(temporary, schema) as writer:
        for table in tables:
            writer.write_table(table)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
