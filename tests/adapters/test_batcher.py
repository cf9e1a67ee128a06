"""Rows that come one at a time are scored together, and none is lost."""

import asyncio
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rewardsmith.adapters.batcher import Batcher


class Doubling:
    """Doubles numbers, slowly, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, rows: list[int]) -> list[int]:
        self.batches.append(rows)
        time.sleep(0.05)
        if 13 in rows:
            raise ValueError("thirteen")
        return [2 * row for row in rows]


def test_rows_of_many_threads_are_scored_together() -> None:
    double = Doubling()
    batcher = Batcher(double)
    with ThreadPoolExecutor(100) as pool:
        assert [*pool.map(batcher, range(100, 200))] == [2 * i for i in range(100, 200)]
    assert sorted(row for batch in double.batches for row in batch) == [*range(100, 200)]
    assert len(double.batches) < 50


def test_rows_of_many_tasks_are_scored_together() -> None:
    double = Doubling()
    batcher = Batcher(double)

    async def ask() -> list[int]:
        return await asyncio.gather(*(batcher.ask(i) for i in range(100, 200)))

    assert asyncio.run(ask()) == [2 * i for i in range(100, 200)]
    assert len(double.batches) < 50


def test_a_batch_has_a_limit() -> None:
    double = Doubling()
    batcher = Batcher(double, at_once=1, most=7)
    results = [batcher.submit(i) for i in range(100, 200)]
    assert [result.result(10) for result in results] == [2 * i for i in range(100, 200)]
    assert max(len(batch) for batch in double.batches) == 7


def test_a_slow_batch_holds_up_nobody() -> None:
    hold = threading.Event()

    def score(rows: list[str]) -> list[str]:
        if "slow" in rows:
            hold.wait(10)
        return rows

    batcher = Batcher(score)
    slow = batcher.submit("slow")
    while batcher._waiting.qsize():  # until it is under way
        time.sleep(0.001)
    assert batcher.submit("fast").result(5) == "fast"
    assert not slow.done()
    hold.set()
    assert slow.result(5) == "slow"


def test_an_error_is_raised_where_the_row_came_from_and_the_next_one_is_scored() -> None:
    batcher = Batcher(Doubling())
    with pytest.raises(ValueError, match="thirteen"):
        batcher(13)
    assert batcher(14) == 28


def test_results_that_are_too_few_are_an_error() -> None:
    with pytest.raises(ValueError, match="0 results for 1 rows"):
        Batcher(lambda rows: [])(1)


def test_a_cancelled_task_disturbs_nobody() -> None:
    batcher = Batcher(Doubling(), at_once=1)

    async def some() -> list[Any]:
        tasks = [asyncio.ensure_future(batcher.ask(i)) for i in range(100, 106)]
        await asyncio.sleep(0.01)
        tasks[3].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(some())
    assert isinstance(found.pop(3), asyncio.CancelledError)
    assert found == [200, 202, 204, 208, 210]


def _same(rows: list[int]) -> list[int]:
    return rows


def test_it_pickles_and_works_in_a_fork() -> None:
    batcher = Batcher(_same, at_once=2, most=5)
    assert batcher(1) == 1
    again = pickle.loads(pickle.dumps(batcher))
    assert (again.at_once, again.most, again(2)) == (2, 5, 2)
    read, write = os.pipe()
    if not (child := os.fork()):
        os.write(write, str(batcher(3)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 9) == b"3"
