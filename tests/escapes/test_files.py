"""Files: those of the host are neither read nor written, and those of other runs neither."""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.escapes.inside import (
    MIB,
    PATIENT,
    in_new_box,
    inside,
    meanwhile,
    outside,
)

READ = "def attack(*paths): return [tried(read, path) for path in paths]"
WRITE = "def attack(*paths): return [tried(write, path, 'x') for path in paths]"
FOLDER = """
def attack(path):
    return [tried(os.listdir, path), tried(os.scandir, path), tried(os.stat, path)]
"""


def refused(found: list[list[object]]) -> bool:
    return bool(found) and all(outcome == "refused" for outcome, _ in found)


def test_reads_a_file_of_the_host(sentinel: Path, token: str) -> None:
    assert outside(READ, str(sentinel)) == [["got", token]]
    assert refused(inside(READ, str(sentinel)))


def test_reads_the_home_of_the_user(at_home: Path, token: str) -> None:
    assert outside(READ, str(at_home)) == [["got", token]]
    assert refused(inside(READ, str(at_home), f"/root/{at_home.name}", f"/home/{at_home.name}"))
    looking = "def attack(): return tried(os.listdir, os.path.expanduser('~'))"
    assert inside(looking) == ["got", []]


def test_reads_the_folder_that_the_parent_works_in(
    monkeypatch: pytest.MonkeyPatch, sentinel: Path, token: str
) -> None:
    monkeypatch.chdir(sentinel.parent)
    paths = ["sentinel", "/proc/1/cwd/sentinel", "/proc/self/cwd/sentinel", str(sentinel)]
    assert outside(READ, *paths)[0] == ["got", token]
    assert refused(in_new_box(lambda: inside(READ, *paths)))


def test_reads_the_accounts_of_the_host() -> None:
    paths = ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/hosts", "/etc/ssh", "/etc/hostname"]
    assert outside(READ, "/etc/passwd")[0][0] == "got"
    assert refused(inside(READ, *paths))


def test_reads_this_library_and_its_tests() -> None:
    assert refused(inside(READ, __file__, str(Path(__file__).parents[2] / "pyproject.toml")))


def test_looks_around_in_proc() -> None:
    paths = ["/proc/self/environ", "/proc/1/environ", "/proc/self/maps", "/proc/self/fd"]
    paths += ["/proc/1/root/etc/passwd", "/proc/self/mountinfo", "/proc/sysrq-trigger"]
    paths += ["/proc/sys/kernel/core_pattern", "/proc/kcore", "/proc/keys", "/proc/net/unix"]
    # No more of the host's secrets is read than the test needs.
    assert outside(READ, "/proc/self/maps")[0][0] == "got"
    assert refused(inside(READ, *paths))
    # The interpreter asks for its own path there.
    assert inside(FOLDER, "/proc")[0] in (["got", []], ["got", ["self"]])


def test_writes_into_proc() -> None:
    names = ["self/oom_score_adj", "sys/kernel/core_pattern", "sys/kernel/hostname"]
    before = [Path("/proc", name).read_text() for name in names]
    source = """
def attack(*paths):
    for path in paths:
        tried(write, path, "1")
    return [tried(write, "/proc/1/mem", "1"), tried(write, "/proc/1/oom_score_adj", "1")]
"""
    assert refused(inside(source, *(f"/proc/{name}" for name in names)))
    assert [Path("/proc", name).read_text() for name in names] == before


def test_looks_around_in_sys() -> None:
    assert outside(FOLDER, "/sys")[0][0] == "got"
    assert refused(inside(FOLDER, "/sys"))
    assert refused(inside(FOLDER, "/sys/fs/cgroup"))


def test_looks_for_more_than_the_image(token: str) -> None:
    found = inside("def attack(): return sorted(os.listdir('/'))")
    assert set(found) <= {"dev", "etc", "lib", "lib32", "lib64", "opt", "proc", "tmp", "usr"} | {
        Path(sys.base_prefix).parts[1]
    }
    assert inside("def attack(): return sorted(os.listdir('/etc'))") == ["ld.so.cache"]


def test_writes_to_a_file_of_the_host(sentinel: Path) -> None:
    paths = [str(sentinel), f"{sentinel}-2", f"/proc/1/root{sentinel}"]
    assert refused(inside(WRITE, *paths))
    hidden = """
def attack(path):
    os.makedirs(os.path.dirname(path))
    write(path, "x")
    return read(path)
"""
    # It has a /tmp that looks the same, and is not.
    assert inside(hidden, str(sentinel)) == "x"


def test_follows_symbolic_links_out_of_its_folder(sentinel: Path, token: str) -> None:
    source = """
def attack(target):
    os.symlink(target, "link")
    os.symlink(os.path.dirname(target), "folder")
    os.symlink("../" * 30 + target, "relative")
    found = []
    for path in ("link", "folder/sentinel", "relative", "/proc/self/root/" + target):
        found += [tried(read, path), tried(write, path, "x")]
    return found
"""
    folder = "import tempfile; os.chdir(tempfile.mkdtemp())\n"
    asked = "def attack(target):\n    os.symlink(target, 'link')\n    return tried(read, 'link')"
    assert outside(folder + asked, str(sentinel)) == ["got", token]
    # Links may dangle, and what is written then is its own.
    assert not any(token in str(value) for _, value in inside(source, str(sentinel)))


def test_hard_links_of_host_files(sentinel: Path) -> None:
    source = """
def attack(*paths):
    flags = [0, 0x400, 0x1000]
    found = [tried(os.link, path, "/tmp/linked") for path in paths]
    found += [called(265, -100, p.encode(), -100, b"/tmp/l", f) for p in paths for f in flags]
    return found
"""
    link = "def attack(path): return tried(os.link, path, path + '-2')"
    assert outside(link, str(sentinel)) == ["got", None]
    Path(f"{sentinel}-2").unlink()
    assert refused(
        inside(source, str(sentinel), "/etc/ld.so.cache", os.path.realpath(sys.executable))
    )


def test_writes_into_the_image() -> None:
    library = Path(os.__file__)
    before = hashlib.sha256(library.read_bytes()).hexdigest(), library.stat().st_mtime_ns
    source = """
def attack(library):
    folder = os.path.dirname(library)
    found = [tried(write, library, "x"), tried(os.unlink, library), tried(os.utime, library)]
    found += [tried(os.rename, library, library + "2"), tried(os.chmod, library, 0o777)]
    found += [tried(os.truncate, library, 0), tried(os.mkdir, folder + "/sitecustomize")]
    for place in (folder, folder + "/__pycache__", "/", "/etc", "/opt", "/opt/guest", "/usr/lib",
                  "/dev", "/usr", "/lib"):
        found.append(tried(write, place + "/sitecustomize.py", "x"))
    found.append(tried(write, "/opt/guest/plain.py", "x"))
    return found
"""
    assert refused(inside(source, str(library)))
    after = hashlib.sha256(library.read_bytes()).hexdigest(), library.stat().st_mtime_ns
    assert after == before


def test_replaces_the_interpreter() -> None:
    source = """
def attack():
    me = sys.executable
    found = [tried(os.unlink, me), tried(write, me, "x"), tried(os.rename, "/tmp", me)]
    write("/tmp/python", "x")
    return found + [tried(os.rename, "/tmp/python", me), tried(os.symlink, "/tmp/python", me)]
"""
    python = Path(os.path.realpath(sys.executable))
    before = python.stat()
    assert refused(inside(source))
    assert python.stat() == before


def test_leaves_a_file_for_the_next_run(token: str) -> None:
    leave = "def attack(name):\n    write('/tmp/' + name, 'x')\n    write('/dev/shm/' + name, 'x')"
    look = "def attack(name): return [os.listdir('/tmp'), os.listdir('/dev/shm')]"
    assert inside(leave + "\n" + look.replace("attack", "look") + "\n    ", token) is None
    assert inside(look, token) == [[], []]
    assert not Path("/tmp", token).exists()
    assert not Path("/dev/shm", token).exists()


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
def test_meets_another_run_in_a_shared_folder(token: str, folder: str) -> None:
    stay = "def attack(path):\n    write(path, 'x')\n    time.sleep(1)\n    return read(path)"
    look = """
def attack(folder):
    found, end = [], time.monotonic() + 0.8
    while not found and time.monotonic() < end:
        found = os.listdir(folder)
        time.sleep(0.02)
    return found
"""
    with meanwhile(lambda: inside(stay, f"{folder}/{token}")) as found:
        assert inside(look, folder) == []
        assert not Path(folder, token).exists()
    assert found == ["x"]


def test_locks_a_file_that_the_host_uses() -> None:
    """Else a program could stop whoever waits for the lock, or signal to another program."""
    source = """
def attack(path):
    file = os.open(path, os.O_RDONLY)
    found = [tried(fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)]
    return found + [tried(fcntl.fcntl, file, 1024, fcntl.F_RDLCK)]  # F_SETLEASE
"""
    path = os.path.realpath(sys.executable)
    assert outside(source, path)[0][0] == "got"
    assert refused(inside(source, path))
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_opens_files_by_handle() -> None:
    source = """
def attack():
    handle = ctypes.create_string_buffer(struct.pack("IiII", 8, 1, 2, 0), 144)
    roots = [os.open(path, os.O_RDONLY) for path in ("/", "/tmp", "/lib", "/dev")]
    named = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 144)
    number = ctypes.c_int()
    found = [called(303, -100, b"/lib", named, ctypes.byref(number), 0)]
    return found + [called(304, root, handle, os.O_RDONLY) for root in roots]
"""
    if os.geteuid() == 0:
        assert outside(source)[0][0] == "got"
    assert refused(inside(source))


def test_climbs_out_by_open_folders(sentinel: Path) -> None:
    source = """
def attack(path):
    found = []
    for fd in range(0, 1024):
        if tried(os.fchdir, fd)[0] == "got":
            found.append(fd)
    os.chdir("../" * 40)
    os.chdir("/tmp")
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.mkdir("below")
    escape = [tried(os.chroot, "below"), tried(os.open, "../" * 40 + path, 0, dir_fd=here)]
    return found, escape
"""
    folders, escape = inside(source, str(sentinel))
    assert folders == []
    assert refused(escape)


def test_makes_and_opens_devices() -> None:
    source = """
def attack():
    found = []
    for kind, major, minor in ((stat.S_IFBLK, 8, 0), (stat.S_IFBLK, 254, 0), (stat.S_IFCHR, 1, 1)):
        found.append(tried(os.mknod, "/tmp/device", kind | 0o666, os.makedev(major, minor)))
    for name in ("sda", "vda", "mem", "kmem", "kmsg", "port", "kvm", "fuse", "net/tun", "loop0"):
        found.append(tried(os.open, "/dev/" + name, os.O_RDONLY))
    return found
"""
    assert refused(inside(source))
    names = inside("def attack(): return sorted(os.listdir('/dev'))")
    known = {"core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin"}
    assert set(names) <= known | {"stdout", "tty", "urandom", "zero"}


def test_fills_the_disk(tmp_path: Path) -> None:
    source = """
def attack(*folders):
    written = 0
    for folder in folders:
        try:
            for k in range(64):
                with open(f"{folder}/{k}", "wb", 0) as file:
                    for _ in range(8):
                        written += file.write(bytes(1 << 20))
        except OSError as error:
            pass
    return written
"""
    free = os.statvfs(tmp_path).f_bavail
    written = inside(source, "/tmp", "/dev/shm", "/proc", "/proc/self", "/dev", "/")
    # What is in /dev/shm counts for itself.
    assert 0 < written <= PATIENT.disk + 2 * MIB
    assert (free - os.statvfs(tmp_path).f_bavail) * os.statvfs(tmp_path).f_frsize < 400 * MIB


def test_fills_the_table_of_inodes() -> None:
    source = """
def attack(folder):
    try:
        for k in range(100_000):
            os.close(os.open(f"{folder}/{k}", os.O_CREAT | os.O_WRONLY))
    except OSError as error:
        return k, errno.errorcode[error.errno]
"""
    for folder in ("/tmp", "/dev/shm"):
        made, why = inside(source, folder)
        assert made < 5000
        assert why == "ENOSPC"


def test_writes_one_file_without_end() -> None:
    source = """
def attack():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("/tmp/big", "wb") as file:
        found = [tried(os.truncate, "/tmp/big", 1 << 40)]
        found.append(tried(os.posix_fallocate, file.fileno(), 0, 1 << 34))
        return found + [tried(os.pwrite, file.fileno(), b"x", 1 << 40)]
"""
    assert refused(inside(source))


def test_leaves_a_core_dump(tmp_path: Path) -> None:
    source = """
import resource
def attack():
    found = [resource.getrlimit(resource.RLIMIT_CORE)[1]]
    found.append(tried(resource.setrlimit, resource.RLIMIT_CORE, (-1, -1)))
    pid = os.fork()
    if not pid:
        os.abort()
    return found + [os.waitpid(pid, 0)[1] & 0x80, os.listdir("/tmp")]
"""
    hard, more, dumped, files = inside(source)
    assert (hard, dumped, files) == (0, 0, [])
    assert more[0] == "refused"


def test_the_room_is_left_as_it_was() -> None:
    """No mount of any sandbox is visible out here."""
    mounts = Path("/proc/self/mountinfo").read_text()
    assert "nr_inodes=4096" not in mounts
    assert not any(path.name == "guest" for path in Path("/opt").glob("*"))
    subprocess.run(["true"], check=True)
