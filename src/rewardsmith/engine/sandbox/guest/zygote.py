"""The first process of the sandbox: it has the interpreter warm, and forks one process per program.

Every program still gets walls of its own (:mod:`.walls`). This process runs no program itself.
"""

import _sitebuiltins
import builtins
import gc
import marshal
import os
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

from . import supervisor, walls
from .family import Family
from .frames import Closed, receive, send

_OFTEN = ["bisect", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq"]
_OFTEN += ["itertools", "math", "operator", "queue", "random", "re", "statistics", "string"]
"""What programs often import is there at once."""


def main(control: socket.socket, isolated: bool) -> None:
    """Wait for channels of programs, and start a process for each.

    Args:
        control: where they come from; what comes first are the facts of this sandbox.
        isolated: whether to put walls up.
    """
    facts: dict[str, Any] = marshal.loads(receive(control, more=True))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them
    if isolated:
        walls.become_nobody()
    sys.path += facts["paths"]
    for name in _OFTEN:
        import_module(name)
    # What `site` would bring: scripts end by them.
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D"))
    os.environ["PWD"] = "/tmp"  # where programs start
    gc.freeze()
    user, group = os.getuid(), os.getgid()
    while True:
        message, channels, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        channel = socket.socket(fileno=channels[0])
        try:
            pid = walls.fork_apart() if isolated else os.fork()
        except OSError as error:
            _tell(channel, error)
            continue
        if pid:
            channel.close()
            continue
        control.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Process 1 is only reached by signals that it has handlers for, and this is Python's own.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            if isolated:
                walls.map_user(user, group)
            _begin(channel, facts, isolated)
        except OSError as error:
            _tell(channel, error)
        finally:
            os._exit(0)


def _begin(channel: socket.socket, facts: dict[str, Any], isolated: bool) -> None:
    job: dict[str, Any] = marshal.loads(receive(channel, more=True))
    family = None
    if isolated:
        family = Family()
        walls.private_folders(job["walls"]["disk"])
    else:
        os.chdir(job["folder"])
    walls.limit(job["walls"])
    if isolated:
        walls.give_up_privileges(facts["filters"][0])
    job["filter"] = facts["filters"][1]
    supervisor.run(channel, job, family)


def _tell(channel: socket.socket, error: OSError) -> None:
    with suppress(Closed), channel:
        send(channel, b"!" + f"{type(error).__name__}: {error}".encode())


def boot(control: int, isolated: bool) -> None:
    """Begin, as the first process of a sandbox.

    Args:
        control: the number of an open socket.
        isolated: whether to put walls up.
    """
    for file in range(3, 256):
        if file != control:
            with suppress(OSError):
                os.close(file)
    del sys.path[0]  # this package is nothing for programs to import
    main(socket.socket(fileno=control), isolated)
