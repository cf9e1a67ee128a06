"""Two files of labels of the same rows: which rows changed."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...core.errors import SpecError

_AT_ONCE = 4096


class Change(NamedTuple):
    """A row whose verdict is not what it was. A verdict is a score, or else the status."""

    row: int
    part: str
    old: float | str
    new: float | str


def labels_of(path: Path) -> pq.ParquetFile:
    """A file of labels.

    Raises:
        SpecError: it is none.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        told = getattr(error, "strerror", None) or error
        raise SpecError(f"cannot read it: {told}", file=str(path)) from None
    if not {"row", "reward", "status"} <= set(file.schema_arrow.names):
        raise SpecError(
            "it holds no labels: they have the columns row, reward and status", file=str(path)
        )
    return file


def changes(old: Path, new: Path, tolerance: float = 1e-6) -> Iterator[Change]:
    """Rows of two files of labels, in order, that differ in the reward or in a part of both.

    Args:
        old: what it was.
        new: what it is.
        tolerance: scores that differ by no more are the same.

    Raises:
        SpecError: the files are not labels of as many rows.
    """
    files = labels_of(old), labels_of(new)
    rows = [file.metadata.num_rows for file in files]
    if rows[0] != rows[1]:
        raise SpecError(f"it has {rows[0]:,} rows, {new} has {rows[1]:,}", file=str(old))
    shared = [name for name in files[0].schema_arrow.names if name in files[1].schema_arrow.names]
    paths = [name.removeprefix("reward") for name in shared if _is_reward(name)]
    names = ["row", *(f"{kind}{path}" for path in paths for kind in ("reward", "status"))]
    batches = [file.iter_batches(_AT_ONCE, columns=names) for file in files]
    for before, after in zip_longest(*(_aligned(b) for b in batches)):
        yield from _differing(before, after, paths, tolerance)


def _aligned(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Tables of as many rows each, whatever the groups of rows in the file."""
    pending: pa.Table | None = None
    for batch in batches:
        table = pa.Table.from_batches([batch])
        pending = table if pending is None else pa.concat_tables([pending, table])
        while pending.num_rows >= _AT_ONCE:
            yield pending[:_AT_ONCE]
            pending = pending[_AT_ONCE:]
    if pending is not None and pending.num_rows:
        yield pending


def _differing(
    before: pa.Table, after: pa.Table, paths: list[str], tolerance: float
) -> Iterator[Change]:
    found: list[Change] = []
    for path in paths:
        old, new = _verdicts(before, path), _verdicts(after, path)
        # What a row without a score is worth is the caller's choice, and no verdict.
        scored = old[1] == "scored"
        moved = (old[1] != new[1]) | (scored & (np.abs(old[0] - new[0]) > tolerance))
        for i in np.flatnonzero(moved).tolist():
            row = before["row"][i].as_py()
            found.append(Change(row, path.lstrip("/"), _verdict(old, i), _verdict(new, i)))
    yield from sorted(found, key=lambda change: change.row)


def _verdicts(table: pa.Table, path: str) -> tuple[Any, Any]:
    values = np.nan_to_num(table[f"reward{path}"].to_numpy().astype(np.float64))
    return values, np.array(table[f"status{path}"].to_pylist())


def _verdict(verdicts: tuple[Any, Any], i: int) -> float | str:
    values, status = verdicts
    return float(values[i]) if status[i] == "scored" else str(status[i])


def _is_reward(name: str) -> bool:
    return name == "reward" or name.startswith("reward/")
