"""Put the walls of one program up: namespaces of its own, a private /tmp, limits, no privileges."""

import ctypes
import errno
import os
import resource
import signal
from typing import TypedDict

# linux/sched.h. Networks are left out: the sandbox has none, and sockets cannot be made.
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID = 1 << 17, 1 << 26, 1 << 27, 1 << 28, 1 << 29
_APART = _NEWNS | _NEWUTS | _NEWIPC | _NEWUSER | _NEWPID
# asm/unistd.h
_CLONE = {"x86_64": 56, "aarch64": 220}.get(os.uname().machine)
# sys/mount.h
_NOSUID, _NODEV, _NOEXEC, _REC, _PRIVATE = 2, 4, 8, 16384, 1 << 18
# linux/prctl.h, linux/capability.h
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 22, 24, 38
_CAPABILITY_VERSION_3, _SECCOMP_MODE_FILTER = 0x20080522, 2

_libc = ctypes.CDLL(None, use_errno=True)
_python = ctypes.PyDLL(None, use_errno=True)
_python.syscall.restype = ctypes.c_long
_libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]


class Walls(TypedDict):
    """What a program may use; bytes, seconds and numbers."""

    seconds: int
    """Of processor time, for each process."""
    memory: int
    """Of address space, for each process; 0 for no limit."""
    processes: int
    """0 for no limit."""
    disk: int
    files: int


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def become_nobody() -> None:
    """Give up what is left of root: for user 0 the kernel does not count processes."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)


def fork_apart() -> int:
    """Fork a process that is process 1 of new namespaces; as :func:`os.fork`, 0 there.

    Nothing outside of them can be seen or reached from there.
    """
    if _CLONE is None:
        return _fork_twice()
    ctypes.pythonapi.PyOS_BeforeFork()
    # As fork does it, and one process less than with unshare. It holds the interpreter's lock.
    pid = int(_python.syscall(_CLONE, ctypes.c_ulong(_APART | signal.SIGCHLD), 0, 0, 0, 0))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    else:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
        _do("clone", pid < 0)
    return pid


def _fork_twice() -> int:
    pid = os.fork()
    if pid == 0 and (_libc.unshare(_APART) or os.fork()):
        os._exit(0)
    return pid


def map_user(user: int, group: int) -> None:
    """Be the same user in the new namespace as before."""
    # The files below belong to root otherwise.
    _do("dumpable", _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def private_folders(disk: int) -> None:
    """Mount what programs may write to, and a /proc that tells nothing."""
    _mount(b"none", b"/", b"", _REC | _PRIVATE, b"")
    own = _NOSUID | _NODEV
    _mount(b"tmpfs", b"/tmp", b"tmpfs", own, b"mode=700,nr_inodes=4096,size=%d" % disk)
    _mount(b"tmpfs", b"/dev/shm", b"tmpfs", own, b"mode=700,nr_inodes=64,size=1m")
    _mount(b"tmpfs", b"/proc", b"tmpfs", own | _NOEXEC, b"mode=700,nr_inodes=5,size=64k")
    # Where /dev/stdin leads to.
    os.makedirs("/proc/self/fd")
    os.symlink("/tmp/.stdin", "/proc/self/fd/0")
    os.chdir("/tmp")


def limit(walls: Walls) -> None:
    """Set the limits of this process, and of those that it will start."""
    numbers = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: walls["seconds"],
        resource.RLIMIT_FSIZE: walls["disk"],
        resource.RLIMIT_NOFILE: walls["files"],
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    # Without namespaces of its own, it would count all that the user runs.
    if walls["processes"]:
        numbers[resource.RLIMIT_NPROC] = walls["processes"] + 1
    if walls["memory"]:
        numbers[resource.RLIMIT_AS] = walls["memory"]
    for which, most in numbers.items():
        _, hard = resource.getrlimit(which)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))


def give_up_privileges(calls: bytes) -> None:
    """No capabilities, none to gain, nobody may look in, and only the system calls of a filter.

    Args:
        calls: the filter, as the kernel's BPF.
    """
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            break  # there are no more
    head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _do("capset", _libc.capset(head, (ctypes.c_uint32 * 6)()))
    _do("no_new_privs", _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _do("dumpable", _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    filter_calls(calls)


def filter_calls(calls: bytes) -> None:
    """Use only the system calls of a filter from here on."""
    code = ctypes.create_string_buffer(calls, len(calls))
    program = _Filter(len(calls) // 8, ctypes.cast(code, ctypes.c_void_p))
    how = ctypes.byref(program)
    _do("seccomp", _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, how, 0, 0))


def _mount(source: bytes, target: bytes, kind: bytes, flags: int, options: bytes) -> None:
    _do(f"mount {target.decode()}", _libc.mount(source, target, kind, flags, options))


def _do(what: str, result: int | bool) -> None:
    if result:
        number = ctypes.get_errno()
        name = errno.errorcode.get(number, "?")
        raise OSError(number, f"{what}: {os.strerror(number)} ({name})")
