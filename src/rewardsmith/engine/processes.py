"""The executor of worker processes: rows with a deadline each, on processes that can be killed.

Workers come from a fork server (a fresh interpreter that forks before it has threads), take batches
of rows, and are killed and replaced where a row hangs or takes the process down. No signals are
used in the calling process, so it may be any thread, an event loop's, or a Ray actor's.
"""

import atexit
import math
import multiprocessing
import os
import pickle
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from time import monotonic, sleep
from types import TracebackType
from typing import Any

from pebble import ProcessExpired, ProcessPool

from ..core.errors import SpecError
from ..core.execution import Execution, Row
from ..core.outcome import Outcomes, Status
from ..core.rowcall import RowCall
from . import worker
from .forking import context_of
from .watch import LOADING, QUEUED, SENT, Note, Slate

_TICK = 0.05
"""Seconds between two looks at the notes of workers."""
_SHARE = 0.1
"""Seconds that a batch runs before it hands in what it has; a kill loses no more."""
_LOADING = 120.0
"""Seconds that imports may take."""
_SETTLE = 0.5
"""Seconds in which a worker is replaced."""
_SILENCE = 0.4
"""Seconds in which the pool tells of a worker that ended with a code of its own."""
_UNHEARD = 10.0
"""Seconds in which a worker that took a batch leaves its first note."""
_BATCH, _BYTES = 512, 4_000_000
"""The most rows, and the most pickled bytes, that are sent together."""


@dataclass
class _Batch:
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


class Processes:
    """Runs rows in worker processes, which start with the first rows and stay.

    Args:
        workers: how many; default the number of cores.
        timeout: seconds that each row may take from when it begins; None waits for ever.
        preload: modules that workers are forked with; what is imported there costs no worker time.

    Raises:
        ValueError: no workers, or a timeout that is not positive.
    """

    def __init__(
        self,
        workers: int | None = None,
        timeout: float | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        self.workers = workers if workers is not None else multiprocessing.cpu_count()
        if self.workers < 1:
            raise ValueError(f"{self.workers} workers: at least 1")
        if timeout is not None and not 0 < timeout < math.inf:
            raise ValueError(f"a timeout is a positive number of seconds, not {timeout}")
        self.timeout, self.preload = timeout, tuple(preload)
        self._lock = threading.Lock()
        self._pool: ProcessPool | None = None
        self._owner = 0
        self.last_kill = -math.inf
        """When a worker was ended, by the monotonic clock."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Processes, (self.workers, self.timeout, self.preload)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers; rows that come later start new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
            if pool is not None and self._owner == os.getpid():
                atexit.unregister(self.close)
                # A replacement on its way up would miss what the pool takes down.
                sleep(max(0.0, min(_SETTLE, self.last_kill + _SETTLE - monotonic())))
                _stop(pool)
                self._slate.close()

    def run(self, call: RowCall, rows: Sequence[Row]) -> Outcomes:
        """Score rows.

        Raises:
            SpecError: the function has no importable name, or does not import in a worker.
            RuntimeError: workers die before they begin.
        """
        return _Run(self, call, rows).finished()

    def start(self) -> tuple[ProcessPool, Slate, list[int]]:
        """The pool, its notes and the free places in them.

        Raises:
            SpecError: this is a worker, which imports a script that scores where it is imported.
        """
        if worker.begun:
            raise SpecError(
                "scoring in worker processes begins where this file is imported, and workers "
                'import it: put it under `if __name__ == "__main__":`'
            )
        with self._lock:
            # A fork of this process has the pool's memory, and none of its threads.
            if self._pool is None or self._owner != os.getpid():
                self._slate = Slate()
                self._slots = list(range(256))
                self._pool = self._new_pool()
                self._owner = os.getpid()
                atexit.register(self.close)
            # A worker that ends while it has nothing to do breaks the pool for good.
            elif not self._pool.active:
                _stop(self._pool)
                self._pool = self._new_pool()
            return self._pool, self._slate, self._slots

    def _new_pool(self) -> ProcessPool:
        context = context_of(("rewardsmith.engine.worker", *self.preload))
        return ProcessPool(
            self.workers, initializer=worker.begin, initargs=(self._slate.path,), context=context
        )


def _stop(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


class _Run:
    """One call's rows on their way through a pool."""

    def __init__(self, processes: Processes, call: RowCall, rows: Sequence[Row]) -> None:
        self.processes = processes
        self.pool, self.slate, self.slots = processes.start()
        self.deadline, self.at_once = processes.timeout, 3 * processes.workers
        self.call = pickle.dumps(call)
        self.rows = rows
        n = len(rows)
        self.outcomes = Outcomes([0.0] * n, [int(Status.UNSCORED)] * n, {}, [math.nan] * n)
        size = max(1, min(_BATCH, math.ceil(n / (4 * processes.workers))))
        self.waiting: list[Sequence[int]] = [range(i, min(i + size, n)) for i in range(0, n, size)]
        self.waiting.reverse()
        self.running: dict[Future[Outcomes], _Batch] = {}
        self.deaths = 0
        self.doubted: set[int] = set()
        """Rows whose worker ended once without a word."""

    def finished(self) -> Outcomes:
        """The outcomes, once all are there."""
        try:
            while self.waiting or self.running:
                if not self.pool.active:
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
        notes = [self.slate.read(batch.slot, batch.number) for batch in broken]
        ended = [note.row >= 0 and not _alive(note.pid) for note in notes]
        self.pool, self.slate, self.slots = self.processes.start()
        self._count()
        for batch, note, over in zip(broken, notes, ended, strict=True):
            self.slots.insert(0, batch.slot)
            if over:
                self._ended(batch.rows, note)
            else:
                self.waiting.append(batch.rows)

    def _send(self) -> bool:
        """Send the next batch, if there is a place for its note."""
        try:
            slot = self.slots.pop()
        except IndexError:  # other threads have them all
            sleep(_TICK)
            return False
        rows = self.waiting.pop()
        data = pickle.dumps([self.rows[i] for i in rows], protocol=5)
        while len(data) > _BYTES and len(rows) > 1:
            half = len(rows) // 2
            self.waiting.append(rows[half:])
            rows = rows[:half]
            data = pickle.dumps([self.rows[i] for i in rows], protocol=5)
        batch = _Batch(rows, slot, next(_numbers))
        try:
            future = self.pool.schedule(
                worker.run, (self.slate.path, slot, batch.number, self.call, data, _SHARE)
            )
        except RuntimeError:
            self.waiting.append(rows)
            self.slots.append(slot)
            if self.pool.active:
                raise
            self._renew()
            return False
        self.running[future] = batch
        return True

    def _receive(self, future: "Future[Outcomes]", batch: _Batch) -> None:
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
        else:
            self.deaths = 0
            self._keep(batch.rows, done)
            if len(done) < len(batch.rows):
                self.waiting.append(batch.rows[len(done) :])

    def _keep(self, rows: Sequence[int], done: Outcomes) -> None:
        for k, row in enumerate(rows[: len(done)]):
            self.outcomes.values[row] = done.values[k]
            self.outcomes.status[row] = done.status[k]
            self.outcomes.seconds[row] = done.seconds[k]
        for k, remark in done.remarks.items():
            self.outcomes.remarks[rows[k]] = remark

    def _broke(self, rows: Sequence[int], note: Note, status: Status, remark: str) -> None:
        """The row that a worker was at when it ended is done with; the others go again."""
        if note.row < 0:
            if note.row == LOADING:
                self._count(remark)
            self.waiting.append(rows)
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
            raise RuntimeError(f"workers end before they score a row: {remark}")

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


@cache
def shared() -> Execution:
    """What runs rewards that might hang where nobody said how: two processes, 5 s for each row."""
    return Execution(Processes(workers=min(2, multiprocessing.cpu_count()), timeout=5.0))
