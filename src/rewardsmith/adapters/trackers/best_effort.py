"""What keeps a tracker from stopping, slowing or changing a training run."""

import atexit
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Full, Queue
from typing import NamedTuple, Protocol

_LOGGER = logging.getLogger(__package__)


class Tracker(Protocol):
    """One run of an experiment, as a tracker keeps it."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep numbers by name, at a step."""
        ...

    def text(self, name: str, text: str) -> None:
        """Keep a text of the whole run."""
        ...

    def close(self, failed: bool = False) -> None:
        """End the run; ``failed`` says that it broke."""
        ...


class BestEffort:
    """A tracker that never raises, and never blocks for longer than ``patience``.

    What a package loses by itself after it took it is not known here, and not counted.

    Args:
        kind: what messages call it.
        open: starts the run; called on the thread, so that a slow server delays nothing.
        patience: seconds that :meth:`close` waits for what is still on its way.
        room: calls that may wait; while there are as many, what is new is lost.
    """

    def __init__(
        self, kind: str, open: Callable[[], Tracker], patience: float = 30.0, room: int = 1000
    ) -> None:
        self.kind, self.patience = kind, patience
        self.given = 0
        """Finite values that :meth:`log` was given."""
        self.lost = 0
        """Those of them that the tracker did not take."""
        self.not_finite = 0
        """Values kept out because they are NaN or infinite."""
        self._waiting = 0
        self._told = self._closed = self._failed = self._abandoned = False
        self._counts = threading.Lock()
        self._queue: Queue[_Job | None] = Queue(room)
        self._thread = threading.Thread(
            target=self._work, args=(open,), name=f"tracker {kind}", daemon=True
        )
        atexit.register(self.close)
        self._thread.start()

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Hand over numbers; what is not finite is kept out and counted."""
        kept = {}
        for name, value in values.items():
            try:
                number = float(value)
            except (TypeError, ValueError, OverflowError, RuntimeError) as error:
                self.given += 1
                self._lose(1, name, str(error))
                continue
            if math.isfinite(number):
                kept[name] = number
            else:
                self.not_finite += 1
        if kept:
            self.given += len(kept)
            what = f"{len(kept)} values of step {step}"
            self._give(_Job(lambda to: to.log(kept, int(step)), len(kept), what))

    def text(self, name: str, text: str) -> None:
        """Hand over a text."""
        self._give(_Job(lambda to: to.text(name, text), 0, f"the text {name!r}"))

    def close(self, failed: bool = False) -> None:
        """End the run; waits ``patience`` seconds at most, and says how much was lost."""
        if self._closed:
            return
        self._closed, self._failed = True, failed
        atexit.unregister(self.close)
        deadline = time.monotonic() + self.patience
        with suppress(Full):
            self._queue.put(None, timeout=self.patience)
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            with self._counts:
                self._abandoned, left = True, self._waiting
            self._lose(left, "the end of the run", f"it was not done after {self.patience:g} s")
        if self.lost:
            _LOGGER.warning("tracker %r lost %d of %d values", self.kind, self.lost, self.given)

    def _give(self, job: "_Job") -> None:
        if self._closed:
            self._lose(job.values, job.what, "it is closed")
            return
        with self._counts:
            self._waiting += job.values
        try:
            self._queue.put_nowait(job)
        except Full:
            self._settle(job, f"{self._queue.maxsize} calls before it are still waiting")

    def _work(self, open: Callable[[], Tracker]) -> None:
        to, broken = None, ""
        try:
            to = open()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - nothing may end the training
            broken = f"it could not be opened: {type(error).__name__}: {error}"
            self._lose(0, "the run", broken)
        # Once more: what was registered last runs first at exit, before the package's own.
        atexit.register(self.close)
        while (job := self._queue.get()) is not None and not self._abandoned:
            self._settle(job, broken if to is None else _tried(job, to))
        if to is not None:
            end = _Job(lambda to: to.close(self._failed), 0, "the end of the run")
            self._settle(end, _tried(end, to))

    def _settle(self, job: "_Job", why: str) -> None:
        with self._counts:
            if self._abandoned:  # then all that waited was counted as lost
                return
            self._waiting -= job.values
        if why:
            self._lose(job.values, job.what, why)

    def _lose(self, values: int, what: str, why: str) -> None:
        with self._counts:
            self.lost += values
            first, self._told = not self._told, True
        if first:
            more = "the run goes on, and what else is lost is only counted"
            _LOGGER.warning("tracker %r lost %s: %s (%s)", self.kind, what, why, more)


class _Job(NamedTuple):
    """What is on its way to a tracker."""

    act: Callable[[Tracker], None]
    values: int
    what: str


def _tried(job: _Job, to: Tracker) -> str:
    """Why the tracker did not take it; empty if it did."""
    try:
        job.act(to)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - nothing may end the training
        return f"{type(error).__name__}: {error}"
    return ""
