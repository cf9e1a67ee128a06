"""The process in which a program, or the tests of one, run."""

import atexit
import builtins
import gc
import json
import marshal
import os
import random
import socket
import sys
import threading
import typing
from contextlib import suppress
from types import CodeType, ModuleType
from typing import Any, NoReturn

from . import checks
from .frames import Closed, receive, send
from .plain import NotPlainError, decode, encode

_FILE = "program.py"


def begin(channel: socket.socket, job: dict[str, Any]) -> NoReturn:
    """Do what the host asks until it hangs up."""
    nothing = os.open("/dev/null", os.O_RDWR)
    _standard_files([nothing] * 3)
    os.close(nothing)
    try:
        {"calls": _serve, "script": _repeat, "tests": checks.run}[job["kind"]](channel, job)
    except Closed:
        pass
    finally:
        os._exit(0)


def _serve(channel: socket.socket, job: dict[str, Any]) -> None:
    space, me = _module("program").__dict__, os.getpid()
    if "class Solution" in job["source"]:
        # As where such programs come from; they do not import it.
        space.update({name: getattr(typing, name) for name in typing.__all__})
    random.seed(0)
    loaded = b"="
    try:
        exec(_compiled(job["source"]), space)
    except BaseException as error:  # noqa: BLE001 - whatever the program does is its own
        loaded = b"r" + told(error)
    _stay(me)
    send(channel, loaded)
    if loaded != b"=":
        return
    while True:
        request = marshal.loads(receive(channel))
        # Tests that are code have sent it; as it is, and they want to know what became of it.
        encoded = isinstance(request, bytes)
        name, args, keywords = decode(request) if encoded else request
        answer = _called(space, name, args, keywords, changes=encoded)
        _stay(me)
        send(channel, answer)


def _module(name: str) -> ModuleType:
    """A new module, which is found under its name."""
    module = sys.modules[name] = ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    return module


def _called(
    space: dict[str, Any], name: str, args: list[Any], keywords: dict[str, Any], changes: bool
) -> bytes:
    """``=`` and the result; ``n``: no such function; ``r``: what it raised; ``u``: no plain data.

    The result is a pair: what was returned, and the arguments by their places that are not what
    they were, where ``changes``.
    """
    before = [encode(arg) if changes and _may_change(arg) else b"" for arg in args]
    try:
        function = _found(space, name)
    except BaseException as error:  # noqa: BLE001 - whatever the program does is its own
        return b"n" + told(error)
    try:
        value = function(*args, **keywords)
    except BaseException as error:  # noqa: BLE001 - whatever the program does is its own
        return b"r" + told(error)
    try:
        places = [k for k, was in enumerate(before) if was and encode(args[k]) != was]
        return b"=" + encode([value, {k: args[k] for k in places}])
    except NotPlainError as error:
        return b"u" + str(error).encode("utf-8", "replace")


def _may_change(value: Any) -> bool:
    return isinstance(value, list | dict | set)


def _found(space: dict[str, Any], name: str) -> Any:
    if name in space:
        return space[name]
    # As LeetCode has it.
    if hasattr(space.get("Solution"), name):
        return getattr(space["Solution"](), name)
    raise LookupError(f"no function {name!r}")


def _repeat(channel: socket.socket, job: dict[str, Any]) -> None:
    """Run a script again and again, each time as a new ``__main__`` with other standard files."""
    try:
        code = _compiled(job["source"])
    except BaseException as error:  # noqa: BLE001 - whatever the program holds is its own
        send(channel, b"r" + told(error))
        return
    send(channel, b"=")
    nothing, me = os.open("/dev/null", os.O_RDWR), os.getpid()
    while True:
        message, files, _, _ = socket.recv_fds(channel, 1, 3)
        if not message:
            return
        _standard_files(files)
        for file in files:
            os.close(file)
        status, why = _script(code)
        _stay(me)
        _standard_files([nothing] * 3)
        # What could not be written would go to the next run's files.
        for name in ("stdin", "stdout", "stderr"):
            setattr(sys, name, None)
            setattr(sys, f"__{name}__", None)
        gc.collect()  # what the run has left refers to itself
        send(channel, json.dumps([status, why]).encode())


def _script(code: CodeType) -> tuple[int, str]:
    """Run it as the interpreter does, to the end of its threads; its exit code, what it raised."""
    main = _module("__main__")
    sys.argv = [_FILE]
    random.seed(0)
    files = [_standard_file(*file) for file in zip((0, 1, 2), "rww", strict=True)]
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__ = files  # type: ignore[misc]
    status, why = 0, ""
    try:
        exec(code, main.__dict__)
    except SystemExit as error:
        given = error.code
        status = given & 0xFF if isinstance(given, int) else int(given is not None)
    except BaseException as error:  # noqa: BLE001 - whatever the program does is its own
        status, why = 1, told(error).decode()
    _finish()
    # It may have put others in their place, closed them, or made them raise anything.
    for file in (sys.stdout, *files[1:]):
        with suppress(Exception):
            file.flush()
    return status, why


def _finish() -> None:
    """What the interpreter does at its end, so that it can begin again."""
    pools = sys.modules.pop("concurrent.futures.thread", None)
    with suppress(Exception):  # whatever the program left in them is its own
        if pools is not None:
            pools._python_exit()  # which the next import of it knows nothing of
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    atexit._clear()


def execute(command: list[str], files: list[int], most: int) -> NoReturn:
    """Become a command, with these as its standard files."""
    try:
        _standard_files(files)
        os.closerange(3, most)
        os.execvp(command[0], command)
    except BaseException as error:  # noqa: BLE001 - told where such things are told
        os.write(2, told(error))
    os._exit(127)


def _standard_files(files: list[int]) -> None:
    for there, file in enumerate(files):
        os.dup2(file, there)


def _standard_file(number: int, mode: str) -> Any:
    return open(number, mode, encoding="utf-8", closefd=False)


def _stay(me: int) -> None:
    """A process that the program forked ends where the program does."""
    if os.getpid() != me:
        os._exit(0)


def _compiled(source: str) -> CodeType:
    return compile(source, _FILE, "exec", dont_inherit=True)


def told(error: BaseException) -> bytes:
    """The kind of an error, its message, and which of Python's own it is, as JSON."""
    kind = type(error)
    try:
        message = str(error)[:300]
    except BaseException as second:  # noqa: BLE001 - whatever the program does is its own
        message = f"({type(second).__name__} while it was told)"
    base = next(known for known in kind.__mro__ if known.__module__ == "builtins")
    return json.dumps([kind.__name__, message, base.__name__]).encode()
