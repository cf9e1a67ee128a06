"""Run attacks in the sandbox, and outside of it to see that they are attacks.

An attack is a program with a function ``attack``, which returns what it got. It is written for
somebody who knows how the sandbox is made.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rewardsmith.engine.sandbox import (
    Call,
    Limits,
    Result,
    Run,
    run_asserts,
    run_calls,
    run_scripts,
)
from rewardsmith.engine.sandbox.box import Setting

MIB = 1 << 20
PATIENT = Limits(test=8.0, program=30.0, memory=256 * MIB)
"""For attacks that end by themselves: a busy machine fails no test."""
SHORT = Limits(test=0.5, program=2.0, memory=256 * MIB)
"""For attacks that never end."""
HASTY = Limits(test=0.25, program=1.0, memory=256 * MIB)
"""For those where nothing has to pass."""
SAFE = Setting()

TOOLS = '''
import ctypes, errno, fcntl, os, signal, socket, stat, struct, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def tried(what, *args, **keywords):
    """["got", value], or ["refused", the error's name]."""
    try:
        value = what(*args, **keywords)
    except OSError as error:
        return ["refused", errno.errorcode.get(error.errno, str(error))]
    except Exception as error:
        return ["refused", type(error).__name__]
    plain = value is None or isinstance(value, (bool, int, str, list))
    return ["got", value if plain else repr(value)[:200]]

def called(number, *args):
    """A system call by its number."""
    def call():
        ctypes.set_errno(0)
        # As they are, ctypes leaves half of each number undefined.
        wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in args]
        result = libc.syscall(ctypes.c_long(number), *wide)
        if result < 0:
            raise OSError(ctypes.get_errno(), "")
        return result
    return tried(call)

def read(path):
    with open(path, errors="replace") as file:
        return file.read(4096)

def write(path, text):
    with open(path, "a") as file:
        file.write(text)

def channel():
    """The socket that leads out of this process."""
    for fd in range(3, 1024):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                return fd
        except OSError:
            pass
    return -1

def say(message, fd=None):
    """A whole frame, as if the harness had said it."""
    raw(struct.pack(">I", len(message)) + message, fd)

def raw(data, fd=None):
    fd = channel() if fd is None else fd
    while data:
        data = data[os.write(fd, data[:65536]):]
'''
"""What attacks have at hand."""


def inside(
    source: str, *args: Any, limits: Limits = PATIENT, setting: Setting = SAFE, name: str = "attack"
) -> Any:
    """What an attack returns that runs in the sandbox."""
    returned: list[Any] = []

    def keep(value: Any, _: Any) -> bool:
        returned.append(value)
        return True

    call = Call(args, {}, None)
    (result,) = run_calls(TOOLS + source, name, [call], keep, limits=limits, setting=setting)
    assert result.status == "passed", result
    return returned[0]


def outside(source: str, *args: Any) -> Any:
    """What the same attack returns in a Python without any walls."""
    code = f"{TOOLS}\n{source}\nimport json\nprint(json.dumps(attack(*json.loads(sys.argv[1]))))"
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code, json.dumps(args)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])


def calls(
    source: str,
    n: int = 1,
    *,
    expected: Any = "a secret",
    limits: Limits = SHORT,
    setting: Setting = SAFE,
    same: Callable[[Any, Any], bool] = lambda a, b: bool(a == b),
) -> list[Result]:
    """Tests of the function ``attack``, which takes nothing."""
    tests = [Call([], {}, expected)] * n
    return run_calls(TOOLS + source, "attack", tests, same, limits=limits, setting=setting)


def scripts(
    source: str, n: int = 1, *, expected: str = "a secret", limits: Limits = SHORT
) -> list[Result]:
    """Tests of a script, which reads nothing."""
    tests = [Run("", expected)] * n
    return run_scripts(TOOLS + source, tests, lambda a, b: a.strip() == b, limits=limits)


def asserts(source: str, tests: str, *, limits: Limits = SHORT) -> list[Result]:
    """Tests in the form of assertions about the function ``attack``."""
    return run_asserts(TOOLS + source, tests, "attack", limits=limits)


def statuses(results: list[Result]) -> list[str]:
    return [result.status for result in results]


def honest_program_passes() -> bool:
    (result,) = run_calls(
        "def f(x): return x + 1", "f", [Call([1], {}, 2)], lambda a, b: a == b, limits=PATIENT
    )
    return result.status == "passed"


def in_new_box(work: Callable[[], Any]) -> Any:
    """Do some work in a sandbox that is started for it: each thread has its own."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


@contextmanager
def meanwhile(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Do some work in another thread, in a sandbox of its own; what it returned, at the end."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    try:
        yield found
    finally:
        thread.join()


def processes_named(name: str) -> list[int]:
    """Processes of this machine that call themselves so, wherever they run."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                named = (folder / "comm").read_text().strip() == name
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:  # it has ended
                continue
            if named and state != "Z":
                found.append(int(folder.name))
    return found


def offspring() -> set[int]:
    """All processes that stem from this one."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            parents[int(folder.name)] = int(fields[1])
    family, before = {os.getpid()}, 0
    while len(family) > before:
        before = len(family)
        family |= {pid for pid, parent in parents.items() if parent in family}
    return family - {os.getpid()}
