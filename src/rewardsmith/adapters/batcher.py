"""Rows that come one at a time, from threads or tasks, scored together."""

import asyncio
import os
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_Waiting: TypeAlias = "queue.SimpleQueue[tuple[Any, Future[Any]] | None]"


class Batcher(Generic[T, R]):
    """Makes batches of single rows: what came while others were scored is the next batch.

    Nobody waits for a batch to fill. The threads that score start with the first row in each
    process and end with this; it pickles (what is under way stays behind).

    Args:
        score: takes rows, returns as many results in their order; raising fails them all, and a
            result that is an exception is raised where its row came from.
        at_once: batches under way together, so that one with a row that hangs holds up nobody.
        most: rows of a batch.
    """

    def __init__(
        self, score: Callable[[list[T]], Sequence[R]], at_once: int = 4, most: int = 2048
    ) -> None:
        self.score, self.at_once, self.most = score, at_once, most
        self._lock = threading.Lock()
        self._waiting: _Waiting = queue.SimpleQueue()
        self._pid = 0
        _all.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Batcher, (self.score, self.at_once, self.most)

    def submit(self, row: T) -> "Future[R]":
        """The result of a row, when it is there."""
        self._start()
        result: Future[R] = Future()
        self._waiting.put((row, result))
        return result

    def __call__(self, row: T) -> R:
        """The result of a row."""
        return self.submit(row).result()

    async def ask(self, row: T) -> R:
        """The result of a row, for whoever is on an event loop."""
        # Tasks that were started together come this far before any goes on. Else the first would be
        # scored by themselves while the others are still on their way.
        await asyncio.sleep(0)
        return await asyncio.wrap_future(self.submit(row))

    def _start(self) -> None:
        """Start the threads, anew in a fork of the process that had them."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._waiting = queue.SimpleQueue()
            # They hold what scores and not this, which they would keep alive.
            work = (self._waiting, self.score, self.most)
            for _ in range(self.at_once):
                threading.Thread(target=_work, args=work, daemon=True).start()
            weakref.finalize(self, _end, self._waiting, self.at_once)
            self._pid = os.getpid()


def _work(waiting: _Waiting, score: Callable[[list[Any]], Sequence[Any]], most: int) -> None:
    while (pair := waiting.get()) is not None:
        batch = [pair]
        while len(batch) < most:
            try:
                more = waiting.get_nowait()
            except queue.Empty:
                break
            if more is None:
                waiting.put(None)
                break
            batch.append(more)
        # Who asked may have gone: a task that was cancelled takes its future along.
        batch = [one for one in batch if one[1].set_running_or_notify_cancel()]
        if batch:
            _finish(score, batch)
        # Or they would be held until the next ones come.
        del batch, pair


def _finish(
    score: Callable[[list[Any]], Sequence[Any]], batch: "list[tuple[Any, Future[Any]]]"
) -> None:
    try:
        found = score([row for row, _ in batch])
        if len(found) != len(batch):
            raise ValueError(f"{len(found)} results for {len(batch)} rows")
    except BaseException as error:  # noqa: BLE001 - it belongs to those who asked, whatever it is
        for _, result in batch:
            result.set_exception(error)
        return
    for (_, result), one in zip(batch, found, strict=True):
        if isinstance(one, Exception):
            result.set_exception(one)
        else:
            result.set_result(one)


def _end(waiting: _Waiting, threads: int) -> None:
    for _ in range(threads):
        waiting.put(None)


_all: "weakref.WeakSet[Batcher[Any, Any]]" = weakref.WeakSet()


def _forked() -> None:
    """In a fork: another thread may have held a lock, and is not here to let go."""
    for batcher in _all:
        batcher._lock = threading.Lock()


os.register_at_fork(after_in_child=_forked)
