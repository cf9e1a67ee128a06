"""What a program in the sandbox may use."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Seconds, bytes and numbers.

    Raises:
        ValueError: one is not positive and finite.
    """

    test: float = 2.0
    """Seconds, by the clock on the wall, for each test; the program is then ended."""
    program: float = 6.0
    """Seconds for all tests of a program; those that are left have the status ``timeout``."""
    memory: int = 512 * MIB
    """Of all its processes together; of address space, for each that runs Python."""
    processes: int = 16
    """And threads, at once."""
    disk: int = 32 * MIB
    """In its /tmp, where it starts; there is nothing else that it could write to."""
    output: int = MIB
    """What a test may print, or return as JSON."""
    files: int = 128
    """Open at once, in each process."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Limits":
        """The defaults, but for those that are given.

        Raises:
            ValueError: there is no such limit, or it is not positive.
        """
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise ValueError(f"there is no limit {name!r}; there are {', '.join(known)}")
        return cls(**given)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"the limit {field.name!r} is {value!r}, not a number")
            if not 0 < value < math.inf:
                raise ValueError(f"the limit {field.name!r} is {value}, not a positive number")
            if field.name not in ("test", "program"):
                object.__setattr__(self, field.name, int(value))
        # Less, and Python itself does not start.
        for name, least in (("memory", 32 * MIB), ("files", 32), ("processes", 1), ("disk", 4096)):
            if not least <= getattr(self, name) < 1 << 60:
                raise ValueError(f"the limit {name!r} is {getattr(self, name)}, at least {least:,}")
