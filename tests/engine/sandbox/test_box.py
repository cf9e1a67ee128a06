"""The sandbox's own processes: started once, replaced when they break, gone when nobody is left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rewardsmith.engine.sandbox import (
    Call,
    Command,
    Limits,
    Result,
    Run,
    SandboxError,
    Setting,
    box,
    run_asserts,
    run_calls,
    run_script,
    run_scripts,
)
from rewardsmith.engine.sandbox.box import Box, box_of

SRC = Path(__file__).parents[3] / "src"
NEXT = "def f(x):\n    return x + 1\n"
PASSED = [Result("passed")]
UNSAFE = Setting(unsafe=True)
needs_sandbox = pytest.mark.usefixtures("sandbox")


def call(source: str = NEXT, want: Any = 2, **more: Any) -> list[Result]:
    return run_calls(source, "f", [Call([1], {}, want)], lambda a, b: bool(a == b), **more)


# --- processes of this machine --------------------------------------------------------------------


def state(pid: int) -> str:
    """A letter as in ps; Z, too, where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def family(pid: int) -> list[int]:
    """A process and all that stem from it, parents first."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [pid, *(each for child in text.split() for each in family(int(child)))]


def pid_of(sandbox: Box) -> int:
    return int(sandbox._process.pid)


def all_end(pids: list[int], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while any(state(pid) != "Z" for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def soon(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def fresh() -> Iterator[None]:
    """No sandbox of this thread from before, and none that stays."""
    box_of(UNSAFE).close()
    try:
        box_of(Setting()).close()
        yield
        box_of(Setting()).close()
    finally:
        box_of(UNSAFE).close()


# --- start, and use again -------------------------------------------------------------------------


@needs_sandbox
def test_a_thread_has_one_sandbox_for_each_setting() -> None:
    first, system = box_of(Setting()), box_of(Setting(system=True))
    assert first is not system
    assert call() == PASSED
    assert box_of(Setting()) is first
    assert box_of(Setting(system=True)) is system


@needs_sandbox
def test_programs_leave_no_process_and_no_open_file() -> None:
    run_asserts(NEXT, "assert f(1) == 2", None)
    mine = box_of(Setting())
    open_files, processes = len(os.listdir("/proc/self/fd")), len(family(pid_of(mine)))
    for _ in range(10):
        call()
        call("import os\nos.fork()\ndef f(x): return x + 1\n")
        run_script("print(1)")
        run_asserts(NEXT, "assert f(1) == 2", None)
        with pytest.raises(ValueError, match="parse"):
            run_asserts(NEXT, "assert (", None)
    assert box_of(Setting()) is mine
    assert len(os.listdir("/proc/self/fd")) == open_files
    assert soon(lambda: len(family(pid_of(mine))) <= processes)


@needs_sandbox
def test_what_a_program_left_running_ends_with_it() -> None:
    source = (
        "import os, time\n"
        "def f(x):\n"
        "    if not os.fork():\n"
        "        os.setsid()\n"
        "        if not os.fork():\n            time.sleep(600)\n"
        "        os._exit(0)\n"
        "    return x + 1\n"
    )
    call()
    before = set(family(pid_of(box_of(Setting()))))
    assert call(source) == PASSED
    assert soon(lambda: set(family(pid_of(box_of(Setting())))) <= before)


@needs_sandbox
def test_closing_ends_all_processes_and_may_be_done_twice() -> None:
    mine = Box(Setting())
    pids = family(pid_of(mine))
    with mine.open({"kind": "calls", "source": NEXT}, Limits()) as program:
        assert program.ask(None, 5.0)[0] == "="
        pids = family(pid_of(mine))
        assert len(pids) > 3
        mine.close()
    assert all_end(pids)
    mine.close()
    assert not mine.alive
    with pytest.raises(SandboxError):
        mine.open({"kind": "calls", "source": NEXT}, Limits()).ask(None, 5.0)


# --- threads and forks ----------------------------------------------------------------------------


@needs_sandbox
def test_another_thread_has_another_sandbox_which_ends_with_it() -> None:
    found: list[Any] = []

    def work() -> None:
        found.extend([call(), pid_of(box_of(Setting()))])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0] == PASSED
    assert found[1] != pid_of(box_of(Setting()))
    assert all_end([found[1]])


@needs_sandbox
def test_threads_run_programs_at_once() -> None:
    def work(k: int) -> list[list[Result]]:
        source = f"import time\ndef f(x):\n    time.sleep(0.02)\n    return x + {k}\n"
        return [call(source, 1 + k) for _ in range(4)]

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6))) == [[PASSED] * 4] * 6


@needs_sandbox
def test_a_fork_has_its_own_and_leaves_its_parents_alone() -> None:
    assert call() == PASSED
    mine = box_of(Setting())
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            told = [call() == PASSED, pid_of(box_of(Setting())), box_of(Setting()) is not mine]
            box_of(Setting()).close()
            os.write(writing, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as file:
        passed, pid, another = json.loads(file.read())
    os.waitpid(child, 0)
    assert (passed, another) == (True, True)
    assert pid != pid_of(mine)
    assert mine.alive
    assert call() == PASSED
    assert box_of(Setting()) is mine


# --- what breaks is replaced ----------------------------------------------------------------------


@needs_sandbox
@pytest.mark.parametrize("which", ["outer", "inner", "all", "programs"])
def test_a_sandbox_that_is_killed_is_replaced(which: str) -> None:
    run_asserts(NEXT, "assert f(1) == 2", None)
    before = box_of(Setting())
    pids = family(pid_of(before))
    outer, inner, _, *programs = pids
    assert programs  # the tests' supervisor stays
    for pid in {"outer": [outer], "inner": [inner], "all": pids, "programs": programs}[which]:
        with suppress(ProcessLookupError):  # process 1 took it along
            os.kill(pid, signal.SIGKILL)
    assert all_end({"programs": programs}.get(which, pids))
    assert run_asserts(NEXT, "assert f(1) == 2", None) == PASSED
    assert run_asserts(NEXT, "assert f(1) == 2", None) == PASSED
    assert call() == PASSED


@needs_sandbox
def test_a_sandbox_that_is_killed_at_work_is_replaced() -> None:
    source = "import time\ndef f(x):\n    time.sleep(0.5)\n    return x + 1\n"
    pid = pid_of(box_of(Setting()))
    timer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
    timer.start()
    assert call(source) == PASSED
    timer.join()
    assert pid_of(box_of(Setting())) != pid


@needs_sandbox
def test_a_sandbox_that_stops_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box, "_GRACE", 0.3)
    assert call() == PASSED
    pids = family(pid_of(box_of(Setting())))
    for pid in pids:
        with suppress(ProcessLookupError):  # the last of what was called
            os.kill(pid, signal.SIGSTOP)
    assert call(limits=Limits(test=0.3)) == PASSED
    assert all_end(pids)


@needs_sandbox
def test_one_that_breaks_again_and_again_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Box] = []

    def broken(self: Box, channel: Any) -> None:
        tried.append(self)
        raise self.broken()

    monkeypatch.setattr(Box, "begin", broken)
    with pytest.raises(SandboxError, match="ended"):
        call()
    assert len(set(map(id, tried))) == 2
    monkeypatch.undo()
    assert call() == PASSED
    assert not any(each.alive for each in tried)


# --- who leaves, leaves nothing -------------------------------------------------------------------

CALLER = f"""
import os, sys
sys.path[:0] = [{str(SRC)!r}, {str(Path(__file__).parent)!r}]
from rewardsmith.engine.sandbox import *
from rewardsmith.engine.sandbox.box import box_of
end, unsafe = sys.argv[1], sys.argv[2] == "unsafe"
setting = Setting(unsafe=unsafe)
run_asserts("def f(x): return x", "assert f(1)", None, setting=setting)
print(box_of(setting)._process.pid, flush=True)
if end == "raise":
    raise KeyError
if end == "_exit":
    os._exit(0)
if end == "run":
    input()
    limits = Limits(test=600.0, program=600.0)
    source = "import os, time\\nos.fork()\\nwhile True: time.sleep(1)"
    run_script(source, limits=limits, setting=setting)
"""


@needs_sandbox
@pytest.mark.parametrize("unsafe", ["walled", "unsafe"])
@pytest.mark.parametrize("end", ["end", "raise", "_exit", "run-KILL", "run-TERM", "run-INT"])
def test_a_caller_that_ends_leaves_no_process(end: str, unsafe: str) -> None:
    kind, _, name = end.partition("-")
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, kind, unsafe],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    ) as caller:
        assert caller.stdin is not None
        assert caller.stdout is not None
        try:
            pid = int(caller.stdout.readline())
            pids = family(pid) or [pid]
            if kind == "run":
                caller.stdin.write("go\n")
                assert soon(lambda: len({*family(pid)} - {*pids}) >= 3)
                pids = family(pid)
                os.kill(caller.pid, signal.Signals[f"SIG{name}"])
            caller.wait(30)
        finally:
            caller.kill()
    assert all_end(pids)


# --- where it cannot be had -----------------------------------------------------------------------


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Another bubblewrap."""
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.usefixtures("fresh")
def test_without_bubblewrap_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for run in (
        call,
        lambda: run_script("print(1)"),
        lambda: run_scripts("print(1)", [Run("", "1\n")], str.__eq__),
        lambda: run_asserts(NEXT, "assert f(1) == 2", None),
    ):
        with pytest.raises(SandboxError, match="apt-get install bubblewrap") as raised:
            run()
        assert "unsafe: true" in str(raised.value)
    assert call(setting=UNSAFE) == PASSED
    monkeypatch.undo()


def without_sandbox(work: Callable[[], Any]) -> None:
    """In a thread of its own, which has no sandbox yet."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


REFUSED = (
    "bwrap: No permissions to create new namespace, likely because the kernel does not allow "
    "non-privileged user namespaces. On e.g. debian this can be enabled with "
    "'sysctl kernel.unprivileged_userns_clone=1'."
)


@pytest.mark.parametrize(
    "said",
    [
        REFUSED,
        "bwrap: setting up uid map: Permission denied",
        "bwrap: Creating new namespace failed: Operation not permitted",
    ],
)
def test_a_kernel_without_user_namespaces_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    fake(tmp_path, monkeypatch, f'echo "{said}" >&2\nexit 1')

    def work() -> None:
        with pytest.raises(SandboxError) as raised:
            call()
        assert said in str(raised.value)
        assert "user.max_user_namespaces" in str(raised.value)

    without_sandbox(work)


TELL = """
for word in "$@"; do
    [ "$before" = --info-fd ] && echo '{}' > /proc/self/fd/$word
    before=$word
done
exit 1
"""
"""Says something where root waits for the number of a process."""


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'bwrap: execvp python: No such file or directory' >&2; exit 1", "execvp python"),
        ("exit 0", "ended"),
        ("kill -9 $$", "ended"),
        ("printf '\\377\\376' >&2; exit 1", "."),
        (TELL.format("no json"), "."),
        (TELL.format('{"child-pid": 999999999}'), "."),
    ],
)
def test_a_bubblewrap_that_does_not_work_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    fake(tmp_path, monkeypatch, script)

    def work() -> None:
        with pytest.raises(SandboxError, match=why):
            call()

    without_sandbox(work)


def test_a_bubblewrap_that_is_no_program_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, "")
    (tmp_path / "bwrap").write_bytes(b"\x7fELF")

    def work() -> None:
        with pytest.raises(SandboxError):
            call()

    without_sandbox(work)


SMALL = f"""
import sys
sys.path.insert(0, {str(SRC)!r})
from rewardsmith.engine.sandbox import *
try:
    found = run_script("print(1)")
    print(found.status, found.output)
except SandboxError as error:
    print("SandboxError", error)
"""


@needs_sandbox
def test_root_of_a_small_namespace_has_a_sandbox_or_a_reason() -> None:
    # As in containers of users, where root is the only user that there is.
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    command = ["unshare", "-r", sys.executable, "-c", SMALL]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if ran.stderr.startswith("unshare"):
        pytest.skip(ran.stderr)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(("passed b'1\\n'", "SandboxError"))


def test_unsafe_runs_programs_without_bubblewrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    def work() -> None:
        assert call(setting=UNSAFE) == PASSED
        assert run_asserts(NEXT, "assert f(1) == 2", None, setting=UNSAFE) == PASSED
        ran = run_script("import os\nprint(input(), os.getcwd() != '/')", b"x\n", setting=UNSAFE)
        assert (ran.status, ran.output) == ("passed", b"x True\n")
        command = Command("main.sh", ("/bin/sh", "main.sh"))
        tests = [Run("a\n", "a\n"), Run("b\n", "a\n")]
        found = run_scripts("cat", tests, str.__eq__, command=command, setting=UNSAFE)
        assert [result.status for result in found] == ["passed", "failed"]

    without_sandbox(work)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("while True: pass", "timeout"),
        ("import os; os._exit(3)", "crashed"),
        ("import ctypes; ctypes.string_at(0)", "crashed"),
        ("return 'x' * 10**7", "failed"),
        ("1 / 0", "failed"),
        ("return bytearray(1 << 34)", "failed"),
    ],
)
def test_unsafe_programs_have_the_same_statuses(body: str, status: str) -> None:
    source = f"def f(x):\n    if x:\n        {body}\n    return 2\n"
    tests = [Call([x], {}, 2) for x in (0, 1, 0)]
    found = run_calls(source, "f", tests, int.__eq__, limits=Limits(test=0.4), setting=UNSAFE)
    assert [result.status for result in found] == ["passed", status, "passed"]


def test_unsafe_programs_leave_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = "import os\nopen('file', 'w').close()\ndef f(x): return os.getcwd()\n"
    seen: list[Any] = []
    run_calls(source, "f", [Call([1], {}, 2)], lambda a, b: seen.append(a) is None, setting=UNSAFE)
    assert seen[0].startswith(str(tmp_path))
    assert not any(tmp_path.iterdir())


# --- what programs find ---------------------------------------------------------------------------


@needs_sandbox
def test_installed_packages_are_there_where_they_are_wanted() -> None:
    source = "def f(x):\n    import numpy\n    return int(numpy.arange(3).sum()) - 1\n"
    (without,) = call(source)
    assert without.status == "failed"
    assert "ModuleNotFoundError" in without.why
    limits = Limits(test=20.0, program=20.0, memory=2 << 30)
    assert call(source, setting=Setting(packages=True), limits=limits) == PASSED


KNOWN = {"PATH", "HOME", "LANG", "PWD", "PYTHONHASHSEED", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}


@needs_sandbox
def test_a_program_sees_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    source = (
        "import json, os\n"
        "for told in (os.listdir('/'), dict(os.environ), os.getcwd()):\n"
        "    print(json.dumps(told))\n"
    )
    told = run_script(source).output.decode()
    seen, environment, folder = (json.loads(line) for line in told.splitlines())
    assert not {"home", "work", "mnt", "run", "srv", "var"} & set(seen)
    assert environment.keys() <= KNOWN
    assert folder == "/tmp"


# --- another user than root -----------------------------------------------------------------------

WHOLE = f"""
import json, sys
sys.path.insert(0, {str(SRC)!r})
from rewardsmith.engine.sandbox import *
same = lambda a, b: a == b
calls = lambda source, **more: [
    [r.status, r.why] for r in run_calls(source, "f", [Call([1], {{}}, 2)] * 2, same, **more)]
bomb = '''
import os, time
def f(x):
    n = 0
    try:
        while n < 200:
            if not os.fork():
                time.sleep(60)
            n += 1
    except OSError:
        pass
    return 2 if n < 40 else n
'''
print(json.dumps({{
    "calls": calls("def f(x): return x + 1"),
    "bomb": calls(bomb),
    "memory": calls("def f(x): return bytearray(1 << 33)"),
    "disk": calls("def f(x): open('x', 'wb').write(bytes(100 << 20))"),
    "hang": calls("def f(x):\\n while 1: pass", limits=Limits(test=0.3)),
    "who": run_script("import os; print(os.getuid(), os.getpid() < 10)").output.decode(),
    "script": run_script("print(input())", b"x").output.decode(),
    "asserts": [r.status for r in run_asserts("def f(x): return x", "assert f(1) == 1", None)],
    "command": [r.status for r in run_scripts("cat", [Run("x", "x")], same,
        command=Command("a.sh", ("sh", "a.sh")), setting=Setting(system=True))],
}}))
"""


@needs_sandbox
def test_it_works_for_a_user_who_is_not_root() -> None:
    command = ["/usr/bin/python3", "-c", WHOLE]
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("there is no setpriv to become another user with")
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    version = "import sys; sys.exit(sys.version_info < (3, 11))"
    known = subprocess.run(["/usr/bin/python3", "-c", version], check=False)
    if known.returncode:
        pytest.skip("/usr/bin/python3 is not Python 3.11 or newer")
    environment = {"PATH": os.environ["PATH"], "TMPDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment, cwd="/"
    )
    if "namespace" in ran.stderr:
        pytest.skip(f"users may not make namespaces here: {ran.stderr[-200:]}")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["calls"] == [["passed", ""]] * 2
    assert found["bomb"] == [["passed", ""]] * 2
    assert [why for _, why in found["memory"]] == ["it raised MemoryError"] * 2
    assert all(status == "failed" for status, _ in found["disk"])
    assert [status for status, _ in found["hang"]] == ["timeout"] * 2
    uid = 65534 if os.getuid() == 0 else os.getuid()
    assert found["who"] == f"{uid} True\n"
    assert found["script"] == "x\n"
    assert found["asserts"] == found["command"] == ["passed"]
