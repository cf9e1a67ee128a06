import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from tests.policy.advantages.bandit import expected_gradient, gradient_of_best
from tests.policy.advantages.test_outcome_laws import batches

from rewardsmith.policy.advantages.best_of_group import pass_at_k


@settings(max_examples=60)
@given(batch=batches())
def test_only_the_best_gets_what_it_has_over_the_second(batch):
    rewards, group, _ = batch
    plain, scaled = pass_at_k(rewards, group), pass_at_k(rewards, group, scale="group", eps=1e-3)
    for name in set(group):
        rows = [row for row, other in enumerate(group) if other == name]
        second, best = rewards[rows].sort().values[-2:].tolist()
        expected = [best - second if float(rewards[i]) == best else 0.0 for i in rows]
        assert plain.values[rows].tolist() == expected
        over = float(rewards[rows].std()) + 1e-3
        assert scaled.values[rows].tolist() == pytest.approx([e / over for e in expected])


@pytest.mark.parametrize("n", [2, 3, 4])
def test_it_is_unbiased_for_the_best_of_the_group(n):
    mean = expected_gradient(lambda r, g, _: pass_at_k(r, g).values, n)
    np.testing.assert_allclose(mean, gradient_of_best(n), rtol=1e-10)


@pytest.mark.parametrize("n", [2, 3])
def test_with_binary_rewards_its_objective_is_pass_at_k(n):
    right = np.array([0.0, 1.0, 0.0])
    mean = expected_gradient(lambda r, g, _: pass_at_k(r, g).values, n, right)
    # 1 - (1 - p)^n, by the chain rule: n (1 - p)^(n-1) grad p, with p = 0.3.
    p = 0.3
    grad_p = p * (np.array([0.0, 1.0, 0.0]) - np.array([0.5, 0.3, 0.2]))
    np.testing.assert_allclose(mean, n * (1 - p) ** (n - 1) * grad_p, rtol=1e-10)


def test_dividing_turns_the_gradient():
    true = gradient_of_best(2)
    mean = expected_gradient(lambda r, g, _: pass_at_k(r, g, scale="group").values, 2)
    assert mean @ true / np.linalg.norm(mean) / np.linalg.norm(true) < 0.999


def test_two_that_are_best_get_exactly_zero():
    rewards = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0])
    values = pass_at_k(rewards, ["a", "a", "a", "b", "b"], scale="group").values
    assert values[:4].tolist() == [0.0] * 4
    assert float(values[4]) == pytest.approx(2**0.5, rel=1e-5)


def test_a_row_without_a_score_is_neither_best_nor_second():
    rewards = torch.tensor([9.0, 3.0, 1.0, 2.5])
    keep = torch.tensor([False, True, True, False])
    assert pass_at_k(rewards, [0] * 4, keep=keep).values.tolist() == [0.0, 2.0, 0.0, 0.0]
    negative = torch.tensor([-1.0, -3.0, 0.0])
    keep = torch.tensor([True, True, False])
    assert pass_at_k(negative, [0] * 3, keep=keep).values.tolist() == [2.0, 0.0, 0.0]


def test_a_lone_rollout_gets_its_reward_if_told_so():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = pass_at_k(torch.tensor([3.0, 1.0, 0.0]), list("abb"), singleton="reward").values
    assert values.tolist() == [3.0, 1.0, 0.0]


def test_unknown_options_are_refused():
    rewards = torch.tensor([3.0, 1.0])
    with pytest.raises(ValueError, match="pass_at_k: scale is 'std', not one of"):
        pass_at_k(rewards, [0, 0], scale="std")
    with pytest.raises(ValueError, match=r"pass_at_k: eps is -1\.0"):
        pass_at_k(rewards, [0, 0], scale="group", eps=-1.0)
