"""How a row's status follows from its children's, against a row-by-row oracle."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import laws
from tests.laws import ABSTAINED, BAD_VALUE, FAILED, SCORED, TIMEOUT, UNSCORED, dense, outcome

from rewardsmith.core import algebra
from rewardsmith.core.gate import Gate
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores

pytestmark = pytest.mark.filterwarnings(laws.TYPE_CHECKS)
STATUSES = (SCORED, ABSTAINED, TIMEOUT, FAILED, BAD_VALUE, UNSCORED)
STEPS = 3
Row = tuple[int, ...]
"""The statuses of a row's children."""


def some_statuses(children: list[int]) -> int:
    """Of a sum or a mean."""
    heard = [s for s in children if s != ABSTAINED]
    return max(heard) if heard else ABSTAINED


def every_pair(first: str, second: str) -> tuple[list[Reward], Rollouts, list[Row]]:
    """Two children, outcome or dense, whose rows go through all combinations of statuses."""
    pairs = [(a, b) for a in STATUSES for b in STATUSES]
    children = []
    for kind, statuses in zip((first, second), zip(*pairs, strict=True), strict=True):
        values = [float(i + 2) for i in range(len(pairs))]
        if kind == "outcome":
            children.append(outcome(values, list(statuses)))
        else:
            children.append(dense([[v] * STEPS for v in values], status=list(statuses)))
    rollouts = Rollouts(mask=torch.ones(len(pairs), STEPS, dtype=torch.bool))
    return children, rollouts, pairs


KINDS = [(a, b) for a in ("outcome", "dense") for b in ("outcome", "dense")]


@pytest.mark.parametrize(("first", "second"), KINDS)
@pytest.mark.parametrize("node", ["weighted_sum", "weighted_mean", "product", "min"])
def test_the_table_of_combinations(node: str, first: str, second: str) -> None:
    children, rollouts, pairs = every_pair(first, second)
    kind = {
        "weighted_sum": algebra.WeightedSum,
        "weighted_mean": algebra.WeightedMean,
        "product": algebra.Product,
        "min": algebra.Min,
    }[node]
    scores = kind(dict(zip("ab", children, strict=True)))(rollouts)
    lenient = node.startswith("weighted")
    expected = [some_statuses([*pair]) if lenient else max(pair) for pair in pairs]
    assert scores.status.tolist() == expected
    assert_errors_explain(scores, pairs, ("a", "b"))


@pytest.mark.parametrize("mode", ["abstain", "closed", "open"])
@pytest.mark.parametrize(("first", "second"), [kinds for kinds in KINDS if kinds[0] == "outcome"])
@pytest.mark.parametrize("threshold", [-math.inf, math.inf])
def test_the_table_of_gates(first: str, second: str, threshold: float, mode: str) -> None:
    children, rollouts, pairs = every_pair(first, second)
    scores = Gate(children[0], children[1], threshold, on_abstained=mode)(rollouts)
    expected = []
    for condition, of in pairs:
        opened = condition == SCORED and threshold < 0
        if condition == ABSTAINED and mode != "abstain":
            opened, condition = mode == "open", SCORED
        expected.append(max(condition, of) if opened else condition)
    assert scores.status.tolist() == expected
    assert_errors_explain(scores, pairs, ("condition", "of"))


def assert_errors_explain(scores: Scores, pairs: list[Row], names: tuple[str, str]) -> None:
    """A broken row names a child that has that very status; others name none."""
    for row, status in enumerate(scores.status.tolist()):
        if status <= ABSTAINED:
            assert row not in scores.errors
        else:
            path, message = scores.errors[row]
            assert pairs[row][names.index(path)] == status
            assert message == f"broke {status}"


@given(
    statuses=st.lists(st.tuples(*[st.sampled_from(STATUSES)] * 3), min_size=1, max_size=4),
    kinds=st.tuples(*[st.sampled_from(["outcome", "dense"])] * 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_values_and_statuses_of_three_parts(
    statuses: list[Row], kinds: tuple[str, ...], seed: int
) -> None:
    n = len(statuses)
    table = torch.randn(3, n, STEPS, generator=torch.Generator().manual_seed(seed)) + 3.0
    parts: dict[str, Reward] = {}
    for k, kind in enumerate(kinds):
        own = [row[k] for row in statuses]
        if kind == "outcome":
            parts[f"p{k}"] = outcome(table[k, :, 0].tolist(), own)
        else:
            parts[f"p{k}"] = dense(table[k].tolist(), status=own)
    weights = {"p0": 1.0, "p1": -2.0, "p2": 0.5}
    rollouts = Rollouts(mask=torch.ones(n, STEPS, dtype=torch.bool))
    scores = algebra.WeightedSum(parts, weights)(rollouts)
    for row in range(n):
        expected = 0.0
        for k, kind in enumerate(kinds):
            if statuses[row][k] == SCORED:
                own_total = table[k, row, 0] if kind == "outcome" else table[k, row].sum()
                expected += weights[f"p{k}"] * float(own_total)
        assert int(scores.status[row]) == some_statuses([*statuses[row]])
        shown = expected if int(scores.status[row]) == SCORED else 0.0
        assert float(scores.total()[row]) == pytest.approx(shown, abs=1e-4)


def test_a_mean_renormalizes_over_those_that_did_not_abstain() -> None:
    a = outcome([1.0, 1.0, 1.0], [SCORED, SCORED, ABSTAINED])
    b = outcome([4.0, 4.0, 4.0], [SCORED, ABSTAINED, ABSTAINED])
    mean = algebra.WeightedMean({"a": a, "b": b}, {"a": 1.0, "b": 2.0})
    scores = mean(laws.text(3))
    assert scores.values.tolist() == [3.0, 1.0, 0.0]
    assert scores.status.tolist() == [SCORED, SCORED, ABSTAINED]


def test_a_dense_mean_renormalizes_at_each_step() -> None:
    a = dense([[1.0, 1.0, 1.0]])
    b = dense([[4.0, 4.0, 4.0]], at=[[True, False, True]])
    mean = algebra.WeightedMean({"a": a, "b": b}, {"a": 1.0, "b": 2.0})
    rollouts = Rollouts(mask=torch.ones(1, 3, dtype=torch.bool))
    assert mean(rollouts).values.tolist() == [[3.0, 1.0, 3.0]]


def test_the_return_of_a_mixed_mean_is_the_mean_of_the_returns() -> None:
    a, b = dense([[1.0, 2.0, 3.0]]), outcome([12.0])
    rollouts = Rollouts(mask=torch.ones(1, 3, dtype=torch.bool))
    scores = algebra.WeightedMean({"a": a, "b": b})(rollouts)
    assert scores.values.tolist() == [[0.5, 1.0, 7.5]]
    assert scores.total().tolist() == [(6.0 + 12.0) / 2]


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=4))
@settings(max_examples=30)
def test_an_outcome_meets_a_dense_score_on_the_last_action_step_only(
    acted: list[list[bool]],
) -> None:
    action_mask = torch.tensor(acted)
    n = len(acted)
    rollouts = Rollouts(mask=torch.ones(n, 4, dtype=torch.bool), action_mask=action_mask)
    steps = dense([[0.0] * 4] * n, at=acted)
    scores = algebra.WeightedSum({"o": outcome([5.0] * n), "d": steps})(rollouts)
    for row in range(n):
        last = max((t for t in range(4) if acted[row][t]), default=0)
        assert scores.values[row].nonzero().flatten().tolist() == [last]
        assert scores.total()[row] == 5.0


def test_an_outcome_is_a_factor_of_every_step() -> None:
    rollouts = Rollouts(
        mask=torch.tensor([[True, True, True, False]]),
        action_mask=torch.tensor([[True, False, True, False]]),
    )
    steps = dense([[1.0, 0.0, 3.0, 0.0]], at=rollouts.action_mask.tolist())
    scores = algebra.Product({"o": outcome([2.0]), "d": steps})(rollouts)
    assert scores.values.tolist() == [[2.0, 0.0, 6.0, 0.0]]
    assert torch.equal(scores.at, rollouts.action_mask)


def test_a_step_that_one_factor_did_not_score_is_not_scored() -> None:
    rollouts = Rollouts(mask=torch.ones(1, 3, dtype=torch.bool))
    a, b = dense([[2.0, 3.0, 4.0]], at=[[True, True, False]]), dense([[5.0, 6.0, 7.0]])
    for tree, expected in (
        (algebra.Product({"a": a, "b": b}), [10.0, 18.0, 0.0]),
        (algebra.Min({"a": a, "b": b}), [2.0, 3.0, 0.0]),
    ):
        scores = tree(rollouts)
        assert scores.at.tolist() == [[True, True, False]]
        assert scores.values.tolist() == [expected]
    # In a sum, a part that did not score a step contributes nothing to it.
    assert algebra.WeightedSum({"a": a, "b": b})(rollouts).values.tolist() == [[7.0, 9.0, 7.0]]


def test_an_outcome_takes_part_in_a_minimum_on_the_last_action_step() -> None:
    rollouts = Rollouts(mask=torch.tensor([[True, True, False]]))
    steps = dense([[1.0, 3.0, 0.0]], at=[[True, True, False]])
    scores = algebra.Min({"o": outcome([0.5]), "d": steps})(rollouts)
    assert scores.values.tolist() == [[1.0, 0.5, 0.0]]


def test_what_is_not_scored_never_reaches_a_number() -> None:
    # The stored value of the broken and the abstained row is poisoned on purpose.
    child = outcome([1.0, 1.0, 1.0], [SCORED, ABSTAINED, FAILED])
    child.scores.values[1:] = math.nan
    tree = algebra.Shift(algebra.Scale(child, 2.0), 1.0)
    scores = tree(laws.text(3))
    assert scores.values.tolist() == [3.0, 0.0, 0.0]
    assert scores.status.tolist() == [SCORED, ABSTAINED, FAILED]


def test_a_transform_that_overflows_is_a_bad_value_of_that_node() -> None:
    tree = algebra.WeightedSum(
        {"big": algebra.Scale(outcome([1.0, 1e30]), 1e30), "fine": outcome([1.0, 1.0])}
    )
    scores = tree(laws.text(2))
    assert scores.status.tolist() == [SCORED, BAD_VALUE]
    assert scores.errors == {1: ("big", "inf is not a finite number")}


def test_errors_carry_path_and_row_through_nesting() -> None:
    broken = outcome([1.0, 1.0], [SCORED, TIMEOUT])
    tree: Reward = algebra.Product({"inner": broken, "one": outcome([1.0, 1.0])})
    tree = algebra.WeightedMean({"mid": algebra.Min({"deep": tree}), "x": outcome([0.0, 0.0])})
    tree = Gate(outcome([1.0, 1.0]), algebra.Shift(tree, 1.0), 0.5)
    scores = tree(laws.text(2))
    assert scores.errors == {1: ("of/of/mid/deep/inner", "broke 2")}
    assert scores.status.tolist() == [SCORED, TIMEOUT]
    assert dict(scores.walk())["of/of/mid/deep/inner"] is broken.scores


def test_the_worst_child_explains_the_row() -> None:
    parts = {
        "slow": outcome([1.0], [TIMEOUT]),
        "bad": outcome([1.0], [BAD_VALUE]),
        "failed": outcome([1.0], [FAILED]),
    }
    scores = algebra.WeightedSum(parts)(laws.text(1))
    assert scores.status.tolist() == [BAD_VALUE]
    assert scores.errors == {0: ("bad", "broke 4")}


def test_which_steps_broke_survives_combination() -> None:
    child = dense([[1.0, 2.0]])
    child.scores.failed_at = torch.tensor([[False, True]])
    rollouts = Rollouts(mask=torch.ones(1, 2, dtype=torch.bool))
    other = dense([[1.0, 2.0]])
    for tree in (
        algebra.Scale(child, 2.0),
        algebra.WeightedSum({"a": child, "b": outcome([1.0])}),
        algebra.Min({"a": other, "b": child}),
        Gate(outcome([1.0]), child, 0.0),
        Gate(child, other, 0.0),
    ):
        assert tree(rollouts).failed_at.tolist() == [[False, True]]
