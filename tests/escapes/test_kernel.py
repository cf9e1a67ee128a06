"""System calls that reach far: none of them is there."""

from typing import Any

import pytest
from tests.escapes.inside import inside, outside

REFUSED = {"ENOSYS", "EPERM"}


def refuses(*numbers_and_arguments: str) -> None:
    each = ", ".join(f"called({call})" for call in numbers_and_arguments)
    found = inside(f"def attack(): return [{each}]")
    assert found
    assert all(outcome == "refused" and why in REFUSED for outcome, why in found), found


FLAGS = [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x80]


def test_unshares_namespaces() -> None:
    refuses(*(f"272, {flag}" for flag in [*FLAGS, 0x7E020000, 0x200, 0x400]))


def test_clones_into_new_namespaces() -> None:
    refuses(*(f"56, {flag} | 17, 0, 0, 0, 0" for flag in FLAGS if flag != 0x80))
    refuses("56, 0x7E020000 | 17, 0, 0, 0, 0")


def test_clones_by_the_call_whose_flags_no_filter_sees() -> None:
    source = """
def attack(flag):
    arguments = struct.pack("8Q", flag, 0, 0, 0, 17, 0, 0, 0)
    return called(435, arguments, len(arguments))
"""
    assert inside(source, 0x10000000) == ["refused", "ENOSYS"]
    assert inside(source, 0) == ["refused", "ENOSYS"]


def test_enters_namespaces_of_others() -> None:
    source = """
def attack():
    mine = os.pidfd_open(os.getpid())
    first = os.pidfd_open(1)
    kinds = (0, 0x20000000, 1 << 17)
    return [called(308, file, kind) for file in (mine, first, 0) for kind in kinds]
"""
    assert {why for _, why in inside(source)} <= REFUSED


def test_mounts() -> None:
    refuses("165, b'none', b'/tmp', b'tmpfs', 0, 0", "165, b'/', b'/tmp', 0, 4096, 0")
    refuses("165, 0, b'/', 0, 32 | 4096, 0", "165, b'proc', b'/proc', b'proc', 0, 0")


def test_unmounts_what_lies_over_proc() -> None:
    refuses("166, b'/proc', 0", "166, b'/proc', 2", "166, b'/tmp', 2")


def test_mounts_by_the_new_calls() -> None:
    refuses("430, b'tmpfs', 0", "428, -100, b'/', 1", "429, -100, b'/', -100, b'/tmp', 0")
    refuses("431, 0, 0, 0, 0, 0", "432, 0, 0, 0", "433, -100, b'/', 0", "442, -100, b'/', 0, 0, 0")


def test_pivots_the_root() -> None:
    refuses("155, b'/tmp', b'/tmp'")


def test_changes_the_root() -> None:
    refuses("161, b'/tmp'", "161, b'/'")


def test_sets_up_io_uring() -> None:
    refuses("425, 8, ctypes.create_string_buffer(120)", "426, 3, 1, 0, 0, 0", "427, 3, 0, 0, 0")


def test_loads_bpf() -> None:
    refuses(*(f"321, {command}, ctypes.create_string_buffer(128), 128" for command in range(8)))


def test_handles_page_faults() -> None:
    refuses("323, 0", "323, 1", "323, 0x80000")


def test_watches_performance_counters() -> None:
    refuses("298, ctypes.create_string_buffer(128), 0, -1, -1, 0")


def test_uses_the_keyring_of_the_user() -> None:
    refuses("248, b'user', b'escape', b'x', 1, -3", "249, b'user', b'x', 0, -3", "250, 0, -3, 0")


def test_changes_its_personality() -> None:
    refuses("135, 0x0040000", "135, 0x0000008", "135, 0xffffffff")


def test_loads_another_kernel() -> None:
    refuses("246, 0, 0, 0, 0", "320, -1, -1, 0, 0, 0")


def test_loads_a_module() -> None:
    refuses("175, b'', 0, b''", "313, 0, b'', 0", "176, b'none', 0")


def test_restarts_the_machine() -> None:
    # Without the magic numbers, which nobody should try in earnest.
    refuses("169, 0, 0, 0, 0")


def test_sets_the_clock() -> None:
    refuses("164, struct.pack('2q', 0, 0), 0", "227, 0, struct.pack('2q', 0, 0)")
    refuses("159, ctypes.create_string_buffer(208)", "305, 0, ctypes.create_string_buffer(208)")


def test_renames_the_host() -> None:
    refuses("170, b'escaped', 7", "171, b'escaped', 7")
    assert inside("def attack(): return os.uname().nodename") == "sandbox"


def test_uses_ports_of_the_machine() -> None:
    refuses("172, 3", "173, 0, 1024, 1")


def test_swaps_and_accounts() -> None:
    refuses("167, b'/tmp/x', 0", "168, b'/tmp/x'", "163, b'/tmp/x'", "179, 0, 0, 0, 0")


def test_reads_the_log_of_the_kernel() -> None:
    refuses("103, 3, ctypes.create_string_buffer(64), 64", "103, 10, 0, 0")


def test_watches_files_of_others() -> None:
    refuses("300, 0, 0", "294, 0", "253")


def test_keeps_memory_where_nobody_counts_it() -> None:
    refuses("319, b'x', 0", "447, 0", "29, 0, 1 << 20, 0x3ff", "240, b'/x', 0x42, 0x1ff, 0")


def test_changes_how_it_is_scheduled() -> None:
    refuses("144, 0, 1, struct.pack('i', 1)", "314, 0, bytes(48), 0", "251, 1, 0, 0")


def test_waits_for_pages_that_never_come() -> None:
    refuses("237, 0, 0, 0, 0, 0, 0", "256, 0, 0, 0, 0", "279, 0, 0, 0, 0, 0, 0")


def test_types_into_a_terminal() -> None:
    """TIOCSTI puts text into the terminal that somebody sits at."""
    source = """
def attack():
    found = []
    for fd in range(0, 1024):
        for request, what in ((0x5412, b"x"), (0x541C, bytes([2])), (0x540E, 0)):
            outcome = tried(fcntl.ioctl, fd, request, what)
            if outcome[0] == "got":
                found.append([fd, request])
    return found + [tried(os.open, f"/dev/{name}", os.O_RDWR) for name in ("tty", "console")]
"""
    assert {outcome for outcome, _ in inside(source)} == {"refused"}


def test_gets_privileges_back() -> None:
    source = """
def attack():
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    have = (ctypes.c_uint32 * 6)()
    libc.capget(head, have)
    every = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    gained = libc.capset(head, every)
    return [list(have), gained, libc.prctl(23, 21, 0, 0, 0), libc.prctl(39, 0, 0, 0, 0)]
"""
    have, gained, bounded, new_privileges = inside(source)
    assert have == [0] * 6
    assert gained == -1
    assert bounded == 0
    assert new_privileges == 1


def test_takes_the_filter_off() -> None:
    source = """
def attack():
    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))
    everything = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
    allow = Filter(1, ctypes.cast(everything, ctypes.c_void_p))
    before = called(272, 0x10000000)
    libc.prctl(22, 2, ctypes.byref(allow), 0, 0)  # one more filter: the strictest counts
    libc.prctl(22, 0, 0, 0, 0)
    pid = os.fork()
    if not pid:
        os._exit(called(272, 0x10000000)[0] == "got")
    return [before, called(272, 0x10000000), called(317, 1, 0, 0), os.waitpid(pid, 0)[1]]
"""
    *outcomes, forked = inside(source)
    assert {outcome for outcome, _ in outcomes} == {"refused"}
    assert forked == 0


def test_calls_nothing_that_is_not_listed() -> None:
    """All numbers that kernels have, but for those that end or stop the caller."""
    source = """
def attack(skipped):
    there = []
    for number in range(0, 480):
        if number in skipped:
            continue
        pid = os.fork()
        if not pid:
            signal.alarm(1)
            os.closerange(0, 64)
            ctypes.set_errno(0)
            result = libc.syscall(number, -1, -1, -1, -1, -1, -1)
            os._exit(0 if result < 0 and ctypes.get_errno() == errno.ENOSYS else 1)
        if os.waitpid(pid, 0)[1]:
            there.append(number)
    return there
"""
    far = [41, 42, 49, 50, 101, 155, 161, 165, 166, 169, 175, 206, 237, 246, 248, 272, 298, 300]
    far += [303, 304, 308, 310, 311, 313, 319, 321, 323, 425, 428, 430, 434 + 4, 435, 442, 447]
    # Those that wait without end, or end the process.
    waiting = [15, 34, 60, 61, 130, 219, 231]
    found: list[Any] = inside(source, waiting)
    assert not set(far) & set(found)
    assert 0 in found


@pytest.mark.parametrize("path", ["/usr/bin/su", "/usr/bin/mount", "/usr/bin/passwd"])
def test_finds_programs_of_the_system(path: str) -> None:
    assert inside("def attack(path): return os.path.exists(path)", path) is False


REAL = {
    "unshare": "272, 0x04000000",
    "open_tree": "428, -100, b'/', 1",
    "chroot": "161, b'/'",
    "bpf": "321, 0, struct.pack('4I', 2, 4, 4, 1) + bytes(56), 72",
    "userfaultfd": "323, 1",
    "keyctl": "250, 0, -3, 0",
    "personality": "135, 0x0040000",
    "syslog": "103, 10, 0, 0",
    "inotify": "253",
    "memfd": "319, b'x', 0",
}


@pytest.mark.parametrize("name", REAL)
def test_the_call_is_there_outside(name: str) -> None:
    """What is refused above is what the kernel does for others."""
    ((outcome, why),) = outside(f"def attack(): return [called({REAL[name]})]")
    if outcome == "refused" and why in REFUSED:
        pytest.skip(f"nobody may use it on this machine: {why}")
    assert outcome == "got" or why not in REFUSED
