"""Several callables of one batch, and one evaluation for all of them."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

from .batch import Batch, Snapshot
from .evaluation import Evaluation, Values

_OPEN = 8
"""Evaluations that are kept until every part was asked; a trainer has one under way, or a few."""


class _Asked:
    """An evaluation, and who asked for it."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self.snapshot = batch, Snapshot(batch)
        self.result: Future[dict[str, Values]] = Future()
        self.parts: set[str] = set()


class Shared:
    """Evaluates a batch when its first part is asked for; from any thread or event loop.

    A part that is asked for again has the batch evaluated anew, and so has a batch whose columns
    are not the very ones that were evaluated, or hold something else by now. It pickles, without
    what is under way.

    Args:
        evaluate: what makes the values of all parts.
        parts: those that are asked for, each once for a batch.
    """

    def __init__(self, evaluate: Evaluation, parts: Sequence[str]) -> None:
        self.evaluate, self.parts = evaluate, frozenset(parts)
        self._lock, self._open = threading.Lock(), list[_Asked]()

    def __reduce__(self) -> tuple[Any, ...]:
        return Shared, (self.evaluate, sorted(self.parts))

    def ask(self, part: str, batch: Batch) -> Values:
        """A part's values for each row of a batch."""
        asked, first = self._asked(part, batch)
        if first:
            self._run(asked)
        return list(asked.result.result()[part])

    async def ask_later(self, part: str, batch: Batch) -> Values:
        """As :meth:`ask`, with the scoring in a thread."""
        asked, first = self._asked(part, batch)
        if first:
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, copy_context().run, self._run, asked)
        return list((await asyncio.wrap_future(asked.result))[part])

    def _asked(self, part: str, batch: Batch) -> tuple[_Asked, bool]:
        """The evaluation of a batch, and whether it is to be begun."""
        with self._lock:
            found = next((asked for asked in self._open if asked.snapshot.is_of(batch)), None)
            if found is not None and part in found.parts:
                self._open.remove(found)
                found = None
            asked = found or _Asked(batch)
            if found is None:
                # From here on nobody who waits for it can cancel it for the others.
                asked.result.set_running_or_notify_cancel()
                self._open = [*self._open, asked][-_OPEN:]
            asked.parts.add(part)
            if asked.parts == self.parts:
                self._open.remove(asked)
            return asked, found is None

    def _run(self, asked: _Asked) -> None:
        try:
            values = self.evaluate(asked.batch)
        except BaseException as error:  # noqa: BLE001 - it belongs to those who asked
            asked.result.set_exception(error)
        else:
            asked.result.set_result(values)
