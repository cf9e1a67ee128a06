"""Scores as the columns of labels: one row per rollout."""

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ...core.outcome import Status
from ...core.rollouts import Rollouts
from ...core.scores import Scores

RESERVED = ("row", "reward", "status", "error")
"""Names that columns of the data cannot have in the labels."""
NOTES = ("seconds", "origin")
"""What scores may say of each row, and the summary reads; see :class:`~...core.rows.RowReward`."""
_NAMES = np.array([status.name.lower() for status in Status], dtype=object)


@dataclass
class Piece:
    """Some rows on their way to be scored."""

    rollouts: Rollouts
    start: int
    """The number of its first row."""
    places: Sequence[str] | None = None
    """Where each row stands, as an error would say it."""
    copied: Mapping[str, list[Any]] = field(default_factory=dict)
    """Columns that go to the labels as they are."""
    groups: "array[int] | None" = None
    """A number for each row's group, the same in every run."""


def table(scores: Scores, piece: Piece, *, steps: bool = False, why: bool = False) -> pa.Table:
    """One row per rollout: ``row``, ``reward``, ``status``, ``error``, and each part's by path.

    ``reward`` is the sum over steps (undiscounted) where the reward is dense. With ``steps``, the
    lists ``steps`` and ``steps/<path>`` hold a value per step, null where none was scored. With
    ``why``, ``why/<path>`` holds the reasons that rules gave. Notes for the summary: ``_error``,
    ``_group``, and ``_seconds/<path>`` and ``_origin/<path>`` of parts that say.
    """
    n = len(scores)
    columns = {
        "row": pa.array(np.arange(piece.start, piece.start + n)),
        **{name: _copied(name, values, piece) for name, values in piece.copied.items()},
        "reward": _rewards(scores),
        "status": _statuses(scores),
        "error": pa.array(_errors(scores, piece), pa.string()),
        "_error": pa.array(_errors(scores, None), pa.string()),
    }
    parts = sorted(scores.walk(), key=lambda part: part[0])
    for path, part in parts[1:]:
        columns[f"reward/{path}"] = _rewards(part)
        columns[f"status/{path}"] = _statuses(part)
    for path, part in parts:
        if steps and part.at is not None:
            columns[f"steps/{path}" if path else "steps"] = _steps(part, piece.rollouts)
        if why and "why" in part.info:
            reasons = [_writable(text) or None for text in part.info["why"]]
            columns[f"why/{path}" if path else "why"] = pa.array(reasons, pa.string())
        for note in NOTES:
            if note in part.info:
                columns[f"_{note}/{path}"] = pa.array(part.info[note])
    if piece.groups is not None:
        columns["_group"] = pa.array(np.array(piece.groups, dtype=np.uint64))
    return pa.table(columns)


def _rewards(scores: Scores) -> pa.Array:
    scored = scores.scored.numpy()
    totals = scores.values.detach().double()
    values = (totals if scores.at is None else totals.sum(dim=1)).numpy()
    return pa.array(values.astype(np.float32), mask=~scored)


def _statuses(scores: Scores) -> pa.Array:
    return pa.array(_NAMES[scores.status.numpy()], pa.string())


def _errors(scores: Scores, piece: Piece | None) -> list[str | None]:
    """What went wrong, with its place if the piece says it."""
    found: list[str | None] = [None] * len(scores)
    for i, (path, message) in scores.errors.items():
        place = f"{piece.places[i]}: " if piece is not None and piece.places else ""
        found[i] = _writable(f"{place}{path}: {message}" if path else place + message)
    return found


def _copied(name: str, values: list[Any], piece: Piece) -> pa.Array:
    """A column of the data: text as it is, what is no plain value as JSON."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {str}:
        return pa.array([None if v is None else _writable(v) for v in values], pa.string())
    if kinds <= {bool} or kinds <= {int, float}:
        try:
            return pa.array(values)
        except (OverflowError, pa.ArrowInvalid):
            pass
    # Parquet may hold dates and bytes as well.
    return pa.array([_writable(json.dumps(value, default=str)) for value in values], pa.string())


def _writable(text: str) -> str:
    """Text that UTF-8 can hold: a lone half of a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _steps(scores: Scores, rollouts: Rollouts) -> pa.Array:
    assert scores.at is not None
    real = rollouts.mask
    offsets = np.concatenate([[0], real.sum(dim=1).cumsum(dim=0).numpy()])
    values = pa.array(scores.values.detach()[real].numpy(), mask=~scores.at[real].numpy())
    return pa.LargeListArray.from_arrays(
        pa.array(offsets), values, mask=pa.array(~scores.scored.numpy())
    )
