"""The system calls that programs in the sandbox may use; all others look as if the kernel had none.

What is listed is what interpreters and compilers need to compute, to use their own files and their
own processes. What is missing is what reaches further: networks, namespaces and mounts, tracing and
the memory of others, io_uring, bpf, keys, modules, clocks, swapping, and whatever kernels learn
later. The filter is compiled by libseccomp, for this machine's architecture.
"""

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache

from .errors import SandboxError

_ALLOWED = """
access alarm arch_prctl brk capget chdir chmod clock_getres clock_gettime clock_nanosleep close
close_range copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait
epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2
fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fcntl fdatasync fgetxattr flistxattr fork
fstat fstatfs fsync ftruncate futex futex_waitv get_robust_list get_thread_area getcpu getcwd
getdents getdents64 getegid geteuid getgid getgroups getitimer getpgid getpgrp getpid getppid
getpriority getrandom getresgid getresuid getrlimit getrusage getsid gettid gettimeofday getuid
getxattr ioctl kill lgetxattr link linkat listxattr llistxattr lseek lstat madvise membarrier
mincore mkdir mkdirat mlock mlock2 mprotect mremap msync munlock munmap nanosleep newfstatat open
openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 poll ppoll prctl pread64 preadv
preadv2 pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom
recvmsg rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
sched_getscheduler sched_rr_get_interval sched_yield select sendfile sendmsg sendto set_robust_list
set_thread_area set_tid_address setitimer setpgid setrlimit setsid shutdown sigaltstack splice stat
statfs statx symlink symlinkat sync_file_range sysinfo tee tgkill time timer_create timer_delete
timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times
tkill truncate umask uname unlink unlinkat utime utimensat utimes vfork wait4 waitid write writev
"""
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000 | errno.ENOSYS
_NAMESPACES = 0x7E020000
"""All flags of clone that make one."""
_UNIX = 1
"""The family of sockets that stay within the machine."""
_SHARED, _NO_FILE = 0x01, 0x20
_MAPPED = (_NO_FILE, _SHARED, 0)
"""Flags of mmap: private memory, shared files, private files."""
_EQUAL, _MASKED_EQUAL = 4, 7


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("how", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


@cache
def filters() -> tuple[bytes, bytes]:
    """The filters of all that belongs to a program, and one more for the program itself, as BPF.

    Raises:
        SandboxError: libseccomp is not there, or too old.
    """
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise SandboxError(
            "the sandbox needs libseccomp: apt-get install libseccomp2, or dnf install libseccomp"
        ) from error
    library.seccomp_init.restype = ctypes.c_void_p
    return _made(library, _ERRNO, _fill), _made(library, _ALLOW, _deny)


def _made(
    library: ctypes.CDLL, otherwise: int, fill: Callable[[ctypes.CDLL, ctypes.c_void_p], None]
) -> bytes:
    context = ctypes.c_void_p(library.seccomp_init(otherwise))
    try:
        fill(library, context)
        return _exported(library, context)
    finally:
        library.seccomp_release(context)


def _fill(library: ctypes.CDLL, context: ctypes.c_void_p) -> None:
    for name in _ALLOWED.split():
        _rule(library, context, _ALLOW, name)
    # What is allowed with some arguments only.
    for name, condition in (
        # Processes without namespaces of their own.
        ("clone", _Comparison(0, _MASKED_EQUAL, _NAMESPACES, 0)),
        # Sockets that lead nowhere else.
        ("socketpair", _Comparison(0, _EQUAL, _UNIX, 0)),
        # Limits and processors of oneself, and not of the supervisor.
        ("prlimit64", _Comparison(0, _EQUAL, 0, 0)),
        ("sched_setaffinity", _Comparison(0, _EQUAL, 0, 0)),
        # Memory that is shared and has no file is seen nowhere: neither in a process nor on a disk.
        *(("mmap", _Comparison(3, _MASKED_EQUAL, _SHARED | _NO_FILE, how)) for how in _MAPPED),
    ):
        _rule(library, context, _ALLOW, name, condition)


def _deny(library: ctypes.CDLL, context: ctypes.c_void_p) -> None:
    """Open files under way in sockets count for all programs together."""
    for name in ("sendmsg", "sendmmsg"):
        _rule(library, context, _ERRNO, name)


def _rule(
    library: ctypes.CDLL,
    context: ctypes.c_void_p,
    action: int,
    name: str,
    condition: _Comparison | None = None,
) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    # Below 0 are names that this architecture does not have.
    if number >= 0:
        n, where = (0, None) if condition is None else (1, ctypes.byref(condition))
        result = library.seccomp_rule_add_array(context, action, number, n, where)
        if result:
            raise SandboxError(f"libseccomp, {name}: {os.strerror(-result)}")


def _exported(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    reading, writing = os.pipe()
    try:
        with open(writing, "wb", buffering=0) as file:
            if library.seccomp_export_bpf(context, file.fileno()):
                raise SandboxError("libseccomp exports no filter")
        parts = []
        while part := os.read(reading, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(reading)
