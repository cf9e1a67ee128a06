"""Rows that come one at a time, from threads or tasks, scored together."""

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Makes batches of single rows: what came while others were scored is the next batch.

    Nobody waits for a batch to fill. The threads that score start with the first row in each
    process, and it pickles (what is under way stays behind).

    Args:
        score: takes rows, returns as many results in their order; raising fails them all.
        at_once: batches under way together, so that one with a row that hangs holds up nobody.
        most: rows of a batch.
    """

    def __init__(
        self, score: Callable[[list[T]], Sequence[R]], at_once: int = 4, most: int = 2048
    ) -> None:
        self.score, self.at_once, self.most = score, at_once, most
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[T, Future[R]]] = queue.SimpleQueue()
        self._pid = 0

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
            for _ in range(self.at_once):
                threading.Thread(target=self._work, args=(self._waiting,), daemon=True).start()
            self._pid = os.getpid()

    def _work(self, waiting: "queue.SimpleQueue[tuple[T, Future[R]]]") -> None:
        while True:
            batch = [waiting.get()]
            while len(batch) < self.most:
                try:
                    batch.append(waiting.get_nowait())
                except queue.Empty:
                    break
            # Who asked may have gone: a task that was cancelled takes its future along.
            batch = [pair for pair in batch if pair[1].set_running_or_notify_cancel()]
            if batch:
                self._finish([row for row, _ in batch], [result for _, result in batch])

    def _finish(self, rows: list[T], results: "list[Future[R]]") -> None:
        try:
            found = self.score(rows)
            if len(found) != len(rows):
                raise ValueError(f"{len(found)} results for {len(rows)} rows")
        except BaseException as error:  # noqa: BLE001 - it belongs to those who asked, whatever it is
            for result in results:
                result.set_exception(error)
            return
        for result, one in zip(results, found, strict=True):
            result.set_result(one)
