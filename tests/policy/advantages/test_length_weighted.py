import numpy as np
import pytest
import torch
from hypothesis import given, settings
from tests.policy.advantages.bandit import LENGTH, expected_gradient, gradient_of_best
from tests.policy.advantages.test_outcome_laws import batches

from rewardsmith.policy.advantages.group_relative import dr_grpo
from rewardsmith.policy.advantages.leave_one_out import rloo
from rewardsmith.policy.advantages.length_weighted import opo


@settings(max_examples=50)
@given(batch=batches())
def test_the_baseline_weighs_rewards_by_length(batch):
    rewards, group, lengths = batch
    own, others = (opo(rewards, group, lengths, baseline=b).values for b in ("group", "others"))
    for i, name in enumerate(group):
        rows = [row for row, other in enumerate(group) if other == name]
        r, length = rewards[rows].numpy(), lengths[rows].numpy()
        assert float(own[i]) == pytest.approx(
            float(rewards[i]) - np.average(r, weights=length), abs=1e-12
        )
        rest = [row for row in rows if row != i]
        expected = np.average(rewards[rest].numpy(), weights=lengths[rest].numpy())
        assert float(others[i]) == pytest.approx(float(rewards[i]) - expected, abs=1e-12)
        assert float((own[rows] * lengths[rows]).sum()) == pytest.approx(0.0, abs=1e-10)


@settings(max_examples=25)
@given(batch=batches())
def test_equal_lengths_give_dr_grpo_and_rloo(batch):
    rewards, group, lengths = batch
    same = torch.full_like(lengths, 7)
    one = opo(rewards, group, same).values
    assert one.tolist() == pytest.approx(dr_grpo(rewards, group).values.tolist(), abs=1e-12)
    other = opo(rewards, group, same, baseline="others").values
    assert other.tolist() == pytest.approx(rloo(rewards, group).values.tolist(), abs=1e-12)


def test_the_own_reward_in_the_baseline_turns_the_gradient_and_the_others_do_not():
    lengths, true = torch.from_numpy(LENGTH), gradient_of_best(1)
    others = expected_gradient(lambda r, g, a: opo(r, g, lengths[a], baseline="others").values, 3)
    np.testing.assert_allclose(others / 3, true, rtol=1e-12)
    own = expected_gradient(lambda r, g, a: opo(r, g, lengths[a]).values, 3)
    cosine = own @ true / np.linalg.norm(own) / np.linalg.norm(true)
    assert cosine < 0.999
    # With one length it is shrunk and not turned.
    flat = expected_gradient(lambda r, g, a: opo(r, g, torch.ones_like(a)).values, 3)
    np.testing.assert_allclose(flat / 3, true * 2 / 3, rtol=1e-12)


@pytest.mark.parametrize("length", [0, -2])
def test_a_length_of_nothing_is_named_unless_the_row_is_left_out(length):
    rewards, lengths = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([3, length, 1])
    with pytest.raises(ValueError, match=rf"opo: row 1 \(group 'a'\) has the length {length}, it"):
        opo(rewards, ["a"] * 3, lengths)
    keep = torch.tensor([True, False, True])
    assert opo(rewards, ["a"] * 3, lengths, keep=keep).values.tolist() == [-0.25, 0.0, 0.75]


def test_what_does_not_fit_is_refused():
    rewards = torch.tensor([1.0, 0.0])
    with pytest.raises(ValueError, match="opo: 2 rewards, lengths has 3 rows"):
        opo(rewards, [0, 0], torch.ones(3))
    with pytest.raises(ValueError, match=r"opo: row 0 \(group 0\) has nan in lengths"):
        opo(rewards, [0, 0], torch.tensor([float("nan"), 1.0]))
    with pytest.raises(ValueError, match="opo: baseline is 'mean', not one of group, others"):
        opo(rewards, [0, 0], torch.ones(2), baseline="mean")


def test_a_lone_rollout_may_get_its_reward():
    with pytest.warns(UserWarning, match="opo: rollouts that are alone"):
        values = opo(torch.tensor([3.0]), ["x"], torch.tensor([2]), singleton="reward").values
    assert values.tolist() == [3.0]
