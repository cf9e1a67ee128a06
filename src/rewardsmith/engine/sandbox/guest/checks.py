"""Run tests in the form of assertions, where the functions that they test are elsewhere.

Each statement that asserts is a test, and is run by itself. A call of a function of the program is
sent there and answered by plain data, so what is compared are exact built-in values.
"""

import ast
import builtins
import json
import marshal
import random
import socket
import sys
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any

from . import reading
from .frames import receive, send
from .plain import NotPlainError, decode, encode

_ONLY_PLAIN = "only plain data, no objects of its classes, leaves the process of the program"


class _Over(BaseException):
    """The program did not answer: its status, and why."""


class _Broken(Exception):  # noqa: N818 - it reads as what it is
    """The tests cannot be run, whatever the program does."""


def run(channel: socket.socket, job: dict[str, Any]) -> None:
    """Run what tests the host sends, one lot after the other; tell it each outcome."""
    send(channel, b"=")
    while True:
        given = marshal.loads(receive(channel))
        random.seed(0)
        checks = _Checks(channel)
        try:
            checks.run(**given)
            checks.tell(b"E", b"clean" if checks.clean else b"")
        except _Broken as error:
            checks.tell(b"B", str(error).encode("utf-8", "replace"))
        except Exception as error:  # noqa: BLE001 - told to those who wrote the tests
            checks.tell(b"B", f"{type(error).__name__}: {error}".encode("utf-8", "replace"))


class _Checks:
    def __init__(self, channel: socket.socket) -> None:
        self.channel, self.asked, self.clean = channel, False, False
        self.over: tuple[str, str] | None = None
        """How the program ended in this test, whatever the test makes of that."""
        self.done: list[tuple[int, str, str]] = []
        """Outcomes that the host does not know yet: they travel with what it is asked next."""

    def run(self, setup: str, tests: str, entry: str | None, count: bool) -> None:
        """Load and run the tests.

        Args:
            setup: what tests may use of the prompt; a function without a body gets one.
            tests: statements that assert, or a function ``check(candidate)`` of them.
            entry: the function that is tested; None finds the names that nothing defines.
            count: only tell how many there are.
        """
        module = sys.modules["tests"] = ModuleType("tests")
        space = module.__dict__
        before = _setup(setup)
        exec(compile(before, "setup.py", "exec", dont_inherit=True), space)
        try:
            tree = ast.parse(tests, "tests.py")
            self.clean = reading.leaves_nothing(tree, before)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise _Broken(f"the tests do not parse: {error}") from None
        check = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "check"]
        if check and entry is None:
            raise _Broken("tests with a function check need the name of what they test")
        parts = reading.split(tree.body, check[-1].body if check else tree.body)
        if not parts:
            raise _Broken("the tests hold no assertion (unittest and pytest.raises are not known)")
        names = self._names(tree, space, entry)
        own = {entry} | {arg.arg for each in check for arg in each.args.args}
        if isinstance(space.get(entry or ""), type):
            raise _Broken(f"{entry} is a class: {_ONLY_PLAIN}")
        if lost := reading.objects_used(tree, {name for name in names | own if name}):
            raise _Broken(f"the tests use {lost} of what the program returns: {_ONLY_PLAIN}")
        space["__test__"] = lambda k: _Test(self, k, parts[k])
        space.update({name: self._stand_in(name) for name in names})
        self.say(b"U", json.dumps(len(parts)).encode())
        if count:
            return
        code = compile(ast.fix_missing_locations(tree), "tests.py", "exec", dont_inherit=True)
        at = _Test(self, -1)
        with at:
            exec(code, space)
            if check:
                space["check"](space[entry or ""])

    def _names(self, tree: ast.Module, space: dict[str, Any], entry: str | None) -> set[str]:
        """What is to stand in for functions of the program; modules that nobody imports are."""
        called, used = reading.unknown(tree, space)
        for name in (called | used) & sys.stdlib_module_names:
            # The program may have imported it, and HumanEval's tests run among its names.
            space[name] = import_module(name)
        names = called - sys.stdlib_module_names | ({entry} if entry else set())
        if lost := used - names - sys.stdlib_module_names:
            raise _Broken(f"the tests use {sorted(lost)[0]}, which nothing defines")
        if not names:
            raise _Broken("the tests call nothing that they do not define")
        return names

    def say(self, letter: bytes, message: bytes) -> Any:
        """Tell the host what is done, and something else; what it answers."""
        self.tell(letter, message)
        return marshal.loads(receive(self.channel))

    def tell(self, letter: bytes, message: bytes) -> None:
        """Tell the host what is done, and something else."""
        done, self.done = json.dumps(self.done).encode(), []
        send(self.channel, letter + done + b"\n" + message)

    def _stand_in(self, name: str) -> Any:
        def candidate(*args: Any, **keywords: Any) -> Any:
            try:
                request = encode([name, list(args), keywords])
            except NotPlainError as error:
                if self.asked:  # it may stem from what the program returned
                    raise
                raise _Broken(f"a test gives {name} what cannot be sent: {error}") from None
            self.asked = True
            kind, value, message = self.say(b"?", request)
            if kind == "value":
                return self._returned(value, args)
            if kind == "raised":
                raise _error(value, message)
            self.over = (kind, value)
            raise _Over(kind, value)

        candidate.__name__ = candidate.__qualname__ = name
        return candidate

    def _returned(self, said: bytes, args: tuple[Any, ...]) -> Any:
        """What a function returned; what it did to its arguments is done to those of the test."""
        try:
            value, changed = decode(said)
            for place, now in changed.items():
                _become(args[place], now)
        except (NotPlainError, TypeError, LookupError, ValueError, AttributeError) as error:
            self.over = ("failed", f"what it returned: {error}")
            raise _Over(*self.over) from None
        return value


class _Test:
    """One test: what happens inside is its outcome."""

    def __init__(self, checks: _Checks, number: int, part: ast.stmt | None = None) -> None:
        self.checks, self.number, self.part = checks, number, part

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if isinstance(error, _Broken):
            return False
        status, why = self.checks.over or ("passed", "")
        if self.checks.over is None and error is not None:
            why = f"{type(error).__name__} {error}".strip()
            said = "" if self.part is None else ast.unparse(self.part)[:200]
            if not self.checks.asked:
                told = f"{said}: {why}" if said else why
                raise _Broken(f"a test fails before it calls anything: {told}") from None
            status, why = "failed", f"{said} {why}".strip()
        if error is not None or self.number >= 0:
            self.checks.done.append((self.number, status, why[:300]))
            self.checks.over = None
        return True


def _error(kind: str, message: str) -> Exception:
    """What the program raised, as far as it is Python's own."""
    known = getattr(builtins, kind, None)
    # Loops of the tests would end by these, as if all were done.
    ends = (StopIteration, StopAsyncIteration)
    if isinstance(known, type) and issubclass(known, Exception) and not issubclass(known, ends):
        try:
            return known(message)
        except TypeError:  # it takes more than a message
            pass
    return RuntimeError(f"{kind}: {message}")


def _setup(source: str) -> ast.Module:
    try:
        return ast.parse(source, "setup.py")
    except SyntaxError:
        return ast.parse(source + "\n    pass\n", "setup.py")


def _become(mine: Any, changed: Any) -> None:
    """What a function did to an argument is done to the one that the test holds."""
    if type(mine) is list and type(changed) is list:
        mine[:] = changed
    elif type(mine) in (dict, set) and type(changed) is type(mine):
        mine.clear()
        mine.update(changed)
