"""Run tests that are code: in one sandbox the tests, in another the program that they test."""

import json
import marshal
from typing import Any

from .box import Box, Program
from .bubblewrap import Setting
from .limits import Limits
from .programs import asked, in_box, loaded
from .results import Clock, Raised, Result, ended, printable


def run_asserts(
    source: str,
    tests: str,
    entry: str | None,
    setup: str = "",
    *,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    setting: Setting = Setting(),  # noqa: B008
) -> list[Result]:
    """Run tests that are code. They run in another sandbox than the program that they test.

    Args:
        source: the program, in Python.
        tests: statements that assert, or a function ``check(candidate)`` of them.
        entry: the function that is tested; None: all that the tests call and nothing defines.
        setup: what tests may use besides: a prompt with helpers, say.
        limits: see :class:`Limits`.
        setting: see :class:`Setting`.

    Raises:
        ValueError: the tests cannot be run, whatever the program.
        SandboxError: nothing was learned about the program.
    """

    def work(box: Box) -> list[Result]:
        with box.open({"kind": "calls", "source": source}, limits) as program:
            clock = Clock(limits)
            failed = loaded(program, clock)
            judge = box.judge(limits)
            judged = _Judged(program, judge, clock, failed)
            results = judged.results(setup, tests, entry)
            judge.waits = judged.over
            return results

    return in_box(setting, work)


class _Judged:
    """Tests in one process, the program that they test in another, and this between them."""

    def __init__(
        self, program: Program, judge: Program, clock: Clock, failed: Result | None
    ) -> None:
        self.program, self.judge, self.clock, self.failed = program, judge, clock, failed
        self.asked, self.total = False, 0
        self.over = False
        """Whether the judge is through, as if it had never begun."""
        self.found: list[Result] = []

    def results(self, setup: str, tests: str, entry: str | None) -> list[Result]:
        # Reading the tests is not on the program's time.
        seconds = self.clock.limits.test
        told = {"setup": setup, "tests": tests, "entry": entry, "count": self.failed is not None}
        letter, said = self._said(told, seconds)
        if letter != "U":
            raise ValueError(self._trouble(letter, said))
        self.total = int(said)
        answer: Any = None
        self.clock.begin()
        while True:
            letter, said = self._said(answer, seconds if self.failed else None)
            if self.failed is not None:
                return [self.failed] * self.total
            if letter == "?":
                answer = self._call(said)
            elif letter == "E":
                # Tests may return before they are through.
                return self._filled(Result("failed", "the tests ended before it"))
            elif letter in "TXF" and self.asked:
                # They loop, or use up memory, over what the program returned.
                return self._filled(ended(letter, said, self.clock))
            else:
                raise ValueError(self._trouble(letter, said))

    def _said(self, answer: Any, seconds: float | None = None) -> tuple[str, bytes]:
        left = self.clock.left() if seconds is None else seconds
        self.over = False
        kind, said = self.judge.ask(marshal.dumps(answer), max(left, 0.0))
        if kind != "=":
            return kind, said
        done, _, message = said[1:].partition(b"\n")
        self.over = said[:1] == b"E" and message == b"clean"
        for number, status, why in json.loads(done):
            self.clock.begin()
            result = Result(status, printable(why))
            self.found = [*self.found, result] if number >= 0 else self._filled(result)
        return chr(said[0]), message

    def _filled(self, result: Result) -> list[Result]:
        """What is known, and one outcome for all other tests."""
        return self.found + [result] * (self.total - len(self.found))

    def _trouble(self, letter: str, said: bytes) -> str:
        if letter == "T":
            return f"the tests take longer than {self.clock.limits.test:g} s by themselves"
        words = said.decode("utf-8", "replace")
        return words if letter == "B" else f"the tests end the process that they run in: {words}"

    def _call(self, request: bytes) -> tuple[str, Any, Any]:
        """Pass a call on to the program, and what came of it back; neither is read here."""
        self.asked = True
        result, said = asked(self.program, request, self.clock)
        if result.status == "timeout":
            self.clock.begin()  # the tests go on
        if result.status == "passed":
            return "value", said, None
        if isinstance(said, Raised):
            return "raised", said.base, said.message
        return result.status, result.why, None
