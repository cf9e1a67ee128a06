"""``with rs.executor(...)``: what it sets, for how long, and what it refuses."""

import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.engine import jobs

import rewardsmith as rs
from rewardsmith.core.execution import Inline, current
from rewardsmith.core.function import Function
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.engine import executor as module
from rewardsmith.engine.executor import executor
from rewardsmith.engine.processes import Processes, shared


def rollouts(*values: Any) -> Rollouts:
    return Rollouts({"value": list(values)})


def test_it_holds_inside_and_nowhere_else() -> None:
    assert current() is None
    with executor("inline") as outer:
        assert current() is outer
        assert isinstance(outer.executor, Inline)
        with executor("inline", dedupe=False) as inner:
            assert current() is inner
            assert not inner.dedupe
        assert current() is outer
        others: list[Any] = []
        thread = threading.Thread(target=lambda: others.append(current()))
        thread.start()
        thread.join()
        assert others == [None]
    assert current() is None


def test_a_row_has_ten_seconds_where_nobody_says() -> None:
    for given, seconds in (({}, 10.0), ({"timeout": None}, None), ({"timeout": 2.0}, 2.0)):
        with executor("processes", workers=1, **given) as execution:
            assert isinstance(execution.executor, Processes)
            assert execution.executor.timeout == seconds


def test_it_ends_with_an_error_as_well() -> None:
    with pytest.raises(KeyError), executor("inline"):
        raise KeyError
    assert current() is None


def test_processes_run_there_and_are_gone_afterwards() -> None:
    with executor("processes", workers=1, timeout=0.3) as execution:
        processes = execution.executor
        assert isinstance(processes, Processes)
        assert (processes.workers, processes.timeout) == (1, 0.3)
        scores = Function(jobs.score)(rollouts(2.0, "torch", "sleep"))
        workers = jobs.workers_of(processes)
    assert scores.values.tolist() == [2.0, 0.0, 0.0]
    assert scores.status.tolist() == [0, 0, 2]
    assert scores.errors == {2: ("", "took longer than 0.3 s")}
    for pid in workers:
        assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_inline_rows_run_here() -> None:
    with executor("inline"):
        assert Function(jobs.score)(rollouts("torch")).values.tolist() == [1.0]


def test_a_cache_is_opened_and_closed(tmp_path: Path) -> None:
    reward = Function(jobs.score)
    with executor("inline", cache=tmp_path / "cache") as execution:
        assert reward(rollouts(1.0)).info["origin"].tolist() == [0]
        assert execution.cache is not None
        assert reward(rollouts(1.0, 2.0)).info["origin"].tolist() == [2, 0]
    with executor("inline"):
        assert reward(rollouts(1.0)).info["origin"].tolist() == [0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"kind": "process"}, "no executor 'process'; did you mean 'processes'?"),
        ({"kind": "inline", "timeout": 1.0}, "need the executor 'processes' or 'ray'"),
        ({"kind": "inline", "workers": 1}, "need the executor 'processes' or 'ray'"),
        ({"workers": 0}, "0 workers: at least 1"),
        ({"timeout": -1.0}, "a timeout is a positive number of seconds"),
    ],
)
def test_bad_arguments(arguments: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)), executor(**arguments):
        pass
    assert current() is None


def test_the_cache_is_closed_where_something_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []
    monkeypatch.setattr("rewardsmith.engine.cache.DiskCache.close", lambda cache: closed.append(1))
    with pytest.raises(KeyError), executor("inline", cache=tmp_path):
        raise KeyError
    assert closed == [1]


def test_a_missing_package_is_an_import_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "rewardsmith.engine.cache", raising=False)
    monkeypatch.setitem(sys.modules, "diskcache", None)
    with pytest.raises(ImportError), executor("inline", cache=tmp_path):
        pass
    assert current() is None


def test_the_front_door() -> None:
    assert rs.executor is executor is module.executor


def test_what_guards_rewards_that_may_hang_is_made_once() -> None:
    assert shared() is shared()
    assert isinstance(shared().executor, Processes)
    assert shared().executor.timeout == 5.0
