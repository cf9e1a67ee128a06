"""Equal rows are run once, and each has the outcome that it would have alone."""

import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.core.execution import (
    CACHED,
    RAN,
    TWIN,
    Cache,
    Execution,
    Executor,
    Inline,
    current,
    evaluate,
    using,
)
from rewardsmith.core.outcome import Outcome, Outcomes, Status
from rewardsmith.core.reference import Reference
from rewardsmith.core.rowcall import RowCall

ran: list[Any] = []


def exactly(*row: Any) -> float:
    """A number that tells apart what differs in any way; some rows break."""
    ran.append(row)
    text = repr(row)
    if "bad" in text:
        raise ValueError(text)
    return float(sum(map(ord, text)) % 1009)


def call_of(width: int = 1) -> RowCall:
    return RowCall(exactly, tuple(f"c{i}" for i in range(width)))


class Store:
    """A cache of everything, by what a row looks like."""

    def __init__(self) -> None:
        self.known: dict[str, Outcome] = {}

    def get(self, call: RowCall, rows: Sequence[Any]) -> list[Outcome | None]:
        return [self.known.get(repr(row)) for row in rows]

    def put(self, call: RowCall, rows: Sequence[Any], outcomes: Sequence[Outcome]) -> None:
        self.known.update(zip(map(repr, rows), outcomes, strict=True))


CELLS = st.one_of(
    st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, False, "", "a", "bad", None, "1"]),
    st.sampled_from([[1], [1.0], {"a": 1}, {"a": True}, (1,), "bad", "\ud800", "\0"]),
)


@given(st.integers(1, 2).flatmap(lambda w: st.lists(st.tuples(*[CELLS] * w), max_size=30)))
def test_with_and_without_dedupe_and_cache_it_is_the_same(rows: list[Any]) -> None:
    call = call_of(len(rows[0]) if rows else 1)
    plain = evaluate(call, rows, Execution(Inline(), dedupe=False))
    store = Store()
    for execution in (Execution(Inline()), Execution(Inline(), store), Execution(Inline(), store)):
        found = evaluate(call, rows, execution)
        assert found.values.tolist() == plain.values.tolist()
        assert found.status.tolist() == plain.status.tolist()
        assert found.remarks == plain.remarks
        assert ((found.origin != RAN) == np.isnan(found.seconds)).all()


def test_an_equal_row_runs_once() -> None:
    ran.clear()
    rows = [("a", None), ("b", "x"), ("a", None), ("bad", ""), ("b", "x"), ("bad", "")]
    found = evaluate(call_of(2), rows, Execution(Inline()))
    assert ran == [("a", None), ("b", "x"), ("bad", "")]
    assert found.origin.tolist() == [RAN, RAN, TWIN, RAN, TWIN, TWIN]
    assert found.status.tolist() == [0, 0, 0, 3, 0, 3]
    # What went wrong is every twin's.
    assert found.remarks == dict.fromkeys((3, 5), "raised ValueError: ('bad', '')")
    ran.clear()
    evaluate(call_of(2), rows, Execution(Inline(), dedupe=False))
    assert ran == rows


@pytest.mark.parametrize(
    "alike", [[1, True, 1.0], [0, False, 0.0, -0.0], [(1,), (1.0,)], [{"a": 1}, {"a": True}]]
)
def test_what_is_equal_but_not_the_same_is_run(alike: list[Any]) -> None:
    ran.clear()
    rows = [(value,) for value in alike]
    found = evaluate(call_of(), rows + rows, Execution(Inline()))
    assert list(map(repr, ran)) == list(map(repr, rows))
    assert found.origin.tolist() == [RAN] * len(rows) + [TWIN] * len(rows)


def test_rows_that_do_not_hash_are_compared_all_the_same() -> None:
    ran.clear()
    rows = [([1, {"a": [2]}],) for _ in range(3)]
    assert evaluate(call_of(), rows, Execution(Inline())).origin.tolist() == [RAN, TWIN, TWIN]
    assert len(ran) == 1


class Unpicklable:
    def __reduce__(self) -> Any:
        raise pickle.PicklingError("no")

    def __repr__(self) -> str:
        return "x"


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize("value", [Unpicklable(), lambda: 1, nested(10_000), (i for i in "a")])
def test_what_cannot_be_compared_is_run(value: Any) -> None:
    def one(value: Any) -> float:
        return 1.0

    found = evaluate(RowCall(one, ("v",)), [(value,), (value,)], Execution(Inline()))
    assert found.origin.tolist() == [RAN, RAN]
    assert found.values.tolist() == [1.0, 1.0]


def test_what_broke_is_not_kept() -> None:
    store = Store()
    evaluate(call_of(), [("bad",), ("a",)], Execution(Inline(), store))
    assert list(store.known) == ["('a',)"]


def test_twins_of_cached_rows_are_twins() -> None:
    store = Store()
    execution = Execution(Inline(), store)
    evaluate(call_of(), [("a",)], execution)
    found = evaluate(call_of(), [("b",), ("a",), ("a",), ("b",)], execution)
    assert found.origin.tolist() == [RAN, CACHED, TWIN, TWIN]
    assert [math.isnan(seconds) for seconds in found.seconds] == [False, True, True, True]


def test_no_rows() -> None:
    for execution in (Execution(Inline()), Execution(Inline(), Store(), dedupe=False)):
        found = evaluate(call_of(), [], execution)
        assert len(found.values) == len(found.status) == len(found.seconds) == 0


def test_no_columns() -> None:
    found = evaluate(call_of(0), [(), ()], Execution(Inline()))
    assert found.origin.tolist() == [RAN, TWIN]


def test_what_is_set_is_set_inside() -> None:
    execution = Execution(Inline())
    assert current() is None
    with using(execution) as inner:
        assert current() is inner is execution
    assert current() is None


def test_the_protocols() -> None:
    assert isinstance(Inline(), Executor)
    assert isinstance(Store(), Cache)
    assert not isinstance(Outcomes(), Executor)
    assert Status(Inline().run(call_of(), [("a",)]).status[0]) == Status.SCORED


# --- the call itself ------------------------------------------------------------------------------


def test_calls_travel_by_name() -> None:
    call = RowCall(exactly, ("a", "b"), True, {"x": 1}, False, ("json",))
    data = pickle.dumps(call)
    assert b"exactly" in data
    assert len(data) < 500
    again = pickle.loads(data)
    assert again == call
    assert again.call is exactly
    assert Reference.of(again.call).qualname == "exactly"


def test_text_of_the_first_column_only() -> None:
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "yes"}]
    taken: list[Any] = []

    def note(*row: Any) -> float:
        taken.append(row)
        return 1.0

    call = RowCall(note, ("completion", "other"), text=True).bound()
    call(chat, chat)
    call("plain", None)
    assert taken == [("yes", chat), ("plain", None)]
    with pytest.raises(TypeError, match="column 'completion': "):
        call(3, None)
