"""How a test of a program ends, and the time that it has."""

import json
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from ...rules.marks import TestStatus
from .limits import Limits


class Result(NamedTuple):
    """How a test ended, and why, where it did not pass."""

    status: TestStatus
    why: str = ""


class Clock:
    """The time that is left of a program's."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.end = time.monotonic() + limits.program
        self.begin()

    def begin(self) -> None:
        """The next test begins."""
        self.test_end = time.monotonic() + self.limits.test

    def left(self) -> float:
        """Seconds that the test has yet; none where that is not positive."""
        return min(self.test_end, self.end) - time.monotonic()

    @property
    def over(self) -> bool:
        """Whether the time for all tests is used up."""
        return time.monotonic() >= self.end

    def timeout(self) -> Result:
        """The outcome of a test that took too long."""
        if self.over:
            return Result(
                "timeout", f"all tests together took longer than {self.limits.program:g} s"
            )
        return Result("timeout", f"took longer than {self.limits.test:g} s")


class Raised(NamedTuple):
    """What a function of the program raised, as the program tells it."""

    kind: str
    message: str
    base: str
    """Which of Python's own errors it is."""

    @classmethod
    def of(cls, said: bytes) -> "Raised":
        """What stands in a message, which may be anything."""
        try:
            kind, message, base = json.loads(said)
            return cls(printable(kind)[:80], printable(message)[:300], printable(base)[:80])
        except (ValueError, TypeError, RecursionError):
            return cls("RuntimeError", "it does not say what it raised", "RuntimeError")

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}".rstrip(": ")


def ended(kind: str, said: bytes, clock: Clock) -> Result:
    """What became of a program that did not answer."""
    if kind == "T":
        return clock.timeout()
    return Result("failed" if kind == "F" else "crashed", said.decode("utf-8", "replace"))


def printable(said: Any) -> str:
    """What a program says as text that any file can hold."""
    return str(said).encode("utf-8", "replace").decode()


def tally(results: Iterable[Result]) -> str:
    """How many passed, and what became of the first that did not."""
    results = list(results)
    passed = sum(result.status == "passed" for result in results)
    told = f"{passed} of {len(results)} tests passed"
    for k, result in enumerate(results):
        if result.status != "passed":
            return f"{told}; test {k + 1} {result.status}: {result.why}"
    return told
