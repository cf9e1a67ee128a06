"""The executor of worker processes: rows with a deadline each, on processes that can be killed.

Workers come from a fork server (a fresh interpreter that forks before it has threads), take batches
of rows, and are killed and replaced where a row hangs or takes the process down. No signals are
used in the calling process, so it may be any thread, an event loop's, or a Ray actor's.

What a row has started in other processes is ended with its worker, as long as it stays in the
worker's process group. Where the calling process is killed, its workers are killed too (on Linux),
but not what their rows have started.
"""

import atexit
import math
import multiprocessing
import os
import threading
from collections.abc import Sequence
from functools import cache
from multiprocessing import util
from time import monotonic, sleep
from types import TracebackType
from typing import Any
from weakref import WeakSet

from pebble import ProcessPool

from ..core.errors import ScoreError, SpecError
from ..core.execution import Execution, Row
from ..core.outcome import Outcomes
from ..core.rowcall import RowCall
from . import worker
from .batches import Run
from .forking import context_of, last_start, see_to_server
from .watch import Slate

_SETTLE = 0.5
"""Seconds in which a worker is replaced."""


class Processes:
    """Runs rows in worker processes, which start with the first rows and stay.

    As a context manager it is closed for good at the end: calls that other threads still make
    there raise an error.

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
        self._over = False
        self.closings = 0
        """How often it was closed: what began before the last time must not go on."""
        self.last_kill = -math.inf
        """When a worker was ended, by the monotonic clock."""
        _all.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Processes, (self.workers, self.timeout, self.preload)

    def __enter__(self) -> "Processes":
        self._over = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        self.close()

    def close(self) -> None:
        """Stop the workers.

        Calls that are under way in other threads end with a ScoreError; rows that come later start
        new workers.
        """
        # Before the lock: nobody whom this waits for need go on.
        self.closings += 1
        with self._lock:
            pool, self._pool = self._pool, None
            if pool is not None:
                atexit.unregister(self.close)
                self._at_end.cancel()
                # A worker on its way up would miss what the pool takes down, and say so.
                since = max(self.last_kill, last_start())
                sleep(max(0.0, min(_SETTLE, since + _SETTLE - monotonic())))
                _stop(pool)

    def run(self, call: RowCall, rows: Sequence[Row]) -> Outcomes:
        """Score rows.

        Raises:
            SpecError: the function has no importable name, or does not import in a worker.
            ScoreError: workers die before they begin, or this is closed meanwhile.
        """
        return Run(self, call, rows).finished()

    def start(self, closings: int | None = None) -> tuple[ProcessPool, Slate, list[int]]:
        """The pool, its notes and the free places in them.

        Args:
            closings: how often this had been closed when the caller began.

        Raises:
            SpecError: this is a worker, which imports a script that scores where it is imported.
            ScoreError: it was closed for good, or since the caller began.
        """
        if worker.begun:
            raise SpecError(
                "scoring in worker processes begins where this file is imported, and workers "
                'import it: put it under `if __name__ == "__main__":`'
            )
        with self._lock:
            if self._over or closings not in (None, self.closings):
                raise closed()
            if self._pool is None:
                self._slate = Slate()
                self._slots = list(range(256))
                self._pool = self._new_pool()
                atexit.register(self.close)
                # What multiprocessing has started runs no atexit, and waits for its children.
                # Before the pool's semaphores go, which a worker on its way up still needs.
                self._at_end = util.Finalize(None, self.close, exitpriority=100)
            # A worker that ends while it has nothing to do breaks the pool for good.
            elif not self._pool.active:
                _stop(self._pool)
                self._pool = self._new_pool()
            return self._pool, self._slate, self._slots

    def _new_pool(self) -> ProcessPool:
        see_to_server()
        context = context_of(("rewardsmith.engine.worker", *self.preload))
        return ProcessPool(
            self.workers, initializer=worker.begin, initargs=(self._slate,), context=context
        )


def closed() -> ScoreError:
    """What ends a call whose workers were stopped."""
    return ScoreError(
        "the executor was closed before all rows were scored; keep it open until they are"
    )


def _stop(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


_all: "WeakSet[Processes]" = WeakSet()


def _forked() -> None:
    """A fork of this process has the memory of the pools, and none of their threads."""
    for processes in _all:
        # Another thread may have held it, and is not here to let go.
        processes._lock = threading.Lock()
        processes._pool = None


os.register_at_fork(after_in_child=_forked)


@cache
def shared() -> Execution:
    """What runs rewards that might hang where nobody said how: two processes, 5 s for each row."""
    return Execution(Processes(workers=min(2, multiprocessing.cpu_count()), timeout=5.0))
