import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from rewardsmith.policy.advantages.optimal_baseline import optimal_token

SEEDS = st.integers(0, 10_000)


def drawn(seed, n=7, t=6, vocabulary=5):
    """Rewards per step, groups, left-aligned answers, and a policy's probabilities."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, t + 1, (n,), generator=generator)
    mask = torch.arange(t) < lengths[:, None]
    rewards = torch.randn(n, t, generator=generator, dtype=torch.float64)
    logits = 2 * torch.randn(n, t, vocabulary, generator=generator, dtype=torch.float64)
    token = torch.randint(0, vocabulary, (n, t), generator=generator)
    logprob = logits.log_softmax(-1)
    squared = logprob.exp().square().sum(-1)
    chosen = logprob.gather(-1, token[..., None])[..., 0]
    group = torch.randint(0, 3, (n,), generator=generator).tolist()
    return rewards, group, mask, chosen, squared, (logits, token)


def by_hand(rewards, group, mask, logprob, squared, singleton="reward"):
    """The definition, group by group and place by place."""
    n, t = mask.shape
    returns = [[float(rewards[i, s:][mask[i, s:]].sum()) for s in range(t)] for i in range(n)]
    energy = (1 - 2 * logprob.exp() + squared) * mask
    values = np.zeros((n, t))
    for i in range(n):
        for s in range(t):
            if not mask[i, s]:
                continue
            rows = [j for j in range(n) if group[j] == group[i] and mask[j, s]]
            weights = [float(energy[j, : s + 1].sum()) for j in rows]
            baseline = np.average([returns[j][s] for j in rows], weights=weights)
            if len(rows) == 1:
                baseline = 0.0 if singleton == "reward" else returns[i][s]
            values[i, s] = returns[i][s] - baseline
    return values


@given(seed=SEEDS, singleton=st.sampled_from(["reward", "zero"]))
@settings(max_examples=40)
def test_it_is_the_weighted_mean_at_each_place(seed, singleton):
    *batch, _ = drawn(seed)
    got = optimal_token(*batch, singleton=singleton).values
    assert got.numpy() == pytest.approx(by_hand(*batch, singleton), rel=1e-9, abs=1e-9)


def test_a_term_of_the_weight_is_the_squared_norm_of_the_gradient():
    rewards, _, _, _, _, (logits, token) = drawn(1, n=2, t=1)
    logits = logits[:2, :1].requires_grad_()
    chosen = logits.log_softmax(-1).gather(-1, token[:2, :1, None])[..., 0]
    (gradient,) = torch.autograd.grad(chosen.sum(), logits)
    w = gradient.square().sum(-1)[:, 0]
    returns = rewards[:2, 0]
    expected = returns - (w * returns).sum() / w.sum()
    squared = logits.softmax(-1).square().sum(-1)
    mask = torch.ones(2, 1, dtype=torch.bool)
    got = optimal_token(rewards[:2, :1], [0, 0], mask, chosen, squared).values
    assert got[:, 0].tolist() == pytest.approx(expected.tolist(), rel=1e-12)
    assert not got.requires_grad


def test_returns_that_are_the_same_give_exactly_zero():
    _, _, _, logprob, squared, _ = drawn(2, n=4)
    rewards = torch.zeros(4, 6, dtype=torch.float64)
    rewards[:, -1] = 0.1
    mask = torch.ones(4, 6, dtype=torch.bool)
    got = optimal_token(rewards, [0] * 4, mask, logprob, squared)
    assert got.values.tolist() == [[0.0] * 6] * 4


def test_where_no_row_has_a_gradient_yet_rows_weigh_the_same():
    rewards = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]).double()
    logprob = torch.tensor([[0.0, -1.0], [0.0, -1.0], [0.0, -1.0]]).double()
    squared = torch.tensor([[1.0, 0.5]] * 3).double()
    mask = torch.ones(3, 2, dtype=torch.bool)
    values = optimal_token(rewards, [0] * 3, mask, logprob, squared).values
    assert values[:, 0].tolist() == pytest.approx([2 / 3, -1 / 3, -1 / 3])


def test_a_token_that_is_alone_at_its_place_gets_its_return_or_nothing():
    rewards = torch.tensor([[0.0, 0.0, 3.0], [1.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True], [True, False, False], [True, False, False]])
    logprob, squared = torch.full((3, 3), -1.0), torch.full((3, 3), 0.5)
    got = optimal_token(rewards, ["a", "a", "b"], mask, logprob, squared, singleton="reward")
    assert got.values.tolist() == [[1.0, 3.0, 3.0], [-1.0, 0.0, 0.0], [5.0, 0.0, 0.0]]
    assert got.metrics["alone_tokens"] == pytest.approx(3 / 5)
    zero = optimal_token(rewards, ["a", "a", "b"], mask, logprob, squared)
    assert zero.values.tolist() == [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


@given(seed=SEEDS)
@settings(max_examples=20)
def test_a_row_without_a_score_counts_nowhere(seed):
    rewards, group, mask, logprob, squared, _ = drawn(seed)
    keep = torch.tensor([True, True, False, True, False, True, True])
    spoiled = torch.where(keep[:, None], rewards, math.nan)
    got = optimal_token(spoiled, group, mask, logprob, squared, keep=keep)
    rows = keep.nonzero()[:, 0]
    alone = optimal_token(
        rewards[rows], [group[i] for i in rows], mask[rows], logprob[rows], squared[rows]
    )
    assert torch.allclose(got.values[rows], alone.values, rtol=1e-12, atol=1e-12)
    assert got.values[~keep].abs().sum() == 0.0
    assert torch.equal(got.keep, keep)


def test_padding_may_hold_anything():
    rewards, group, mask, logprob, squared, _ = drawn(4)
    clean = optimal_token(rewards, group, mask, logprob, squared).values
    rubbish = [torch.where(mask, x, y) for x, y in ((logprob, -math.inf), (squared, math.nan))]
    dirty = optimal_token(torch.where(mask, rewards, math.nan), group, mask, *rubbish).values
    assert torch.equal(clean, dirty)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logprob", -math.inf),
        ("logprob", 0.5),
        ("sum_pi_squared", 1.5),
        ("sum_pi_squared", -0.5),
        ("sum_pi_squared", math.nan),
        ("step_rewards", math.inf),
    ],
)
def test_a_number_that_cannot_be_is_named(name, value):
    given_tensors = {
        "step_rewards": torch.zeros(2, 2),
        "logprob": torch.full((2, 2), -1.0),
        "sum_pi_squared": torch.full((2, 2), 0.5),
    }
    given_tensors[name][1, 0] = value
    with pytest.raises(ValueError, match=f"otb: row 1 has .* in {name} at step 0"):
        optimal_token(group=[0, 0], mask=torch.ones(2, 2, dtype=torch.bool), **given_tensors)


def test_other_bad_input_is_refused():
    ones, mask = torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises((ValueError, TypeCheckError), match="singleton"):
        optimal_token(ones, [0, 0], mask, -ones, ones, singleton="none")
    with pytest.raises(ValueError, match="otb: 2 rows of rewards, group has 3"):
        optimal_token(ones, [0, 0, 0], mask, -ones, ones)
    with pytest.raises((ValueError, TypeCheckError), match="logprob"):
        optimal_token(ones, [0, 0], mask, -torch.ones(2, 3), ones)


def test_tokens_that_are_certain_but_for_rounding_weigh_the_same():
    rewards = torch.tensor([[0.0, 3.0], [0.0, 0.0], [0.0, 0.0]])
    logprob = torch.zeros(3, 2)
    squared = torch.ones(3, 2)
    squared[1] += 2.5e-7  # what a sum of float32 is off by
    values = optimal_token(rewards, [0] * 3, torch.ones(3, 2).bool(), logprob, squared).values
    assert values[:, 1].tolist() == pytest.approx([2.0, -1.0, -1.0])
