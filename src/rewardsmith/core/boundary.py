"""The boundary around functions of many rows: whole columns, the arrays of a step, async calls.

What comes back becomes outcomes (:mod:`rewardsmith.core.outcome`), whatever a function does.
"""

import asyncio
import inspect
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import ScoreError
from .outcome import Outcome, Outcomes, Status, broken, judged, shown, told
from .rowcall import RowCall

T = TypeVar("T")


def is_async(call: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine; an object may be called asynchronously too."""
    return any(inspect.iscoroutinefunction(f) for f in (call, type(call).__call__))


def score_batch(call: Callable[..., Any], columns: Mapping[str, Any], n: int) -> list[Outcome]:
    """Call a function on whole columns of n rows."""
    try:
        returned = call(**columns)
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        return [broken(error)] * n
    try:
        rows = iter(returned)
    except TypeError:
        return [(0.0, Status.BAD_VALUE, f"returned {shown(returned)}, not {n} values")] * n
    try:
        # What is returned may be lazy, and break only now.
        values = list(rows)
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        return [broken(error)] * n
    if len(values) != n:
        return [(0.0, Status.BAD_VALUE, f"returned {len(values)} values for {n} rows")] * n
    return [judged(value) for value in values]


def score_rows(
    call: Callable[..., Any],
    columns: Mapping[str, Any],
    rows: NDArray[np.int64],
    axis: "AxisCheck | None" = None,
) -> list[Outcome]:
    """Call a function of arrays on some rows of them: padding never reaches it.

    Where it raises, each row is tried by itself, so that only the guilty ones are blamed. A
    function that reads the wrong axis (if that is looked at) scores no row.
    """
    taken = take(columns, rows)
    outcomes = score_batch(call, taken, len(rows))
    if axis is not None and all(status == Status.SCORED for _, status, _ in outcomes):
        try:
            axis(call, taken, len(rows))
        except ScoreError as error:
            return [(0.0, Status.BAD_VALUE, error.message)] * len(rows)
    if len(rows) > 1 and all(
        status in (Status.FAILED, Status.TIMEOUT) for _, status, _ in outcomes
    ):
        return [score_batch(call, take(columns, rows[i : i + 1]), 1)[0] for i in range(len(rows))]
    return outcomes


def take(column: Any, rows: Any) -> Any:
    """Some rows of a column, which may be a dict of columns."""
    if isinstance(column, Mapping):
        return {name: take(value, rows) for name, value in column.items()}
    return column[rows]


class AxisCheck:
    """Refuses a function that reads the wrong axis of its arrays where the shapes happen to fit.

    ``obs[2]`` of observations [4, 4] gives four numbers, none of them a row's own. One row alone
    shows it. Only such coincidences are looked at, and each number of rows once, so that a function
    is hardly called more often.
    """

    def __init__(self) -> None:
        self._checked = {0, 1}

    def __call__(self, call: Callable[..., Any], columns: Mapping[str, Any], n: int) -> None:
        """Look at a function that was called on n rows.

        Raises:
            ScoreError: given one row, it does not return one number.
        """
        if n not in self._checked:
            _check_axis(call, columns, n)
            self._checked.add(n)


def _check_axis(call: Callable[..., Any], columns: Mapping[str, Any], n: int) -> None:
    if not any(n in shape[1:] for shape in _shapes(columns)):
        return
    try:
        one = np.shape(call(**take(columns, slice(1))))
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        found = told(error)
    else:
        if one == (1,):
            return
        found = f"returned an array of shape {list(one)}"
    raise ScoreError(
        f"bad_value: given one row of the {n} it {found}, expected [1]; arrays are [n, ...], so "
        "write obs[:, 2], not obs[2]"
    )


def _shapes(column: Any) -> list[tuple[int, ...]]:
    if isinstance(column, Mapping):
        return [shape for value in column.values() for shape in _shapes(value)]
    return [tuple(getattr(column, "shape", ()))]


def as_numbers(values: Any, n: int) -> NDArray[np.float64]:
    """What a function of arrays returned, as n numbers (which may be infinite or NaN).

    Raises:
        ScoreError: it is no array of n numbers: text, None and other lengths are refused.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ScoreError(f"bad_value: returned {shown(values)}, not {n} numbers")
    if array.shape != (n,):
        raise ScoreError(
            f"bad_value: returned an array of shape {list(array.shape)}, expected [{n}]"
        )
    return array.astype(np.float64, copy=False)


class Together:
    """The executor of async functions: all rows on one event loop, a number of them at a time.

    Args:
        timeout: seconds that each row may take from when it begins; None waits for ever.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout

    def run(self, call: RowCall, rows: Sequence[tuple[Any, ...]]) -> Outcomes:
        outcomes = Outcomes()
        for outcome, seconds in run(self._all(call.bound(), rows)):
            outcomes.add(outcome, seconds)
        return outcomes

    async def _all(
        self, call: Callable[..., Any], rows: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Outcome, float]]:
        free = asyncio.Semaphore(_AT_ONCE)

        async def one(row: tuple[Any, ...]) -> tuple[Outcome, float]:
            async with free:
                began = perf_counter()
                outcome = await self._one(call, row)
                return outcome, perf_counter() - began

        return list(await asyncio.gather(*(one(row) for row in rows)))

    async def _one(self, call: Callable[..., Any], row: tuple[Any, ...]) -> Outcome:
        try:
            async with asyncio.timeout(self.timeout) as limit:
                return judged(await call(*row))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The function's own, out of a client's deadline: it must not cancel its neighbors.
            return broken(error)
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            if limit.expired():
                return 0.0, Status.TIMEOUT, f"took longer than {self.timeout:g} s"
            return broken(error)


_AT_ONCE = 256
"""Rows of an async function that are under way together."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, from any thread, and from within an event loop too.

    All of a process run on one loop, which stays: semaphores and sessions that a module keeps for
    its functions belong to the loop on which they were first used.
    """
    if threading.current_thread() is _Loop.thread:
        # Called by what runs there: waiting for itself would take for ever.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(copy_context().run, asyncio.run, coroutine).result()
    future = asyncio.run_coroutine_threadsafe(coroutine, _Loop.running())
    try:
        return future.result()
    except BaseException:
        # Whatever it is (an interrupt, above all), nobody waits any more; it is raised again.
        future.cancel()
        raise


class _Loop:
    """The event loop of this process, which runs in a thread of its own from its first use on."""

    loop: asyncio.AbstractEventLoop | None = None
    thread: threading.Thread | None = None
    lock = threading.Lock()

    @classmethod
    def running(cls) -> asyncio.AbstractEventLoop:
        with cls.lock:
            if cls.loop is None:
                cls.loop = asyncio.new_event_loop()
                cls.thread = threading.Thread(target=_serve, args=(cls.loop,), daemon=True)
                cls.thread.start()
            return cls.loop

    @classmethod
    def forget(cls) -> None:
        """In a fork, where its thread is not."""
        cls.loop = cls.thread = None
        cls.lock = threading.Lock()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            # What a task raises ends its loop; those who wait for the task get it as well.
            continue
        return


os.register_at_fork(after_in_child=_Loop.forget)
