"""Rows in worker processes: each has its outcome whatever its neighbors do, and the pool lives."""

import asyncio
import math
import multiprocessing
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from tests.engine import jobs

from rewardsmith.core.errors import ScoreError, SpecError
from rewardsmith.core.execution import Inline
from rewardsmith.core.outcome import Status
from rewardsmith.core.reference import Reference, resolve
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rowcall import RowCall
from rewardsmith.engine import batches as engine
from rewardsmith.engine.executor import executor
from rewardsmith.engine.processes import Processes
from rewardsmith.engine.watch import Note

SCORE = RowCall(jobs.score, ("value",))
DEADLINE = 0.4


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    with Processes(2, timeout=DEADLINE) as processes:
        processes.run(SCORE, [(1.0,)])
        yield processes


def numbers(n: int, **poison: str) -> list[tuple[Any]]:
    rows: list[tuple[Any]] = [(float(i),) for i in range(n)]
    for i, kind in poison.items():
        rows[int(i.removeprefix("at"))] = (kind,)
    return rows


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_outcomes_are_those_of_this_process(pool: Processes, seed: int) -> None:
    chance = random.Random(seed)
    kinds = ["raise", "late", "SystemExit", "deep", "why", "none", "nan", "text", "huge"]
    rows = [
        (chance.choice(kinds) if chance.random() < 0.1 else chance.gauss(0, 1e3),)
        for _ in range(chance.choice([1, 2, 7, 700, 3000]))
    ]
    inline = [
        (0.0, Status.FAILED, "raised SystemExit: enough")
        if row == ("SystemExit",)
        else Inline().run(SCORE, [row]).outcome(0)
        for row in rows
    ]
    found = pool.run(SCORE, rows)
    assert jobs.verdicts(found) == inline
    assert all(0.0 <= seconds < 60.0 for seconds in found.seconds)


def test_no_rows(pool: Processes) -> None:
    assert len(pool.run(SCORE, [])) == 0


def test_columns_options_and_names(pool: Processes) -> None:
    rows = [("yes", "yes"), ("yes", "no")]
    weighed = RowCall(jobs.weighed, ("completion", "answer"), options={"weight": 3.0})
    assert pool.run(weighed, rows).values == [3.0, 0.0]
    named = RowCall(jobs.weighed, ("weight", "answer", "completion"), keyword=True)
    assert pool.run(named, [(2.0, "a", "a"), (2.0, "a", "b")]).values == [2.0, 0.0]
    chat = RowCall(jobs.length, ("completion",), text=True)
    assert pool.run(chat, [([{"role": "assistant", "content": "four"}],)]).values == [4.0]


def test_texts_of_all_kinds_arrive(pool: Processes) -> None:
    rows = [("\ud800",), ("\0" * 9,), ("",), ("é",)]
    assert pool.run(RowCall(jobs.length, ("text",)), rows).values == [1.0, 9.0, 0.0, 1.0]


def test_long_texts_are_sent_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    with Processes(1, timeout=20.0) as processes:
        pool, *_ = processes.start()
        schedule = pool.schedule

        def noted(function: Any, args: Any) -> Any:
            sent.append(len(args[3]))
            return schedule(function, args)

        monkeypatch.setattr(pool, "schedule", noted)
        # Of different letters, or they would be pickled once.
        rows = [(chr(97 + i) * 5_000_000,) for i in range(4)] + [("b",)] * 60
        found = processes.run(RowCall(jobs.length, ("text",)), rows)
    assert found.values == [5e6] * 4 + [1.0] * 60
    assert max(sent) < 5_000_000 + 4_000_000


# --- rows that break ------------------------------------------------------------------------------

HANGS = ["sleep", "spin", "in C"]
DEATHS = ["exit 0", "exit 3", "kill", "crash"]


@pytest.mark.parametrize("kind", [*HANGS, *DEATHS])
def test_a_row_that_breaks_its_process_is_the_only_one(pool: Processes, kind: str) -> None:
    rows = numbers(1000, at337=kind)
    began = time.monotonic()
    found = pool.run(SCORE, rows)
    assert time.monotonic() - began < DEADLINE + 5.0
    assert jobs.broken(found) == {337: Status.TIMEOUT if kind in HANGS else Status.FAILED}
    assert [v for i, v in enumerate(found.values) if i != 337] == [
        float(i) for i in range(1000) if i != 337
    ]
    assert found.remarks[337].startswith(
        "took longer than 0.4 s" if kind in HANGS else "its process "
    )
    if kind in HANGS:
        assert DEADLINE <= found.seconds[337] < DEADLINE + 4.0


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt", "raise", "unprintable"])
def test_what_a_row_raises_is_the_rows(pool: Processes, kind: str) -> None:
    before = jobs.workers_of(pool)
    found = pool.run(SCORE, numbers(100, at50=kind))
    assert jobs.broken(found) == {50: Status.FAILED}
    assert found.remarks[50].startswith("raised ")
    assert jobs.workers_of(pool) == before


def test_a_death_under_a_short_deadline_is_no_timeout() -> None:
    with Processes(1, timeout=0.1) as processes:
        found = processes.run(SCORE, numbers(10, at3="exit 0"))
    assert jobs.broken(found) == {3: Status.FAILED}


@pytest.mark.parametrize("at", [0, 99])
def test_the_first_and_the_last_row(pool: Processes, at: int) -> None:
    found = pool.run(SCORE, numbers(100, **{f"at{at}": "sleep"}))
    assert jobs.broken(found) == {at: Status.TIMEOUT}


def test_many_poisoned_rows_take_a_bounded_time(pool: Processes) -> None:
    kinds = ["sleep", "kill", "spin", "exit 3"]
    poisoned = {i: kinds[i // 100 % 4] for i in range(50, 1250, 100)}
    rows = numbers(1250, **{f"at{i}": kind for i, kind in poisoned.items()})
    began = time.monotonic()
    found = pool.run(SCORE, rows)
    n = len(poisoned)
    # A half of the time is for a busy machine.
    assert time.monotonic() - began < 1.5 * ((DEADLINE + 1.0) * n / pool.workers + 2.0)
    assert jobs.broken(found) == {
        i: Status.TIMEOUT if kind in HANGS else Status.FAILED for i, kind in poisoned.items()
    }
    assert all(found.values[i] == i for i in range(1250) if i not in poisoned)
    assert len(jobs.workers_of(pool)) == pool.workers


def test_nothing_but_poison() -> None:
    with Processes(2, timeout=0.2) as processes:
        found = processes.run(SCORE, [("sleep",)] * 4 + [("kill",)] * 4)
        assert [*map(Status, found.status)] == [Status.TIMEOUT] * 4 + [Status.FAILED] * 4
        assert processes.run(SCORE, numbers(9)).values == [*map(float, range(9))]


def test_a_row_that_is_late_by_little_does_not_blame_the_next() -> None:
    """The deadline passes while the worker goes on; the row that was late is the one that is."""
    with Processes(1, timeout=0.3) as processes:
        run = engine.Run(processes, SCORE, numbers(5))
        end = Note(time.monotonic() - 0.4, 1, os.getpid())
        batch = engine.Batch(range(5), run.slots.pop(), 7, end=end, late=True)
        run.slate.write(batch.slot, batch.number, 3, os.getpid())
        future: Future[Any] = Future()
        future.cancel()
        run._receive(future, batch)
    assert [*map(Status, run.outcomes.status)] == [Status.UNSCORED, Status.TIMEOUT] + [
        Status.UNSCORED
    ] * 3
    assert {0, 2, 3, 4} <= {i for rows in run.waiting for i in rows}


def test_without_a_deadline_rows_may_be_slow_and_may_die() -> None:
    with Processes(1) as processes:
        found = processes.run(SCORE, [("longer",), ("exit 0",), ("kill",), (1.0,)])
    assert jobs.broken(found) == {1: Status.FAILED, 2: Status.FAILED}


# --- rows that do not travel ----------------------------------------------------------------------


def test_a_row_that_does_not_pickle_is_the_only_one(pool: Processes) -> None:
    rows = numbers(3000)
    odd: dict[int, Any] = {
        0: threading.Lock(),
        700: lambda: 1.0,
        701: jobs.Unwilling("no"),
        2999: jobs.Unwilling("no"),
    }
    for i, value in odd.items():
        rows[i] = (value,)
    found = pool.run(SCORE, rows)
    assert jobs.broken(found) == dict.fromkeys(odd, Status.FAILED)
    assert all(value == i for i, value in enumerate(found.values) if i not in odd)
    assert found.remarks[0].startswith("the row does not pickle: raised TypeError: cannot pickle")
    assert found.remarks[701] == "the row does not pickle: raised ValueError: no"
    assert sorted(pool.start()[2]) == [*range(256)]


def test_nothing_but_rows_that_do_not_pickle(pool: Processes) -> None:
    for _ in range(2):
        found = pool.run(SCORE, [(threading.Lock(),) for _ in range(300)])
        assert found.status == [Status.FAILED] * 300
    assert sorted(pool.start()[2]) == [*range(256)]
    assert pool.run(SCORE, numbers(9)).values == [*map(float, range(9))]


@pytest.mark.parametrize("at", [[0], [999], [3, 4, 500]])
def test_a_row_that_does_not_unpickle_is_the_only_one(pool: Processes, at: list[int]) -> None:
    rows = numbers(1000)
    for i in at:
        rows[i] = (jobs.Homesick(os.getpid()),)
    found = pool.run(SCORE, rows)
    assert jobs.broken(found) == dict.fromkeys(at, Status.FAILED)
    assert found.remarks[at[0]] == "the row does not unpickle: raised OSError: only at home"
    assert all(value == i for i, value in enumerate(found.values) if i not in at)


def test_what_does_not_load_with_the_function_ends_the_call(pool: Processes) -> None:
    call = RowCall(jobs.weighed, ("a", "b"), options={"weight": jobs.Homesick(os.getpid())})
    with pytest.raises(SpecError, match="does not load in a worker: raised OSError: only at home"):
        pool.run(call, [(1, 1)])
    absent = RowCall(jobs.score, ("value",), preload=("nowhere_to_be_found",))
    with pytest.raises(SpecError, match="No module named 'nowhere_to_be_found'"):
        pool.run(absent, [(1,)])
    assert sorted(pool.start()[2]) == [*range(256)]


def test_a_pool_that_breaks_at_every_turn_keeps_its_places() -> None:
    with Processes(1, timeout=5.0) as processes:
        processes.run(SCORE, numbers(3))
        run = engine.Run(processes, SCORE, [("sleep",)] * 9)
        while len(run.running) < run.at_once:
            assert run._send()
        run.deaths = 3
        with pytest.raises(ScoreError, match="the pool broke"):
            run._renew()
        assert (run.running, len(run.slots)) == ({}, 256)


# --- the pool -------------------------------------------------------------------------------------


def test_a_worker_that_ends_between_calls_is_replaced(pool: Processes) -> None:
    os.kill(min(jobs.workers_of(pool)), signal.SIGKILL)
    time.sleep(0.5)
    assert pool.run(SCORE, numbers(100)).values == [*map(float, range(100))]
    assert len(jobs.workers_of(pool)) == pool.workers


def test_a_worker_that_ends_after_its_last_row_is_replaced() -> None:
    with Processes(1, timeout=5.0) as processes:
        assert processes.run(SCORE, [("late death",)]).values == [1.0]
        time.sleep(0.7)
        assert processes.run(SCORE, numbers(9)).values == [*map(float, range(9))]


def test_the_pool_may_break_while_rows_are_under_way() -> None:
    with Processes(2, timeout=5.0) as processes:
        workers = jobs.workers_of(processes)
        killer = threading.Timer(0.3, lambda: [os.kill(pid, signal.SIGKILL) for pid in workers])
        killer.start()
        found = processes.run(SCORE, [("short",)] * 60)
        killer.join()
        # Rows that were under way are at fault for all that one can tell.
        assert len(jobs.broken(found)) <= 2
        assert set(found.values) <= {0.0, 1.0}
        assert len(jobs.workers_of(processes)) == 2


def test_what_was_under_way_when_the_pool_broke_is_run_again() -> None:
    with Processes(2, timeout=5.0) as processes:
        pool, *_ = processes.start()
        breaks = pool._pool_manager.handle_broken_pool
        breaker = threading.Timer(0.3, breaks, [BrokenProcessPool("as if a worker had ended")])
        breaker.start()
        found = processes.run(SCORE, [("short",)] * 60)
        breaker.join()
        assert found.values == [1.0] * 60
        assert processes.start()[0] is not pool


def test_closed_by_another_thread_it_ends() -> None:
    processes = Processes(1)
    workers = jobs.workers_of(processes)
    closer = threading.Timer(0.4, processes.close)
    closer.start()
    began = time.monotonic()
    with pytest.raises(ScoreError, match="the executor was closed before all rows were scored"):
        processes.run(SCORE, [("spin",)] * 3)
    closer.join()
    assert time.monotonic() - began < 2.0
    assert not any(map(_alive, workers))
    # What was under way has not brought it back, and what comes later does.
    assert processes._pool is None
    assert processes.run(SCORE, numbers(3)).values == [0.0, 1.0, 2.0]
    assert sorted(processes.start()[2]) == [*range(256)]
    processes.close()


def test_a_pool_that_was_left_takes_no_more_rows() -> None:
    with Processes(1) as processes:
        assert processes.run(SCORE, numbers(2)).values == [0.0, 1.0]
    with pytest.raises(ScoreError, match="the executor was closed"):
        processes.run(SCORE, numbers(2))
    with processes:
        assert processes.run(SCORE, numbers(2)).values == [0.0, 1.0]


INTERRUPTED = """
import contextvars, threading, time
from concurrent.futures import ThreadPoolExecutor
import rewardsmith as rs
from hanging import one, other

def chunks():
    threads = ThreadPoolExecutor(3)
    rollouts = [rs.Rollouts.from_text(["?"], [str(i)]) for i in range(9)]
    tree = rs.WeightedSum({"one": one, "other": other}, {"one": 1.0, "other": 1.0})
    try:
        for chunk in rollouts:
            threads.submit(contextvars.copy_context().run, tree, chunk)
        time.sleep(60)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)

with rs.executor("processes", workers=2, timeout=600):
    chunks()
"""
HANGING = """
import time
from pathlib import Path
import rewardsmith as rs

@rs.reward
def one(completion):
    if completion != "0":
        time.sleep(0.01)
        return 1.0
    Path("begun").touch()
    time.sleep(600)

@rs.reward
def other(completion):
    time.sleep(600)
"""


def test_an_interrupt_ends_a_process_whose_threads_score(tmp_path: Path) -> None:
    """Also those that are between two rewards, whose next rows would start new workers."""
    (tmp_path / "hanging.py").write_text(HANGING)
    (tmp_path / "main.py").write_text(INTERRUPTED)
    with subprocess.Popen([sys.executable, "main.py"], cwd=tmp_path, stderr=subprocess.PIPE) as one:
        _wait_for(tmp_path / "begun")
        time.sleep(0.5)
        interrupted = time.monotonic()
        one.send_signal(signal.SIGINT)
        assert one.stderr is not None
        told = one.stderr.read()
        one.wait(30)
    assert time.monotonic() - interrupted < 5.0
    assert told.strip().endswith(b"KeyboardInterrupt")
    assert b"Traceback" not in told.replace(b"Traceback", b"", 1)


def _wait_for(path: Path, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} is not there"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may still wait for its parent to ask."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _gone(pid: int, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not _alive(pid)


KILLED = """
import sys
import rewardsmith as rs
from hanging import hang
with rs.executor("processes", workers=2):
    hang(rs.Rollouts.from_text(["?"] * 2, ["sleep", sys.argv[1]]))
"""
HANGS_IN_FILE = """
import os, time
from pathlib import Path
import rewardsmith as rs

@rs.reward
def hang(completion):
    Path(f"begun-{completion}").write_text(str(os.getpid()))
    os.rename(f"begun-{completion}", f"pid-{completion}")
    if completion == "in C":
        len(str(9 ** (9**9)))
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's word of a parent's end")
def test_workers_end_with_a_caller_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGS_IN_FILE)
    (tmp_path / "main.py").write_text(KILLED)
    # Its own, to see what is left; short, for a socket's address lies there.
    with tempfile.TemporaryDirectory(prefix="rs-") as folder:
        environment = {**os.environ, "TMPDIR": folder}
        command = [sys.executable, "main.py", "in C"]
        caller = subprocess.Popen(command, cwd=tmp_path, env=environment)
        for kind in ("sleep", "in C"):
            _wait_for(tmp_path / f"pid-{kind}")
        caller.kill()
        # Not waited for: a caller that nobody asks for is gone all the same.
        for kind in ("sleep", "in C"):
            assert _gone(int((tmp_path / f"pid-{kind}").read_text())), kind
        caller.wait()
        # What Python's own fork server leaves, and nothing of ours.
        assert [path.name[:5] for path in Path(folder).iterdir()] in ([], ["pymp-"])


@pytest.mark.parametrize("kind", ["child", "stubborn child"])
def test_what_a_row_has_started_ends_with_it(pool: Processes, tmp_path: Path, kind: str) -> None:
    found = pool.run(RowCall(jobs.beget, ("folder", "kind")), [(str(tmp_path), kind)])
    assert jobs.broken(found) == {0: Status.TIMEOUT}
    assert _gone(int((tmp_path / "child").read_text()))
    assert pool.run(SCORE, numbers(9)).values == [*map(float, range(9))]


def test_an_address_of_the_fork_server_may_be_cleaned_away(tmp_path: Path) -> None:
    """The notes have no name to be found by; what starts workers has."""
    code = (
        "import shutil, sys, os, signal, time\n"
        "from multiprocessing import util\n"
        "from tests.engine import jobs\n"
        "from rewardsmith.engine.processes import Processes\n"
        "with Processes(1) as pool, Processes(1) as other:\n"
        "    first, there = jobs.workers_of(pool), jobs.workers_of(other)\n"
        "    shutil.rmtree(util.get_temp_dir())\n"
        "    os.kill(min(first), signal.SIGKILL)\n"
        "    time.sleep(0.5)\n"
        "    second = jobs.workers_of(pool)\n"
        "    print(len(second), second != first, jobs.workers_of(other) == there)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "1 True True\n", done.stderr


def test_closed_it_starts_again() -> None:
    processes = Processes(1, timeout=5.0)
    first = jobs.workers_of(processes)
    processes.close()
    processes.close()
    for pid in first:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    second = jobs.workers_of(processes)
    processes.close()
    assert not first & second


def test_no_notes_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Processes(1) as processes:
        processes.run(SCORE, [(1.0,)])
        assert not list(tmp_path.glob("rewardsmith-*"))
        handle = processes.start()[1].handle
        os.fstat(handle)
    del processes._slate
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


def test_places_for_notes_are_given_back(pool: Processes) -> None:
    _, _, slots = pool.start()
    assert sorted(slots) == [*range(256)]


def test_a_pickled_pool_is_a_pool_of_its_own(pool: Processes) -> None:
    again = pickle.loads(pickle.dumps(Processes(1, 3.0, ["json"])))
    with again:
        assert (again.workers, again.timeout, again.preload) == (1, 3.0, ("json",))
        assert again.run(SCORE, numbers(3)).values == [0.0, 1.0, 2.0]


def test_a_fork_of_this_process_starts_its_own(pool: Processes) -> None:
    workers = jobs.workers_of(pool)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        told = b"broken"
        try:
            # What the pool of this process would end as it exits.
            theirs = {process.pid for process in multiprocessing.active_children()}
            with Processes(1, timeout=5.0) as other:
                found = pool.run(SCORE, numbers(50)).values == [*map(float, range(50))]
                mine = jobs.workers_of(pool) | jobs.workers_of(other)
            pool.close()
            told = b"well" if found and not (mine | theirs) & workers else b"shared"
        finally:
            os.write(writer, told)
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 9) == b"well"
    assert jobs.workers_of(pool) == workers


def test_a_fork_while_a_thread_holds_the_lock(pool: Processes) -> None:
    reader, writer = os.pipe()
    with pool._lock:
        child = os.fork()
        if child == 0:
            told = b"broken"
            try:
                signal.alarm(20)
                if pool.run(SCORE, numbers(5)).values == [*map(float, range(5))]:
                    told = b"well"
                pool.close()
            finally:
                os.write(writer, told)
                os._exit(0)
    os.close(writer)
    assert os.read(reader, 9) == b"well"
    os.waitpid(child, 0)
    os.close(reader)


def test_a_fork_does_not_hold_the_fork_server(pool: Processes) -> None:
    handle = forkserver._forkserver._forkserver_alive_fd  # type: ignore[attr-defined]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        told = b"held"
        try:
            os.fstat(handle)
        except OSError:
            told = b"closed"
        finally:
            os.write(writer, told)
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 9) == b"closed"
    os.fstat(handle)


def test_threads_may_share_it(pool: Processes) -> None:
    def work(k: int) -> bool:
        rows = numbers(1500, at400="sleep") if k % 3 == 0 else numbers(3000)
        found = pool.run(SCORE, rows)
        expected = {400: Status.TIMEOUT} if k % 3 == 0 else {}
        return jobs.broken(found) == expected and all(
            value == i for i, value in enumerate(found.values) if i not in expected
        )

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(8)))


def test_it_needs_no_main_thread_and_minds_no_loop(pool: Processes) -> None:
    async def inside() -> list[float]:
        found = pool.run(SCORE, numbers(3))
        more = await asyncio.to_thread(pool.run, SCORE, numbers(3, at1="sleep"))
        return [*found.values, *more.values]

    assert asyncio.run(inside()) == [0.0, 1.0, 2.0, 0.0, 0.0, 2.0]


def test_no_signal_handler_is_touched(pool: Processes) -> None:
    before = {s: signal.getsignal(s) for s in signal.valid_signals()}
    pool.run(SCORE, numbers(300, at100="sleep", at200="kill"))
    assert {s: signal.getsignal(s) for s in signal.valid_signals()} == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("kind", ["short", "sleep"])
def test_an_interrupt_leaves_it_usable(
    pool: Processes, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    looks = 0
    watch = engine.Run._watch

    def interrupted(run: Any) -> None:
        nonlocal looks
        looks += 1
        if looks == 4:
            raise KeyboardInterrupt
        watch(run)

    with monkeypatch.context() as patched:
        patched.setattr(engine.Run, "_watch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.run(SCORE, [(kind,)] * 3000)
    # What is still under way of the rows before must not be taken for these.
    assert pool.run(SCORE, numbers(3000)).values == [*map(float, range(3000))]
    assert pool.run(SCORE, [("short",)] * 100).values == [1.0] * 100
    assert len(jobs.workers_of(pool)) == pool.workers


def test_workers_that_cannot_begin_end_it() -> None:
    # A row's own death is the row's; this takes down every worker before its first row.
    with (
        Processes(1, timeout=5.0) as processes,
        pytest.raises(
            ScoreError, match=r"workers end before they score a row: .*'inline' shows why"
        ),
    ):
        processes.run(RowCall(jobs.score, ("value",), preload=("tests.engine.deadly",)), [(1.0,)])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [((0,), "0 workers"), ((1, 0.0), "not 0.0"), ((1, -1), "not -1"), ((1, math.inf), "not inf")],
)
def test_arguments(arguments: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        Processes(*arguments)


# --- what workers import --------------------------------------------------------------------------


def test_workers_import_no_torch(pool: Processes) -> None:
    assert "torch" in sys.modules
    assert pool.run(SCORE, [("torch",)] * 50).values == [0.0] * 50


MINE = """
import sys
import rewardsmith as rs

@rs.reward
def has_torch(completion):
    return "torch" in sys.modules
"""


def test_a_file_of_plain_rewards_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    reward = resolve(Reference.parse("./mine.py:has_torch", tmp_path))
    with executor("processes", workers=1, timeout=5.0):
        scores = reward(Rollouts.from_text(["?"], ["!"]))
    assert (scores.values.tolist(), scores.status.tolist()) == ([0.0], [0])


def test_a_file_that_builds_trees_gets_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "helpers_of_trees.py").write_text(MINE)
    (tmp_path / "trees.py").write_text(
        "import sys\nimport rewardsmith as rs\nfrom helpers_of_trees import has_torch\n"
        "@rs.reward\ndef mine(completion):\n    return 'torch' in sys.modules\n"
        "both = rs.WeightedSum({'a': mine, 'b': has_torch}, {'a': 1.0, 'b': 2.0})\n"
    )
    both = resolve(Reference.parse("./trees.py:both", tmp_path))
    with executor("processes", workers=1, timeout=20.0, dedupe=False):
        scores = both(Rollouts.from_text(["?"] * 3, ["!"] * 3))
    assert scores.status.tolist() == [0, 0, 0]
    assert scores.parts["a"].values.tolist() == [1.0] * 3


SCRIPT = """
from pathlib import Path
with open("marks", "a") as file:
    file.write(__name__ + " ")
import rewardsmith as rs
from rewardsmith.core.rollouts import Rollouts
{guarded}
"""
GUARD = """
from elsewhere import length
with rs.executor("processes", workers=2, timeout=5.0):
    print(length(Rollouts.from_text(["?"] * 9, ["a" * i for i in range(9)])).values.sum())
"""
OWN = """
@rs.reward
def length(completion):
    return float(len(completion))

{guard}with rs.executor("processes", workers=1, timeout=5.0):
    print(length(Rollouts.from_text(["?"], ["abc"])).values.sum())
"""


def script(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "elsewhere.py").write_text(
        "import rewardsmith as rs\n@rs.reward\ndef length(completion):\n"
        "    return float(len(completion))\n"
    )
    (folder / "script.py").write_text(SCRIPT.format(guarded=code))
    return subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_the_script_of_the_caller_is_not_run_again(tmp_path: Path) -> None:
    done = script(tmp_path, GUARD)
    assert done.stdout == "tensor(36.)\n", done.stderr
    assert (tmp_path / "marks").read_text() == "__main__ "


def test_functions_of_the_script_itself_are_found(tmp_path: Path) -> None:
    done = script(tmp_path, OWN.format(guard='if __name__ == "__main__":\n  '))
    assert done.stdout == "tensor(3.)\n", done.stderr
    marks = (tmp_path / "marks").read_text().split()
    assert marks[0] == "__main__"
    assert "__main__" not in marks[1:]


def test_a_script_whose_workers_would_start_workers_is_told(tmp_path: Path) -> None:
    done = script(tmp_path, OWN.format(guard=""))
    assert done.returncode == 1
    assert done.stderr.strip().endswith('put it under `if __name__ == "__main__":`')
    # One worker, and not one of one of one ...
    assert len((tmp_path / "marks").read_text().split()) < 10


def test_main_stays_main_while_workers_start(pool: Processes) -> None:
    main, others, over = sys.modules["__main__"], [], threading.Event()

    def look() -> None:
        while not over.is_set():
            if sys.modules["__main__"] is not main:
                others.append(1)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        with Processes(4) as processes:
            processes.run(SCORE, numbers(9))
    finally:
        over.set()
        looking.join()
    assert not others


def test_functions_without_a_name_are_refused(pool: Processes) -> None:
    def inner(value: float) -> float:
        return value

    for call in (lambda value: value, inner):
        with pytest.raises(SpecError, match="move it to the top level of a module"):
            pool.run(RowCall(call, ("value",)), [(1.0,)])
    assert pool.run(SCORE, [(1.0,)]).values == [1.0]


def test_a_file_that_does_not_import_in_a_worker_is_told(pool: Processes, tmp_path: Path) -> None:
    (tmp_path / "here.py").write_text(
        "import os\n"
        f"if os.getpid() != {os.getpid()}:\n"
        "    raise OSError('only at home')\n"
        "def score(value):\n    return value\n"
    )
    call = resolve(Reference.parse("./here.py:score", tmp_path))
    with pytest.raises(SpecError, match=r"cannot import .*here\.py: OSError: only at home"):
        pool.run(RowCall(call, ("value",)), numbers(1000))
    assert pool.run(SCORE, numbers(10)).values == [*map(float, range(10))]


def test_preloaded_modules_are_there_before_the_first_row(pool: Processes) -> None:
    call = RowCall(jobs.imported, ("name",))
    assert pool.run(call, [("colorsys",)]).values == [0.0]
    preloading = RowCall(jobs.imported, ("name",), preload=("colorsys",))
    assert pool.run(preloading, [("colorsys",)]).values == [1.0]


@pytest.mark.slow
def test_a_soak() -> None:
    rows = [(float(i),) for i in range(50_000)]
    with Processes(2, timeout=0.5) as processes, ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: processes.run(SCORE, rows), range(4)):
            assert jobs.broken(found) == {}
            assert found.values == [row[0] for row in rows]


@pytest.mark.parametrize("how", ["main", "child"])
def test_a_short_script_ends_without_a_word(tmp_path: Path, how: str) -> None:
    # Its second worker is still on its way up when the first has answered.
    script = f"""
import multiprocessing
from rewardsmith.core.rowcall import RowCall
from rewardsmith.engine.processes import Processes
from tests.engine import jobs

def work():
    found = Processes(workers=2).run(RowCall(jobs.score, ("x",)), [(2.0,)])
    assert found.values == [2.0], found

if __name__ == "__main__":
    if {how == "main"}:
        work()
    else:
        child = multiprocessing.get_context("spawn").Process(target=work)
        child.start()
        child.join()
        assert child.exitcode == 0
"""
    (tmp_path / "main.py").write_text(script)
    root = str(Path(__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")
