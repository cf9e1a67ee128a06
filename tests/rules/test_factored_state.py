"""States of objects and attributes: how they are read, and how far one attains another."""

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from rewardsmith.rules.assignment import best_total
from rewardsmith.rules.factored_state import Item, attainment, parse, repeated, texts

names = st.sampled_from(["box", "ball", "door", "red", "open", "on"])
items = st.builds(Item, names, st.dictionaries(names, names, max_size=3))
tables = st.lists(items, min_size=1, max_size=4)
ASSIGNMENTS = ("max", "hungarian")


def alike(a: str, b: str) -> float:
    """A similarity with every kind of value, negative ones too."""
    return 1.0 if a == b else ((len(a) * 7 + len(b) * 7 + ord(a[0]) * ord(b[0])) % 19) / 10 - 0.95


def exact(a: str, b: str) -> float:
    return float(a == b)


STATE = [Item("box", {"color": "red", "size": "3"}), Item("door", {})]


@pytest.mark.parametrize(
    "state",
    [
        "box: color=red, size=3\n\n door:\n",
        "box : color = red ,size=3,\ndoor",
        json.dumps(
            [{"identity": "box", "attrs": {"color": "red", "size": 3}}, {"identity": "door"}]
        ),
        [
            {"identity": "box", "attrs": {"color": "red", "size": 3}},
            {"identity": "door", "attrs": None},
        ],
    ],
)
def test_states_are_read(state: Any) -> None:
    assert parse(state) == STATE


def test_truth_values_and_nothing() -> None:
    assert parse('[{"identity": "lamp", "attrs": {"on": true}}]') == [Item("lamp", {"on": "true"})]
    assert parse("") == parse("[]") == parse([]) == []


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("box: red", "line 1: 'red' is no key=value"),
        ("box: a=1\n: a=1", "line 2: the object has no name"),
        ("[1", "the state is no JSON"),
        ("[" * 100_000, "the state is no JSON"),
        ("[1]", "object 0 is no"),
        ('[{"identity": 3}]', "object 0 is no"),
        ('[{"identity": "a", "attrs": [1]}]', "its attrs are list"),
        ('[{"identity": "a", "attrs": {"k": [1]}}]', "the value of 'k' is no text"),
        (3, "a state is a list of objects or text, this is int"),
        (None, "this is NoneType"),
        ("x" * 1001, "has more than 1000 characters"),
    ],
)
def test_what_is_no_state(state: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse(state)


def test_long_and_odd_texts_are_read() -> None:
    assert len(parse("box: a=1\n" * 200_000)) == 200_000
    with pytest.raises(ValueError, match="more than 1000"):
        parse("\x00\ud800" * 2_500_000)


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
@given(state=tables, goal=tables, other=items)
@settings(max_examples=80)
def test_invariants(assignment: Any, state: list[Item], goal: list[Item], other: Item) -> None:
    value = attainment(state, goal, alike, assignment)
    assert 0 <= value <= 1
    assert attainment(goal, goal, alike, assignment) == pytest.approx(1)
    turned = [Item(i.identity, dict(reversed(i.attrs.items()))) for i in reversed(state)]
    assert attainment(turned, goal[::-1], alike, assignment) == pytest.approx(value)
    assert attainment([*state, other], goal, alike, assignment) >= value - 1e-12
    assert attainment(state, goal, alike, "hungarian") <= attainment(state, goal, alike) + 1e-12


@given(tables, tables)
@settings(max_examples=60)
def test_hungarian_is_scipys(state: list[Item], goal: list[Item]) -> None:
    scores = np.array([[attainment([i], [g], alike) for i in state] for g in goal])
    rows, columns = linear_sum_assignment(scores, maximize=True)
    expected = scores[rows, columns].sum() / len(goal)
    assert attainment(state, goal, alike, "hungarian") == pytest.approx(expected)
    assert attainment(state, goal, alike) == pytest.approx(scores.max(axis=1).mean())


def test_by_hand() -> None:
    sim = {("box", "crate"): 0.8, ("colour", "color"): 0.9, ("crimson", "red"): 0.5}

    def by_table(a: str, b: str) -> float:
        return 1.0 if a == b else sim.get((a, b), -0.5)

    state = [Item("box", {"colour": "crimson", "size": "big"})]
    goal = [Item("crate", {"color": "red", "size": "big"})]
    assert attainment(state, goal, by_table) == pytest.approx(0.8 * (0.5 + 1.0) / 2)
    # A similarity below 0 counts as 0: two opposites are no agreement.
    assert attainment([Item("sky", {"size": "small"})], goal, by_table) == 0


def test_one_object_may_satisfy_two_goals_unless_assigned() -> None:
    state, goal = [Item("key", {})], [Item("key", {}), Item("key", {})]
    assert attainment(state, goal, exact) == 1.0
    assert attainment(state, goal, exact, "hungarian") == 0.5
    assert attainment(state * 2, goal, exact, "hungarian") == 1.0


def test_edges() -> None:
    with pytest.raises(ValueError, match="the goal has no object"):
        attainment(STATE, [], exact)
    assert attainment([], STATE, exact) == 0.0
    # Without required attributes the identity decides; without given ones nothing is met.
    assert attainment([Item("door", {"a": "b"})], [Item("door", {})], exact) == 1.0
    assert attainment([Item("door", {})], [Item("door", {"a": "b"})], exact) == 0.0
    assert list(texts(STATE)) == ["box", "color", "size", "red", "3", "door"]


@pytest.mark.parametrize(
    ("state", "goal", "again"),
    [
        ("a: x=1\na: x=2\na: x=3", "a: x=2", "a"),
        ("a: x=1\nA : x=2", "a: x=2", "A"),
        ("red  box\nRed box", "door", "Red box"),
        ("caf\u00e9\ncafe\u0301", "door", "cafe\u0301"),
        ("a\nb\nc", "a", None),
        ("key\nkey", "key\nkey", None),
        ("key\nkey\nkey", "key\nkey", "key"),
        ("", "a", None),
    ],
)
def test_what_a_state_has_too_often(state: str, goal: str, again: str | None) -> None:
    assert repeated(parse(state), parse(goal)) == again


@given(tables)
@settings(max_examples=40)
def test_a_goal_never_has_too_much_of_itself(goal: list[Item]) -> None:
    assert repeated(goal, goal) is None
    assert repeated([*goal, *goal], goal) == goal[0].identity


@pytest.mark.parametrize(
    "state",
    [
        "a: x=1, x=2",
        '[{"identity": "a", "attrs": {"x": 1, "x": 2}}]',
        '[{"identity": "a", "attrs": {"x": 1e999}}]',
    ],
)
def test_an_attribute_has_one_value(state: str) -> None:
    with pytest.raises(ValueError, match=r"twice|too large"):
        parse(state)


def test_nothing_to_assign_is_no_negative_zero() -> None:
    value = attainment([Item("a", {})], [Item("b", {})], exact, "hungarian")
    assert str(value) == "0.0"
    assert str(best_total([[0.0]])) == str(best_total([[]])) == "0.0"


@pytest.mark.parametrize("n", [50_000, 200_000])
def test_lines_are_read_in_linear_time(n: int) -> None:
    began = time.process_time()
    state = parse("\n".join(f"box{i}: a={i}" for i in range(n)))
    assert repeated(state, state) is None
    assert (time.process_time() - began) / n < 3e-5
