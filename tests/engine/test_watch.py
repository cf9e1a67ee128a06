"""Notes of batches: what is read is what was written last, of this batch and no other."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from rewardsmith.engine.watch import LOADING, QUEUED, SENT, Slate


@pytest.fixture
def slate() -> Slate:
    return Slate(size=4)


def test_another_process_reads_what_one_writes(slate: Slate) -> None:
    theirs = Slate(os.dup(slate.handle))
    for row in (LOADING, 0, 1, 2**31 - 1, SENT):
        before = time.monotonic()
        theirs.write(2, 7, row, 1234)
        note = slate.read(2, 7)
        assert (note.row, note.pid) == (row, 1234)
        assert before <= note.since <= time.monotonic()
    assert slate.read(1, 7).row == slate.read(3, 7).row == QUEUED


@pytest.mark.parametrize("batch", [0, 7, 2**31 - 1, 2**31, 2**40])
def test_the_note_of_an_earlier_batch_says_nothing(slate: Slate, batch: int) -> None:
    slate.write(0, batch, 5, os.getpid())
    assert slate.read(0, batch).row == 5
    assert slate.read(0, batch + 1).row == QUEUED


class Interrupted:
    """The worker begins its next row after every single look at its note."""

    def __init__(self, slate: Slate, words: Any, started: list[float]) -> None:
        self.slate, self.words, self.started = slate, words, started

    def __getitem__(self, at: int) -> Any:
        word = self.words[at]
        writer = Slate(os.dup(self.slate.handle))
        self.started.append(time.monotonic())
        writer.write(0, 1, len(self.started) - 1, 1)
        return word


def test_a_row_never_has_the_time_of_the_one_before(slate: Slate) -> None:
    """Else a row would be over its deadline before it begins."""
    started = [time.monotonic()]
    slate.write(0, 1, 0, 1)
    reader = Slate(os.dup(slate.handle))
    times, numbers = reader._times, reader._numbers
    reader._times = Interrupted(slate, times, started)  # type: ignore[assignment]
    reader._numbers = Interrupted(slate, numbers, started)  # type: ignore[assignment]
    for _ in range(20):
        note = reader.read(0, 1)
        assert note.since >= started[note.row]


def test_the_file_has_no_name_and_ends_with_the_slate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    slate = Slate(size=1)
    assert not list(tmp_path.iterdir())
    handle = slate.handle
    del slate
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)
