"""Runs in worker processes: one that fails, or whose process dies, takes no other with it."""

import json
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, get_context
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """What a run came to."""

    run: Any
    """As JSON brings it back, so that it is the same whether it was resumed or not."""
    seconds: float
    error: str = ""
    """What it failed of; "" if it did not."""


def attempt(train: Callable[..., Any], arguments: Sequence[Any]) -> Outcome:
    """One run."""
    start = time.process_time()
    try:
        run = json.loads(json.dumps(train(*arguments)))
    except Exception:  # noqa: BLE001 - whatever a run fails of is recorded, and the others go on
        return Outcome(None, time.process_time() - start, traceback.format_exc())
    return Outcome(run, time.process_time() - start)


def run_all(
    train: Callable[..., Any], todo: Sequence[Sequence[Any]], workers: int
) -> Iterator[tuple[int, Outcome]]:
    """The place of each run in ``todo`` with its outcome, as they finish.

    With one worker the runs are done here. Else ``train`` is a function of a module, which every
    worker imports for itself.
    """
    if workers <= 1:
        for i, arguments in enumerate(todo):
            yield i, attempt(train, arguments)
        return
    # Read by numpy and torch when the workers load them.
    os.environ["OMP_NUM_THREADS"] = "1"
    waiting = deque(enumerate(todo))
    idle = [_Worker(train) for _ in range(min(workers, len(todo)))]
    busy: dict[Any, tuple[int, _Worker]] = {}
    try:
        while waiting or busy:
            while waiting and idle:
                (i, arguments), worker = waiting.popleft(), idle.pop()
                worker.link.send(arguments)
                busy[worker.link] = i, worker
            for link in connection.wait(list(busy)):
                i, worker = busy.pop(link)
                try:
                    outcome = worker.link.recv()
                except (EOFError, ConnectionError):
                    worker.process.join()
                    code = worker.process.exitcode
                    outcome = Outcome(None, 0.0, f"its process ended with the exit code {code}\n")
                    worker = _Worker(train) if waiting else None
                idle += [worker] if worker else []
                yield i, outcome
    finally:
        for worker in (*idle, *(each for _, each in busy.values())):
            worker.process.terminate()


class _Worker:
    """A process that waits for arguments at the other end of a pipe."""

    def __init__(self, train: Callable[..., Any]) -> None:
        context = get_context("spawn")
        self.link, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, train))
        self.process.start()
        # The worker's end is the only one then: what is read here ends when the worker does.
        theirs.close()


def _serve(link: Any, train: Callable[..., Any]) -> None:
    # Loaded with train's module, if that uses it.
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    while True:
        try:
            arguments = link.recv()
        except EOFError:
            # Whoever asked is gone.
            return
        link.send(attempt(train, arguments))
