"""Centered and running_norm: what they learn from, when, and their formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import laws
from tests.laws import ABSTAINED, FAILED, SCORED, outcome

from rewardsmith.core import algebra
from rewardsmith.core.learning import learn
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.running import Centered, RunningNorm


def paid(table: list[list[float]], acted: list[list[bool]] | None = None) -> Rollouts:
    column = torch.tensor(table, dtype=torch.float64)
    action_mask = None if acted is None else torch.tensor(acted)
    return Rollouts(
        steps={"env_reward": column},
        mask=torch.ones(column.shape, dtype=torch.bool),
        action_mask=action_mask,
    )


@given(
    batches=st.lists(
        st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=5), min_size=1, max_size=4
    ),
    center=st.booleans(),
)
@settings(max_examples=30)
def test_they_use_everything_seen_so_far(batches: list[list[float]], center: bool) -> None:
    norm, mean = RunningNorm(EnvReward(), center=center, eps=0.5), Centered(EnvReward())
    seen: list[float] = []
    for batch in batches:
        seen += batch
        # The batch is taken in before it is scored.
        scores, metrics = learn(norm, paid([batch]))
        expected = (np.array(batch) - center * np.mean(seen)) / math.sqrt(np.var(seen) + 0.5)
        np.testing.assert_allclose(scores.values[0], expected, rtol=1e-4, atol=1e-4)
        assert metrics["mean"] == pytest.approx(np.mean(seen), abs=1e-9)
        assert metrics["std"] == pytest.approx(np.std(seen), abs=1e-6)
        centered, _ = learn(mean, paid([batch]))
        np.testing.assert_allclose(centered.values[0], batch - np.mean(seen), atol=1e-4)


def test_before_anything_was_seen_they_change_nothing() -> None:
    rollouts = paid([[1.0, 2.0]])
    assert RunningNorm(EnvReward())(rollouts).values.tolist() == [[1.0, 2.0]]
    assert Centered(EnvReward())(rollouts).values.tolist() == [[1.0, 2.0]]


def test_only_what_was_scored_is_seen() -> None:
    reward = Centered(EnvReward())
    learn(reward, paid([[1.0, math.nan, 3.0]], [[True, False, True]]))
    assert reward.moments.state() == {"count": 2, "mean": 2.0, "m2": 2.0}
    rows = Centered(outcome([4.0, 9.0, 9.0, 6.0], [SCORED, ABSTAINED, FAILED, SCORED]))
    learn(rows, laws.text(4))
    assert rows.moments.state() == {"count": 2, "mean": 5.0, "m2": 2.0}
    learn(Centered(outcome([1.0], [FAILED])), laws.text(1))


def test_a_constant_reward_does_not_divide_by_nothing() -> None:
    reward = RunningNorm(EnvReward())
    scores, _ = learn(reward, paid([[0.1, 0.1, 0.1]]))
    assert scores.scored.all()
    assert float(scores.values.abs().max()) < 1e-3


def test_a_norm_above_a_norm_sees_what_the_lower_one_gives_now() -> None:
    inner = RunningNorm(EnvReward(), eps=1e-6)
    outer = Centered(algebra.Shift(inner, 1.0))
    learn(outer, paid([[0.0, 2.0]]))
    assert inner.moments.mean == 1.0
    assert outer.moments.mean == pytest.approx(1.0)


@pytest.mark.parametrize("eps", [0.0, -1.0, math.nan, math.inf])
def test_an_eps_that_is_none(eps: float) -> None:
    with pytest.raises(ValueError, match="it must be a positive number"):
        RunningNorm(EnvReward(), eps=eps)


def test_statistics_of_long_streams_do_not_drift() -> None:
    # In float32, adding 1 to 2^24 changes nothing.
    reward = Centered(EnvReward())
    reward.moments.add(np.full(2**10, 1e8))
    learn(reward, paid([[1e8 + 1024.0] * 1024]))
    assert reward.moments.mean == 1e8 + 512.0
