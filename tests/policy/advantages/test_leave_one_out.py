import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from tests.policy.advantages.bandit import expected_gradient, gradient_of_best
from tests.policy.advantages.test_outcome_laws import batches

from rewardsmith.policy.advantages.group_relative import dr_grpo
from rewardsmith.policy.advantages.leave_one_out import rloo


def test_each_is_compared_with_the_mean_of_the_others():
    rewards = torch.tensor([1.0, 5.0, 0.0, 3.0, 2.0], dtype=torch.float64)
    values = rloo(rewards, ["a", "b", "a", "b", "b"]).values
    assert values.tolist() == pytest.approx([1.0, 2.5, -1.0, -0.5, -2.0], rel=1e-15)


@settings(max_examples=50)
@given(batch=batches())
def test_it_is_dr_grpo_times_n_over_n_minus_1_and_sums_to_zero(batch):
    rewards, group, _ = batch
    n = torch.tensor([group.count(i) for i in group])
    values = rloo(rewards, group).values
    assert values.tolist() == pytest.approx((dr_grpo(rewards, group).values * n / (n - 1)).tolist())
    for i in set(group):
        rows = [row for row, other in enumerate(group) if other == i]
        assert float(values[rows].sum()) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_it_is_unbiased_and_dr_grpo_is_so_up_to_a_factor(n):
    true = gradient_of_best(1)
    mean = expected_gradient(lambda r, g, _: rloo(r, g).values, n) / n
    np.testing.assert_allclose(mean, true, rtol=1e-12)
    mean = expected_gradient(lambda r, g, _: dr_grpo(r, g).values, n) / n
    np.testing.assert_allclose(mean, true * (n - 1) / n, rtol=1e-12)


def test_a_lone_rollout_gets_its_reward_if_told_so_which_is_unbiased():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mean = expected_gradient(lambda r, g, _: rloo(r, g, singleton="reward").values, 1)
    np.testing.assert_allclose(mean, gradient_of_best(1), rtol=1e-12)


def test_an_unknown_option_is_refused():
    with pytest.raises(ValueError, match="rloo: singleton is 'mean', not one of zero, reward"):
        rloo(torch.tensor([1.0, 2.0]), [0, 0], singleton="mean")
