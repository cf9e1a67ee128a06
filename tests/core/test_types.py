"""Preferences, advantages, errors, and the other four arrows."""

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from tests import laws
from tests.laws import ABSTAINED, FAILED, SCORED

from rewardsmith.core import bases
from rewardsmith.core.acting import Terms, step_of
from rewardsmith.core.advantages import Advantages
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError
from rewardsmith.core.preferences import Preferences, win_rate
from rewardsmith.core.reward import Reward

pairs = st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 0.25, 0.5, 1.0]))


def preferences(table: list[tuple[int, int, float]], **rest: torch.Tensor) -> Preferences:
    a, b, p = zip(*table, strict=True)
    return Preferences(torch.tensor(a), torch.tensor(b), torch.tensor(p), **rest)


@given(st.lists(pairs.filter(lambda pair: pair[0] != pair[1]), min_size=1, max_size=8))
@settings(max_examples=40)
def test_win_rate_is_the_mean_probability_of_winning(table: list[tuple[int, int, float]]) -> None:
    scores = win_rate(preferences(table), 4)
    for row in range(4):
        won = [p for a, _, p in table if a == row] + [1 - p for _, b, p in table if b == row]
        assert int(scores.status[row]) == (SCORED if won else ABSTAINED)
        assert float(scores.values[row]) == pytest.approx(sum(won) / len(won) if won else 0.0)


def test_comparisons_that_broke_are_left_out() -> None:
    status = torch.tensor([SCORED, FAILED, FAILED], dtype=torch.int8)
    made = preferences([(0, 1, 1.0), (0, 1, 0.0), (2, 0, 1.0)], status=status)
    scores = win_rate(made, 3)
    assert scores.values.tolist() == [1.0, 0.0, 0.0]
    # Row 2's only comparison broke: that is no abstention. Nobody compared row 3.
    assert scores.status.tolist() == [SCORED, SCORED, FAILED]
    assert win_rate(made, 4).status.tolist() == [SCORED, SCORED, FAILED, ABSTAINED]
    assert len(made) == 3


def test_preferences_that_are_none() -> None:
    with pytest.raises(ValueError, match="compared with itself"):
        preferences([(0, 0, 0.5)])
    for p in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"every value lies in \[0, 1\]"):
            preferences([(0, 1, p)])


def test_advantages_that_train_are_finite() -> None:
    nan = float("nan")
    keep = torch.tensor([True, False])
    Advantages(torch.tensor([1.0, nan]), keep)
    Advantages(torch.tensor([[1.0, 2.0], [nan, nan]]), keep)
    with pytest.raises(ValueError, match="row 0 trains on an advantage that is not finite"):
        Advantages(torch.tensor([[1.0, nan], [1.0, 1.0]]), keep)
    with pytest.raises((ValueError, TypeCheckError)):
        Advantages(torch.ones(2), torch.tensor([True]))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SpecError("bad", path="a/b", file="f.yaml", line=3), "f.yaml:3: a/b: bad"),
        (SpecError("bad", line=3), "line 3: bad"),
        (SpecError("bad"), "bad"),
        (MissingColumn("x", needed_by="me", present="ba"), "no column 'x', needed by me; columns"),
        (MissingColumn("x"), "no column 'x'; columns present: none"),
        (ScoreError("bad", row=2, part="a"), "part 'a', row 2: bad"),
        (ScoreError("bad"), "the reward: bad"),
    ],
)
def test_errors_tell_where_and_cross_process_boundaries(error: Exception, told: str) -> None:
    assert str(error).startswith(told)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def bare(kind: type[Any]) -> Any:
    """A node of a base; the base's own __init__ is Module's, whose arguments are no node's."""
    return type("Mine", (kind,), {"__init__": lambda self: kind.__init__(self)})()


def test_what_a_base_leaves_open_says_so() -> None:
    rollouts, scores = laws.text(1), laws.outcome([1.0]).scores
    for kind, call in (
        (Reward, lambda node: node(rollouts)),
        (Reward, lambda node: node.step(step_of(laws.mixed_rollouts("dict"), 0), None, Terms())),
        (bases.Comparator, lambda node: node(rollouts)),
        (bases.Relabel, lambda node: node(rollouts)),
        (bases.Estimator, lambda node: node(rollouts, scores)),
        (bases.Sampler, lambda node: node.propose(1)),
        (bases.Sampler, lambda node: node.observe(rollouts, scores)),
    ):
        with pytest.raises(NotImplementedError, match="Mine"):
            call(bare(kind))


def test_weights_have_the_shape_of_what_they_weigh() -> None:
    keep = torch.tensor([True, True])
    Advantages(torch.ones(2), keep, weight=torch.ones(2, 3))
    with pytest.raises((ValueError, TypeCheckError)):
        Advantages(torch.ones(2), keep, weight=torch.ones(1, 3))
    with pytest.raises((ValueError, TypeCheckError)):
        Advantages(torch.ones(2, 4), keep, weight=torch.ones(2, 3))
    Advantages(torch.ones(0), torch.zeros(0, dtype=torch.bool))
