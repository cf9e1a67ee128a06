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
    with pytest.warns(
        UserWarning, match="grpo: rollouts that are alone in their group get an advantage of 0"
    ):
        values = grpo(torch.tensor([1.0, 2.0, 5.0]), ["a", "a", "c"]).values
    assert values[2] == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = grpo(torch.tensor([5.0]), ["c"], singleton="reward", eps=0.0)
    assert kept.values.tolist() == [5.0]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"eps": float("inf")}, "grpo: eps is inf, it must be at least 0 and finite"),
        ({"eps": float("nan")}, "grpo: eps is nan"),
        ({"ddof": 2}, "grpo: ddof is 2, it must be 0 or 1"),
    ],
)
def test_options_out_of_range_are_refused(option, told):
    with pytest.raises(ValueError, match=told):
        grpo(torch.tensor([1.0, 0.0]), [0, 0], **option)


def test_an_epsilon_that_swallows_the_deviation_still_divides():
    values = grpo(torch.tensor([1.0, 0.0], dtype=torch.float64), [0, 0], eps=1e20).values
    assert values.tolist() == [0.5e-20, -0.5e-20]


def test_what_is_left_of_others_that_hardly_differ_is_no_rounding():
    rewards = torch.tensor([0.0, 0.01, 0.02, 10.0], dtype=torch.float64)
    values = grpo(rewards, [0] * 4, baseline="others", scale="others", eps=0.0).values
    # The others of the last row have the mean 0.01 and the deviation 0.01.
    assert values[3].item() == pytest.approx(999.0, rel=1e-6)


def test_a_lone_reward_is_divided_as_others_are():
    with pytest.warns(UserWarning, match="get their reward as the advantage"):
        values = grpo(torch.tensor([5.0]), ["c"], singleton="reward", eps=0.25).values
    assert values.tolist() == [4.0]


def test_long_ids_are_shortened():
    with pytest.raises(ValueError, match=r"row 0 \(group 'x+\.\.\.x+'\) has nan") as told:
        grpo(torch.tensor([float("nan"), 1.0]), ["x" * 5000] * 2)
    assert len(str(told.value)) < 200
