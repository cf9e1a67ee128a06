"""The filter of system calls: what it is, and what it does to a process."""

import ctypes
import platform
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from rewardsmith.engine.sandbox import SandboxError, seccomp
from rewardsmith.engine.sandbox.guest import walls

HERE = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64's calls")
NUMBERS = {
    "socket": 41,
    "connect": 42,
    "ptrace": 101,
    "mount": 165,
    "unshare": 272,
    "setns": 308,
    "process_vm_readv": 310,
    "bpf": 321,
    "userfaultfd": 323,
    "io_uring_setup": 425,
    "clone3": 435,
    "keyctl": 250,
    "perf_event_open": 298,
    "kexec_load": 246,
    "init_module": 175,
    "personality": 135,
    "open_by_handle_at": 304,
    "pidfd_getfd": 438,
    "memfd_create": 319,
    "unheard of": 999,
}


@pytest.fixture(scope="module")
def filters() -> tuple[bytes, bytes]:
    try:
        return seccomp.filters()
    except SandboxError as error:
        pytest.skip(str(error))


def test_they_are_programs_that_the_kernel_takes(filters: tuple[bytes, bytes]) -> None:
    for calls in filters:
        assert len(calls) % 8 == 0
        assert 0 < len(calls) // 8 <= 4096  # what the kernel takes at most
        codes = {struct.unpack_from("HBBI", calls, at)[0] for at in range(0, len(calls), 8)}
        assert 0x06 in codes  # it returns


def test_they_are_made_once(filters: tuple[bytes, bytes]) -> None:
    assert seccomp.filters() is filters


def filtered(filters: tuple[bytes, bytes], source: str) -> subprocess.CompletedProcess[str]:
    """Run Python behind both filters."""
    before = f"""
import ctypes, os, sys
sys.path.insert(0, {str(Path(walls.__file__).parents[1])!r})
from guest import walls
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
walls.give_up_privileges({filters[0]!r})
walls.filter_calls({filters[1]!r})
def call(number, *arguments):
    ctypes.set_errno(0)
    return libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)), ctypes.get_errno()
"""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", before + source],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@HERE
def test_calls_that_reach_out_look_as_if_the_kernel_had_none(filters: tuple[bytes, bytes]) -> None:
    source = f"""
for name, number in {NUMBERS!r}.items():
    print(name, *call(number, 0, 0, 0, 0, 0))
"""
    ran = filtered(filters, source)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [f"{name} -1 38" for name in NUMBERS]


@HERE
def test_processes_get_no_namespaces_and_sockets_lead_nowhere(filters: tuple[bytes, bytes]) -> None:
    source = """
import signal
for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
    print(*call(56, flag | signal.SIGCHLD, 0, 0, 0, 0))
pair = (ctypes.c_int * 2)()
for family in (1, 2, 10, 16, 40):
    print(family, *call(53, family, 1, 0, ctypes.addressof(pair)))
"""
    ran = filtered(filters, source)
    assert ran.returncode == 0, ran.stderr
    *clones, unix, inet, inet6, netlink, vsock = ran.stdout.splitlines()
    assert clones == ["-1 38"] * 7
    assert unix == "1 0 0"
    assert [inet, inet6, netlink, vsock] == [f"{family} -1 38" for family in (2, 10, 16, 40)]


@HERE
def test_limits_and_processors_of_others_are_not_to_be_set(filters: tuple[bytes, bytes]) -> None:
    source = """
import socket
print(*call(302, 0, 7, 0, 0), *call(302, os.getppid(), 7, 0, 0))
mask = ctypes.c_ulong(1)
print(*call(203, os.getppid(), 8, ctypes.addressof(mask)))
a, b = socket.socketpair()
try:
    socket.send_fds(a, [b"x"], [0])
except OSError as error:
    print(error.errno)
print(call(9, 0, 4096, 3, 0x22, -1, 0)[1], call(9, 0, 4096, 3, 0x21, -1, 0)[1])
"""
    assert filtered(filters, source).stdout == "0 0 -1 38\n-1 38\n38\n0 38\n"


def test_what_python_needs_works(filters: tuple[bytes, bytes]) -> None:
    source = """
import multiprocessing, subprocess, tempfile, threading, socket, select, random, time, hashlib
with tempfile.TemporaryFile() as file:
    file.write(b"x" * 100000)
    file.flush()
    os.fsync(file.fileno())
thread = threading.Thread(target=time.sleep, args=(0.001,))
thread.start()
thread.join()
a, b = socket.socketpair()
a.send(b"x")
assert b.recv(1) == b"x"
assert select.select([a], [a], [], 0)[1]
child = os.fork()
if not child:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert subprocess.run([sys.executable, "-I", "-S", "-c", "print(1)"], capture_output=True).stdout
print(os.urandom(4) != b"", os.getpid() > 0, time.time() > 0, hashlib.md5(b"x").hexdigest()[:2])
"""
    ran = filtered(filters, source)
    assert (ran.returncode, ran.stdout) == (0, "True True True 9d\n"), ran.stderr


def test_it_stays_on_what_is_started_from_there(filters: tuple[bytes, bytes]) -> None:
    source = """
os.execv(sys.executable, [sys.executable, "-I", "-S", "-c",
    "import socket\\ntry: socket.socket()\\nexcept OSError as error: print(error.errno)"])
"""
    assert filtered(filters, source).stdout == "38\n"


def test_nobody_looks_into_a_process_behind_it(filters: tuple[bytes, bytes]) -> None:
    source = """
print(libc.prctl(3, 0, 0, 0, 0), libc.prctl(39, 0, 0, 0, 0))  # dumpable, no_new_privs
"""
    assert filtered(filters, source).stdout == "0 1\n"


@HERE
def test_numbers_of_another_architecture_end_the_process(filters: tuple[bytes, bytes]) -> None:
    # 39 is getpid, and 1 << 30 says that it is meant as x32's.
    assert filtered(filters, "call((1 << 30) + 39)").returncode == -signal.SIGSYS


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise OSError("libseccomp.so.2: cannot open shared object file")

    seccomp.filters.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    try:
        with pytest.raises(SandboxError, match="apt-get install libseccomp2"):
            seccomp.filters()
    finally:
        seccomp.filters.cache_clear()
