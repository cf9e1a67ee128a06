"""A few bytes per batch that a worker writes and its master reads: which row it is at, since when.

A deadline is one row's. Asking the worker is no use where it hangs, so it leaves a note before each
row in a file that both have mapped.
"""

import mmap
import os
import tempfile
import time
import weakref
from multiprocessing.reduction import DupFd
from typing import Any, NamedTuple

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
    """Notes in a file without a name: one per batch that is under way.

    It reaches a worker as an open file, when that starts: nothing lies about after a crash, and a
    cleaner of temporary files finds nothing to take away. It is gone with its last reader.

    Args:
        handle: the open file of another slate, which this takes over; None makes one.
        size: how many notes, where it is made.
    """

    def __init__(self, handle: int | None = None, size: int = 256) -> None:
        if handle is None:
            with tempfile.TemporaryFile(prefix="rewardsmith-") as file:
                file.truncate(size * _WORDS * 8)
                handle = os.dup(file.fileno())
        self.handle = handle
        # At exit the number may be another file's.
        weakref.finalize(self, os.close, handle).atexit = False
        self._map = mmap.mmap(handle, 0)
        self._bytes = memoryview(self._map)
        self._times, self._numbers = self._bytes.cast("d"), self._bytes.cast("q")

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self.handle),)

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


def _received(file: Any) -> Slate:
    return Slate(file.detach())
