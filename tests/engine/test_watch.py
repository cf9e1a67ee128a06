"""Notes of batches: what is read is what was written last, of this batch and no other."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardsmith.engine.watch import LOADING, QUEUED, SENT, Slate


@pytest.fixture
def slate() -> Iterator[Slate]:
    slate = Slate(size=4)
    yield slate
    slate.close()


def test_another_process_reads_what_one_writes(slate: Slate) -> None:
    theirs = Slate(slate.path)
    for row in (LOADING, 0, 1, 2**31 - 1, SENT):
        before = time.monotonic()
        theirs.write(2, 7, row, 1234)
        note = slate.read(2, 7)
        assert (note.row, note.pid) == (row, 1234)
        assert before <= note.since <= time.monotonic()
    assert slate.read(1, 7).row == slate.read(3, 7).row == QUEUED
    theirs.close()
    assert Path(slate.path).exists()


@pytest.mark.parametrize("batch", [0, 7, 2**31 - 1, 2**31, 2**40])
def test_the_note_of_an_earlier_batch_says_nothing(slate: Slate, batch: int) -> None:
    slate.write(0, batch, 5, os.getpid())
    assert slate.read(0, batch).row == 5
    assert slate.read(0, batch + 1).row == QUEUED


def test_a_row_never_has_the_time_of_the_one_before(slate: Slate) -> None:
    """Else a row would be over its deadline before it begins."""
    over = threading.Event()
    started: list[float] = [0.0] * 200_000

    def write() -> None:
        for row in range(len(started)):
            started[row] = time.monotonic()
            slate.write(0, 1, row, 1)
            if over.is_set():
                break
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    until = time.monotonic() + 0.5
    while not over.is_set() and time.monotonic() < until:
        note = slate.read(0, 1)
        if note.row >= 0:
            assert note.since >= started[note.row]
    over.set()
    writer.join()


def test_who_made_the_file_removes_it() -> None:
    slate = Slate(size=1)
    slate.close()
    assert not Path(slate.path).exists()
