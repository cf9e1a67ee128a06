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

QUEUED, LOADING, SENT = -3, -2, -1
"""A batch has not begun, still imports what it needs, or is done with its last row."""
_WORDS = 3
"""Eight bytes each, so that each is written at once: a reader must not see a half of one."""
_BATCHES = 1 << 31


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

    def write(self, slot: int, batch: int, row: int, pid: int) -> None:
        """Note that a row begins now. The time goes first: read in between, the row is too new."""
        at = slot * _WORDS
        self._times[at] = time.monotonic()
        self._numbers[at + 2] = pid
        # One word, for the slot may hold the note of an earlier batch.
        self._numbers[at + 1] = batch % _BATCHES << 32 | row - QUEUED

    def read(self, slot: int, batch: int) -> Note:
        """The last note of a batch in its slot."""
        at = slot * _WORDS
        # The time goes last: a later row's is too new, an earlier row's would be too old.
        word = self._numbers[at + 1]
        since, pid = self._times[at], self._numbers[at + 2]
        if word >> 32 != batch % _BATCHES:
            return Note(since, QUEUED, 0)
        return Note(since, (word & 0xFFFFFFFF) + QUEUED, pid)

    def close(self) -> None:
        """Unmap the file, and remove it where this made it."""
        for view in (self._times, self._numbers, self._bytes):
            view.release()
        self._map.close()
        if self._own:
            Path(self.path).unlink(missing_ok=True)
