"""The standard files of a process that runs: what it reads is written, what it prints is read."""

import os
import select

_TAIL = 2_000
"""Bytes of what went to the standard error that are kept."""


def flow_of(stdin: bytes, end: int, most: int) -> "tuple[Flow, list[int]]":
    """Pipes, and their other ends: the standard files of a process."""
    (read, into), (out, printing), (err, complaining) = (os.pipe() for _ in range(3))
    return Flow(into, out, err, end, stdin, most), [read, printing, complaining]


class Flow:
    """What goes into a process and comes out of it.

    It is over once ``end`` can be read, and the pipes are empty; others may still hold them.
    """

    def __init__(self, into: int, out: int, err: int, end: int, stdin: bytes, most: int) -> None:
        self.into, self.out, self.err, self.end = into, out, err, end
        self.left, self.most = memoryview(stdin), most
        self.printed, self.complaints = bytearray(), bytearray()
        self.over = False
        self.open = {into, out, err}
        for pipe in self.open:
            os.set_blocking(pipe, False)
        if not stdin:
            self._close(into)

    def files(self) -> dict[int, int]:
        """What to wait for."""
        files = dict.fromkeys((self.end, *self.open), select.POLLIN)
        if self.into in files:
            files[self.into] = select.POLLOUT
        return files

    def go(self, ready: list[int]) -> None:
        """Move what can be moved.

        Raises:
            OverflowError: more was printed than may be.
        """
        self.over = self.end in ready
        if self.over:  # what was printed before is there
            ready = [*ready, *(self.open - {self.into})]
        if self.into in ready:
            try:
                self.left = self.left[os.write(self.into, self.left[:65536]) :]
            except BrokenPipeError:
                self.left = self.left[:0]
            if not self.left:
                self._close(self.into)
        if self.err in ready and self.err in self.open:
            self._read(self.err, self.complaints)
            del self.complaints[:-_TAIL]
        if self.out in ready and self.out in self.open:
            self._read(self.out, self.printed)
        if len(self.printed) > self.most:
            del self.printed[self.most :]
            raise OverflowError(f"it printed more than {self.most:,} bytes")

    def _read(self, pipe: int, into: bytearray) -> None:
        try:
            # All that is there, as far as it counts: the process may be gone.
            while len(into) <= self.most:
                part = os.read(pipe, 65536)
                into += part
                if not part:
                    self._close(pipe)
                    return
        except BlockingIOError:
            pass

    def _close(self, file: int) -> None:
        self.open.discard(file)
        os.close(file)

    def close(self) -> None:
        """Close all files."""
        for file in list(self.open):
            self._close(file)
