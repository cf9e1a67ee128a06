import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from rewardsmith.engine.sandbox import SandboxError
from rewardsmith.search.staged import Attempt, Stage, each, filter_trajectories, staged_search


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


def last(states):
    return [float(state[-1]) for state in states]


def all_pass(states):
    return [True] * len(states)


# --- best of n ------------------------------------------------------------------------------------


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30), st.data())
def test_one_stage_without_a_scorer_is_best_of_n(values, data):
    passing = data.draw(st.sets(st.sampled_from(values)))
    (sample,) = drawn_from(values)
    found = staged_search(
        (), [Stage(sample, len(values))], each(lambda attempt: attempt[0] in passing), last
    )
    best = max((v for v in values if v in passing), default=None)
    assert found.chosen == (None if best is None else (best,))
    assert found.budget.drawn == (len(values),)
    assert found.budget.scored == (0,)
    assert found.budget.tested == len(values)
    assert found.budget.ranked == sum(v in passing for v in values)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=40))
def test_with_a_perfect_verifier_more_samples_never_solve_less(values):
    verifier = each(lambda attempt: attempt[0] == 7)
    solved = [
        staged_search((), [Stage(drawn_from(values)[0], n)], verifier).chosen is not None
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

    def score(states):
        calls["scored"] += len(states)
        return [1.0] * len(states)

    def tests(states):
        calls["tested"] += len(states)
        return [len(state) % 2 == 0 for state in states]

    def outcome(states):
        calls["ranked"] += len(states)
        return [0.0] * len(states)

    stages = [Stage(sample, n, score, keep) for n, keep in sizes]
    found = staged_search((), stages, tests, outcome)
    told = found.budget
    assert sum(told.asked) == calls["asked"] == sum(n for n, _ in sizes)
    assert sum(told.drawn) == calls["drawn"]
    assert sum(told.scored) == calls["scored"]
    assert (told.tested, told.ranked) == (calls["tested"], calls["ranked"])
    finished = [entry for entry in found.attempts if entry.flag != "unfinished"]
    assert told.tested == len(finished)
    assert bool(finished) == (told.drawn[-1] > 0)


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


@given(st.lists(st.integers(0, 2), min_size=1, max_size=4), st.booleans())
def test_what_did_not_come_out_of_the_last_stage_is_never_chosen(draws, tested):
    """Whatever stages return nothing: the start and plans are no attempts."""

    def stage(number, n):
        return Stage(lambda state, k: [f"{number}"] * n, 2)

    stages = [stage(i, n) for i, n in enumerate(draws)]
    assume(all(n <= 1 for n in draws[1:]))
    asked = []
    found = staged_search(
        "start", stages, (lambda s: asked.extend(s) or all_pass(s)) if tested else None
    )
    end = f"{len(draws) - 1}"
    assert found.empty == tuple(i for i, n in enumerate(draws) if not n)
    if draws[-1]:
        assert found.chosen == end
        assert {entry.value for entry in found.attempts} == {end}
    else:
        assert found.chosen is None
        assert {entry.flag for entry in found.attempts} == {"unfinished"}
        assert end not in {entry.value for entry in found.attempts}
        assert found.attempts[0].why == "the last stage returned nothing"
        assert (asked, found.budget.tested) == ([], 0)


def test_scorers_and_tests_see_all_states_at_once():
    seen = []

    def scorer(states):
        seen.append(list(states))
        return torch.tensor([float(state[-1]) for state in states])

    def tests(states):
        seen.append(list(states))
        return np.array([state[-1] != 3 for state in states])

    sample, second = drawn_from([3, 1, 2], [3, 1, 2])
    stages = [Stage(sample, 3, scorer, keep=1), Stage(second, 3)]
    found = staged_search((), stages, tests, scorer)
    assert seen == [[(3,), (1,), (2,)], [(3, 3), (3, 1), (3, 2)], [(3, 1), (3, 2)]]
    assert found.chosen == (3, 2)
    assert [entry.passed for entry in found.attempts] == [False, True, True]


# --- tests and choice -----------------------------------------------------------------------------


def test_what_fails_is_discarded_and_told():
    values = ["good", "slow", "hangs", "crash", "wrong", "broken", "maybe"]
    (sample,) = drawn_from(values)

    def tests(attempt):
        name = attempt[0]
        if name == "hangs":
            raise TimeoutError("30 s")
        if name == "broken":
            raise SandboxError("no sandbox")
        second = {
            "slow": "timeout",
            "crash": "crashed",
            "wrong": "failed",
            "maybe": "infrastructure",
        }
        return ["passed", second.get(name, "passed")]

    by_length = each(lambda attempt: len(attempt[0]))
    found = staged_search((), [Stage(sample, 7)], each(tests), by_length)
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
    assert {entry.value[0]: entry.why for entry in found.attempts}["hangs"] == "30 s"


@pytest.mark.parametrize(
    ("error", "flag"),
    [(TimeoutError("30 s"), "timeout"), (SandboxError("no sandbox"), "infrastructure")],
)
def test_what_the_tests_raise_as_a_whole_is_that_of_every_attempt(error, flag):
    def tests(states):
        raise error

    (sample,) = drawn_from([1, 2])
    found = staged_search((), [Stage(sample, 2)], tests, last)
    assert found.chosen is None
    assert [(e.passed, e.flag, e.why) for e in found.attempts] == [(False, flag, str(error))] * 2


@pytest.mark.parametrize(
    "error", [FileNotFoundError("tests.json"), PermissionError(), ValueError()]
)
def test_a_fault_of_the_tests_themselves_is_raised(error):
    def tests(attempt):
        raise error

    for call in (tests, each(tests)):
        with pytest.raises(type(error)):
            staged_search((), [Stage(lambda s, n: [s], 1)], call)


@pytest.mark.parametrize("yes", [True, np.True_, torch.tensor(True), ["passed"], ("passed",) * 2])
def test_what_passes(yes):
    found = staged_search("s", [Stage(lambda s, n: [s], 1)], lambda states: [yes])
    assert found.attempts[0].passed
    no = np.False_ if isinstance(yes, np.bool_) else False
    assert staged_search("s", [Stage(lambda s, n: [s], 1)], lambda states: [no]).chosen is None


def test_nothing_is_chosen_where_nothing_passes():
    (sample,) = drawn_from([1, 2])
    found = staged_search((), [Stage(sample, 2)], each(lambda attempt: False), last)
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
        outcome=each(lambda attempt: float(attempt[0] == "c")),
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
        each(lambda attempt: attempt[0] in ("x3", "y1")),
        vote=lambda attempt: attempt[0][0],
    )
    assert found.chosen == ("y1",)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_attempts_that_have_no_hash_vote_as_those_that_have(values):
    def votes(make):
        drawn = [Stage(lambda state, n: [make(value) for value in values], len(values))]
        return [entry.votes for entry in staged_search(None, drawn).attempts]

    expected = [values.count(value) for value in values]
    assert votes(lambda value: value) == expected
    assert votes(lambda value: {"said": [value]}) == expected
    assert votes(lambda value: [value, "x"]) == expected


def test_attempts_that_cannot_be_compared_are_refused_before_they_are_tested():
    tested = []

    def tests(states):
        tested.extend(states)
        return all_pass(states)

    stages = [Stage(lambda state, n: [np.arange(3)] * 2 + [np.arange(3)], 3)]
    with pytest.raises(TypeError, match="attempts or votes of type ndarray cannot be compared"):
        staged_search(None, stages, tests)
    assert not tested
    found = staged_search(None, stages, tests, vote=lambda attempt: attempt.tobytes())
    assert [entry.votes for entry in found.attempts] == [3, 3, 3]


# --- refusals -------------------------------------------------------------------------------------

ONE = Stage(lambda s, n: [s], 1)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: staged_search((), []), "at least one stage"),
        (lambda: Stage(lambda s, n: [], 0), "n of a stage is 0, not an integer of at least 1"),
        (lambda: Stage(lambda s, n: [], math.nan), "n of a stage is nan"),
        (lambda: Stage(lambda s, n: [], 2.5), "n of a stage is 2.5"),
        (lambda: Stage(lambda s, n: [], 2, keep=0), "keep of a stage is 0"),
        (lambda: Stage(lambda s, n: [], 2, keep=1.5), "keep of a stage is 1.5"),
        (
            lambda: staged_search((), [Stage(lambda s, n: [s] * (n + 1), 2)]),
            "stage 0 was asked for 2 states and returned 3",
        ),
        (
            lambda: staged_search((), [Stage(lambda s, n: [s], 1, lambda s: [math.nan])]),
            "stage 0: a score is nan",
        ),
        (
            lambda: staged_search((), [ONE], outcome=lambda s: [float("inf")]),
            "outcome: a score is inf",
        ),
        (lambda: staged_search((), [ONE], lambda s: [[]]), "neither a bool"),
        (lambda: staged_search((), [ONE], lambda s: [["ok"]]), "neither a bool"),
        (lambda: staged_search((), [ONE], lambda s: ["passed"]), "neither a bool"),
        (lambda: staged_search((), [ONE], lambda s: [None]), "neither a bool"),
        (lambda: staged_search((), [ONE], lambda s: [1.0]), "neither a bool"),
        (lambda: staged_search((), [ONE], lambda s: []), "the tests gave 0 results for 1 states"),
        (
            lambda: staged_search((), [Stage(lambda s, n: [s], 1, lambda s: [1.0, 2.0])]),
            "stage 0: the scorer gave 2 results for 1 states",
        ),
        (
            lambda: staged_search((), [ONE], outcome=lambda s: []),
            "outcome: the scorer gave 0 results for 1 states",
        ),
        (lambda: filter_trajectories([True], [[True]], 2), "has 1 attempts"),
        (lambda: filter_trajectories([True], [[True]], -1), "below 0"),
        (lambda: filter_trajectories([True, True], [[True]], 0), "zip"),
    ],
)
def test_refusals(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_a_broken_scorer_is_not_swallowed():
    for error in (KeyError("no model"), TimeoutError("no answer"), SandboxError("gone")):

        def broken(state, error=error):
            raise error

        for call in (broken, each(broken)):
            with pytest.raises(type(error)):
                staged_search((), [Stage(lambda s, n: [s], 1, call)])
            with pytest.raises(type(error)):
                staged_search((), [ONE], outcome=call)


def test_numbers_of_numpy_are_numbers():
    found = staged_search((), [Stage(lambda s, n: [(*s, 1)], np.int64(2), keep=np.int32(1))])
    assert found.chosen == (1,)


# --- the filter of trajectories -------------------------------------------------------------------


def test_correct_and_not_trivially_easy():
    correct = [True, True, False, True]
    base = [[True] * 4, [True, False, False, True], [False] * 4, [False] * 4]
    assert filter_trajectories(correct, base, 2) == [False, True, False, True]
    assert filter_trajectories(correct, base, 0) == correct


@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.booleans(), min_size=4, max_size=4))),
    st.integers(0, 3),
)
def test_a_stricter_filter_keeps_less(rows, m):
    correct, base = [right for right, _ in rows], [attempts for _, attempts in rows]
    lax, strict = (filter_trajectories(correct, base, k) for k in (m, m + 1))
    assert all(a or not b for a, b in zip(lax, strict, strict=True))
