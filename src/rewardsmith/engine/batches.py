"""One call's rows on their way through a pool: sent in batches, watched, and sent again."""

import math
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from time import monotonic, sleep
from typing import TYPE_CHECKING

from pebble import ProcessExpired

from ..core.errors import ScoreError
from ..core.execution import Row
from ..core.outcome import Outcomes, Status, told
from ..core.rowcall import RowCall
from . import worker
from .watch import LOADING, QUEUED, SENT, Note

if TYPE_CHECKING:
    from .processes import Processes

_TICK = 0.05
"""Seconds between two looks at the notes of workers."""
_SHARE = 0.1
"""Seconds that a batch runs before it hands in what it has; a kill loses no more."""
_LOADING = 120.0
"""Seconds that imports may take."""
_SILENCE = 0.4
"""Seconds in which the pool tells of a worker that ended with a code of its own."""
_UNHEARD = 10.0
"""Seconds in which a worker that took a batch leaves its first note."""
_BATCH, _BYTES = 512, 4_000_000
"""The most rows, and the most pickled bytes, that are sent together."""


@dataclass
class Batch:
    """Rows under way."""

    rows: Sequence[int]
    slot: int
    number: int
    taken: float = math.inf
    """When a worker was seen to have it."""
    end: Note | None = None
    """Where it was when this ended it."""
    late: bool = False
    """Whether it was ended because a row was over its deadline."""


class Run:
    """One call's rows on their way through a pool.

    Args:
        processes: whose pool.
        call: the function.
        rows: what it is called on.

    Raises:
        SpecError: the function has no importable name.
        ScoreError: the pool was closed for good.
    """

    def __init__(self, processes: "Processes", call: RowCall, rows: Sequence[Row]) -> None:
        self.processes, self.closings = processes, processes.closings
        self.pool, self.slate, self.slots = processes.start(self.closings)
        self.deadline, self.at_once = processes.timeout, 3 * processes.workers
        self.call = pickle.dumps(call)
        self.rows = rows
        n = len(rows)
        self.outcomes = Outcomes([0.0] * n, [int(Status.UNSCORED)] * n, {}, [math.nan] * n)
        size = max(1, min(_BATCH, math.ceil(n / (4 * processes.workers))))
        self.waiting: list[Sequence[int]] = [range(i, min(i + size, n)) for i in range(0, n, size)]
        self.waiting.reverse()
        self.running: dict[Future[Outcomes], Batch] = {}
        self.deaths = 0
        self.doubted: set[int] = set()
        """Rows whose worker ended once without a word."""

    def finished(self) -> Outcomes:
        """The outcomes, once all are there.

        Raises:
            SpecError: the function does not import in a worker.
            ScoreError: workers end before they begin, or the pool is closed meanwhile.
        """
        try:
            while self.waiting or self.running:
                # Closed, it is no longer active either, and a new pool is refused.
                if not self.pool.active or self.closings != self.processes.closings:
                    self._renew()
                while self.waiting and len(self.running) < self.at_once and self._send():
                    pass
                done, _ = wait(self.running, timeout=_TICK, return_when=FIRST_COMPLETED)
                for future in done:
                    self._receive(future, self.running.pop(future))
                self._watch()
        finally:
            for future, batch in self.running.items():
                future.cancel()
                # To the far end: until it is ended, its worker may write there.
                self.slots.insert(0, batch.slot)
        return self.outcomes

    def _renew(self) -> None:
        """The pool broke, which loses what is under way."""
        broken = [batch for future, batch in self.running.items() if not _scored(future)]
        self.running = {f: batch for f, batch in self.running.items() if _scored(f)}
        for batch in broken:
            note = self.slate.read(batch.slot, batch.number)
            self.slots.insert(0, batch.slot)
            if note.row >= 0 and not _alive(note.pid):
                self._ended(batch.rows, note)
            else:
                self.waiting.append(batch.rows)
        self.pool, self.slate, self.slots = self.processes.start(self.closings)
        self._count()

    def _send(self) -> bool:
        """Send the next batch, if there is a place for its note."""
        try:
            slot = self.slots.pop()
        except IndexError:  # other threads have them all
            sleep(_TICK)
            return False
        batch = None
        try:
            rows = self.waiting.pop()
            rows, data = self._packed(rows)
            if data is None:
                return True
            number = next(_numbers)
            try:
                future = self.pool.schedule(worker.run, (slot, number, self.call, data, _SHARE))
            except RuntimeError:
                self.waiting.append(rows)
                if self.pool.active:
                    raise
                self._renew()
                return False
            self.running[future] = batch = Batch(rows, slot, number)
        finally:
            if batch is None:
                self.slots.append(slot)
        return True

    def _packed(self, rows: Sequence[int]) -> tuple[Sequence[int], bytes | None]:
        """The first of some rows, pickled, and which; the others wait again. None: it failed."""
        while True:
            problem = ""
            try:
                data = pickle.dumps([self.rows[i] for i in rows], protocol=5)
            except Exception as error:  # noqa: BLE001 - what rows are made of is the user's code
                data, problem = b"", told(error)
            if not problem and (len(data) <= _BYTES or len(rows) == 1):
                return rows, data
            if len(rows) == 1:
                self._failed(rows[0], f"the row does not pickle: {problem}")
                return rows, None
            half = len(rows) // 2
            self.waiting.append(rows[half:])
            rows = rows[:half]

    def _receive(self, future: "Future[Outcomes]", batch: Batch) -> None:
        note = batch.end or self.slate.read(batch.slot, batch.number)
        self.slots.append(batch.slot)
        try:
            done = future.result()
        except CancelledError:
            if batch.late:
                limit = _LOADING if note.row == LOADING else self.deadline
                remark = f"took longer than {limit:g} s"
                self._broke(batch.rows, note, Status.TIMEOUT, remark)
            else:
                self._ended(batch.rows, note)
        except ProcessExpired as error:
            code = f"its process died (exit code {error.exitcode})"
            self._broke(batch.rows, note, Status.FAILED, code)
        except BrokenProcessPool:
            self._ended(batch.rows, note)
        except worker.UnreadableRows as error:
            half = len(batch.rows) // 2
            if half:
                self._again(batch.rows[half:], batch.rows[:half])
            else:
                self._failed(batch.rows[0], f"the row does not unpickle: {error}")
        else:
            self.deaths = 0
            self._keep(batch.rows, done)
            self._again(batch.rows[len(done) :])

    def _keep(self, rows: Sequence[int], done: Outcomes) -> None:
        for k, row in enumerate(rows[: len(done)]):
            self.outcomes.values[row] = done.values[k]
            self.outcomes.status[row] = done.status[k]
            self.outcomes.seconds[row] = done.seconds[k]
        for k, remark in done.remarks.items():
            self.outcomes.remarks[rows[k]] = remark

    def _failed(self, row: int, remark: str) -> None:
        self.outcomes.status[row] = int(Status.FAILED)
        self.outcomes.remarks[row] = remark

    def _broke(self, rows: Sequence[int], note: Note, status: Status, remark: str) -> None:
        """The row that a worker was at when it ended is done with; the others go again."""
        if note.row < 0:
            self.waiting.append(rows)
            if note.row == LOADING:
                self._count(remark)
            return
        row = rows[note.row]
        self.outcomes.status[row] = int(status)
        self.outcomes.remarks[row] = remark
        self.outcomes.seconds[row] = monotonic() - note.since
        self._again(rows[note.row + 1 :], rows[: note.row])

    def _ended(self, rows: Sequence[int], note: Note) -> None:
        """A worker ended without a word: by its row, or by the pool, for a batch that it had."""
        if note.row < 0 or rows[note.row] in self.doubted:
            self._broke(rows, note, Status.FAILED, "its process ended")
            return
        self.doubted.add(rows[note.row])
        at = note.row
        self._again(rows[at + 1 :], rows[:at], rows[at : at + 1])

    def _again(self, *parts: Sequence[int]) -> None:
        self.waiting += [rows for rows in parts if len(rows)]

    def _count(self, remark: str = "the pool broke") -> None:
        self.deaths += 1
        if self.deaths > 3:
            raise ScoreError(
                f"workers end before they score a row: {remark}; the executor 'inline' shows why, "
                "or takes this process down as well"
            )

    def _watch(self) -> None:
        """End the batches whose row is over its deadline, and those whose worker is gone."""
        now = monotonic()
        for future, batch in self.running.items():
            if batch.end is not None:
                continue
            note = self.slate.read(batch.slot, batch.number)
            if note.row == QUEUED:
                if future.running():
                    batch.taken = min(batch.taken, now)
                gone = now - batch.taken > _UNHEARD
            else:
                took = now - note.since
                limit = {LOADING: _LOADING, SENT: None}.get(note.row, self.deadline)
                over = limit is not None and took > limit
                gone = (over or took > _SILENCE) and not _alive(note.pid)
                batch.late = over and not gone
            if gone or batch.late:
                batch.end = note
                self.processes.last_kill = now
                future.cancel()


_numbers = count()
"""Of batches, of all threads."""


def _scored(future: "Future[Outcomes]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _alive(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
