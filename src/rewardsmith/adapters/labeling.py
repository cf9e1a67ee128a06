"""Label a data set with a reward: a row of scores for each of its rollouts, chunk by chunk.

The reward only scores here; a reward that learns stays as it is.
"""

from collections.abc import Iterator
from pathlib import Path
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


class Source(Protocol):
    """A data set that comes in chunks, such as :class:`~.trajectories.Trajectories`."""

    path: Path
    columns: list[str]
    text: list[str]

    def __len__(self) -> int: ...

    def chunks(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[Rollouts]:
        """Rollouts of ``size`` rows each, in the data's order."""
        ...


def label(
    reward: Reward,
    source: Source,
    labels: Labels,
    *,
    chunk: int,
    missing: Missing = "missing",
    steps: bool = False,
) -> Iterator[int]:
    """Score what is not labeled yet, and finish the file; yields how many rows are done.

    Args:
        reward: it is only asked for scores.
        source: the data.
        labels: where the rows go.
        chunk: rows that are scored together.
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
    for rollouts in source.chunks(chunk, labels.done, labels.rows):
        scores = _scored(reward, rollouts, source, labels.done)
        if missing == "raise":
            _raise(scores, labels.done)
        labels.append(table(scores, rollouts, labels.done, missing=missing, steps=steps))
        yield labels.done
    labels.finish()


def tag(reward: Reward, data: Path, *options: Any) -> str:
    """What labels are of: they are the same as long as this is.

    A data file is known by its name, size and time of change.

    Raises:
        SpecError: the reward holds a callable without an importable name, or a class without one
            in the catalog.
    """
    stat = data.stat()
    return digest([fingerprint(reward), data.name, stat.st_size, stat.st_mtime_ns, *options])


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
        raise SpecError(problem, file=str(source.path))
    if reward.scope == "row":
        return
    if reward.scope == "group" and "group" not in source.columns:
        raise SpecError(
            "this reward compares the rollouts of a group, and the data has no column 'group'; "
            "name one under `columns:` as group: theirs",
            file=str(source.path),
        )
    if chunk < rows:
        raise SpecError(
            f"this reward compares rollouts (its scope is the {reward.scope}), and chunks of "
            f"{chunk} would part them: score all together with --chunk {rows}",
            file=str(source.path),
        )


def table(
    scores: Scores, rollouts: Rollouts, start: int, *, missing: Missing, steps: bool
) -> pa.Table:
    """One row per rollout: ``row``, ``reward``, ``status``, ``error``, and each part's by path.

    ``reward`` is the sum over steps (undiscounted) where the reward is dense. With ``steps``, the
    lists ``steps`` and ``steps/<path>`` hold a value per step, null where none was scored.
    """
    n = len(scores)
    reasons = [scores.errors.get(i) for i in range(n)]
    columns = {
        "row": pa.array(range(start, start + n), pa.int64()),
        "reward": _rewards(scores, missing),
        "status": _statuses(scores),
        "error": pa.array([_told(reason) for reason in reasons], pa.string()),
    }
    parts = sorted(scores.walk(), key=lambda part: part[0])
    for path, part in parts[1:]:
        columns[f"reward/{path}"] = _rewards(part, "missing")
        columns[f"status/{path}"] = _statuses(part)
    for path, part in parts:
        if steps and part.at is not None:
            columns[f"steps/{path}" if path else "steps"] = _steps(part, rollouts)
    return pa.table(columns)


def _scored(reward: Reward, rollouts: Rollouts, source: Source, start: int) -> Scores:
    where = f"rows {start} to {start + len(rollouts) - 1}"
    try:
        with torch.no_grad():
            return reward(rollouts)
    except MissingColumn as error:
        hint = ""
        if error.name in source.columns:
            hint = "; the data has it after steps only, without the reset's"
        raise SpecError(f"{error}{hint}", path=where, file=str(source.path)) from None
    except ScoreError:
        raise
    except ValueError as error:
        # What rewards raise where a column does not hold what they need.
        raise SpecError(str(error), path=where, file=str(source.path)) from error
    except Exception as error:
        error.add_note(f"while scoring {where} of {source.path}")
        raise


def _raise(scores: Scores, start: int) -> None:
    try:
        scores.resolve("raise")
    except ScoreError as error:
        row = None if error.row is None else start + error.row
        raise ScoreError(error.message, row=row, part=error.part) from None


def _rewards(scores: Scores, missing: Missing) -> pa.Array:
    scored = scores.scored.numpy()
    totals = scores.values.detach().double()
    values = (totals if scores.at is None else totals.sum(dim=1)).numpy()
    if isinstance(missing, str):
        return pa.array(values.astype(np.float32), mask=~scored)
    return pa.array(np.where(scored, values, missing).astype(np.float32))


def _statuses(scores: Scores) -> pa.Array:
    return pa.array([Status(int(s)).name.lower() for s in scores.status], pa.string())


def _steps(scores: Scores, rollouts: Rollouts) -> pa.Array:
    assert scores.at is not None
    real = rollouts.mask
    offsets = np.concatenate([[0], real.sum(dim=1).cumsum(dim=0).numpy()])
    values = pa.array(scores.values.detach()[real].numpy(), mask=~scores.at[real].numpy())
    return pa.LargeListArray.from_arrays(
        pa.array(offsets), values, mask=pa.array(~scores.scored.numpy())
    )


def _told(reason: tuple[str, str] | None) -> str | None:
    if reason is None:
        return None
    path, message = reason
    return f"{path}: {message}" if path else message


def _reader(reward: Reward, name: str) -> str:
    """A node that reads a column itself."""
    readers = [n for _, n in reward.walk() if isinstance(n, Reward) and name in n.needs]
    # Parents come before their children, and need what these need.
    return readers[-1].label() if readers else ""
