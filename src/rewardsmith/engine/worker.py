"""What runs in a worker process. It imports no torch; neither do the rules that it runs."""

import ctypes
import os
import pickle
import signal
import sys
import time
from functools import lru_cache
from importlib import import_module
from multiprocessing import forkserver
from typing import Any

from ..core import decorate
from ..core.errors import SpecError
from ..core.outcome import Outcomes, score_each, told
from ..core.rowcall import RowCall
from ..core.source import is_of_project
from .watch import LOADING, SENT, Slate

_PR_SET_PDEATHSIG = 1

_slate: Slate
begun = False
"""Whether this process is a worker."""


class UnreadableRows(Exception):  # noqa: N818 - it reads as what it is
    """A batch holds a row that does not unpickle here."""


def begin(slate: Slate) -> None:
    """Get ready, once per process.

    Args:
        slate: where to leave notes.
    """
    # The pool's own handler is Python, and does not run while a row hangs in C.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # What rows start is in this group, and is ended with it.
    os.setpgrp()
    _end_with_master()
    global begun, _slate
    begun = decorate.worker = True
    _slate = slate


def _end_with_master() -> None:
    """Be killed where the calling process is gone, whatever a row is at; Linux has the means.

    The fork server ends when nobody holds its pipe any more, and its children are killed with it.
    """
    if sys.platform != "linux":
        return
    # Before the pipe: until that is closed, the fork server cannot have ended.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    server: Any = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None


def run(slot: int, batch: int, call: bytes, rows: bytes, share: float) -> Outcomes:
    """Score rows until they are done or a share of time is over; those that are left come back.

    A worker that hangs takes what it has found along, so it does not keep that for long.

    Args:
        slot: this batch's place among the notes.
        batch: its number.
        call: a pickled :class:`~rewardsmith.core.rowcall.RowCall`.
        rows: the pickled columns of each row.
        share: seconds after which no further row is begun.

    Raises:
        SpecError: the function, or what it needs, does not import here.
        UnreadableRows: a row does not unpickle here; none of them was run.
    """
    slate, pid = _slate, os.getpid()
    slate.write(slot, batch, LOADING, pid)
    function = _loaded(call)
    try:
        columns = pickle.loads(rows)
    except BaseException as error:  # noqa: BLE001 - what rows are made of is the user's code
        raise UnreadableRows(told(error)) from None
    over = time.monotonic() + share

    def going(row: int) -> bool:
        if row and time.monotonic() > over:
            return False
        slate.write(slot, batch, row, pid)
        return True

    # Whatever a row raises is the row's, SystemExit too.
    outcomes = score_each(function, columns, going, catch=BaseException)
    # The way back is not on the last row's time.
    slate.write(slot, batch, SENT, pid)
    return outcomes


@lru_cache(maxsize=64)
def _loaded(call: bytes) -> Any:
    try:
        rowcall = _found(call)
        for name in rowcall.preload:
            import_module(name)
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(
            f"the function, or what it needs, does not load in a worker: {told(error)}"
        ) from error
    return rowcall.bound()


def _found(call: bytes) -> RowCall:
    known = set(sys.modules)
    try:
        rowcall: RowCall = pickle.loads(call)
    except SpecError:
        if not decorate.worker:
            raise
        # A file that builds trees of what it decorates needs rewards to be rewards, and torch.
        decorate.worker = False
        for name in set(sys.modules) - known:
            if is_of_project(sys.modules[name]):
                del sys.modules[name]
        rowcall = pickle.loads(call)
    return rowcall
