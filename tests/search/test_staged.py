import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.search.staged import Attempt, Stage, staged_search, worth_training_on


def drawn_from(*columns):
    """Samplers, one per stage, that hand out the values of their column in order."""
    return [_Column(column) for column in columns]


class _Column:
    def __init__(self, values):
        self.values, self.at, self.asked = list(values), 0, []

    def __call__(self, state, n):
        self.asked.append((state, n))
        found = self.values[self.at : self.at + n]
        self.at += n
        return [(*state, value) for value in found]


def last(state):
    return float(state[-1])


# --- best of n ------------------------------------------------------------------------------------


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30), st.data())
def test_one_stage_without_a_scorer_is_best_of_n(values, data):
    passing = data.draw(st.sets(st.sampled_from(values)))
    (sample,) = drawn_from(values)
    found = staged_search(
        (), [Stage(sample, len(values))], lambda attempt: attempt[0] in passing, last
    )
    best = max((v for v in values if v in passing), default=None)
    assert found.chosen == (None if best is None else (best,))
    assert found.budget.drawn == (len(values),)
    assert found.budget.scored == (0,)
    assert found.budget.tested == len(values)
    assert found.budget.ranked == sum(v in passing for v in values)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=40))
def test_with_a_perfect_verifier_more_samples_never_solve_less(values):
    solved = [
        staged_search((), [Stage(drawn_from(values)[0], n)], lambda attempt: attempt[0] == 7).chosen
        is not None
        for n in range(1, len(values) + 1)
    ]
    assert solved == sorted(solved)
    assert solved[-1] == (7 in values)


# --- stages ---------------------------------------------------------------------------------------


def test_the_best_states_of_a_stage_go_on():
    first, second = drawn_from([3, 9, 5, 9], [1, 2, 3, 4])
    found = staged_search((), [Stage(first, 4, last, keep=2), Stage(second, 4, last, keep=1)])
    # Equal scores in the order in which they were drawn.
    assert second.asked == [((9,), 2), ((9,), 2)]
    assert found.chosen == (9, 4)
    assert (found.budget.asked, found.budget.drawn, found.budget.scored) == ((4, 4),) * 3


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_the_budget_is_exact(sizes, missing):
    calls = Counter()

    def sample(state, n):
        calls["asked"] += n
        some = [(*state, i) for i in range(max(0, n - missing))]
        calls["drawn"] += len(some)
        return some

    def score(state):
        calls["scored"] += 1
        return 1.0

    def tests(state):
        calls["tested"] += 1
        return len(state) % 2 == 0

    def outcome(state):
        calls["ranked"] += 1
        return 0.0

    stages = [Stage(sample, n, score, keep) for n, keep in sizes]
    found = staged_search((), stages, tests, outcome)
    told = found.budget
    assert sum(told.asked) == calls["asked"] == sum(n for n, _ in sizes)
    assert sum(told.drawn) == calls["drawn"]
    assert sum(told.scored) == calls["scored"]
    assert (told.tested, told.ranked) == (calls["tested"], calls["ranked"])
    assert told.tested == len(found.attempts)


def test_samples_are_spread_evenly_over_the_beam():
    first, second = drawn_from([1, 2, 3], range(8))
    staged_search((), [Stage(first, 3), Stage(second, 8)])
    assert [n for _, n in second.asked] == [3, 3, 2]
    few, fewer = drawn_from([1, 2, 3], range(2))
    staged_search((), [Stage(few, 3), Stage(fewer, 2)])
    assert fewer.asked == [((1,), 1), ((2,), 1)]


def test_a_stage_that_returns_nothing_leaves_the_beam():
    first, nothing, third = drawn_from([4, 8], [], [1, 2])
    found = staged_search((), [Stage(first, 2, last, 1), Stage(nothing, 3, last), Stage(third, 2)])
    assert found.empty == (1,)
    assert found.budget.drawn == (2, 0, 2)
    assert [entry.value for entry in found.attempts] == [(8, 1), (8, 2)]
    (nothing,) = drawn_from([])
    assert staged_search("start", [Stage(nothing, 2)]).chosen == "start"


# --- tests and choice -----------------------------------------------------------------------------


def test_what_fails_is_discarded_and_told():
    values = ["good", "slow", "hangs", "crash", "wrong", "broken", "maybe"]
    (sample,) = drawn_from(values)

    def tests(attempt):
        name = attempt[0]
        if name == "hangs":
            raise TimeoutError("30 s")
        if name == "broken":
            raise OSError("no sandbox")
        second = {
            "slow": "timeout",
            "crash": "crashed",
            "wrong": "failed",
            "maybe": "infrastructure",
        }
        return ["passed", second.get(name, "passed")]

    found = staged_search((), [Stage(sample, 7)], tests, lambda attempt: len(attempt[0]))
    assert found.chosen == ("good",)
    told = {entry.value[0]: (entry.passed, entry.flag) for entry in found.attempts}
    assert told == {
        "good": (True, ""),
        "slow": (False, "timeout"),
        "hangs": (False, "timeout"),
        "crash": (False, "crashed"),
        "wrong": (False, ""),
        "broken": (False, "infrastructure"),
        "maybe": (False, "infrastructure"),
    }
    assert found.budget.ranked == 1
    assert found.attempts[0] == Attempt(("good",), True, "", "2 of 2 passed", 4.0, 1)


def test_nothing_is_chosen_where_nothing_passes():
    (sample,) = drawn_from([1, 2])
    found = staged_search((), [Stage(sample, 2)], lambda attempt: False, last)
    assert found.chosen is None
    assert found.budget.ranked == 0


def test_ties_are_decided_by_votes():
    values = ["a", "b", "b ", "c"]
    (sample,) = drawn_from(values)
    found = staged_search((), [Stage(sample, 4)], vote=lambda attempt: attempt[0].strip())
    assert found.chosen == ("b",)
    assert [entry.votes for entry in found.attempts] == [1, 2, 2, 1]
    (sample,) = drawn_from(values)
    by_score = staged_search(
        (),
        [Stage(sample, 4)],
        outcome=lambda attempt: float(attempt[0] == "c"),
        vote=lambda attempt: attempt[0].strip(),
    )
    assert by_score.chosen == ("c",)


def test_negative_scores_are_scores():
    (sample,) = drawn_from([-5, -2, -9])
    assert staged_search((), [Stage(sample, 3)], outcome=last).chosen == (-2,)


def test_only_what_passes_votes():
    (sample,) = drawn_from(["x1", "x2", "y1", "x3"])
    found = staged_search(
        (),
        [Stage(sample, 4)],
        lambda attempt: attempt[0] in ("x3", "y1"),
        vote=lambda attempt: attempt[0][0],
    )
    assert found.chosen == ("y1",)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: staged_search((), []), "at least one stage"),
        (lambda: Stage(lambda s, n: [], 0), "at least 1"),
        (lambda: Stage(lambda s, n: [], 2, keep=0), "at least 1"),
        (
            lambda: staged_search((), [Stage(lambda s, n: [s] * (n + 1), 2)]),
            "stage 0 was asked for 2 states and returned 3",
        ),
        (
            lambda: staged_search((), [Stage(lambda s, n: [s], 1, lambda s: math.nan)]),
            "stage 0: a score is nan",
        ),
        (
            lambda: staged_search((), [Stage(lambda s, n: [s], 1)], outcome=lambda s: float("inf")),
            "outcome: a score is inf",
        ),
        (lambda: staged_search((), [Stage(lambda s, n: [s], 1)], lambda s: []), "neither a bool"),
        (
            lambda: staged_search((), [Stage(lambda s, n: [s], 1)], lambda s: ["ok"]),
            "neither a bool",
        ),
        (lambda: worth_training_on([True], [[True]], 2), "has 1 attempts"),
        (lambda: worth_training_on([True], [[True]], -1), "below 0"),
        (lambda: worth_training_on([True, True], [[True]], 0), "zip"),
    ],
)
def test_refusals(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_a_broken_scorer_is_not_swallowed():
    def broken(state):
        raise KeyError("no model")

    with pytest.raises(KeyError):
        staged_search((), [Stage(lambda s, n: [s], 1, broken)])


# --- the filter of trajectories -------------------------------------------------------------------


def test_correct_and_not_trivially_easy():
    correct = [True, True, False, True]
    base = [[True] * 4, [True, False, False, True], [False] * 4, [False] * 4]
    assert worth_training_on(correct, base, 2) == [False, True, False, True]
    assert worth_training_on(correct, base, 0) == correct


@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.booleans(), min_size=4, max_size=4))),
    st.integers(0, 3),
)
def test_a_stricter_filter_keeps_less(rows, m):
    correct, base = [right for right, _ in rows], [attempts for _, attempts in rows]
    lax, strict = (worth_training_on(correct, base, k) for k in (m, m + 1))
    assert all(a or not b for a, b in zip(lax, strict, strict=True))
