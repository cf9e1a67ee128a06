import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.advantages.test_outcome_laws import batches

from rewardsmith.policy.advantages.active_groups import gpg
from rewardsmith.policy.advantages.group_relative import dr_grpo


@settings(max_examples=50)
@given(batch=batches(), f_norm=st.sampled_from([1.0, 4.0]))
def test_it_is_dr_grpo_times_all_groups_over_those_that_differ(batch, f_norm):
    rewards, group, _ = batch
    members = {i: {float(r) for r, j in zip(rewards, group, strict=True) if j == i} for i in group}
    active = sum(len(values) > 1 for values in members.values())
    alpha = len(members) / active if active else 1.0
    advantages = gpg(rewards, group, f_norm=f_norm)
    expected = dr_grpo(rewards, group).values * alpha / f_norm
    assert advantages.values.tolist() == pytest.approx(expected.tolist(), rel=1e-14)
    assert advantages.metrics["alpha"] == pytest.approx(alpha)


@settings(max_examples=25)
@given(batch=batches())
def test_the_mean_over_all_groups_is_that_over_those_that_differ(batch):
    rewards, group, _ = batch
    plain, scaled = dr_grpo(rewards, group).values, gpg(rewards, group).values
    active = {i for i, a in zip(group, plain.tolist(), strict=True) if a}
    mean = float(scaled.abs().sum()) / len(set(group))
    assert mean == pytest.approx(float(plain.abs().sum()) / max(len(active), 1))


def test_verls_alpha_counts_rewards_that_are_not_zero():
    # By hand: 8 rows, 4 of them not 0.
    rewards = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    group = ["a", "a", "a", "b", "b", "b", "c", "c"]
    advantages = gpg(rewards, group, alpha="nonzero")
    assert advantages.metrics["alpha"] == 2.0
    third = 2.0 / 3.0
    expected = [0, 0, 0, 2 * third, -third, -third, 0, 0]
    assert advantages.values.tolist() == pytest.approx(expected)


def test_a_group_that_is_all_right_says_nothing_here_and_something_in_verl():
    group = ["a", "a", "b", "b"]
    rewards = torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert gpg(rewards, group).metrics["alpha"] == 2.0
    assert gpg(rewards, group, alpha="nonzero").metrics["alpha"] == pytest.approx(4 / 3)


@pytest.mark.parametrize("alpha", ["groups", "nonzero", 3.0])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_batch_that_says_nothing_gets_exactly_zero_and_tells(alpha, value):
    advantages = gpg(torch.full((4,), value), ["a", "b", "a", "b"], alpha=alpha)
    assert advantages.values.tolist() == [0.0] * 4
    assert advantages.metrics["constant_groups"] == 1.0
    if alpha == "groups":
        assert advantages.metrics["alpha"] == 1.0


def test_a_number_is_taken_as_it_is():
    rewards, group = torch.tensor([1.0, 0.0]), [3, 3]
    assert gpg(rewards, group, alpha=3.0, f_norm=2.0).values.tolist() == [0.75, -0.75]


def test_groups_and_rows_without_scores_count_in_neither_number():
    keep = torch.tensor([True, True, True, True, False, False])
    rewards, group = torch.tensor([1.0, 0.0, 1.0, 1.0, 5.0, 5.0]), list("aabbcc")
    assert gpg(rewards, group, keep=keep).metrics["alpha"] == 2.0
    assert gpg(rewards, group, keep=keep, alpha="nonzero").metrics["alpha"] == pytest.approx(4 / 3)


def test_a_lone_rollout_counts_as_constant_unless_it_gets_its_reward():
    rewards, group = torch.tensor([1.0, 0.0, 2.0]), ["a", "a", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert gpg(rewards, group).values.tolist() == [1.0, -1.0, 0.0]
        assert gpg(rewards, group, singleton="reward").values.tolist() == [0.5, -0.5, 2.0]


@pytest.mark.parametrize("option", ["alpha", "f_norm"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_that_is_not_above_zero_is_refused(option, value):
    with pytest.raises(ValueError, match=f"gpg: {option} is .*, it must be above 0"):
        gpg(torch.tensor([1.0, 0.0]), [0, 0], **{option: value})


def test_an_unknown_alpha_is_refused():
    with pytest.raises(ValueError, match="gpg: alpha is 'batch', not one of groups, nonzero"):
        gpg(torch.tensor([1.0, 0.0]), [0, 0], alpha="batch")
