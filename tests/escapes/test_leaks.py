"""What one program leaves behind for the next, and what the host lets out."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from tests.escapes.inside import (
    PATIENT,
    TOOLS,
    calls,
    honest_program_passes,
    in_new_box,
    inside,
    outside,
    statuses,
)

from rewardsmith.engine.sandbox import Call, run_calls
from rewardsmith.engine.sandbox.box import Setting, box_of

STATE = """
import builtins, decimal, gc, json, locale, math, random, resource, string, warnings

def state():
    seen = {}
    seen["builtins"] = [len([1, 2]), sum([1, 2]), sorted(set(vars(builtins)) - {"_"}), repr(print)]
    seen["modules"] = [math.sqrt(4), json.dumps([1]), string.digits, sorted(sys.modules)]
    seen["environment"] = sorted(os.environ.items())
    seen["folder"] = [os.getcwd(), os.listdir("."), os.listdir("/dev/shm")]
    mask = os.umask(0)
    os.umask(mask)
    seen["mask"] = mask
    seen["locale"] = locale.setlocale(locale.LC_ALL)
    seen["limits"] = [resource.getrlimit(which) for which in range(16)]
    seen["signals"] = [repr(signal.getsignal(n)) for n in range(1, 65) if n not in (32, 33)]
    seen["timer"] = signal.getitimer(signal.ITIMER_REAL)
    seen["blocked"] = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    seen["random"] = [random.random(), random.getrandbits(32)]
    seen["path"] = [sys.path, len(sys.meta_path), len(sys.path_hooks), sys.argv]
    seen["recursion"] = [sys.getrecursionlimit(), sys.getswitchinterval()]
    seen["collector"] = [gc.isenabled(), gc.get_threshold()]
    seen["decimal"] = decimal.getcontext().prec
    seen["warnings"] = len(warnings.filters)
    seen["hash"] = hash("text")
    seen["priority"] = [os.getpriority(0, 0), sorted(os.sched_getaffinity(0))]
    seen["processes"] = [os.getpid(), os.getppid(), os.getsid(0), threading.active_count()]
    seen["files"] = [fd for fd in range(64) if tried(os.fstat, fd)[0] == "got"]
    seen["tracing"] = [repr(sys.gettrace()), repr(sys.getprofile()), repr(sys.excepthook)]
    seen["type"] = [hasattr(os, "poisoned"), repr(sys.displayhook)]
    return seen
"""

POISONS = {
    "builtins": "import builtins; builtins.len = lambda *a: 9; builtins.kept = 1",
    "modules": "import math, json; math.sqrt = abs; json.dumps = str; sys.modules['new'] = math",
    "environment": "os.environ['POISON'] = 'x'; os.environ.pop('HOME', 0)",
    "folder": "os.mkdir('poison'); os.chdir('poison')",
    "shm": "write('/dev/shm/poison', 'x')",
    "mask": "os.umask(0o777 - os.umask(0))",
    "locale": "import locale; locale.setlocale(locale.LC_ALL, 'C')",
    "limits": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))",
    "signals": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "timer": "signal.signal(14, signal.SIG_IGN); signal.setitimer(signal.ITIMER_REAL, 9)",
    "blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})",
    "random": "import random; random.seed = lambda *a: None; random.random = lambda: 4",
    "path": "sys.path.insert(0, '/tmp'); sys.meta_path.clear(); sys.argv = ['x']",
    "recursion": "sys.setrecursionlimit(77)",
    "collector": "import gc; gc.disable(); gc.set_threshold(1)",
    "decimal": "import decimal; decimal.getcontext().prec = 2",
    "warnings": "import warnings; warnings.simplefilter('error')",
    "priority": "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
    "nice": "os.nice(5)",
    "processes": "os.fork() or time.sleep(9)",
    "threads": "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    "files": "[os.dup(0) for _ in range(5)]",
    "tracing": "sys.settrace(lambda *a: None); sys.excepthook = print",
    "type": "os.poisoned = True; sys.displayhook = len",
    "exit": "import atexit; atexit.register(time.sleep, 9); os._exit = lambda *a: None",
    "harness": "sys.modules['guest.frames'].send = None; sys.modules['guest.plain'].encode = None",
}


@pytest.mark.parametrize("poison", POISONS)
def test_leaves_something_to_the_next_program(poison: str) -> None:
    source = f"{STATE}\ndef attack():\n    return state()"
    before = inside(source)
    calls(f"try:\n    {POISONS[poison]}\nexcept (KeyError, OSError): pass\ndef attack(): return 1")
    calls(f"def attack():\n    {POISONS[poison]}\n    return 1")
    assert inside(source) == before
    assert honest_program_passes()


VISIBLE = {
    name: poison
    for name, poison in POISONS.items()
    # These do not let it tell, or what they poison is not told.
    if name not in ("builtins", "modules", "shm", "random", "processes", "exit", "harness")
    and name not in ("locale", "priority", "nice")
}
VISIBLE["builtins"] = "import builtins; builtins.kept = 1"
VISIBLE["modules"] = "import math; math.sqrt = abs"
VISIBLE["random"] = "import random; random.random()"


@pytest.mark.parametrize("poison", VISIBLE)
def test_poison_shows_within_the_same_program(poison: str) -> None:
    """What the test above compares would tell."""
    source = f"{STATE}\ndef attack():\n    return state()"
    assert inside(f"{source}\n{VISIBLE[poison]}") != inside(source)


def test_finds_secrets_in_the_environment(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("SECRET_TOKEN", token)
    source = """
def attack(pattern):
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
    found, k = [f"{k}={v}" for k, v in os.environ.items()], 0
    while environ[k]:
        found.append(environ[k].decode("utf-8", "replace"))
        k += 1
    return [each for each in found if pattern in each]
"""
    assert outside(source, token)
    assert in_new_box(lambda: inside(source, token[:9])) == []


def test_finds_the_environment_above_its_stack(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """The kernel puts it there when a program is executed, and nobody wipes it."""
    monkeypatch.setenv("SECRET_TOKEN", token)
    source = """
def attack():
    environ = ctypes.c_void_p.in_dll(libc, "environ").value
    first = ctypes.cast(environ, ctypes.POINTER(ctypes.c_void_p))[0]
    reading, writing = os.pipe()
    found, page = b"", first >> 12
    while libc.write(writing, ctypes.c_void_p(page << 12), 4096) == 4096:
        found += os.read(reading, 4096)
        page += 1
    return b"SECRET_TOKEN" in found, len(found) > 0
"""
    secret, something = in_new_box(lambda: inside(source))
    assert something
    assert not secret


def test_finds_the_arguments_of_the_host(token: str) -> None:
    source = "def attack(): return [sys.argv, sys.orig_argv, sys.flags.isolated, __file__]"
    found = inside("def attack(): return [sys.argv, sys.orig_argv]")
    assert os.getcwd() not in json.dumps(found)
    assert sys.prefix not in json.dumps(found) or sys.prefix == sys.base_prefix
    assert statuses(calls(source)) == ["failed"]


def test_learns_who_runs_it() -> None:
    source = """
def attack():
    import getpass, platform
    return [os.uname().nodename, tried(os.getlogin), tried(getpass.getuser), os.getcwd()]
"""
    name, login, user, folder = inside(source)
    assert name == "sandbox"
    assert login[0] == user[0] == "refused"
    assert folder == "/tmp"


def test_imports_what_the_host_has_installed() -> None:
    source = """
def attack():
    found = []
    for name in ("rewardsmith", "torch", "numpy", "pytest", "guest", "guest.zygote"):
        try:
            __import__(name)
            found.append(name)
        except ImportError:
            pass
    return found
"""
    assert set(inside(source)) <= {"guest", "guest.zygote"}  # which it runs on itself


def test_reads_the_programs_before_it(token: str) -> None:
    """They were forked from the same process; it never had them."""
    calls(f"x = {token!r}\ndef attack(): return x")
    source = """
import gc
def attack(head):
    found = []
    for thing in gc.get_objects():
        for one in gc.get_referents(thing):
            if isinstance(one, (str, bytes)):
                text = one if isinstance(one, str) else one.decode("latin-1")
                if head[::-1] in text:
                    found.append(text[:80])
    return found
"""
    assert inside(source, token[10:30][::-1]) == []


def test_meets_the_state_of_another_test_only_within_its_own_program() -> None:
    source = "kept = []\ndef f(x):\n    kept.append(x)\n    return len(kept)"
    tests = [Call([1], {}, 1), Call([1], {}, 2)]
    for _ in range(2):
        found = run_calls(source, "f", tests, lambda a, b: a == b, limits=PATIENT)
        assert statuses(found) == ["passed", "passed"]


def test_keeps_what_it_did_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    before: dict[str, Any] = {"environ": dict(os.environ), "folder": os.getcwd()}
    before["mask"] = os.umask(0)
    os.umask(before["mask"])
    for poison in POISONS.values():
        calls(f"def attack():\n    {poison}\n    return 1")
    mask = os.umask(0)
    os.umask(mask)
    assert {"environ": dict(os.environ), "folder": os.getcwd(), "mask": mask} == before
    assert len([1, 2]) == 2


def test_leaves_no_process_of_a_sandbox_that_is_closed() -> None:
    def work() -> int:
        box = box_of(Setting())
        inside("def attack():\n    os.fork() or time.sleep(30)\n    return 1")
        process = box._process
        box.close()
        return int(process.pid)

    pid = in_new_box(work)
    listing = subprocess.run(["ps", "-eo", "pid,ppid,stat"], capture_output=True, text=True)
    rows = [line.split() for line in listing.stdout.splitlines()[1:]]
    assert not [row for row in rows if str(pid) in row[:2] and "Z" not in row[2]]


def test_tools_are_the_same_outside() -> None:
    """The helpers that attacks use work where nothing is refused."""
    assert outside("def attack(): return [tried(os.getpid)[0], called(39)[0], channel()]")[:2] == [
        "got",
        "got",
    ]
    assert TOOLS
