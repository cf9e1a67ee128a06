"""The gate: the invariants of gated reward accumulation, and what is not read behind it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import laws
from tests.laws import ABSTAINED, FAILED, SCORED, TIMEOUT, dense, outcome

from rewardsmith.core.errors import ScoreError
from rewardsmith.core.gate import Gate
from rewardsmith.core.rollouts import Rollouts

STEPS = 3
# Quarters are exact in float32, so that equalities are equalities.
quarters = st.integers(-20, 20).map(lambda k: k / 4)
rows = st.lists(st.tuples(quarters, st.tuples(*[quarters] * STEPS)), min_size=1, max_size=4)


def full(n: int, steps: int = STEPS) -> Rollouts:
    return Rollouts(mask=torch.ones(n, steps, dtype=torch.bool))


def accumulated(
    table: list[tuple[float, tuple[float, ...]]], threshold: float, strict: bool = False
) -> list[float]:
    condition = outcome([high for high, _ in table])
    of = dense([list(steps) for _, steps in table])
    gate = Gate(condition, of, threshold, strict=strict, accumulate=True)
    return gate(full(len(table))).total().tolist()


@given(table=rows, threshold=quarters, strict=st.booleans())
@settings(max_examples=60)
def test_it_is_the_formula_of_the_paper(
    table: list[tuple[float, tuple[float, ...]]], threshold: float, strict: bool
) -> None:
    expected = []
    for high, steps in table:
        opened = high > threshold if strict else high >= threshold
        expected.append(high + (sum(steps) if opened else 0.0))
    assert accumulated(table, threshold, strict) == expected


@given(rows)
@settings(max_examples=20)
def test_the_ends_of_the_threshold(table: list[tuple[float, tuple[float, ...]]]) -> None:
    assert accumulated(table, -math.inf) == [high + sum(steps) for high, steps in table]
    assert accumulated(table, math.inf) == [high for high, _ in table]


@given(table=rows, other=quarters)
@settings(max_examples=30)
def test_below_the_threshold_step_rewards_do_not_matter(
    table: list[tuple[float, tuple[float, ...]]], other: float
) -> None:
    changed = [(high, tuple(r + other for r in steps)) for high, steps in table]
    lowest = max(high for high, _ in table)
    assert accumulated(table, lowest + 0.25) == accumulated(changed, lowest + 0.25)


@given(table=rows, low=quarters, rise=st.integers(0, 8).map(lambda k: k / 4))
@settings(max_examples=40)
def test_raising_the_threshold_never_raises_the_score_of_a_good_rollout(
    table: list[tuple[float, tuple[float, ...]]], low: float, rise: float
) -> None:
    table = [(high, tuple(abs(r) for r in steps)) for high, steps in table]
    easier, harder = accumulated(table, low), accumulated(table, low + rise)
    assert all(a >= b for a, b in zip(easier, harder, strict=True))


@pytest.mark.parametrize("steps", [True, False])
def test_a_closed_gate_reads_neither_values_nor_status(steps: bool) -> None:
    of = dense([[1.0] * STEPS] * 2, status=[FAILED, FAILED]) if steps else outcome([1.0, 1.0])
    of.scores.values[:] = math.nan
    of.scores.status[:] = FAILED
    if of.scores.at is not None:
        of.scores.at[:] = True
    scores = Gate(outcome([0.0, 1.0]), of, 0.5)(full(2))
    assert scores.status.tolist() == [SCORED, FAILED]
    assert scores.total().tolist() == [0.0, 0.0]
    assert scores.at is None or scores.at.tolist() == [[True] * STEPS, [False] * STEPS]


def test_a_dense_condition_gates_step_by_step() -> None:
    condition = dense([[0.0, 1.0, 2.0]])
    of = dense([[5.0, 6.0, 7.0]])
    of.scores.values[0, 0] = math.nan
    scores = Gate(condition, of, 1.0)(full(1))
    assert scores.values.tolist() == [[0.0, 6.0, 7.0]]
    assert Gate(condition, of, 1.0, strict=True, accumulate=True)(full(1)).values.tolist() == [
        [0.0, 1.0, 9.0]
    ]


def test_a_step_whose_condition_was_not_scored_is_not_scored() -> None:
    condition = dense([[1.0, 1.0, 0.0]], at=[[True, False, True]])
    scores = Gate(condition, dense([[5.0, 6.0, 7.0]]), 0.5)(full(1))
    assert scores.at.tolist() == [[True, False, True]]
    assert scores.values.tolist() == [[5.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("steps", "dense_condition"), [(True, True), (True, False), (False, False)]
)
@pytest.mark.parametrize("accumulate", [True, False])
def test_what_an_abstained_condition_does(
    steps: bool, dense_condition: bool, accumulate: bool
) -> None:
    status = [ABSTAINED, SCORED]
    condition = (
        dense([[1.0] * STEPS] * 2, status=status) if dense_condition else outcome([1.0] * 2, status)
    )
    of = dense([[2.0] * STEPS] * 2) if steps else outcome([6.0, 6.0])
    own = (STEPS if dense_condition else 1.0) if accumulate else 0.0
    for mode, expected in (
        ("abstain", (ABSTAINED, 0.0)),
        ("closed", (SCORED, 0.0)),
        ("open", (SCORED, 6.0)),
    ):
        gate = Gate(condition, of, 0.5, accumulate=accumulate, on_abstained=mode)
        scores = gate(full(2))
        assert (int(scores.status[0]), float(scores.total()[0])) == expected, mode
        assert (int(scores.status[1]), float(scores.total()[1])) == (SCORED, 6.0 + own), mode
    with pytest.raises(ScoreError, match="part 'condition', row 0: the gate's condition abstained"):
        Gate(condition, of, 0.5, on_abstained="raise")(full(2))


def test_the_error_of_an_unread_part_explains_nothing() -> None:
    # The condition timed out, so the gate is closed; what failed behind it is not why.
    scores = Gate(outcome([1.0], [TIMEOUT]), outcome([1.0], [FAILED]), 0.5)(laws.text(1))
    assert scores.status.tolist() == [TIMEOUT]
    assert scores.errors == {0: ("condition", "broke 2")}


def test_levels_of_priority_nest() -> None:
    # Correct opens style, style opens brevity.
    correct, style = outcome([0.0, 1.0, 1.0]), outcome([1.0, 0.0, 1.0])
    brevity = outcome([0.5, 0.5, 0.5])
    inner = Gate(style, brevity, 0.5, accumulate=True)
    scores = Gate(correct, inner, 0.5, accumulate=True)(laws.text(3))
    assert scores.values.tolist() == [0.0, 1.0, 2.5]
    assert scores.part("of/of") is brevity.scores


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="the threshold is NaN"):
        Gate(outcome([1.0]), outcome([1.0]), math.nan)
    with pytest.raises(ValueError, match="steps cannot gate a rollout"):
        Gate(dense([[1.0]]), outcome([1.0]), 0.0)
