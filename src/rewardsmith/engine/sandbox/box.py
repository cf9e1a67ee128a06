"""The sandbox as the host sees it: bubblewrap around a warm interpreter that programs fork from."""

import marshal
import os
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any
from weakref import finalize

from .bubblewrap import GUEST, Setting, advice, interpreter, packages, start, walled
from .errors import SandboxError
from .guest import zygote
from .guest.frames import Closed, receive, send
from .limits import Limits
from .seccomp import filters

_BOOT = "import sys; sys.path.insert(0, {!r}); from guest.zygote import {}; {}({}, {})"
_GRACE = 2.0
"""Seconds that the supervisor has over the deadline that it keeps itself."""
_LOTS = 100
"""Lots of tests that share a process."""
_START = 20.0
"""Seconds that a sandbox may take to start a program."""


class Box:
    """A sandbox: one bubblewrap, and in it a process that has Python warm and forks programs.

    Raises:
        SandboxError: bubblewrap or libseccomp are not there, or the kernel does not let them.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it is read when this broke
        try:
            with theirs:
                self._process = start(
                    _command(setting, theirs), theirs.fileno(), self._errors, setting.unsafe
                )
        except (OSError, ValueError, LookupError, TypeError) as error:
            said = self._said() or f"bubblewrap does not start: {error}"
            ours.close()
            self._errors.close()
            if isinstance(error, SandboxError):
                raise
            raise SandboxError(advice(said)) from error
        self._control = ours
        self._judge: Program | None = None
        self._judged = 0
        ours.settimeout(_START)
        self._files: list[Any] = [ours, self._errors]
        self._end = finalize(self, _close, self._process, self._files)
        facts = {
            "filters": (b"", b"") if setting.unsafe else filters(),
            "paths": list(packages(setting).values()),
        }
        try:
            send(ours, marshal.dumps(facts))
        except Closed:
            raise self.broken() from None

    def open(self, job: dict[str, Any], limits: Limits) -> "Program":
        """Start a program."""
        return Program(self, job, limits)

    def judge(self, limits: Limits) -> "Program":
        """Where tests run that are code, ready for some.

        The process is a new one, but after tests that can be seen to leave nothing behind.
        """
        judge = self._judge
        if judge is None or judge.limits != limits:
            if judge is not None:
                judge.close()
            judge = self._judge = self.open({"kind": "tests"}, limits)
            self._files.append(judge.channel)
        self._judged += 1
        if not judge.waits or self._judged % _LOTS == 0:
            judge.ask(None, limits.test)
        judge.waits = False
        return judge

    def begin(self, channel: socket.socket) -> None:
        """Have a process forked for a program.

        Raises:
            SandboxError: nobody is there to do it.
        """
        try:
            socket.send_fds(self._control, [b"."], [channel.fileno()])
        except OSError:
            raise self.broken() from None

    def broken(self) -> SandboxError:
        """Why the sandbox is not there any more."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)  # what it says comes at its end
        said = "" if self._errors.closed else self._said()
        self.close()
        return SandboxError(advice(said) if said else "the sandbox ended")

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read(2000).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """End it, with all that runs there."""
        self._end()

    @property
    def alive(self) -> bool:
        """Whether programs can be started."""
        return self._end.alive and self._process.poll() is None


class Program:
    """A program in the sandbox, to be asked things until it is closed; a context manager."""

    def __init__(self, box: Box, job: dict[str, Any], limits: Limits) -> None:
        self.box, self.limits = box, limits
        self.waits = False
        """Whether it is a judge that is through, as if it had never begun."""
        self._folder = tempfile.TemporaryDirectory() if box.setting.unsafe else None
        self.channel, theirs = socket.socketpair()
        try:
            with theirs:
                box.begin(theirs)
        except SandboxError:
            self.close()
            raise
        job = {
            **job,
            # What tests send on may be what programs have returned, and in other words.
            "output": limits.output * (8 if job["kind"] == "tests" else 1),
            "memory": limits.memory,
            "files": limits.files,
            "folder": self._folder and self._folder.name,
            "walls": {
                # The judge's supervisor lives long.
                "seconds": int(limits.program) + 1 if job["kind"] != "tests" else 1 << 24,
                "memory": 0 if job["kind"] == "command" else limits.memory,
                "processes": 0 if box.setting.unsafe else limits.processes,
                "disk": limits.disk,
                "files": limits.files,
            },
        }
        self._most = 8 * limits.output + (1 << 16)
        with suppress(Closed):  # asking it will tell
            send(self.channel, marshal.dumps(job))

    def ask(self, request: Any, seconds: float) -> tuple[str, bytes]:
        """Send a request, and wait for the answer.

        Returns:
            A letter and more: ``=`` and what the program says, or how it ended (``T`` timeout,
            ``X`` crashed, ``F`` failed) and why.

        Raises:
            SandboxError: the sandbox broke.
        """
        deadline = time.monotonic() + seconds + _GRACE
        try:
            send(self.channel, marshal.dumps((seconds, request)), deadline)
            answer = receive(self.channel, self._most, deadline)
        except Closed:
            if self.box.alive:
                raise SandboxError("the program's supervisor ended") from None
            raise self.box.broken() from None
        except (TimeoutError, ValueError) as error:
            self.box.close()
            raise SandboxError(f"the program's supervisor does not answer: {error}") from None
        if answer[:1] == b"!":
            raise SandboxError(advice(answer[1:].decode("utf-8", "replace")))
        return chr(answer[0]), answer[1:]

    def close(self) -> None:
        """End it: its supervisor ends where nobody listens, and takes all processes along."""
        # Closing would not do: a fork of this process may hold it too.
        with suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)
        self.channel.close()
        if self._folder is not None:
            with suppress(OSError):
                self._folder.cleanup()

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Mine(threading.local):
    """Sandboxes of one thread: bubblewrap ends with the thread that started it."""

    def __init__(self) -> None:
        self.boxes: dict[Setting, Box] = {}
        self.pid = os.getpid()


_mine = _Mine()


def box_of(setting: Setting) -> Box:
    """This thread's sandbox, started where there is none.

    Raises:
        SandboxError: it cannot be had here.
    """
    if _mine.pid != os.getpid():
        _mine.__init__()  # type: ignore[misc]  # a fork: they are the parent's
    box = _mine.boxes.get(setting)
    if box is None or not box.alive:
        box = _mine.boxes[setting] = Box(setting)
    return box


def _command(setting: Setting, control: socket.socket) -> list[str]:
    name = zygote.boot.__name__
    folder = str(GUEST.parent) if setting.unsafe else "/opt"
    boot = _BOOT.format(folder, name, name, control.fileno(), not setting.unsafe)
    walls = [] if setting.unsafe else walled(setting)
    return [*walls, interpreter(), "-S", "-s", "-P", "-c", boot]


def forget(setting: Setting) -> None:
    """End this thread's sandbox, if there is one."""
    box = _mine.boxes.pop(setting, None) if _mine.pid == os.getpid() else None
    if box is not None:
        box.close()


def _close(process: "subprocess.Popen[bytes]", files: list[Any]) -> None:
    for file in files:
        file.close()
    process.kill()
    process.wait()
