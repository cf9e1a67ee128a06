"""Episodes in Parquet: one row per episode, which we write and read, or one row per step.

One row per episode: columns of lists hold what episodes have per step (``obs`` and infos T + 1
entries, the others T), plain columns what is said of them once. Dicts are columns by path, such as
``obs/position`` and ``info/x``.

One row per step: a table with the columns ``episode`` and ``step``. An episode's rows lie together
and ``step`` counts them from 0. The state that was reached has columns of its own: ``next_obs``,
and ``info/x`` beside ``prev_info/x``.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...core.errors import SpecError
from ..episodes import Array, Episode

_ROWS_AT_ONCE = 4096
_EPISODES_AT_ONCE = 64


class ParquetEpisodes:
    """The episodes of a file, in its order.

    Raises:
        SpecError: the file cannot be read, holds no rows, or its steps are out of order; also while
            reading.
    """

    names: Mapping[str, str] = {}

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._readable():
            # Buffered ahead, all that is read would be held.
            self._file = pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True)
        self._schema = self._file.schema_arrow
        if self._file.metadata.num_rows == 0:
            raise SpecError("it holds no rows", file=str(path))
        self.by_step = {"episode", "step"} <= set(self._schema.names)
        self._starts, self._ids = self._index() if self.by_step else ([], [])

    def __len__(self) -> int:
        return len(self._ids) if self.by_step else int(self._file.metadata.num_rows)

    def episodes(self, paths: Collection[str] | None = None, start: int = 0) -> Iterator[Episode]:
        """The episodes from the ``start``-th on, with the columns at ``paths`` (default: all)."""
        return (self._of_steps if self.by_step else self._of_rows)(paths, start)

    # One row per episode

    def _of_rows(self, paths: Collection[str] | None, start: int) -> Iterator[Episode]:
        lists = [field.name for field in self._schema if _is_list(field.type)]
        plain = [field.name for field in self._schema if not _is_list(field.type)]
        wanted = [name for name in lists if paths is None or name in paths]
        for row, batch in self._batches([*wanted, *plain], start, _EPISODES_AT_ONCE):
            for i in range(batch.num_rows):
                rows = {name: batch[name][i].as_py() for name in plain}
                with self._blaming(f"row {row + i}"):
                    steps = {name: _array(batch[name][i].values, name) for name in wanted}
                yield Episode(f"row {row + i}", steps, {"episode": row + i} | rows)

    # One row per step

    def _of_steps(self, paths: Collection[str] | None, start: int) -> Iterator[Episode]:
        wanted = [
            name
            for name in self._schema.names
            if name not in ("episode", "step") and (paths is None or name in paths)
        ]
        ends = [*self._starts[1:], self._file.metadata.num_rows]
        # `episode` is read along, for a table of no columns has no rows.
        batches = self._batches(["episode", *wanted], self._starts[start], _ROWS_AT_ONCE)
        held, row = pa.table({}), self._starts[start]
        for episode, end in islice(zip(self._ids, ends, strict=True), start, None):
            while row + held.num_rows < end:
                table = pa.Table.from_batches([next(batches)[1]])
                held = pa.concat_tables([held, table]) if held.num_rows else table
            taken, held = held[: end - row], held[end - row :]
            name = f"episode {episode} (rows {row} to {end - 1})"
            with self._blaming(name):
                steps = {key: _array(_whole(taken[key]), key) for key in wanted}
            yield Episode(name, steps, {"episode": episode})
            row = end

    def _index(self) -> tuple[list[int], list[Any]]:
        """Where each episode begins, and its name."""
        starts: list[int] = []
        ids: list[Any] = []
        expected = 0
        seen: set[Any] = set()
        for row, batch in self._batches(["episode", "step"], 0, 65536):
            pairs = zip(batch["episode"].to_pylist(), batch["step"].to_pylist(), strict=True)
            for i, (episode, step) in enumerate(pairs, start=row):
                if not ids or episode != ids[-1]:
                    if episode in seen:
                        raise self._disorder(i, f"episode {episode} had ended before")
                    seen.add(episode)
                    starts.append(i)
                    ids.append(episode)
                    expected = 0
                if step != expected:
                    raise self._disorder(i, f"step {step} of episode {episode} is not {expected}")
                expected += 1
        return starts, ids

    def _disorder(self, row: int, what: str) -> SpecError:
        return SpecError(
            f"{what}; sort the table by episode and step, and count steps from 0",
            path=f"row {row}",
            file=str(self.path),
        )

    # Reading

    def _batches(
        self, columns: Sequence[str], start: int, size: int
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches from row ``start`` on, each with its first row's number."""
        row, groups = 0, self._file.metadata.num_row_groups
        first = 0
        while first < groups and row + self._file.metadata.row_group(first).num_rows <= start:
            row += self._file.metadata.row_group(first).num_rows
            first += 1
        with self._readable():
            batches = self._file.iter_batches(
                size, row_groups=range(first, groups), columns=list(columns)
            )
            for batch in batches:
                skipped = min(max(start - row, 0), batch.num_rows)
                if skipped < batch.num_rows:
                    yield row + skipped, batch[skipped:]
                row += batch.num_rows

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            what = getattr(error, "strerror", None) or error
            raise SpecError(f"cannot read it as Parquet: {what}", file=str(self.path)) from None

    @contextmanager
    def _blaming(self, name: str) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise SpecError(str(error), path=name, file=str(self.path)) from None


def write_parquet(path: Path, episodes: Iterable[Episode]) -> int:
    """Write episodes (see :mod:`rewardsmith.adapters.episodes`), a row each, and count them.

    Raises:
        ValueError: episodes whose columns differ.
    """
    written, left = 0, iter(episodes)
    writer: pq.ParquetWriter | None = None
    try:
        while some := list(islice(left, _EPISODES_AT_ONCE)):
            table = _table(some, written)
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, write_page_checksum=True)
            try:
                writer.write_table(table.select(writer.schema.names).cast(writer.schema))
            except (KeyError, pa.ArrowException) as error:
                raise ValueError(
                    f"episodes {written} to {written + len(some) - 1} have other columns than "
                    f"those before: {error}"
                ) from None
            written += len(some)
    finally:
        if writer is not None:
            writer.close()
    return written


def _table(episodes: Sequence[Episode], start: int) -> pa.Table:
    said = dict.fromkeys(name for episode in episodes for name in episode.rows)
    columns = {"episode": pa.array(range(start, start + len(episodes)))}
    for name in [*(n for n in said if n != "episode"), *episodes[0].steps]:
        try:
            if name in said:
                columns[name] = pa.array([episode.rows.get(name) for episode in episodes])
            else:
                columns[name] = _lists([episode.steps[name] for episode in episodes])
        except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
            told = f"not all have {error}" if isinstance(error, KeyError) else error
            raise ValueError(
                f"episodes {start} to {start + len(episodes) - 1}: column {name!r}: {told}"
            ) from None
    return pa.table(columns)


def _lists(arrays: Sequence[Array]) -> pa.Array:
    """Arrays [T_i, ...] as a column of lists whose entries have a fixed shape."""
    joined = np.concatenate(arrays)
    values = pa.array(joined.reshape(-1))
    for size in reversed(joined.shape[1:]):
        values = pa.FixedSizeListArray.from_arrays(values, size)
    offsets = np.cumsum([0, *map(len, arrays)])
    return pa.LargeListArray.from_arrays(pa.array(offsets), values)


def _array(values: pa.Array | None, name: str) -> Array:
    """A column's entries as an array [T, ...]."""
    if values is None or values.null_count:
        raise ValueError(f"column {name!r} has empty cells")
    if not _is_list(values.type):
        array: Array = values.to_numpy(zero_copy_only=False)
        return array
    lengths = set(values.value_lengths().to_pylist())
    if len(lengths) > 1:
        raise ValueError(f"column {name!r} has entries of different lengths: {sorted(lengths)}")
    inner = _array(values.flatten(), name)
    return inner.reshape(len(values), *lengths, *inner.shape[1:])


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks)


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
