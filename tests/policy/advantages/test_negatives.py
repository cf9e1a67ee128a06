import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.advantages.test_outcome_laws import batches

from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.advantages.negatives import negatives_only


@settings(max_examples=50)
@given(
    batch=batches(),
    scale=st.sampled_from(["group", "others", "batch", "none"]),
    baseline=st.sampled_from(["group", "others"]),
)
def test_it_is_grpo_without_what_is_above_zero(batch, scale, baseline):
    rewards, group, _ = batch
    options = {"scale": scale, "baseline": baseline, "eps": 1e-3, "ddof": 0}
    values = negatives_only(rewards, group, **options).values
    expected = grpo(rewards, group, **options).values.clamp(max=0.0)
    assert values.equal(expected)


@settings(max_examples=25)
@given(batch=batches())
def test_all_rows_still_train_and_no_group_gains(batch):
    rewards, group, _ = batch
    advantages = negatives_only(rewards, group)
    assert advantages.keep.all()
    assert (advantages.values <= 0.0).all()
    share = float((advantages.values < 0.0).double().mean())
    assert advantages.metrics["negative"] == pytest.approx(share)


def test_binary_rewards_have_the_closed_form():
    # Success rate 1/4: wrong ones get -sqrt(p / (1 - p)), right ones nothing.
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])
    values = negatives_only(rewards, ["x"] * 4, eps=0.0, ddof=0).values
    assert values.tolist() == pytest.approx([0.0] + [-((1 / 3) ** 0.5)] * 3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_negatives_there_is_nothing(value):
    assert negatives_only(torch.full((4,), value), [0] * 4).values.tolist() == [0.0] * 4


def test_it_never_raises_a_sampled_right_answer_by_its_own_term():
    logits = torch.zeros(3, requires_grad=True)
    arms = torch.tensor([0, 0, 1, 2])
    values = negatives_only((arms == 0).float(), [0] * 4).values
    right = arms == 0
    (values * logits.log_softmax(0)[arms])[right].sum().backward()
    assert logits.grad.tolist() == [0.0, 0.0, 0.0]


def test_bad_rewards_are_named():
    with pytest.raises(ValueError, match=r"negatives_only: row 0 \(group 7\) has nan in rewards"):
        negatives_only(torch.tensor([float("nan"), 1.0]), [7, 7])
