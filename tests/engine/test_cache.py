"""The cache: what is the same is found again, and nothing else is."""

import importlib.util
import json
import math
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diskcache
import pytest
from tests.engine import jobs

from rewardsmith.core.errors import SpecError
from rewardsmith.core.execution import CACHED, RAN, Execution, Inline, current, evaluate
from rewardsmith.core.function import Function
from rewardsmith.core.outcome import Outcomes, Status
from rewardsmith.core.reference import Reference, resolve
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rowcall import RowCall
from rewardsmith.engine import cache as module
from rewardsmith.engine.cache import DiskCache
from rewardsmith.engine.executor import executor
from rewardsmith.signals.length import Length

SCORE = RowCall(jobs.score, ("value",))


class Counting:
    """Runs rows here, and counts them."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def run(self, call: RowCall, rows: Any) -> Outcomes:
        self.rows += rows
        return Inline().run(call, rows)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[DiskCache]:
    cache = DiskCache(tmp_path / "cache")
    yield cache
    cache.close()


def origins(cache: DiskCache, call: RowCall, rows: list[Any], dedupe: bool = True) -> list[int]:
    found = evaluate(call, rows, Execution(Inline(), cache, dedupe))
    return [int(origin) for origin in found.origin]


def test_hits_have_the_same_outcome(cache: DiskCache) -> None:
    runner = Counting()
    execution = Execution(runner, cache)
    rows = [(1.5,), ("why",), ("none",), (True,), (-0.0,), (1e308 / 10,)]
    first = evaluate(SCORE, rows, execution)
    again = evaluate(SCORE, [(2.0,), *rows], execution)
    assert runner.rows == [*rows[:5], rows[5], (2.0,)]
    assert first.values.tolist() == again.values[1:].tolist()
    assert math.copysign(1.0, again.values[5]) == -1.0
    assert again.status.tolist() == [0, *first.status.tolist()]
    assert again.remarks == {2: "half of it"}
    assert again.origin.tolist() == [RAN] + [CACHED] * 6
    assert math.isnan(again.seconds[1])
    assert not math.isnan(again.seconds[0])


def test_it_is_there_after_a_restart(cache: DiskCache) -> None:
    origins(cache, SCORE, [(1.0,), ("\ud800 \0",)][:1])
    cache.close()
    again = DiskCache(cache.folder)
    assert origins(again, SCORE, [(1.0,)]) == [CACHED]
    again.close()


def test_texts_of_all_kinds(cache: DiskCache) -> None:
    call = RowCall(jobs.length, ("text",))
    rows = [("\ud800",), ("\0",), ("é",), ("",)]
    assert origins(cache, call, rows) == [RAN] * 4
    assert origins(cache, call, rows) == [CACHED] * 4


@pytest.mark.parametrize("kind", ["raise", "late", "nan", "text", "SystemError"])
def test_what_broke_is_asked_again(cache: DiskCache, kind: str) -> None:
    assert origins(cache, SCORE, [(kind,)]) == [RAN]
    assert origins(cache, SCORE, [(kind,)]) == [RAN]


def test_timeouts_and_deaths_are_asked_again(tmp_path: Path) -> None:
    rollouts = Rollouts({"value": ["sleep", 1.0, "kill"]})
    with executor("processes", workers=1, timeout=0.2, cache=tmp_path):
        for origin in ([RAN] * 3, [RAN, CACHED, RAN]):
            scores = Function(jobs.score)(rollouts)
            assert scores.info["origin"].tolist() == origin
            assert scores.status.tolist() == [Status.TIMEOUT, Status.SCORED, Status.FAILED]


def test_what_decides_a_score_is_in_the_key(cache: DiskCache) -> None:
    rows = [("a", "a")]
    for call in (
        RowCall(jobs.weighed, ("completion", "answer")),
        RowCall(jobs.weighed, ("completion", "answer"), options={"weight": 2.0}),
        RowCall(jobs.weighed, ("completion", "answer"), keyword=True),
        RowCall(jobs.weighed, ("answer", "completion"), keyword=True),
        RowCall(jobs.weighed, ("completion", "answer"), text=True),
        RowCall(jobs.score, ("completion", "answer")),
    ):
        assert origins(cache, call, rows) == [RAN]
    # By position names are no part of it: a column may be called otherwise elsewhere.
    assert origins(cache, RowCall(jobs.weighed, ("response", "gold")), rows) == [CACHED]


def test_columns_are_not_run_together(cache: DiskCache) -> None:
    call = RowCall(jobs.weighed, ("completion", "answer"))
    assert origins(cache, call, [("a", "b, c")]) == [RAN]
    assert origins(cache, call, [("a, b", "c")]) == [RAN]
    assert origins(cache, call, [("a", ["b", "c"])]) == [RAN]


@pytest.mark.parametrize(
    "alike", [[1, True, 1.0, "1"], [0.0, -0.0, False, None], [[1], ["1"]], [{}, []]]
)
def test_what_is_equal_is_not_the_same(cache: DiskCache, alike: list[Any]) -> None:
    call = RowCall(jobs.weighed, ("completion", "answer"))
    for value in alike:
        assert origins(cache, call, [("a", value)]) == [RAN]


@pytest.mark.parametrize(
    ("one", "other"),
    [({1: "a"}, {"1": "a"}), ((1, 2), [1, 2]), ({True: 1}, {"true": 1}), ({None: 1}, {"null": 1})],
)
def test_what_json_writes_alike_is_not_the_same(cache: DiskCache, one: Any, other: Any) -> None:
    call = RowCall(jobs.told, ("value",))
    first = evaluate(call, [(one,)], Execution(Inline(), cache)).values[0]
    second = evaluate(call, [(other,)], Execution(Inline(), cache)).values[0]
    assert first != second


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", 1j, object(), math])
def test_what_is_no_json_is_not_cached(cache: DiskCache, value: Any) -> None:
    call = RowCall(jobs.weighed, ("completion", "answer"))
    assert origins(cache, call, [("a", value)]) == [RAN]
    assert origins(cache, call, [("a", value)]) == [RAN]
    assert origins(cache, RowCall(jobs.score, ("v",), options={"x": value}), [(1.0,)]) == [RAN]


def test_functions_without_a_source_are_not_cached(cache: DiskCache) -> None:
    for call in (RowCall(len, ("text",)), RowCall(lambda text: 1.0, ("text",))):
        assert origins(cache, call, [("abc",)]) == [RAN]
        assert origins(cache, call, [("abc",)]) == [RAN]


def test_signals_of_the_catalog_are_cached(tmp_path: Path) -> None:
    with executor("inline", cache=tmp_path):
        rollouts = Rollouts.from_text(["?"], ["one two"])
        first = Length(1, 10)(rollouts)
        again = Length(1, 10)(rollouts)
        other = Length(1, 11)(rollouts)
    assert [s.info["origin"].tolist() for s in (first, again, other)] == [[RAN], [CACHED], [RAN]]


def test_a_letter_and_its_two_halves_are_not_the_same(cache: DiskCache) -> None:
    call = RowCall(jobs.length, ("text",))
    assert origins(cache, call, [("\U0001f600",)]) == [RAN]
    assert origins(cache, call, [("\ud83d\ude00",)]) == [RAN]
    for text, value in (("\U0001f600", 1.0), ("\ud83d\ude00", 2.0)):
        assert evaluate(call, [(text,)], Execution(Inline(), cache)).values == [value]
    text = RowCall(jobs.weighed, ("a", "b"), options={"weight": "\ud83d\ude00"})
    other = RowCall(jobs.weighed, ("a", "b"), options={"weight": "\U0001f600"})
    assert cache_keys(text) != cache_keys(other)


def cache_keys(call: RowCall) -> list[str | None]:
    return module._keys(call, [("a", "b")])


class Trap:
    """Tells on whoever unpickles it."""

    sprung = False

    def __reduce__(self) -> Any:
        return setattr, (Trap, "sprung", True)


@pytest.mark.parametrize(
    "torn", ["[1.0, 0", "[1.0, 77, '']", "{}", "[1.0, 0]", '["a", 0, ""]', b"1", 3, None, Trap()]
)
def test_a_torn_entry_is_no_outcome(cache: DiskCache, torn: Any) -> None:
    origins(cache, SCORE, [(1.0,)])
    for key in list(cache._cache.iterkeys()):
        assert json.loads(cache._cache.get(key)) == [1.0, 0, ""]
        cache._cache.set(key, torn)
    assert origins(cache, SCORE, [(1.0,)]) == [RAN]
    assert origins(cache, SCORE, [(1.0,)]) == [CACHED]
    assert not Trap.sprung


def test_what_is_no_cache_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "cache.db").write_bytes(b"no database at all" * 1000)
    for folder in (tmp_path / "file", damaged):
        with (
            pytest.raises(SpecError, match=r"it is no cache .*; remove it or name another folder"),
            executor("inline", cache=folder),
        ):
            pass
    assert current() is None


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("error", [sqlite3.OperationalError, OSError, diskcache.Timeout])
@pytest.mark.parametrize("verb", ["get", "set"])
def test_a_cache_that_fails_loses_nothing(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch, verb: str, error: type[Exception]
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise error("database or disk is full")

    monkeypatch.setattr(cache._cache, verb, failing)
    execution, rows = Execution(Inline(), cache), [(1.0,), ("raise",)]
    with pytest.warns(RuntimeWarning, match="disk is full; rows are scored without it") as caught:
        twice = [evaluate(SCORE, rows, execution) for _ in range(2)]
    assert len(caught) == 1
    for found in twice:
        assert (found.values.tolist(), found.status.tolist()) == ([1.0, 0.0], [0, 3])
        assert found.origin.tolist() == [RAN, RAN]
    monkeypatch.undo()
    expected = CACHED if verb == "get" else RAN
    assert origins(cache, SCORE, [(1.0,), (3.0,)]) == [expected, RAN]


def test_a_cache_whose_file_breaks_later_loses_nothing(cache: DiskCache) -> None:
    origins(cache, SCORE, [(1.0,)])
    cache.close()
    for path in cache.folder.glob("cache.db*"):
        path.write_bytes(b"no database at all" * 1000)
    with pytest.warns(RuntimeWarning, match="rows are scored without it"):
        assert origins(cache, SCORE, [(1.0,), (2.0,)]) == [RAN, RAN]


def test_threads_may_share_it(cache: DiskCache) -> None:
    rows = [(float(i),) for i in range(200)]
    threads = [threading.Thread(target=origins, args=(cache, SCORE, rows)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert origins(cache, SCORE, rows) == [CACHED] * 200


def test_the_oldest_go_when_it_is_full(tmp_path: Path) -> None:
    small = DiskCache(tmp_path, size=1 << 16)
    call = RowCall(jobs.length, ("text",))
    for start in range(0, 4000, 500):
        origins(small, call, [(str(i),) for i in range(start, start + 500)])
    assert small._cache.volume() < 1 << 20
    small.close()


# --- code that changes ----------------------------------------------------------------------------

HELPER = "LIMIT = 3\n\n\ndef near(a):\n    return a + LIMIT\n"
CODE = (
    "from shared_helper import near\n\nFACTOR = 2.0\n\n\ndef half(a):\n    return a / 2\n\n\n"
    "def score(value):\n    return half(near(value)) * FACTOR\n"
)


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """The function of a file with this code, imported anew, with its helper's."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    count = 0

    def version(code: str, helper: str = HELPER, name: str = "score") -> Any:
        nonlocal count
        count += 1
        folder = tmp_path / f"version{count}"
        folder.mkdir()
        (tmp_path / "shared_helper.py").write_text(helper)
        (folder / "scores.py").write_text(code)
        sys.modules.pop("shared_helper", None)
        importlib.invalidate_caches()
        return resolve(Reference.parse(f"./scores.py:{name}", folder))

    yield version
    sys.modules.pop("shared_helper", None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return half(near(value)) * FACTOR", "return half(near(value)) * FACTOR + 1"),
        ("return a / 2", "return a / 3"),
        ("FACTOR = 2.0", "FACTOR = 3.0"),
        ("FACTOR = 2.0", "FACTOR: float = 2.5"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("return a + LIMIT", "return a - LIMIT"),
        ("def score(value):", "def score(value, extra=0):"),
    ],
)
def test_an_edit_is_another_function(
    cache: DiskCache, versions: Callable[..., Any], old: str, new: str
) -> None:
    first = RowCall(versions(CODE), ("value",))
    assert origins(cache, first, [(1.0,)]) == [RAN]
    edited = versions(CODE.replace(old, new), HELPER.replace(old, new))
    assert origins(cache, RowCall(edited, ("value",)), [(1.0,)]) == [RAN]
    # And the edit undone, it is the first again.
    assert origins(cache, RowCall(versions(CODE), ("value",)), [(1.0,)]) == [CACHED]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def score", "def renamed"),
        ("    return a / 2", "    # a half\n\n    return (a /\n            2)"),
        ("FACTOR = 2.0\n", "FACTOR = 2.0  # a factor\n\n\ndef unused():\n    return 1\n"),
        ("from shared_helper", "import json\nfrom shared_helper"),
    ],
)
def test_what_changes_nothing_changes_nothing(
    cache: DiskCache, versions: Callable[..., Any], old: str, new: str
) -> None:
    assert origins(cache, RowCall(versions(CODE), ("value",)), [(1.0,)]) == [RAN]
    name = "renamed" if "renamed" in new else "score"
    other = versions(CODE.replace(old, new), name=name)
    assert origins(cache, RowCall(other, ("value",)), [(1.0,)]) == [CACHED]
