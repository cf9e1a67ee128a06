"""What runs in a worker process. It imports no torch; neither do the rules that it runs."""

import os
import pickle
import signal
import time
from functools import lru_cache
from importlib import import_module
from typing import Any

from ..core import decorate
from ..core.errors import SpecError
from ..core.outcome import Outcomes, score_each
from ..core.rowcall import RowCall
from .watch import LOADING, Slate

_slates: dict[str, Slate] = {}


def begin(path: str) -> None:
    """Get ready, once per process.

    Args:
        path: the file of notes.
    """
    # The pool's own handler is Python, and does not run while a row hangs in C.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    decorate.worker = True
    _slates[path] = Slate(path)


def run(path: str, slot: int, call: bytes, rows: bytes, share: float) -> Outcomes:
    """Score rows until they are done or a share of time is over; those that are left come back.

    A worker that hangs takes what it has found along, so it does not keep that for long.

    Args:
        path: the file of notes.
        slot: this batch's place in it.
        call: a pickled :class:`~rewardsmith.core.rowcall.RowCall`.
        rows: the pickled columns of each row.
        share: seconds after which no further row is begun.
    """
    slate, pid = _slates[path], os.getpid()
    slate.write(slot, LOADING, pid)
    function = _loaded(call)
    columns = pickle.loads(rows)
    over = time.monotonic() + share

    def going(row: int) -> bool:
        if row and time.monotonic() > over:
            return False
        slate.write(slot, row, pid)
        return True

    # Whatever a row raises is the row's, SystemExit too.
    return score_each(function, columns, going, catch=BaseException)


@lru_cache(maxsize=64)
def _loaded(call: bytes) -> Any:
    rowcall = _found(call)
    for name in rowcall.preload:
        import_module(name)
    return rowcall.bound()


def _found(call: bytes) -> RowCall:
    try:
        rowcall: RowCall = pickle.loads(call)
    except SpecError:
        if not decorate.worker:
            raise
        # A file that builds trees of what it decorates needs rewards to be rewards, and torch.
        decorate.worker = False
        rowcall = pickle.loads(call)
    return rowcall
