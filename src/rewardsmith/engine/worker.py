"""What runs in a worker process. It imports no torch; neither do the rules that it runs."""

import os
import pickle
import signal
import sys
import time
from functools import lru_cache
from importlib import import_module
from typing import Any

from ..core import decorate
from ..core.errors import SpecError
from ..core.outcome import Outcomes, score_each
from ..core.rowcall import RowCall
from ..core.source import is_of_project
from .watch import LOADING, SENT, Slate

_slates: dict[str, Slate] = {}
begun = False
"""Whether this process is a worker."""


def begin(path: str) -> None:
    """Get ready, once per process.

    Args:
        path: the file of notes.
    """
    # The pool's own handler is Python, and does not run while a row hangs in C.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    global begun
    begun = decorate.worker = True
    _slates[path] = Slate(path)


def run(path: str, slot: int, batch: int, call: bytes, rows: bytes, share: float) -> Outcomes:
    """Score rows until they are done or a share of time is over; those that are left come back.

    A worker that hangs takes what it has found along, so it does not keep that for long.

    Args:
        path: the file of notes.
        slot: this batch's place in it.
        batch: its number.
        call: a pickled :class:`~rewardsmith.core.rowcall.RowCall`.
        rows: the pickled columns of each row.
        share: seconds after which no further row is begun.
    """
    slate, pid = _slates[path], os.getpid()
    slate.write(slot, batch, LOADING, pid)
    function = _loaded(call)
    columns = pickle.loads(rows)
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
    rowcall = _found(call)
    for name in rowcall.preload:
        import_module(name)
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
