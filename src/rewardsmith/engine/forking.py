"""Worker processes by a fork server: a fresh interpreter that forks before it has threads."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from math import inf
from multiprocessing import forkserver, process, spawn
from multiprocessing.context import ForkServerContext, ForkServerProcess
from time import monotonic
from typing import Any


class _Process(ForkServerProcess):
    """A process that does not run the caller's script again: rows travel by name, with its file."""

    last_start = -inf
    """When one was started, by the monotonic clock; what it comes up with has to stay a while."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing calls it that
        with _without_main():
            return ForkServerProcess._Popen(process_obj)

    def start(self) -> None:
        """Start it, from a daemonic process too (TRL's asynchronous trainer scores in one).

        Python forbids those to have children, lest they leave them behind; these end with theirs.
        """
        config: Any = process.current_process()._config  # type: ignore[attr-defined]
        # Pools start their workers from threads of their own.
        with _posing:
            daemon = config.pop("daemon", None)
            try:
                super().start()
            finally:
                if daemon is not None:
                    config["daemon"] = daemon
        _Process.last_start = monotonic()

    def terminate(self) -> None:
        """End it, with what its row has started."""
        try:
            # Of one that is gone, the number may be another's.
            if self.pid is not None and self.is_alive():
                os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # On its way up it is not a group of its own yet.
            super().terminate()


class _Context(ForkServerContext):
    Process = _Process


def last_start() -> float:
    """When a process was last started, by the monotonic clock."""
    return _Process.last_start


_posing, _starting = threading.Lock(), threading.Lock()


@contextmanager
def _without_main() -> Iterator[None]:
    """What this thread starts is not told of the script; other threads go on as they would."""
    with _starting:
        told, me = spawn.get_preparation_data, threading.get_ident()

        def telling(name: str) -> dict[str, Any]:
            data = told(name)
            if threading.get_ident() == me:
                data.pop("init_main_from_name", None)
                data.pop("init_main_from_path", None)
            return data

        spawn.get_preparation_data = telling
        try:
            yield
        finally:
            spawn.get_preparation_data = told


@cache
def context_of(preload: tuple[str, ...]) -> ForkServerContext:
    """The context that starts processes with these modules."""
    context = _Context()
    # Only the first use of a fork server decides; later ones import in each worker.
    context.set_forkserver_preload([*preload])
    return context


def see_to_server() -> None:
    """Let go of a fork server whose address is gone: a cleaner of temporary files may take it."""
    server: Any = forkserver._forkserver
    with server._lock:
        address = server._forkserver_address
        if address is None or os.path.exists(address) or address.startswith("\0"):
            return
        # Its pipe stays open, for the processes that it has.
        server._forkserver_pid = server._forkserver_address = server._forkserver_alive_fd = None
        if not os.path.isdir(os.path.dirname(address)):
            config: Any = process.current_process()._config  # type: ignore[attr-defined]
            config.pop("tempdir", None)


def _orphaned() -> None:
    """In a fork of this process: neither the fork server nor its processes are its own."""
    global _posing, _starting
    _posing, _starting = threading.Lock(), threading.Lock()
    server: Any = forkserver._forkserver
    server._lock = threading.Lock()
    # Else the server, and its processes, outlive its own parent for as long as this lives.
    if server._forkserver_alive_fd is not None:
        with suppress(OSError):
            os.close(server._forkserver_alive_fd)
    # Else it waits for a server that is another's child, and fails.
    server._forkserver_pid = server._forkserver_address = server._forkserver_alive_fd = None
    # Else the pool ends its parent's workers when it exits.
    mine: set[Any] = process._children  # type: ignore[attr-defined]
    mine.difference_update([child for child in mine if isinstance(child, _Process)])


os.register_at_fork(after_in_child=_orphaned)
