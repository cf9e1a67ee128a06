"""Run tests in the form of assertions, where the functions that they test are elsewhere.

Each statement that asserts is a test, and is run by itself. A call of a function of the program is
sent there and answered by plain data, so what is compared are exact built-in values.
"""

import ast
import builtins
import json
import marshal
import socket
import sys
from types import ModuleType, TracebackType
from typing import Any, TypeGuard

from .frames import receive, send
from .plain import NotPlainError, encode


class _Over(BaseException):
    """The program did not answer: its status, and why."""


class _Broken(Exception):  # noqa: N818 - it reads as what it is
    """The tests cannot be run, whatever the program does."""


def run(channel: socket.socket, job: dict[str, Any]) -> None:
    """Run the tests that the host sends; tell it each outcome."""
    send(channel, b"=")
    checks = _Checks(channel)
    try:
        checks.run(**marshal.loads(receive(channel)))
    except _Broken as error:
        checks.say(b"B", str(error).encode("utf-8", "replace"))
    except Exception as error:  # noqa: BLE001 - told to those who wrote the tests
        checks.say(b"B", f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
    else:
        checks.say(b"E", b"")


class _Checks:
    def __init__(self, channel: socket.socket) -> None:
        self.channel, self.asked = channel, False
        self.done: list[tuple[int, str, str]] = []
        """Outcomes that the host does not know yet: they travel with what it is asked next."""

    def run(self, setup: str, tests: str, entry: str | None) -> None:
        """Load and run the tests.

        Args:
            setup: what tests may use of the prompt; a function without a body gets one.
            tests: statements that assert, or a function ``check(candidate)`` of them.
            entry: the function that is tested; None finds the names that nothing defines.
        """
        module = sys.modules["tests"] = ModuleType("tests")
        space = module.__dict__
        if setup:
            exec(_setup(setup), space)
        try:
            tree = ast.parse(tests, "tests.py")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise _Broken(f"the tests do not parse: {error}") from None
        check = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "check"]
        body = check[-1].body if check else tree.body
        whys = _split(body)
        if check and entry is None:
            raise _Broken("tests with a function check need the name of what they test")
        space["__test__"] = lambda k: _Test(self, k, whys[k])
        names = _unknown(tree, space) if entry is None else {entry}
        if lost := _objects_used(tree, names):
            raise _Broken(
                f"the tests use {lost} of what the program returns: only plain data, no objects of "
                "its classes, leaves the process of the program"
            )
        space.update({name: self._stand_in(name) for name in names})
        if not names:
            raise _Broken("the tests call nothing that they do not define")
        if not whys:
            raise _Broken("the tests hold no assertion")
        self.say(b"U", json.dumps(len(whys)).encode())
        code = compile(ast.fix_missing_locations(tree), "tests.py", "exec", dont_inherit=True)
        at = _Test(self, -1, "")
        with at:
            exec(code, space)
            if check:
                space["check"](space[entry or ""])

    def say(self, letter: bytes, message: bytes) -> Any:
        """Tell the host what is done, and something else; what it answers."""
        done, self.done = json.dumps(self.done).encode(), []
        send(self.channel, letter + done + b"\n" + message)
        return marshal.loads(receive(self.channel))

    def _stand_in(self, name: str) -> Any:
        def candidate(*args: Any, **keywords: Any) -> Any:
            try:
                request = encode([name, list(args), keywords])
            except NotPlainError as error:
                if self.asked:  # it may stem from what the program returned
                    raise
                raise _Broken(f"a test gives {name} what cannot be sent: {error}") from None
            self.asked = True
            kind, value, now = self.say(b"?", request)
            if kind == "value":
                for mine, changed in zip(args, now, strict=True):
                    _become(mine, changed)
                return value
            if kind == "raised":
                raise _error(value, now)
            raise _Over(kind, value)

        candidate.__name__ = candidate.__qualname__ = name
        return candidate


class _Test:
    """One test: what happens inside is its outcome."""

    def __init__(self, checks: _Checks, number: int, why: str) -> None:
        self.checks, self.number, self.why = checks, number, why

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
        status, why = "passed", ""
        if isinstance(error, _Over):
            status, why = error.args
        elif error is not None:
            why = f"{type(error).__name__} {error}".strip()
            if not self.checks.asked:
                raise _Broken(f"a test fails before it calls anything: {self.why} {why}") from None
            status, why = "failed", f"{self.why} {why}".strip()
        if error is not None or self.number >= 0:
            self.checks.done.append((self.number, status, why[:300]))
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


def _setup(source: str) -> Any:
    try:
        return compile(source, "setup.py", "exec", dont_inherit=True)
    except SyntaxError:
        return compile(source + "\n    pass\n", "setup.py", "exec", dont_inherit=True)


def _split(body: list[ast.stmt]) -> list[str]:
    """Put each statement that asserts into a test of its own; what it says, in their order."""
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    asserting = {f.name for f in functions if any(map(_asserts, ast.walk(f)))}
    called = {n.id for node in body for n in ast.walk(node) if isinstance(n, ast.Name)}
    for function in functions:
        # As pytest has it: nobody calls them.
        if function.name.startswith("test") and function.name in asserting - called:
            call = ast.Call(ast.Name(function.name, ast.Load()), [], [])
            body.append(ast.Expr(call))
    whys: list[str] = []
    for k, statement in enumerate(body):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            continue
        nodes = list(ast.walk(statement))
        calls = {n.func.id for n in nodes if isinstance(n, ast.Call) and _is_name(n.func)}
        if not any(map(_asserts, nodes)) and not calls & asserting:
            continue
        call = ast.Call(ast.Name("__test__", ast.Load()), [ast.Constant(len(whys))], [])
        body[k] = ast.With([ast.withitem(call)], [statement])
        whys.append(ast.unparse(statement)[:200])
    return whys


def _asserts(node: ast.AST) -> bool:
    if not isinstance(node, ast.Assert):
        return False
    # `assert True` tests nothing.
    return not (isinstance(node.test, ast.Constant) and node.test.value)


def _is_name(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name)


def _objects_used(tree: ast.Module, names: set[str]) -> str:
    """An attribute, which plain data do not have, of what functions of the program return."""
    results: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _calls(node.value, names):
            results |= {target.id for target in node.targets if _is_name(target)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr not in _ATTRIBUTES:
            of = node.value
            if _calls(of, names) or (_is_name(of) and of.id in results):
                return f".{node.attr}"
    return ""


def _calls(node: ast.AST, names: set[str]) -> bool:
    return isinstance(node, ast.Call) and _is_name(node.func) and node.func.id in names


_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
_ATTRIBUTES = {name for kind in _PLAIN for name in dir(kind)}


def _unknown(tree: ast.Module, space: dict[str, Any]) -> set[str]:
    """Names that are called, and that neither the tests, the setup nor Python define."""
    known = {*space, *dir(builtins)}
    called = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            known.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            known |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Call) and _is_name(node.func):
            called.add(node.func.id)
    return called - known


def _become(mine: Any, changed: Any) -> None:
    """What a function did to an argument is done to the one that the test holds."""
    if type(mine) is list and type(changed) is list:
        mine[:] = changed
    elif type(mine) in (dict, set) and type(changed) is type(mine):
        mine.clear()
        mine.update(changed)
