"""A few bytes per batch that a worker writes and its master reads: which row it is at, since when.

A deadline is one row's. Asking the worker is no use where it hangs, so it leaves a note before each
row in a file that both have mapped.
"""

import mmap
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

QUEUED, LOADING = -2, -1
"""A batch has not begun, or still imports what it needs."""
_WORDS = 3
"""Eight bytes each, so that each is written at once: a reader must not see a half of one."""


class Note(NamedTuple):
    """What a worker says."""

    since: float
    """When the row began, by the monotonic clock, which is the same for all processes."""
    row: int
    pid: int


class Slate:
    """Notes in a file: one per batch that is under way.

    Args:
        path: the file; None makes one, which :meth:`close` removes.
        size: how many notes, where it is made.
    """

    def __init__(self, path: str | None = None, size: int = 256) -> None:
        self._own = path is None
        if path is None:
            handle, path = tempfile.mkstemp(prefix="rewardsmith-")
            os.truncate(handle, size * _WORDS * 8)
        else:
            handle = os.open(path, os.O_RDWR)
        self.path = path
        self._map = mmap.mmap(handle, 0)
        os.close(handle)
        self._bytes = memoryview(self._map)
        self._times, self._numbers = self._bytes.cast("d"), self._bytes.cast("q")

    def write(self, slot: int, row: int, pid: int = 0) -> None:
        """Note that a row begins now. The time goes first: read in between, the row is too new."""
        at = slot * _WORDS
        self._times[at] = time.monotonic()
        self._numbers[at + 1] = row
        self._numbers[at + 2] = pid

    def read(self, slot: int) -> Note:
        """The last note in a slot."""
        at = slot * _WORDS
        return Note(self._times[at], self._numbers[at + 1], self._numbers[at + 2])

    def close(self) -> None:
        """Unmap the file, and remove it where this made it."""
        for view in (self._times, self._numbers, self._bytes):
            view.release()
        self._map.close()
        if self._own:
            Path(self.path).unlink(missing_ok=True)
