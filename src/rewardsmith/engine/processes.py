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
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from time import monotonic, sleep
from types import ModuleType, TracebackType
from typing import Any

from pebble import ProcessExpired, ProcessPool

from ..core.execution import Execution, Row
from ..core.outcome import Outcomes, Status
from ..core.rowcall import RowCall
from .watch import LOADING, QUEUED, Slate
from .worker import begin, run

_TICK = 0.05
"""Seconds between two looks at the notes of workers."""
_SHARE = 0.1
"""Seconds that a batch runs before it hands in what it has; a kill loses no more."""
_LOADING = 120.0
"""Seconds that imports may take."""
_SETTLE = 0.5
"""Seconds in which a worker is replaced."""
_BATCH, _BYTES = 512, 4_000_000
"""The most rows, and the most pickled bytes, that are sent together."""


@dataclass
class _Batch:
    """Rows under way."""

    rows: Sequence[int]
    slot: int
    verdict: tuple[Status, str] | None = None
    """Why it was ended, where it was."""


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
                pool.stop()  # type: ignore[no-untyped-call]
                pool.join()
                self._slate.close()

    def run(self, call: RowCall, rows: Sequence[Row]) -> Outcomes:
        """Score rows.

        Raises:
            SpecError: the function has no importable name, or does not import in a worker.
            RuntimeError: workers die before they begin.
        """
        return _Run(self, call, rows).finished()

    def start(self) -> tuple[ProcessPool, Slate, list[int]]:
        """The pool, its notes and the free places in them."""
        with self._lock:
            # A fork of this process has the pool's memory, and none of its threads.
            if self._pool is None or self._owner != os.getpid():
                self._slate = Slate()
                self._slots = list(range(256))
                context = _context(("rewardsmith.engine.worker", *self.preload))
                self._pool = ProcessPool(
                    self.workers, initializer=begin, initargs=(self._slate.path,), context=context
                )
                self._owner = os.getpid()
                atexit.register(self.close)
            return self._pool, self._slate, self._slots


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

    def finished(self) -> Outcomes:
        """The outcomes, once all are there."""
        try:
            while self.waiting or self.running:
                while self.waiting and len(self.running) < self.at_once and self._send():
                    pass
                done, _ = wait(self.running, timeout=_TICK, return_when=FIRST_COMPLETED)
                for future in done:
                    self._receive(future, self.running.pop(future))
                self._watch()
        finally:
            for future, batch in self.running.items():
                future.cancel()
                self.slots.append(batch.slot)
        return self.outcomes

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
        self.slate.write(slot, QUEUED)
        future = self.pool.schedule(run, (self.slate.path, slot, self.call, data, _SHARE))
        self.running[future] = _Batch(rows, slot)
        return True

    def _receive(self, future: "Future[Outcomes]", batch: _Batch) -> None:
        note = self.slate.read(batch.slot)
        self.slots.append(batch.slot)
        try:
            done = future.result()
        except CancelledError:
            assert batch.verdict is not None
            self._broke(batch, note.row, *batch.verdict)
        except ProcessExpired as error:
            code = f"its process died (exit code {error.exitcode})"
            self._broke(batch, note.row, Status.FAILED, code)
        else:
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

    def _broke(self, batch: _Batch, at: int, status: Status, remark: str) -> None:
        """The row that a worker was at when it ended is done with; the others go again."""
        if at < 0:
            self.deaths += 1
            if self.deaths > 3:
                raise RuntimeError(f"workers end before they score a row: {remark}")
            self.waiting.append(batch.rows)
            return
        row = batch.rows[at]
        self.outcomes.status[row] = int(status)
        self.outcomes.remarks[row] = remark
        self.outcomes.seconds[row] = monotonic() - self.slate.read(batch.slot).since
        self.waiting += [rest for rest in (batch.rows[at + 1 :], batch.rows[:at]) if len(rest)]

    def _watch(self) -> None:
        """End the batches whose row is over its deadline, and those whose worker is gone."""
        now = monotonic()
        for future, batch in self.running.items():
            since, row, pid = self.slate.read(batch.slot)
            if row == QUEUED or batch.verdict is not None:
                continue
            limit = _LOADING if row == LOADING else self.deadline
            if limit is not None and now - since > limit:
                batch.verdict = Status.TIMEOUT, f"took longer than {limit:g} s"
            # The pool does not tell of a worker that ended as if all were well.
            elif now - since > 1.0 and not _alive(pid):
                batch.verdict = Status.FAILED, "its process ended"
            else:
                continue
            self.processes.last_kill = now
            future.cancel()


def _alive(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


class _Process(ForkServerProcess):
    """A process that does not run the caller's script again: rows travel by name, with its file."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing calls it that
        with _without_main():
            return ForkServerProcess._Popen(process_obj)


class _Context(ForkServerContext):
    Process = _Process


_starting = threading.Lock()


@contextmanager
def _without_main() -> Iterator[None]:
    with _starting:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


@cache
def _context(preload: tuple[str, ...]) -> _Context:
    context = _Context()
    # Only the first use of a fork server decides; later ones import in each worker.
    context.set_forkserver_preload([*preload])
    return context


@cache
def shared() -> Execution:
    """What runs rewards that might hang where nobody said how: two processes, 5 s for each row."""
    return Execution(Processes(workers=min(2, multiprocessing.cpu_count()), timeout=5.0))
