"""Scores: construction, policies for missing rows, stacking, and putting segments back."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from tests import laws
from tests.laws import ABSTAINED, BAD_VALUE, FAILED, SCORED, TIMEOUT, UNSCORED, dense, outcome

from rewardsmith.core import algebra
from rewardsmith.core.errors import MissingColumn, ScoreError
from rewardsmith.core.function import Function
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores, worst


def test_statuses_are_ordered_from_best_to_worst() -> None:
    names = ["scored", "abstained", "timeout", "failed", "bad_value", "unscored"]
    assert [s.name.lower() for s in sorted(Status)] == names
    a, b = torch.tensor([0, 2, 1], dtype=torch.int8), torch.tensor([1, 0, 4], dtype=torch.int8)
    assert worst([a, b]).tolist() == [1, 2, 4]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])
def test_a_value_that_is_not_finite_is_a_bad_value_with_its_row(value: float) -> None:
    # 1e39 is finite in float64 only: what is stored has to be finite.
    scores = Scores.outcome(torch.tensor([1.0, value], dtype=torch.float64))
    assert scores.status.tolist() == [SCORED, BAD_VALUE]
    assert scores.values.tolist() == [1.0, 0.0]
    assert scores.errors[1][1].endswith("is not a finite number")
    steps = Scores.dense(
        torch.tensor([[1.0, 2.0], [1.0, value]], dtype=torch.float64),
        torch.ones(2, 2, dtype=torch.bool),
    )
    assert steps.status.tolist() == [SCORED, BAD_VALUE]
    assert steps.values.tolist() == [[1.0, 2.0], [0.0, 0.0]]
    assert steps.at.tolist() == [[True, True], [False, False]]
    assert steps.errors[1][1].endswith("is not a finite number")


def test_what_is_not_finite_where_nothing_was_scored_is_not_read() -> None:
    nan = math.nan
    steps = Scores.dense(torch.tensor([[1.0, nan]]), torch.tensor([[True, False]]))
    assert steps.status.tolist() == [SCORED]
    assert steps.values.tolist() == [[1.0, 0.0]]
    given_status = torch.tensor([FAILED], dtype=torch.int8)
    assert Scores.outcome(torch.tensor([nan]), given_status).status.tolist() == [FAILED]


def test_a_row_without_a_scored_step_abstains() -> None:
    at = torch.tensor([[True, False], [False, False]])
    assert Scores.dense(torch.ones(2, 2), at).status.tolist() == [SCORED, ABSTAINED]


def test_shapes_that_do_not_agree_are_refused() -> None:
    ok = torch.zeros(2, dtype=torch.int8)
    with pytest.raises(ValueError, match="dense scores need `at`"):
        Scores(torch.zeros(2, 2), ok)
    with pytest.raises(ValueError, match="have no `at`"):
        Scores(torch.zeros(2), ok, at=torch.ones(2, 2, dtype=torch.bool))
    # The type checks of the tests are faster than the class: they see that 3 is not 2.
    with pytest.raises((ValueError, TypeCheckError)):
        Scores(torch.zeros(3), ok)


# --- the caller's policy --------------------------------------------------------------------------

every_status = outcome([1.0] * 6, [SCORED, ABSTAINED, TIMEOUT, FAILED, BAD_VALUE, UNSCORED]).scores


def test_missing_leaves_rows_as_they_are() -> None:
    assert every_status.resolve() is every_status
    assert every_status.resolve("missing") is every_status


def test_raise_names_row_part_and_reason() -> None:
    tree = algebra.Scale(outcome([1.0, 1.0, 1.0], [SCORED, ABSTAINED, FAILED]), 2.0)
    with pytest.raises(ScoreError) as caught:
        tree(laws.text(3)).resolve("raise")
    assert (caught.value.row, caught.value.part) == (2, "of")
    assert str(caught.value) == "part 'of', row 2: failed: broke 3"
    fine = outcome([1.0, 1.0], [SCORED, ABSTAINED]).scores
    assert fine.resolve("raise") is fine
    unscored = Scores(torch.zeros(1), torch.tensor([UNSCORED], dtype=torch.int8))
    with pytest.raises(ScoreError, match="the reward, row 0: unscored: unscored"):
        unscored.resolve("raise")


def test_a_number_scores_every_row_that_has_none() -> None:
    resolved = every_status.resolve(-2.0)
    assert resolved.values.tolist() == [1.0, *[-2.0] * 5]
    assert resolved.scored.all()
    assert every_status.status.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_number_for_a_dense_row_is_paid_where_outcomes_are() -> None:
    """Before the last action, no step's return would hold it, or all would."""
    mask = torch.tensor([[True, True, True], [False, True, False]])
    rollouts = Rollouts(steps={"env_reward": torch.ones(2, 3)}, action_mask=mask)
    steps = Scores.dense(torch.ones(2, 3), mask, torch.tensor([0, FAILED], dtype=torch.int8))
    resolved = steps.resolve(-2.0, rollouts)
    assert resolved.values.tolist() == [[1.0, 1.0, 1.0], [0.0, -2.0, 0.0]]
    assert resolved.at.tolist() == mask.tolist()
    assert resolved.scored.all()
    with pytest.raises(ValueError, match=r"resolve\(number, rollouts\)"):
        steps.resolve(-2.0)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_none_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        every_status.resolve(number)


# --- parts ----------------------------------------------------------------------------------------


def test_stack_puts_parts_side_by_side() -> None:
    steps = algebra.WeightedSum({"a": dense([[1.0, 2.0]]), "b": dense([[3.0, 4.0]])})
    rollouts = Rollouts(mask=torch.ones(1, 2, dtype=torch.bool))
    assert steps(rollouts).stack(["b", "a"]).tolist() == [[[3.0, 1.0], [4.0, 2.0]]]
    rows = algebra.WeightedSum({"a": outcome([1.0, 2.0]), "b": outcome([3.0, 4.0])})
    assert rows(laws.text(2)).stack(["a", "b"]).tolist() == [[1.0, 3.0], [2.0, 4.0]]
    mixed = algebra.WeightedSum({"a": outcome([1.0]), "b": dense([[1.0, 2.0]])})(rollouts)
    with pytest.raises(ValueError, match="mix granularities"):
        mixed.stack(["a", "b"])
    assert [part.granularity for _, part in mixed.walk()] == ["dense", "outcome", "dense"]
    assert repr(mixed) == "Scores(dense [1, 2], scored=1, parts=['a', 'b'])"
    assert len(mixed) == 1


# --- segments -------------------------------------------------------------------------------------

TURNS = torch.tensor([[0, 0, -1, 1, 1, -1], [3, 3, 3, 3, -1, -1]])
ACTED = torch.tensor([[1, 1, 0, 1, 0, 0], [0, 1, 1, 0, 0, 0]], dtype=torch.bool)


def conversations() -> Rollouts:
    mask = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]], dtype=torch.bool)
    return Rollouts(
        {"task": ["x", "y"]},
        {"token": torch.arange(12).reshape(2, 6), "env_reward": torch.ones(2, 6)},
        mask=mask,
        action_mask=ACTED,
        spans={"turn": TURNS},
        group=["g", "g"],
    )


def test_segments_are_rows_with_their_rollouts_columns() -> None:
    turns = conversations().segments("turn")
    assert turns["rollout"].tolist() == [0, 0, 1]
    assert turns["segment"].tolist() == [0, 1, 3]
    assert turns["task"] == ["x", "x", "y"]
    assert turns.mask.sum(dim=1).tolist() == [2, 2, 4]
    assert turns["token"][0, :2].tolist() == [0, 1]
    assert turns["token"][1, :2].tolist() == [3, 4]
    assert turns.action_mask.sum(dim=1).tolist() == [2, 1, 2]
    assert turns.group.tolist() == [0, 0, 0]


def test_scores_of_segments_go_onto_their_last_action_step() -> None:
    rollouts = conversations()
    scores = outcome([1.0, 2.0, 3.0]).scores.onto(rollouts, "turn")
    assert scores.values.tolist() == [[0, 1, 0, 2, 0, 0], [0, 0, 3, 0, 0, 0]]
    assert scores.at.nonzero().tolist() == [[0, 1], [0, 3], [1, 2]]
    scored = Function(lambda task: 1.0 if task == "y" else 0.5)(rollouts.segments("turn"))
    assert scored.onto(rollouts, "turn").total().tolist() == [1.0, 1.0]


def test_a_dense_score_of_a_segment_is_summed() -> None:
    rollouts = conversations()
    turns = rollouts.segments("turn")
    per_step = Scores.dense(turns["env_reward"], turns.action_mask)
    assert per_step.onto(rollouts, "turn").total().tolist() == [3.0, 2.0]


def test_the_worst_segment_decides_and_explains_its_row() -> None:
    rollouts = conversations()
    scores = outcome([1.0, 2.0, 3.0], [FAILED, TIMEOUT, SCORED]).scores.onto(rollouts, "turn")
    assert scores.status.tolist() == [FAILED, SCORED]
    assert scores.errors == {0: ("", "broke 3")}
    scores = outcome([1.0, 2.0, 3.0], [ABSTAINED, SCORED, ABSTAINED]).scores.onto(rollouts, "turn")
    assert scores.status.tolist() == [SCORED, ABSTAINED]
    assert scores.total().tolist() == [2.0, 0.0]


def test_scores_of_other_segments_are_refused() -> None:
    with pytest.raises(ValueError, match="2 scores for 3 segments of span 'turn'"):
        outcome([1.0, 2.0]).scores.onto(conversations(), "turn")
    with pytest.raises(MissingColumn, match="no column 'step', needed by a span"):
        conversations().segments("step")


@given(st.lists(st.lists(st.integers(-1, 3), min_size=5, max_size=5), min_size=1, max_size=4))
@settings(max_examples=40)
def test_segments_and_onto_lose_nothing(ids: list[list[int]]) -> None:
    spans = torch.tensor(ids)
    rollouts = Rollouts(
        steps={"env_reward": torch.arange(spans.numel()).reshape(spans.shape).float()},
        spans={"turn": spans},
    )
    if not (spans >= 0).any():
        with pytest.raises(ValueError, match="no segment"):
            rollouts.segments("turn")
        return
    turns = rollouts.segments("turn")
    inside = torch.where(spans >= 0, rollouts["env_reward"], 0.0)
    sums = torch.where(turns.mask, turns["env_reward"], 0.0).sum(dim=1)
    back = Scores.outcome(sums).onto(rollouts, "turn")
    assert back.total().tolist() == inside.sum(dim=1).tolist()
    assert int(back.at.sum()) == len(turns)
