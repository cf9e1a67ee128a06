"""How much memory a program's processes have."""

import os
from contextlib import suppress

_PAGE = os.sysconf("SC_PAGESIZE")


class Family:
    """The processes that stem from this one, as they stand in the /proc of the whole sandbox."""

    def __init__(self) -> None:
        self.proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        self.mine = os.readlink("self", dir_fd=self.proc)

    def memory(self) -> int:
        """Bytes that they have in memory, this one not counted."""
        parents: dict[str, tuple[str, int]] = {}
        for name in os.listdir(self.proc):
            if name.isdigit():
                with suppress(OSError):  # it has ended
                    parents[name] = self._parent_and_pages(name)
        family, before = {self.mine}, 0
        while len(family) > before:
            before = len(family)
            family |= {name for name, (parent, _) in parents.items() if parent in family}
        pages = sum(parents[name][1] for name in family - {self.mine})
        return pages * _PAGE

    def _parent_and_pages(self, name: str) -> tuple[str, int]:
        state, parent, pages = self._stat(name)
        if state == b"Z":  # the first thread has ended, others may go on
            for thread in self._threads(name):
                pages = max(pages, self._stat(f"{name}/task/{thread}")[2])
        return parent, pages

    def _stat(self, name: str) -> tuple[bytes, str, int]:
        """State, parent and pages in memory."""
        # The name of the program stands in parentheses, and may hold some.
        fields = self._read(f"{name}/stat").rpartition(b")")[2].split()
        return fields[0], fields[1].decode(), int(fields[21])

    def _read(self, name: str) -> bytes:
        file = os.open(name, os.O_RDONLY, dir_fd=self.proc)
        try:
            return os.read(file, 4096)
        finally:
            os.close(file)

    def _threads(self, name: str) -> list[str]:
        folder = os.open(f"{name}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.proc)
        try:
            return os.listdir(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Forget about it."""
        os.close(self.proc)
