"""Bubblewrap's command line: what programs in the sandbox can see, and who they are."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import SandboxError

GUEST = Path(__file__).with_name("guest")
"""What runs inside."""


@dataclass(frozen=True)
class Setting:
    """What programs find around them.

    Args:
        unsafe: no isolation at all.
        system: all of /usr, for compilers and interpreters other than this Python.
        packages: the packages that are installed here, for programs to import.
    """

    unsafe: bool = False
    system: bool = False
    packages: bool = False


def start(command: list[str], control: int, errors: Any, unsafe: bool) -> Any:
    """Start bubblewrap; as root, map a second user for programs to be.

    The kernel does not limit the processes of user 0, whatever that is mapped to.

    Args:
        command: what to start.
        control: a socket that it inherits.
        errors: the file for what it says.
        unsafe: the command is no bubblewrap.

    Raises:
        OSError, ValueError, LookupError, TypeError: it is no bubblewrap, or may not map users.
    """
    how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": errors, "stderr": errors}
    how["env"] = _ENVIRONMENT
    if unsafe or os.getuid() != 0:
        return subprocess.Popen(command, pass_fds=[control], **how)
    wait, go = os.pipe()
    told, tell = os.pipe()
    extra = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    extra += ["--userns-block-fd", str(wait), "--info-fd", str(tell)]
    process = None
    try:
        command = [command[0], *extra, *command[1:]]
        process = subprocess.Popen(command, pass_fds=[control, wait, tell], **how)
        os.close(tell)
        tell = -1
        with open(told, "rb", closefd=False) as file:
            said = file.read()
        if said:
            child = int(json.loads(said)["child-pid"])
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{child}/{name}").write_text("0 0 1\n65534 65534 1\n")
            os.write(go, b".")
    except (OSError, ValueError, LookupError, TypeError):
        if process is not None:
            process.kill()
            process.wait()
        raise
    finally:
        for number in (wait, go, told, tell):
            if number >= 0:
                os.close(number)
    return process


_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""All that programs find; sets of text have the same order in every run."""


def walled(setting: Setting) -> list[str]:
    """The command that puts the walls up, to which the command inside is added.

    Raises:
        SandboxError: bubblewrap is not there.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxError(
            "the sandbox needs bubblewrap: apt-get install bubblewrap, dnf install bubblewrap or "
            "pacman -S bubblewrap; `unsafe: true` runs programs without any isolation"
        )
    command = [program, "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    command += ["--unshare-net", "--unshare-cgroup-try", "--die-with-parent", "--new-session"]
    command += ["--hostname", "sandbox", "--clearenv"]
    for name, value in _ENVIRONMENT.items():
        command += ["--setenv", name, value]
    bound = {path: path for path in _system(setting)}
    bound |= {Path(real): Path(there) for real, there in packages(setting).items()}
    bound[GUEST] = Path("/opt/guest")
    # What lies above them would be for their owner alone, who is somebody else for programs.
    for folder in sorted({above for path in bound.values() for above in path.parents[:-1]}):
        command += ["--dir", str(folder)]
    for path, there in bound.items():
        if path.is_symlink():
            command += ["--symlink", os.readlink(path), str(there)]
        elif path.exists():
            command += ["--ro-bind", str(path), str(there)]
    # Not /dev/zero: memory that is mapped from it and shared is seen nowhere.
    command += ["--dir", "/dev"]
    for name in ("null", "full", "random", "urandom"):
        command += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    command += ["--symlink", "/proc/self/fd/0", "/dev/stdin", "--dir", "/dev/shm"]
    command += ["--proc", "/proc", "--dir", "/tmp", "--remount-ro", "/", "--chdir", "/"]
    return command


def _system(setting: Setting) -> list[Path]:
    """What an interpreter needs to run, and not more; or all that is installed."""
    names = ["/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64"]
    if setting.system:
        names = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives"]
    paths = [Path(name) for name in (*names, "/etc/ld.so.cache")]
    for path in (Path(interpreter()), Path(sys.base_prefix, "lib")):
        if not any(path.is_relative_to(known) for known in paths if not known.is_symlink()):
            paths.append(path)
    return paths


def interpreter() -> str:
    """The interpreter itself, whatever environment leads to it."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def packages(setting: Setting) -> dict[str, str]:
    """The folders of what is installed here, and where programs find them."""
    if not setting.packages:
        return {}
    names = ("site-packages", "dist-packages")
    found = [path for path in sys.path if Path(path).name in names and Path(path).is_dir()]
    # Not where they are: that may be below a folder which is a program's own, such as /tmp.
    return {path: path if setting.unsafe else f"/opt/packages/{k}" for k, path in enumerate(found)}


def advice(said: str) -> str:
    """What bubblewrap or the kernel said, and what may be done about it."""
    signs = ("uid map", "namespace", "unshare", "RTM_NEWADDR", "mount", "ermission denied")
    if any(sign in said for sign in signs):
        return (
            f"{said}; the kernel does not let users make namespaces: see "
            "user.max_user_namespaces, kernel.unprivileged_userns_clone and "
            "kernel.apparmor_restrict_unprivileged_userns in sysctl; in a container, its seccomp "
            "profile"
        )
    return said
