"""Label a data set with a reward: a row of scores for each of its rollouts, chunk by chunk.

The reward only scores here; a reward that learns stays as it is.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from importlib.metadata import version
from typing import Any, Protocol

import pyarrow as pa
import torch

from ...core.errors import MissingColumn, ScoreError, SpecError
from ...core.fingerprint import digest, fingerprint
from ...core.reward import Reward, Scope
from ...core.scores import Scores
from .label_table import Piece, table
from .labels import Labels


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
        self, size: int, start: int = 0, stop: int | None = None, *, scope: Scope = "row"
    ) -> Iterator[Piece]:
        """Chunks of ``size`` rows each, in the data's order; they part nothing of that scope."""
        ...


def label(
    reward: Reward,
    source: Source,
    labels: Labels,
    *,
    chunk: int,
    at_once: int = 1,
    raises: bool = False,
    steps: bool = False,
    why: bool = False,
) -> Iterator[int]:
    """Score what is not labeled yet; yields how many rows are done. :meth:`Labels.finish` is left.

    Args:
        reward: it is only asked for scores.
        source: the data.
        labels: where the rows go.
        chunk: rows that are scored together.
        at_once: chunks that are under way together, each in a thread of its own.
        raises: whether a row that broke ends the work.
        steps: whether to write what dense rewards say of each step.
        why: whether to write the reasons that rules gave.

    Raises:
        SpecError: the data does not have what the reward needs.
        ScoreError: with the row, where ``raises``.
    """
    yield labels.done
    if labels.complete:
        return
    if reward.scope == "dataset":
        for piece in source.pieces(chunk, 0, labels.rows):
            reward.survey(piece.rollouts)
    pieces = source.pieces(chunk, labels.done, labels.rows, scope=reward.scope)

    def scored(piece: Piece) -> pa.Table:
        scores = _scored(reward, piece, source)
        if raises:
            _raise(scores, piece)
        return table(scores, piece, steps=steps, why=why)

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
    threads = ThreadPoolExecutor(at_once)
    under_way: deque[Future[pa.Table]] = deque()
    stopped: SpecError | None = None
    try:
        while not stopped:
            try:
                piece = next(pieces, None)
            except SpecError as error:
                stopped = error  # what is under way is kept first
                break
            if piece is None:
                break
            under_way.append(threads.submit(copy_context().run, work, piece))
            if len(under_way) == at_once:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        # An interrupt does not wait: what runs rows is closed next, which ends the threads.
        threads.shutdown(wait=False, cancel_futures=True)
    if stopped:
        raise stopped


def tag(reward: Reward, source: Source, *options: Any) -> str | None:
    """What labels are of: they are the same as long as this is. None if the data comes only once.

    Raises:
        SpecError: the reward holds a callable without an importable name, or a class without one
            in the catalog.
    """
    if not source.resumable:
        return None
    return digest([fingerprint(reward), version("rewardsmith"), source.identity, *options])


def check(reward: Reward, source: Source, *, chunk: int, rows: int) -> None:
    """See that the data has what the reward needs.

    Raises:
        SpecError: a column is missing, or the reward compares rollouts that chunks would part.
    """
    for name in sorted(reward.always_needs - set(source.columns)):
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
    if reward.scope == "dataset" and not source.resumable:
        raise SpecError(
            "this reward reads all of the data before it scores any, and standard input comes "
            "once: write it to a file",
            file=source.name,
        )
    if reward.scope == "batch" and (chunk < rows or not rows):
        raise SpecError(
            "this reward compares all rollouts that it is given (its scope is the batch), and "
            f"chunks of {chunk} would part them: score all together with --chunk {rows or 'N'}",
            file=source.name,
        )


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


def _reader(reward: Reward, name: str) -> str:
    """A node that reads a column itself."""
    readers = [n for _, n in reward.walk() if isinstance(n, Reward) and name in n.needs]
    # Parents come before their children, and need what these need.
    return readers[-1].label() if readers else ""
