"""The balance score, what is selected by it, and the monitors beside it."""

from collections import defaultdict
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.samplers.balance import (
    THRESHOLDS,
    Answers,
    balance_score,
    best_configuration,
    monitors,
    select_by_reward,
)


class Drawn(Answers):
    """Answers whose columns are lists."""

    rewards: list[float]
    correct: list[bool]
    query: list[int]
    texts: list[str]


@st.composite
def answers(draw: st.DrawFn) -> Drawn:
    """Rewards that tie and texts that repeat; equal texts are equally right."""
    n = draw(st.integers(1, 14))
    ints = st.lists(st.integers(0, 3), min_size=n, max_size=n)
    query, said = draw(ints), draw(ints)
    rewards = np.array(draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n))) / 4
    right = {key: draw(st.booleans()) for key in set(zip(query, said, strict=True))}
    correct = [right[key] for key in zip(query, said, strict=True)]
    return Drawn(rewards.tolist(), correct, query, [str(t) for t in said])


def score(scored: Drawn, threshold: float, target: int, texts: bool = True) -> float:
    told = scored.texts if texts else None
    return balance_score(scored.rewards, scored.correct, scored.query, threshold, target, told)


def plainly(scored: Drawn, threshold: float, target: int, texts: bool) -> float:
    """The score by dictionaries."""
    selected: dict[Any, dict[str, bool]] = {query: {} for query in scored.query}
    for row, reward in enumerate(scored.rewards):
        if reward > threshold:
            text = scored.texts[row] if texts else str(row)
            selected[scored.query[row]][text] = bool(scored.correct[row])
    told = [
        min(sum(said.values()) / target, 1) * sum(said.values()) / len(said) if said else 0.0
        for said in selected.values()
    ]
    return sum(told) / len(told)


# --- the score ------------------------------------------------------------------------------------


@given(answers(), st.sampled_from([-2.0, -0.25, 0.0, 0.6]), st.integers(1, 4), st.booleans())
def test_the_score_is_the_formula_and_lies_between_0_and_1(
    scored: Drawn, threshold: float, target: int, texts: bool
) -> None:
    found = score(scored, threshold, target, texts)
    assert found == pytest.approx(plainly(scored, threshold, target, texts), abs=1e-12)
    assert 0.0 <= found <= 1.0


@given(answers(), st.sampled_from([-2.0, 0.0, 0.6]), st.integers(1, 3))
def test_it_is_1_iff_each_query_has_enough_and_all_are_right(
    scored: Drawn, threshold: float, target: int
) -> None:
    rows: dict[Any, dict[str, bool]] = defaultdict(dict)
    for row, query in enumerate(scored.query):
        rows[query].setdefault("", True)
        if scored.rewards[row] > threshold:
            rows[query][scored.texts[row] + "!"] = scored.correct[row]
    clean = all(len(said) - 1 >= target and all(said.values()) for said in rows.values())
    assert (score(scored, threshold, target) == 1.0) == clean


@given(answers(), st.sampled_from([-2.0, 0.0, 0.6]))
def test_with_a_target_of_1_it_is_precision_on_queries_with_a_hit(
    scored: Drawn, threshold: float
) -> None:
    chosen = np.asarray(scored.rewards) > threshold
    total = 0.0
    for query in set(scored.query):
        right = np.asarray(scored.correct)[chosen & (np.asarray(scored.query) == query)]
        total += right.mean() if right.any() else 0.0
    assert score(scored, threshold, 1, texts=False) == pytest.approx(total / len(set(scored.query)))


def test_a_query_with_nothing_selected_counts_as_0() -> None:
    rewards, correct, query = [1.0, 1.0, -1.0], [True, True, True], ["a", "a", "b"]
    assert balance_score(rewards, correct, query, 0.0, target=2) == 0.5
    assert balance_score(rewards, correct, query, -2.0, target=2) == 0.75
    assert balance_score(rewards, correct, query, 2.0, target=2) == 0.0


def test_equal_answers_to_a_query_are_one() -> None:
    rewards, correct, query = [1.0, 0.9, 0.8, 0.7], [True, True, False, True], [0, 0, 0, 1]
    said = ["x", "x", "y", "x"]
    assert balance_score(rewards, correct, query, 0.0, 2) == (2 / 3 + 0.5) / 2
    assert balance_score(rewards, correct, query, 0.0, 2, said) == (0.25 + 0.5) / 2


# --- what is selected -----------------------------------------------------------------------------


@given(answers(), st.sampled_from([-2.0, -0.5, 0.0, 0.6]), st.integers(1, 15))
def test_the_selection_takes_the_best_k_of_each_query(
    scored: Drawn, threshold: float, size: int
) -> None:
    """By the letter: for k = 1, 2, ... take, drop repetitions, and stop when there are enough."""
    order = sorted(range(len(scored.query)), key=lambda row: (-scored.rewards[row], row))
    expected: list[int] = []
    for k in range(1, 65):
        taken: dict[int, int] = defaultdict(int)
        seen: dict[Any, int] = {}
        for row in order:
            query = scored.query[row]
            if scored.rewards[row] > threshold and taken[query] < k:
                taken[query] += 1
                seen.setdefault((query, scored.texts[row]), row)
        expected = sorted(seen.values())
        if len(expected) >= size:
            break
    assert select_by_reward(scored, threshold, size).tolist() == expected


@given(answers(), st.integers(1, 10))
def test_raising_the_threshold_never_selects_more_of_a_query(scored: Drawn, size: int) -> None:
    """Of all that may be selected: with as many places as there are answers."""
    before = None
    for threshold in (-2.0, -0.5, 0.0, 0.5, 2.0):
        rows = select_by_reward(scored, threshold, 10_000)
        counts = {q: sum(scored.query[r] == q for r in rows) for q in set(scored.query)}
        assert before is None or all(counts[q] <= before[q] for q in counts)
        before = counts
    assert before == dict.fromkeys(set(scored.query), 0)


def test_there_is_a_largest_k() -> None:
    scored = Answers(np.arange(5.0), [True] * 5, [0] * 5)
    assert select_by_reward(scored, 0.5, 5, most=2).tolist() == [3, 4]
    assert select_by_reward(scored, 0.5, 5).tolist() == [1, 2, 3, 4]


def test_gold_rows_join_with_a_score_of_1() -> None:
    scored = Answers([1.5, 0.2, 0.0], [True, False, True], ["q"] * 3, None, [False, False, True])
    assert select_by_reward(scored, 0.5, 3).tolist() == [0, 2]
    assert select_by_reward(scored, 0.5, 1).tolist() == [0]
    assert select_by_reward(scored, 1.0, 3).tolist() == [0]


def test_the_search_finds_what_trying_all_finds() -> None:
    rng = np.random.default_rng(0)
    samples = {}
    for temperature, skill in ((0.5, 0.3), (0.8, 0.5), (1.1, 0.2)):
        query = np.repeat(np.arange(6), 8)
        correct = rng.random(48) < skill
        rewards = np.round(correct + rng.normal(0, 0.5, 48), 2)
        said = [f"{int(c)}{rng.integers(4)}" for c in correct]
        samples[temperature] = Drawn(rewards.tolist(), correct.tolist(), query.tolist(), said)
    thresholds = np.round(np.arange(-1.0, 1.01, 0.1), 2).tolist()
    found = best_configuration(samples, 20, thresholds, target=3)
    tried = {}
    for temperature, scored in samples.items():
        for threshold in thresholds:
            rows = select_by_reward(scored, threshold, 20)
            paid, right, asked = (
                [column[row] for row in rows]
                for column in (scored.rewards, scored.correct, scored.query)
            )
            share = len(set(asked)) / 6  # queries of which there is none are not in these rows
            value = balance_score(paid, right, asked, -9.0, 3) * share if len(rows) else 0.0
            tried[temperature, threshold] = value
    best = max(tried.values())
    first = next(key for key, value in tried.items() if value > best - 1e-12)
    assert (found.temperature, found.threshold) == first
    assert found.score == pytest.approx(best)
    rows = select_by_reward(samples[found.temperature], found.threshold, 20)
    assert found.selected.tolist() == rows.tolist()
    assert 0.0 < found.score < 1.0


def test_of_equal_configurations_the_first_is_taken() -> None:
    scored = Answers([1.0, 0.5], [True, False], [0, 0])
    found = best_configuration({0.7: scored, 0.9: scored}, 1, target=1)
    assert (found.temperature, found.threshold, found.score) == (0.7, -1.0, 1.0)
    assert THRESHOLDS[0] == -1.0
    assert THRESHOLDS[-1] == 1.0
    assert len(THRESHOLDS) == 201


# --- monitors -------------------------------------------------------------------------------------


@given(answers(), st.integers(1, 3))
@settings(max_examples=60)
def test_monitors_are_expectations_over_the_sets_of_k(scored: Drawn, k: int) -> None:
    by_query = defaultdict(list)
    for row, query in enumerate(scored.query):
        by_query[query].append(row)
    if min(map(len, by_query.values())) < k:
        with pytest.raises(ValueError, match="k is"):
            monitors(scored, k)
        return
    right, rewards = np.asarray(scored.correct, dtype=float), np.asarray(scored.rewards)
    passed, best, distinct = [], [], []
    for rows in by_query.values():
        sets = [list(chosen) for chosen in combinations(rows, k)]
        passed.append(np.mean([right[s].max() for s in sets]))
        best.append(np.mean([right[s][rewards[s] == rewards[s].max()].mean() for s in sets]))
        distinct.append(len({scored.texts[row] for row in rows if right[row]}))
    told = monitors(scored, k)
    assert told["pass_at_k"] == pytest.approx(np.mean(passed))
    assert told["best_of_k"] == pytest.approx(np.mean(best))
    assert told["distinct_correct"] == pytest.approx(np.mean(distinct))
    assert told["exploitation"] == pytest.approx(told["best_of_k"] - told["pass_at_1"])
    if k == 1:
        assert told["exploitation"] == pytest.approx(0.0)
        assert told["pass_at_k"] == pytest.approx(told["pass_at_1"])


def test_a_reward_that_misleads_has_a_negative_exploitation() -> None:
    wrong = Answers([1.0, 0.0, 1.0, 0.0], [False, True, False, True], [0, 0, 1, 1])
    assert monitors(wrong, 2)["exploitation"] == -0.5
    right = Answers([1.0, 0.0], [True, False], [0, 0])
    assert monitors(right, 2)["exploitation"] == 0.5


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scored", "told"),
    [
        (([], [], []), "there are no answers"),
        (([1.0, float("nan")], [True, True], [0, 0]), "the reward of row 1 is nan"),
        (([1.0, float("inf")], [True, True], [0, 0]), "the reward of row 1 is inf"),
        (([1.0], [True, False], [0]), "1 rewards, 2 of correct"),
        (([1.0], [True], [0, 1]), "1 rewards, 2 of query"),
        (([1.0], [True], [0], ["a", "b"]), "1 rewards, 2 of texts"),
    ],
)
def test_bad_answers_are_named(scored: tuple[Any, ...], told: str) -> None:
    with pytest.raises(ValueError, match=f"b_star: .*{told}"):
        Answers(*scored)


def test_bad_arguments_are_named() -> None:
    scored = Answers([1.0], [True], [0])
    for call, told in (
        (lambda: balance_score([1.0], [True], [0], float("nan")), "threshold is nan"),
        (lambda: balance_score([1.0], [True], [0], 0.0, target=0), "target is 0"),
        (lambda: select_by_reward(scored, 0.0, 0), "size is 0"),
        (lambda: select_by_reward(scored, 0.0, 1, most=0), "most 0"),
        (lambda: best_configuration({}, 1), "0 temperatures"),
        (lambda: best_configuration({1.0: scored}, 1, thresholds=[]), "0 thresholds"),
        (lambda: monitors(Answers([1.0], [True], [0], None, [True]), 1), "some rows are gold"),
    ):
        with pytest.raises(ValueError, match=f"b_star: .*{told}"):
            call()
