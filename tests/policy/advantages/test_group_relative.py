import warnings

import numpy as np
import pytest
import torch

from rewardsmith.policy.advantages.group_relative import dr_grpo, grpo


def test_it_is_the_formula_in_groups_of_any_ids():
    rewards = torch.tensor([1.0, 0.0, 3.0, 1.0, 5.0], dtype=torch.float64)
    advantages = grpo(rewards, ["b", "a", "b", "a", "b"], eps=0.0)
    b = np.array([1.0, 3.0, 5.0])
    expected = (b - b.mean()) / b.std(ddof=1)
    assert advantages.values[[0, 2, 4]].tolist() == pytest.approx(expected.tolist(), rel=1e-15)
    assert advantages.values[[1, 3]].tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5])


def test_rewards_that_are_the_same_give_exactly_zero():
    values = grpo(torch.full((7,), 0.35, dtype=torch.float64), [0] * 7).values
    assert values.tolist() == [0.0] * 7
    assert dr_grpo(torch.full((7,), 0.1), ["a"] * 7).values.tolist() == [0.0] * 7


def test_a_row_without_a_score_counts_nowhere():
    rewards = torch.tensor([1.0, float("nan"), 3.0])
    advantages = grpo(rewards, [0, 0, 0], keep=torch.tensor([True, False, True]), eps=0.0)
    assert advantages.values.tolist() == pytest.approx([-(0.5**0.5), 0.0, 0.5**0.5])
    assert advantages.keep.tolist() == [True, False, True]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_reward_that_is_not_finite_is_named(value):
    rewards = torch.tensor([1.0, float(value), 3.0])
    with pytest.raises(ValueError, match=r"grpo: row 1 \(group 'q'\) has -?(nan|inf) in rewards"):
        grpo(rewards, ["p", "q", "p"])


def test_the_residue_of_the_others_is_no_spread():
    rewards = torch.tensor([0.35] * 7 + [0.95])
    values = grpo(rewards, [0] * 8, baseline="others", scale="others").values
    assert float(values[7]) == pytest.approx(0.6, rel=1e-6)


def test_singletons_are_told_of():
    with pytest.warns(UserWarning, match=r"grpo: 1 of 3 rollouts .* row 2 \(group 'c'\)"):
        values = grpo(torch.tensor([1.0, 2.0, 5.0]), ["a", "a", "c"]).values
    assert values[2] == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = grpo(torch.tensor([5.0]), ["c"], singleton="reward", eps=0.0)
    assert kept.values.tolist() == [5.0]
