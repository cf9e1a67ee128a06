"""Label a data set with a reward: a row of scores for each of its rollouts, chunk by chunk.

The reward only scores here; a reward that learns stays as it is.
"""

import json
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import torch

from ..core.errors import MissingColumn, ScoreError, SpecError
from ..core.fingerprint import digest, fingerprint
from ..core.outcome import Status
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from .labels import Labels

Missing: TypeAlias = Literal["missing", "raise"] | float
NOTES = ("seconds", "origin")
"""What scores may say of each row, and the summary reads; see :class:`~..core.rows.RowReward`."""
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


class Source(Protocol):
    """A data set in chunks: :class:`~.trajectories.Trajectories` or :class:`~.rows.Rows`."""

    columns: list[str]
    """Every name that its rollouts could have."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    @property
    def text(self) -> Sequence[str]:
        """Columns of steps that hold no numbers, by path."""
        ...

    @property
    def resumable(self) -> bool:
        """Whether the rows come again when asked again."""
        ...

    @property
    def identity(self) -> list[Any]:
        """What changes when the data does."""
        ...

    def __len__(self) -> int: ...

    def pieces(
        self, size: int, start: int = 0, stop: int | None = None, *, whole_groups: bool = False
    ) -> Iterator[Piece]:
        """Chunks of ``size`` rows each, in the data's order."""
        ...


def label(
    reward: Reward,
    source: Source,
    labels: Labels,
    *,
    chunk: int,
    at_once: int = 1,
    missing: Missing = "missing",
    steps: bool = False,
) -> Iterator[int]:
    """Score what is not labeled yet; yields how many rows are done. :meth:`Labels.finish` is left.

    Args:
        reward: it is only asked for scores.
        source: the data.
        labels: where the rows go.
        chunk: rows that are scored together.
        at_once: chunks that are under way together, each in a thread of its own.
        missing: what a row without a score is worth: nothing, an error, or this number. Its status
            stays what it is.
        steps: whether to write what dense rewards say of each step.

    Raises:
        SpecError: the data does not have what the reward needs.
        ScoreError: with the row, where ``missing`` is ``"raise"``.
    """
    yield labels.done
    if labels.complete:
        return
    whole_groups = reward.scope == "group"
    if reward.scope == "dataset":
        for piece in source.pieces(chunk, 0, labels.rows):
            reward.survey(piece.rollouts)
    pieces = source.pieces(chunk, labels.done, labels.rows, whole_groups=whole_groups)

    def scored(piece: Piece) -> pa.Table:
        scores = _scored(reward, piece, source)
        if missing == "raise":
            _raise(scores, piece)
        return table(scores, piece, missing=missing, steps=steps)

    for result in _in_order(scored, pieces, at_once):
        labels.append(result)
        yield labels.done


def _in_order(
    work: Callable[[Piece], pa.Table], pieces: Iterator[Piece], at_once: int
) -> Iterator[pa.Table]:
    """The work on each piece, in their order, on a few at once."""
    if at_once == 1:
        yield from map(work, pieces)
        return
    with ThreadPoolExecutor(at_once) as threads:
        under_way: deque[Future[pa.Table]] = deque()
        try:
            for piece in pieces:
                under_way.append(threads.submit(copy_context().run, work, piece))
                if len(under_way) == at_once:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def tag(reward: Reward, source: Source, *options: Any) -> str | None:
    """What labels are of: they are the same as long as this is. None if the data comes only once.

    Raises:
        SpecError: the reward holds a callable without an importable name, or a class without one
            in the catalog.
    """
    if not source.resumable:
        return None
    return digest([fingerprint(reward), source.identity, *options])


def check(reward: Reward, source: Source, *, chunk: int, rows: int) -> None:
    """See that the data has what the reward needs.

    Raises:
        SpecError: a column is missing, or the reward compares rollouts that chunks would part.
    """
    for name in sorted(reward.needs - set(source.columns)):
        if any(path.rpartition("/")[2] == name for path in source.text):
            problem = (
                f"column {name!r} holds text; per step, rewards of whole rollouts read numbers"
            )
        else:
            missing = MissingColumn(name, needed_by=_reader(reward, name), present=source.columns)
            problem = (
                f"{missing}; if it has another name there, say so under `columns:` as ours: theirs"
            )
        raise SpecError(problem, file=source.name)
    if reward.scope == "row":
        return
    if reward.scope == "group" and "group" not in source.columns:
        raise SpecError(
            "this reward compares the rollouts of a group, and the data has no column 'group'; "
            "name one with --group, or under `columns:` as group: theirs",
            file=source.name,
        )
    if reward.scope == "batch" and (chunk < rows or not rows):
        raise SpecError(
            "this reward compares all rollouts that it is given (its scope is the batch), and "
            f"chunks of {chunk} would part them: score all together with --chunk {rows or 'N'}",
            file=source.name,
        )


def table(scores: Scores, piece: Piece, *, missing: Missing, steps: bool) -> pa.Table:
    """One row per rollout: ``row``, ``reward``, ``status``, ``error``, and each part's by path.

    ``reward`` is the sum over steps (undiscounted) where the reward is dense. With ``steps``, the
    lists ``steps`` and ``steps/<path>`` hold a value per step, null where none was scored. Notes
    for the summary: ``_group``, and ``_seconds/<path>`` and ``_origin/<path>`` of parts that say.
    """
    n = len(scores)
    columns = {
        "row": pa.array(np.arange(piece.start, piece.start + n)),
        **{name: _copied(name, values, piece) for name, values in piece.copied.items()},
        "reward": _rewards(scores, missing),
        "status": _statuses(scores),
        "error": pa.array(_errors(scores, piece), pa.string()),
    }
    parts = sorted(scores.walk(), key=lambda part: part[0])
    for path, part in parts[1:]:
        columns[f"reward/{path}"] = _rewards(part, "missing")
        columns[f"status/{path}"] = _statuses(part)
    for path, part in parts:
        if steps and part.at is not None:
            columns[f"steps/{path}" if path else "steps"] = _steps(part, piece.rollouts)
        for note in NOTES:
            if note in part.info:
                columns[f"_{note}/{path}"] = pa.array(part.info[note])
    if piece.groups is not None:
        columns["_group"] = pa.array(np.array(piece.groups, dtype=np.uint64))
    return pa.table(columns)


def _scored(reward: Reward, piece: Piece, source: Source) -> Scores:
    where = f"rows {piece.start} to {piece.start + len(piece.rollouts) - 1}"
    try:
        with torch.no_grad():
            return reward(piece.rollouts)
    except MissingColumn as error:
        hint = ""
        if error.name in source.columns:
            hint = "; the data has it after steps only, without the reset's"
        raise SpecError(f"{error}{hint}", path=where, file=source.name) from None
    except ScoreError:
        raise
    except ValueError as error:
        # What rewards raise where a column does not hold what they need.
        raise SpecError(str(error), path=where, file=source.name) from error
    except Exception as error:
        error.add_note(f"while scoring {where} of {source.name}")
        raise


def _raise(scores: Scores, piece: Piece) -> None:
    try:
        scores.resolve("raise")
    except ScoreError as error:
        if error.row is None:
            raise
        place = f"{piece.places[error.row]}: " if piece.places else ""
        row = piece.start + error.row
        raise ScoreError(place + error.message, row=row, part=error.part) from None


def _rewards(scores: Scores, missing: Missing) -> pa.Array:
    scored = scores.scored.numpy()
    totals = scores.values.detach().double()
    values = (totals if scores.at is None else totals.sum(dim=1)).numpy()
    if isinstance(missing, str):
        return pa.array(values.astype(np.float32), mask=~scored)
    return pa.array(np.where(scored, values, missing).astype(np.float32))


def _statuses(scores: Scores) -> pa.Array:
    return pa.array(_NAMES[scores.status.numpy()], pa.string())


def _errors(scores: Scores, piece: Piece) -> list[str | None]:
    found: list[str | None] = [None] * len(scores)
    for i, (path, message) in scores.errors.items():
        place = f"{piece.places[i]}: " if piece.places else ""
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


def _reader(reward: Reward, name: str) -> str:
    """A node that reads a column itself."""
    readers = [n for _, n in reward.walk() if isinstance(n, Reward) and name in n.needs]
    # Parents come before their children, and need what these need.
    return readers[-1].label() if readers else ""
