"""Process 1 of a program's namespaces: it starts the program's processes, times and ends them.

It runs nothing of the program itself, and no process inside can signal it or look into it. What
the program says it passes on without reading.
"""

import json
import marshal
import os
import select
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from . import session, walls
from .family import Family
from .flow import Flow, flow_of
from .frames import Closed, Message, receive, send

_TICK = 0.05
"""Seconds between two looks at memory."""


class Ended(Exception):  # noqa: N818 - it reads as what it is
    """The program's processes had to be ended, or ended by themselves."""


def run(channel: socket.socket, job: dict[str, Any], family: Family | None) -> None:
    """Answer the host until it hangs up.

    Args:
        channel: leads to the host.
        job: what to run.
        family: the program's processes; None where others can be seen, that is without isolation.
    """
    # A group reaches across namespaces, and this one is everybody's.
    os.setsid()
    program = Program(channel, job, family)
    try:
        while True:
            program.idle()
            seconds, request = marshal.loads(receive(channel))
            send(channel, program.answer(request, time.monotonic() + seconds))
    except Closed:
        pass  # the host has what it wants
    finally:
        program.stop()


class Program:
    """The processes of one program.

    Args:
        channel: leads to the host.
        job: what to run.
        family: the program's processes; None without isolation.
    """

    def __init__(self, channel: socket.socket, job: dict[str, Any], family: Family | None) -> None:
        self.channel, self.job, self.family = channel, job, family
        self.session: socket.socket | None = None
        self.pid = 0
        self.looked = 0.0
        """When memory was last looked at."""

    def idle(self) -> None:
        """Wait for the host; the program's processes may go on meanwhile."""
        while self.session is not None and not select.select([self.channel], [], [], _TICK)[0]:
            try:
                self._look()
            except Ended:
                self.stop()

    def answer(self, request: Any, deadline: float) -> bytes:
        """What the program says, behind ``=``; or how it ended, and why.

        ``T`` is a timeout, ``X`` a crash, ``F`` output or a result that is too large.

        Args:
            request: None to load the program, anew where it was; what a session understands; what
                a script reads; or a command and what it reads.
            deadline: when the processes are ended, by the monotonic clock.
        """
        self.looked = time.monotonic()
        try:
            if self.job["kind"] == "command":
                command, stdin = request
                if "/" not in command[0] and shutil.which(command[0]) is None:
                    return f"!there is no {command[0]!r} in the sandbox".encode()
                return b"=" + self._execute(command, stdin, deadline)
            if request is None:
                self.stop()
            if self.session is None:
                loaded = self._begin(deadline)
                # What loads once may not load again: it may have left files.
                if request is None or loaded[:1] == b"r":
                    return b"=" + loaded
            if self.job["kind"] == "script":
                return b"=" + self._run_once(request, deadline)
            return b"=" + self._converse(request, deadline)
        except Closed:
            return b"X" + told_end(self._end()).encode()
        except Ended as end:
            self.stop()
            return "".join(end.args).encode()
        except TimeoutError:
            self.stop()
            return b"T"
        except ValueError as error:
            self.stop()
            return b"F" + f"its result is too large: {error}".encode()
        except OSError as error:
            # Files, processes, memory: the program has used up what it shares with this process.
            self.stop()
            return b"X" + f"nothing is left of what it may use: {error}".encode()

    def _converse(self, request: bytes, deadline: float) -> bytes:
        send(self._session(), request, deadline)
        return self._answer(deadline)

    def _session(self) -> socket.socket:
        if self.session is None:
            raise Ended("X", "its process ended")
        return self.session

    def _begin(self, deadline: float) -> bytes:
        ours, theirs = socket.socketpair()
        self._fork(lambda: session.begin(theirs, self.job), [ours])
        theirs.close()
        self.session = ours
        return self._answer(deadline)

    def _answer(self, deadline: float) -> bytes:
        """The next message of the session, which may come a byte at a time."""
        session = self._session()
        session.setblocking(False)
        message = Message(self.job["output"])
        while not message.complete:
            self._wait({session.fileno(): select.POLLIN}, deadline)
            message.take(session)
        return message.body()

    def _run_once(self, stdin: bytes, deadline: float) -> bytes:
        """Run a script: exit code and what it raised as a line of JSON, then what it printed.

        A letter in the place of the code tells how it was ended.
        """
        session = self._session()
        if self.family is not None:
            _leave(stdin)
        flow, theirs = flow_of(stdin, session.fileno(), self.job["output"])
        try:
            socket.send_fds(session, [b"."], theirs)
        except OSError as error:
            flow.close()
            gone = isinstance(error, BrokenPipeError | ConnectionResetError)
            raise (Closed() if gone else Ended("X", f"it takes no files: {error}")) from None
        finally:
            for file in theirs:
                os.close(file)
        try:
            self._through(flow, deadline)
            told = self._answer(deadline)
        except Ended as end:
            self.stop()
            told = _cut_off(end)
        except Closed:
            # As a process of its own might, it has ended itself.
            code = self._end()
            died = code is None or code < 0
            told = _cut_off(Ended("X", told_end(code))) if died else json.dumps([code, ""]).encode()
        finally:
            flow.close()
        return told + b"\n" + bytes(flow.printed)

    def _execute(self, command: list[str], stdin: bytes, deadline: float) -> bytes:
        """Run a command: likewise, with the end of what it complained instead of what it raised."""
        if self.family is not None:
            _leave(stdin)
        flow, theirs = flow_of(stdin, -1, self.job["output"])
        self._fork(lambda: session.execute(command, theirs, self.job["files"]), [])
        for file in theirs:
            os.close(file)
        flow.end = os.pidfd_open(self.pid)
        try:
            self._through(flow, deadline)
            complaints = bytes(flow.complaints).decode("utf-8", "replace")
            told = json.dumps([self.stop(), complaints]).encode()
        except Ended as end:
            self.stop()
            told = _cut_off(end)
        finally:
            os.close(flow.end)
            flow.close()
        return told + b"\n" + bytes(flow.printed)

    def _through(self, flow: Flow, deadline: float) -> None:
        try:
            while not flow.over:
                flow.go(self._wait(flow.files(), deadline))
        except OverflowError as error:
            raise Ended("F", str(error)) from None

    def _wait(self, files: dict[int, int], deadline: float) -> list[int]:
        """Those of some files that are ready for what is asked of them.

        Raises:
            Ended: time is over, or too much memory was used.
            Closed: the host has given up.
        """
        poll = select.poll()
        for file, event in files.items():
            poll.register(file, event)
        poll.register(self.channel.fileno(), 0)
        while True:
            self._look()
            left = deadline - time.monotonic()
            if left <= 0:
                raise Ended("T", "")
            ready = [file for file, _ in poll.poll(min(left, _TICK) * 1000)]
            if self.channel.fileno() in ready:
                self.stop()
                os._exit(0)
            if ready:
                return ready

    def _look(self) -> None:
        now = time.monotonic()
        if self.family is None or now - self.looked < _TICK:
            return
        self.looked = now
        if self.family.memory() > self.job["memory"]:
            raise Ended("X", "its processes used too much memory")

    def _fork(self, begin: Callable[[], NoReturn], not_theirs: list[socket.socket]) -> None:
        self.pid = os.fork()
        if not self.pid:
            for mine in (self.channel, *not_theirs):
                mine.close()
            os.setsid()
            if self.family is not None:
                self.family.close()
                walls.filter_calls(self.job["filter"])
            begin()

    def stop(self) -> int:
        """End all processes of the program; the exit code of the main one."""
        if not self.pid:
            return 0
        for end, whom in ((os.killpg, self.pid), (os.kill, -1 if self.family else self.pid)):
            with suppress(ProcessLookupError, PermissionError):  # they have ended
                end(whom, signal.SIGKILL)
        status = 0
        with suppress(ChildProcessError):  # that was the last
            while True:
                # Without isolation, others may have left its group, and go on.
                pid, found = os.waitpid(-1 if self.family else self.pid, 0)
                if pid == self.pid:
                    status = found
        if self.session is not None:
            self.session.close()
            self.session = None
        return os.waitstatus_to_exitcode(status)

    def _end(self) -> int | None:
        """The session hung up: its exit code; None where it goes on, and has to be ended."""
        over = os.pidfd_open(self.pid)
        ended = bool(select.select([over], [], [], 0.05)[0])
        os.close(over)
        code = self.stop()
        return code if ended else None


def _cut_off(end: Ended) -> bytes:
    """In the place of an exit code: how a run was ended, and why."""
    return json.dumps(list(end.args)).encode()


def _leave(stdin: bytes) -> None:
    """Put what a program reads where its /dev/stdin leads to."""
    with suppress(OSError), open("/tmp/.stdin", "wb") as file:  # it may have filled that up
        file.write(stdin)


def told_end(code: int | None) -> str:
    """An exit code in words; signals are negative."""
    if code is None:
        return "its process hung up"
    if code >= 0:
        return f"its process ended with code {code}"
    try:
        return f"its process was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"its process was ended by signal {-code}"
