"""Processes: those of the host and of the harness are out of reach, and none outlives its run."""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.escapes.inside import (
    SHORT,
    TOOLS,
    calls,
    honest_program_passes,
    in_new_box,
    inside,
    outside,
    processes_named,
    scripts,
    statuses,
)

from rewardsmith.engine.sandbox.box import Setting, box_of


def refused(found: list[list[Any]]) -> bool:
    return bool(found) and all(outcome == "refused" for outcome, _ in found)


@pytest.fixture
def victim() -> Any:
    """A process of the host, that no program may harm."""
    code = "import time; print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it is there, and not about to become another
    yield process
    alive = process.poll() is None
    process.kill()
    process.communicate()
    assert alive


@pytest.fixture
def marker() -> str:
    """What a process can call itself."""
    return f"esc-{secrets.token_hex(4)}"


def test_signals_a_process_of_the_host(victim: Any) -> None:
    source = """
def attack(pid, *parents):
    found = [tried(os.kill, pid, 0)]
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT):
        for process in (pid, *parents):
            if process > 40:  # smaller numbers are its own processes
                found += [tried(os.kill, process, number), tried(os.killpg, process, number)]
    return found
"""
    assert outside("def attack(pid): return [tried(os.kill, pid, 0)]", victim.pid) == [
        ["got", None]
    ]
    parents = [os.getpid(), os.getppid(), box_of(Setting())._process.pid]
    assert refused(inside(source, victim.pid, *parents))
    assert victim.poll() is None


def test_signals_everybody() -> None:
    source = """
def attack():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL, signal.SIGSTOP):
        tried(os.kill, -1, number)
    return "a secret elsewhere"
"""
    (result,) = calls(source)
    assert result.status in ("failed", "crashed")
    assert honest_program_passes()


@pytest.mark.parametrize("number", sorted(signal.valid_signals()), ids=lambda n: f"signal{int(n)}")
def test_signals_process_1(number: int) -> None:
    box = box_of(Setting())
    source = f"def attack():\n    os.kill(1, {int(number)})\n    time.sleep(0.01)\n    return 1"
    assert statuses(calls(source, 2, expected=1)) == ["passed", "passed"]
    assert box.alive


def test_signals_process_1_by_every_call() -> None:
    source = """
def attack():
    first = os.pidfd_open(1)
    info = ctypes.create_string_buffer(128)
    for number in range(1, 65):
        for call in ((200, 1, number), (234, 1, 1, number), (129, 1, number, info),
                     (297, 1, 1, number, info), (424, first, number, 0, 0)):
            called(*call)
    return 1
"""
    assert statuses(calls(source, 2, expected=1)) == ["passed", "passed"]


def test_has_the_kernel_signal_process_1() -> None:
    """A file may have an owner, who is told by a signal of choice when something can be read."""
    source = """
def attack():
    for number in (0, signal.SIGINT, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):
        a, b = socket.socketpair()
        for end in (a, b):
            tried(fcntl.fcntl, end, fcntl.F_SETOWN, 1)
            tried(fcntl.fcntl, end, 10, number)  # F_SETSIG
            tried(fcntl.fcntl, end, fcntl.F_SETFL, os.O_ASYNC)
        a.send(b"x")
        b.close()
    fcntl.fcntl(channel(), fcntl.F_SETOWN, 1)
    fcntl.fcntl(channel(), 10, signal.SIGKILL)
    fcntl.fcntl(channel(), fcntl.F_SETFL, os.O_ASYNC)
    return 1
"""
    assert set(statuses(calls(source, 3, expected=1))) <= {"passed", "crashed"}
    assert honest_program_passes()


def test_sees_processes_of_others() -> None:
    source = """
def attack():
    return [pid for pid in range(1, 100_000) if tried(os.kill, pid, 0) != ["refused", "ESRCH"]]
"""
    assert len(inside(source)) == 2


def test_traces_process_1_or_a_process_of_the_host(victim: Any) -> None:
    source = """
def attack(pid):
    found = []
    for process in (1, pid, os.getppid()):
        found += [called(101, 16, process, 0, 0), called(101, 0x4206, process, 0, 0)]
    return found
"""
    assert refused(inside(source, victim.pid))
    seize = "def attack(pid): return [called(101, 0x4206, pid, 0, 0)]"
    if os.geteuid() == 0:
        assert outside(seize, victim.pid) == [["got", 0]]


def test_reads_the_memory_of_others(victim: Any) -> None:
    source = """
def attack(pid, at):
    buffer = ctypes.create_string_buffer(64)
    mine = struct.pack("PN", ctypes.addressof(buffer), 64)
    theirs = struct.pack("PN", at, 64)
    read = called(310, pid, mine, 1, theirs, 1, 0)
    return [read, tried(os.open, f"/proc/{pid}/mem", os.O_RDONLY)]
"""
    maps = Path(f"/proc/{victim.pid}/maps").read_text()
    at = int(maps.split("-", 1)[0], 16)
    if os.geteuid() == 0:
        assert outside(source, victim.pid, at)[0] == ["got", 64]
    assert refused(inside(source, victim.pid, at))
    assert refused(inside(source, 1, at))


def test_writes_into_the_memory_of_others(victim: Any) -> None:
    # Only ever tried in the sandbox: out here it might succeed.
    source = """
def attack(pid):
    buffer = ctypes.create_string_buffer(64)
    one = struct.pack("PN", ctypes.addressof(buffer), 64)
    return [called(311, pid, one, 1, one, 1, 0), tried(os.open, f"/proc/{pid}/mem", os.O_RDWR)]
"""
    assert refused(inside(source, victim.pid))
    assert refused(inside(source, 1))


def test_takes_files_of_process_1() -> None:
    source = """
def attack():
    first = os.pidfd_open(1)
    found = [called(438, first, number, 0) for number in range(16)]
    return [*found, called(312, 1, os.getpid(), 0, 0, 0)]
"""
    assert refused(inside(source))


def test_changes_the_limits_of_process_1() -> None:
    """This takes no more than being the same user."""
    source = """
import resource
def attack():
    return [tried(resource.prlimit, 1, which, (0, 0)) for which in range(0, 16)]
"""
    assert refused(inside(source))
    assert statuses(calls(source + "    ", 2, expected=[])) == ["failed", "failed"]


def test_raises_its_own_limits() -> None:
    source = """
import resource
def attack():
    return [tried(resource.setrlimit, which, (-1, -1)) for which in
            (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE,
             resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK)]
"""
    assert refused(inside(source))


def test_pushes_process_1_aside() -> None:
    """Without processor time nobody ends the program in time."""
    source = """
def attack():
    tried(os.setpriority, os.PRIO_PROCESS, 1, 19)
    tried(os.setpriority, os.PRIO_USER, os.getuid(), 19)
    tried(os.sched_setaffinity, 1, {min(os.sched_getaffinity(0))})
    tried(os.sched_setaffinity, 0, {min(os.sched_getaffinity(0))})
    for _ in range(20):
        if tried(os.fork) == ["got", 0]:
            break
    while True:
        pass
"""
    began = time.monotonic()
    assert statuses(calls(source, 2)) == ["timeout", "timeout"]
    assert time.monotonic() - began < 4


STAY = """
def stay(name, how):
    libc.prctl(15, name.encode(), 0, 0, 0)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    time.sleep(20)

def daemon(name):
    ready, tell = os.pipe()
    if not os.fork():
        os.setsid()
        if os.fork():
            os._exit(0)
        tried(os.setpgid, 0, 0)
        os.write(tell, b".")
        stay(name, "")
    os.read(ready, 1)
    time.sleep(0.05)
"""


def gone(marker: str) -> bool:
    end = time.monotonic() + 2
    while processes_named(marker) and time.monotonic() < end:
        time.sleep(0.02)
    return not processes_named(marker)


def test_leaves_a_daemon_behind(marker: str) -> None:
    source = STAY + f"\ndef attack():\n    daemon({marker!r})\n    return 1"
    seen: list[list[int]] = []

    def same(got: int, _: Any) -> bool:
        seen.append(processes_named(marker))
        return got == 1

    assert statuses(calls(source, same=same)) == ["passed"]
    assert seen[0]  # it was there while the program ran
    assert gone(marker)


def test_leaves_a_daemon_behind_where_there_are_no_walls(marker: str) -> None:
    """What the test above would find."""
    code = f"{TOOLS}{STAY}\ndaemon({marker!r})"
    subprocess.run([sys.executable, "-I", "-c", code], check=True, timeout=20)
    left = processes_named(marker)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left


def test_leaves_a_daemon_behind_by_a_script(marker: str) -> None:
    source = STAY + f"daemon({marker!r})\nprint('a secret')"
    assert statuses(scripts(source, limits=SHORT)) == ["passed"]
    assert gone(marker)


def test_leaves_a_daemon_behind_while_it_is_loaded(marker: str) -> None:
    source = STAY + f"daemon({marker!r})\nraise SystemExit"
    assert statuses(calls(source)) == ["failed"]
    assert gone(marker)


def test_leaves_a_daemon_behind_by_dying(marker: str) -> None:
    source = STAY + f"def attack():\n    daemon({marker!r})\n    os.kill(os.getpid(), 9)"
    # While its daemon holds the channel, it looks as if it lived.
    assert statuses(calls(source)) in (["crashed"], ["timeout"])
    assert gone(marker)


def test_leaves_a_daemon_behind_by_timing_out(marker: str) -> None:
    source = STAY + f"def attack():\n    daemon({marker!r})\n    stay({marker!r}, '')"
    assert statuses(calls(source)) == ["timeout"]
    assert gone(marker)


def test_leaves_stopped_and_traced_processes_behind(marker: str) -> None:
    source = (
        STAY
        + f"""
def attack():
    if not os.fork():
        libc.prctl(15, b"{marker}", 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
    if not os.fork():
        libc.prctl(15, b"{marker}", 0, 0, 0)
        libc.vfork()
        time.sleep(20)
    time.sleep(0.1)
    return 1
"""
    )
    calls(source, expected=1)
    assert gone(marker)


def test_ends_with_threads_that_go_on(marker: str) -> None:
    source = (
        STAY
        + f"""
def attack():
    threading.Thread(target=stay, args=({marker!r}, "")).start()
    return 1
def stay(name, how):
    libc.prctl(15, name.encode(), 0, 0, 0)
    while True:
        time.sleep(0.01)
"""
    )
    assert statuses(calls(source, 2, expected=1)) == ["passed", "passed"]
    assert gone(marker)


def test_leaves_a_process_to_the_next_program(marker: str) -> None:
    """The next program is in other namespaces, and the process is gone by then."""
    source = STAY + f"def attack():\n    daemon({marker!r})\n    return 1"
    assert statuses(calls(source, expected=1)) == ["passed"]
    look = (
        "def attack(): return [pid for pid in range(1, 5000) if tried(os.kill, pid, 0)[0] == 'got']"
    )
    assert len(inside(look)) == 2


def test_is_a_sibling_of_its_own_parent(marker: str) -> None:
    """CLONE_PARENT makes a process that process 1 takes for one of its own children."""
    source = (
        STAY
        + f"""
def attack():
    if libc.syscall(56, 0x8000 | 17, 0, 0, 0, 0) == 0:
        stay({marker!r}, "")
    time.sleep(0.05)
    return 1
"""
    )
    assert set(statuses(calls(source, 2, expected=1))) <= {"passed", "failed"}
    assert gone(marker)


def test_becomes_root() -> None:
    source = """
def attack():
    return [tried(os.setuid, 0), tried(os.setgid, 0), tried(os.setresuid, 0, 0, 0),
            tried(os.setgroups, [0]), tried(os.setreuid, 0, 0), called(122, 0)]
"""
    assert refused(inside(source))
    assert inside("def attack(): return list(os.getresuid())") != [0, 0, 0]


def test_runs_setuid_programs() -> None:
    """Where all of /usr is there, with su and mount."""
    source = """
def attack():
    found = []
    for folder in ("/usr/bin", "/usr/sbin"):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.stat(path).st_mode & stat.S_ISUID:
                found.append(path)
    pid = os.fork()
    if not pid:
        os.dup2(os.open("/dev/null", os.O_RDWR), 2)
        os.execv("/usr/bin/su", ["su", "-c", "true"])
    users = [os.stat(path).st_uid for path in found]
    return found, users, os.waitpid(pid, 0)[1], bool(os.statvfs("/usr/bin").f_flag & os.ST_NOSUID)
"""
    if not os.path.exists("/usr/bin/su"):
        pytest.skip("there is no su here")
    found, users, status, ignored = in_new_box(lambda: inside(source, setting=Setting(system=True)))
    assert found
    assert 0 not in users  # root is nobody that is known in there
    assert status != 0
    assert ignored


def test_makes_a_setuid_program_for_the_host() -> None:
    source = """
def attack():
    write("/tmp/me", "x")
    os.chmod("/tmp/me", 0o6777)
    return bool(os.statvfs("/tmp").f_flag & os.ST_NOSUID)
"""
    assert inside(source) is True
    assert not Path("/tmp/me").exists()


def test_uses_files_that_it_inherits(token: str, tmp_path: Path) -> None:
    """What the host has open stays there, even where it forgot to say so."""
    secret = tmp_path / "secret"
    secret.write_text(token)
    source = """
def attack():
    found = []
    for fd in range(3, 1024):
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        if stat.S_ISCHR(mode) and os.fstat(fd).st_rdev == os.stat("/dev/null").st_rdev:
            continue
        found.append([fd, stat.S_IFMT(mode), fcntl.fcntl(fd, fcntl.F_GETFD)])
    return found, [os.fstat(fd).st_rdev == os.stat("/dev/null").st_rdev for fd in range(3)]
"""
    file = os.open(secret, os.O_RDWR)
    os.set_inheritable(file, True)
    try:
        found, standard = in_new_box(lambda: inside(source))
    finally:
        os.close(file)
    # The one socket to whoever asks it, and that ends where another program is executed.
    assert [kind for _, kind, _ in found] == [0o140000]
    assert [flags for *_, flags in found] == [1]
    assert standard == [True] * 3


def test_hands_files_to_process_1() -> None:
    source = """
def attack():
    files = [os.open("/dev/zero", os.O_RDONLY) for _ in range(50)]
    mine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(channel()))
    answer = b'=[1, null]'
    for part in struct.pack(">I", len(answer)) + answer:
        socket.send_fds(mine, [bytes([part])], files)
    os._exit(0)
"""
    assert set(statuses(calls(source, 2, expected=1))) <= {"passed", "crashed", "failed"}
    assert honest_program_passes()
