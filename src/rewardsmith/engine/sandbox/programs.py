"""Run a program against tests: what it is asked goes in, and what it answers is judged out here."""

import json
import marshal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from ...rules.marks import TestStatus
from ...rules.unit_tests import Call, Run
from .box import Box, Program, box_of, forget
from .bubblewrap import Setting
from .errors import SandboxError
from .guest.plain import NotPlainError, decode
from .guest.supervisor import told_end
from .limits import Limits
from .results import Clock, Raised, Result, ended, printable

Found = TypeVar("Found")


@dataclass(frozen=True)
class Command:
    """How a program in another language is run.

    Args:
        file: what its source is called.
        command: runs it, in the folder of the source.
        compile: makes it, before the first test.
    """

    file: str
    command: tuple[str, ...]
    compile: tuple[str, ...] = ()


class Ran(NamedTuple):
    """What came of running a script once."""

    status: TestStatus
    """``passed`` if it ended with code 0, ``failed`` with another."""
    output: bytes
    seconds: float
    why: str


def run_script(
    source: str,
    stdin: bytes = b"",
    *,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    setting: Setting = Setting(),  # noqa: B008
) -> Ran:
    """Run a Python program once, in a sandbox of its own.

    Raises:
        SandboxError: nothing was learned about the program.
    """

    def work(box: Box) -> Ran:
        with box.open({"kind": "script", "source": source}, limits) as program:
            clock = Clock(limits)
            failed = loaded(program, clock)
            began = time.perf_counter()
            if failed is not None:
                return Ran(failed.status, b"", 0.0, failed.why)
            result, output = _once(program, stdin, clock)
            return Ran(result.status, output, time.perf_counter() - began, result.why)

    return in_box(setting, work)


def run_calls(
    source: str,
    name: str,
    tests: Sequence[Call],
    same: Callable[[Any, Any], bool],
    *,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    setting: Setting = Setting(),  # noqa: B008
) -> list[Result]:
    """Call a program's function; all calls share its process, as long as that lives.

    Args:
        source: the program, in Python.
        name: the function; a method of a class ``Solution`` where the program has no such function.
        tests: what it is called with, and should return.
        same: ``(returned, expected)``; what was returned are exact built-in types.
        limits: see :class:`Limits`.
        setting: see :class:`Setting`.

    Raises:
        SandboxError: nothing was learned about the program.
    """

    def work(box: Box) -> list[Result]:
        with box.open({"kind": "calls", "source": source}, limits) as program:
            clock = Clock(limits)
            failed = loaded(program, clock)
            if failed is not None:
                return [failed] * len(tests)
            return [_checked_call(program, name, test, same, clock) for test in tests]

    return in_box(setting, work)


def run_scripts(
    source: str,
    tests: Sequence[Run],
    same: Callable[[str, str], bool],
    *,
    command: Command | None = None,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    setting: Setting = Setting(),  # noqa: B008
) -> list[Result]:
    """Run a program that reads its standard input and prints, once for each test.

    Args:
        source: the program.
        tests: what it reads, and should print.
        same: ``(printed, expected)``.
        command: how it is run, where it is not Python.
        limits: see :class:`Limits`.
        setting: see :class:`Setting`.

    Raises:
        SandboxError: nothing was learned about the program.
    """
    job = {"kind": "script", "source": source} if command is None else {"kind": "command"}

    if command is not None:
        setting = replace(setting, system=True)

    def work(box: Box) -> list[Result]:
        with box.open(job, limits) as program:
            clock = Clock(limits)
            if command is None:
                failed = loaded(program, clock)
            else:
                failed = _compiled(program, source, command, clock)
            if failed is not None:
                return [failed] * len(tests)
            argv = None if command is None else list(command.command)
            return [_checked_run(program, test, same, clock, argv) for test in tests]

    return in_box(setting, work)


def in_box(setting: Setting, work: Callable[[Box], Found]) -> Found:
    """Do some work in a sandbox; once more in a new one where it broke."""
    try:
        return work(box_of(setting))
    except SandboxError:
        forget(setting)
        return work(box_of(setting))


def loaded(program: Program, clock: Clock) -> Result | None:
    """Load a program; how it failed to."""
    clock.begin()
    kind, said = program.ask(None, clock.left())
    if kind != "=":
        result = ended(kind, said, clock)
        return Result(result.status, f"while it was loaded: {result.why}")
    if said[:1] != b"=":
        return Result("failed", f"it does not load: {Raised.of(said[1:])}")
    return None


def _compiled(program: Program, source: str, command: Command, clock: Clock) -> Result | None:
    """Write a program's file and make it; how that failed."""
    write = ["/bin/sh", "-c", 'cat > "$0"', command.file]
    for argv, stdin in ((write, source.encode("utf-8", "surrogatepass")), (command.compile, b"")):
        if argv:
            result, _ = _once(program, (list(argv), stdin), clock, clock.limits.program)
            if result.status != "passed":
                return Result(result.status, f"it does not compile: {result.why}")
    return None


def asked(program: Program, request: Any, clock: Clock) -> tuple[Result, bytes | Raised]:
    """Call a function: ``passed`` and the result as it was sent, or how it ended."""
    left = clock.left()
    if left <= 0:
        return clock.timeout(), b""
    kind, said = program.ask(marshal.dumps(request), left)
    if kind != "=":
        return ended(kind, said, clock), b""
    letter, said = said[:1], said[1:]
    if letter == b"=":
        return Result("passed"), said
    if letter == b"u":
        return Result("failed", f"what it returned: {said.decode('utf-8', 'replace')[:200]}"), b""
    raised = Raised.of(said)
    if letter == b"n":
        return Result("failed", raised.message), b""
    return Result("failed", f"it raised {raised}"), raised


def _checked_call(
    program: Program,
    name: str,
    test: Call,
    same: Callable[[Any, Any], bool],
    clock: Clock,
) -> Result:
    clock.begin()
    result, said = asked(program, (name, list(test.args), dict(test.keywords)), clock)
    if result.status != "passed" or not isinstance(said, bytes):
        return result
    try:
        value, _ = decode(said)
    except (NotPlainError, TypeError, ValueError) as error:
        return Result("failed", f"what it returned: {error}")
    if same(value, test.expected):
        return result
    wrapped = test.or_its_item and isinstance(test.expected, list) and len(test.expected) == 1
    if wrapped and same(value, test.expected[0]):
        return result
    return Result("failed", f"returned {_short(value)}, expected {_short(test.expected)}")


def _once(
    program: Program, request: Any, clock: Clock, seconds: float | None = None
) -> tuple[Result, bytes]:
    """Run a program once; its output."""
    left = clock.left() if seconds is None else min(seconds, clock.end - time.monotonic())
    if left <= 0:
        return clock.timeout(), b""
    kind, said = program.ask(request, left)
    if kind != "=":
        return ended(kind, said, clock), b""
    facts, _, output = said.partition(b"\n")
    try:
        code, why = json.loads(facts)
    except (ValueError, TypeError, RecursionError):
        return Result("crashed", "its answer cannot be read"), b""
    if code == 0:
        return Result("passed"), output
    if code in ("T", "X", "F"):
        return ended(code, printable(why).encode(), clock), output
    if type(code) is int and code < 0:
        return Result("crashed", told_end(code)), output
    return Result("failed", _code_told(code, printable(why))), output


def _code_told(code: Any, why: str) -> str:
    if why.startswith("["):
        return f"it raised {Raised.of(why.encode('utf-8', 'replace'))}"
    lines = why.strip().splitlines()
    # Compilers tell it first, and Python last.
    line = next((line for line in lines if "error:" in line), lines[-1] if lines else "")
    return f"it ended with code {str(code)[:20]}" + (f": {line[:200]}" if line else "")


def _checked_run(
    program: Program,
    test: Run,
    same: Callable[[str, str], bool],
    clock: Clock,
    argv: list[str] | None,
) -> Result:
    clock.begin()
    stdin = test.stdin.encode("utf-8", "surrogatepass")
    result, output = _once(program, stdin if argv is None else (argv, stdin), clock)
    if result.status != "passed":
        return result
    try:
        printed = output.decode("utf-8")
    except UnicodeDecodeError as error:
        return Result("failed", f"what it printed is not UTF-8: byte {error.start}")
    if same(printed, test.stdout):
        return result
    return Result("failed", f"printed {_short(printed)}, expected {_short(test.stdout)}")


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError) as error:  # an integer of too many digits, for one
        return f"({error})"
    return text if len(text) <= 60 else f"{text[:57]}..."
