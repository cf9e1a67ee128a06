import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.policy.losses.elastic import elastic_clip, etr, group_variance

parts = st.floats(0.0, 1.0)
advantages = st.floats(-5.0, 5.0)


def of(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def batch(seed=0, n=6, t=5):
    make = torch.Generator().manual_seed(seed)
    new, old = (torch.randn(2, n, t, generator=make) * 0.3 - 1.0).unbind()
    mask = torch.rand(n, t, generator=make) > 0.2
    return new, old, torch.randn(n, generator=make), mask, torch.rand(n, generator=make)


def test_the_formula_by_hand():
    low, high = elastic_clip(of(1.0, -1.0, 0.0), of(1.0, 0.0, 1.0), clip=(0.2, 0.22))
    tanh = np.tanh(1.0)
    assert high.tolist() == pytest.approx([1 + 0.22 * (1 + 0.5 * tanh) * 1.25, 1.22, 1.22])
    assert low.tolist() == pytest.approx([0.8, 1 - 0.2 * (1 + 0.5 * tanh) * 0.75, 0.8])


@settings(max_examples=40)
@given(st.lists(st.floats(0.01, 5.0), min_size=2, max_size=2), parts, parts, st.booleans())
def test_the_side_that_is_used_widens_with_the_advantage_and_the_variance(sizes, v, w, gain):
    small, large = sorted(sizes) if gain else sorted((-a for a in sizes), reverse=True)
    less, more = sorted((v, w))
    low, high = elastic_clip(of(small, large, large), of(less, less, more))
    width = (high - 1 if gain else 1 - low).tolist()
    assert 0.1 - 1e-12 <= width[0] <= width[1] <= width[2] <= 0.4 + 1e-12


def test_a_clip_is_held_within_two_numbers():
    low, high = elastic_clip(of(9.0, -9.0), of(1.0, 0.0), clip=0.3, micro=0.9, macro=2.0)
    assert float(high[0]) == 1.4
    assert float(low[1]) == 0.9


@settings(max_examples=20)
@given(advantages, parts)
def test_the_side_that_is_not_used_stays(advantage, variance):
    low, high = elastic_clip(of(advantage), of(variance), clip=(0.15, 0.3))
    if advantage <= 0:
        assert float(high) == 1.3
    if advantage >= 0:
        assert float(low) == 0.85


@pytest.mark.parametrize("clip", [0.2, 0.13, (0.2, 0.28)])
def test_without_elasticity_it_is_ppo_to_the_last_digit(clip):
    new, old, advantage, mask, variance = batch()
    ours, theirs = new.clone().requires_grad_(), new.clone().requires_grad_()
    loss = etr(ours, old, advantage, mask, variance, clip=clip, micro=0.0, macro=0.0).loss
    plain = ppo(theirs, old, advantage, mask, clip=clip, aggregation="seq-mean-token-mean").loss
    loss.backward()
    plain.backward()
    assert loss == plain
    assert torch.equal(ours.grad, theirs.grad)


def test_an_advantage_per_token_has_a_bound_per_token():
    advantage = of(1.0, -2.0, 0.5)
    low, high = elastic_clip(advantage[None], of(0.7))
    assert low.shape == high.shape == (1, 3)
    each = [elastic_clip(a[None], of(0.7)) for a in advantage]
    assert low[0].tolist() == [float(of_one[0]) for of_one in each]
    assert high[0].tolist() == [float(of_one[1]) for of_one in each]


def test_the_same_advantage_at_each_token_is_one_of_the_row():
    new, old, advantage, mask, variance = batch()
    row = etr(new, old, advantage, mask, variance)
    token = etr(new, old, advantage[:, None].expand(new.shape), mask, variance)
    assert row.loss == token.loss
    assert row.metrics == token.metrics


def test_the_metrics_tell_both_levels_and_the_mean_width():
    new, old = torch.zeros(2, 2), torch.zeros(2, 2)
    mask = torch.tensor([[True, False], [True, True]])
    metrics = etr(new, old, torch.tensor([1.0, -1.0]), mask, torch.tensor([1.0, 0.0])).metrics
    micro = 1 + 0.5 * np.tanh(1.0)
    assert float(metrics["micro"]) == pytest.approx(micro)
    assert float(metrics["macro"]) == pytest.approx((1.25 + 2 * 0.75) / 3)
    expected = 0.2 * micro * (1.25 + 2 * 0.75) / 3
    assert float(metrics["clip_width"]) == pytest.approx(expected)


def test_the_variance_of_binary_rewards_is_that_of_a_share():
    rewards = of(1, 0, 0, 0, 1, 0, 1, 1, 1)
    variance = group_variance(rewards, ["a"] * 4 + ["b"] * 2 + ["c"] * 2 + ["d"])
    assert variance.tolist() == [0.75] * 4 + [1.0] * 2 + [0.0] * 3
    assert torch.equal(variance, group_variance(rewards, [0] * 4 + [1] * 2 + [2] * 2 + [3]))


@settings(max_examples=30)
@given(st.lists(st.floats(-3.0, 7.0), min_size=1, max_size=8), st.floats(0.1, 5.0))
def test_the_variance_is_a_part_of_the_largest_and_has_no_unit(rewards, unit):
    variance = group_variance(of(*rewards), [0] * len(rewards), bounds=(-3.0, 7.0))
    assert float(variance[0]) == pytest.approx(np.var(rewards) / 25.0, abs=1e-12)
    scaled = group_variance(of(*rewards) * unit, [0] * len(rewards), bounds=(-4 * unit, 7.1 * unit))
    assert 0.0 <= float(scaled[0]) <= 1.0
    own = group_variance(of(*rewards), [0] * len(rewards))
    assert 0.0 <= float(own[0]) <= 1.0


def test_rewards_that_hardly_differ_have_a_variance_too():
    assert group_variance(of(0.0, 1e-200), [0, 0]).tolist() == [1.0, 1.0]


def test_a_row_that_has_no_token_may_have_any_advantage():
    new, old, advantage, mask, variance = batch()
    mask[2] = False
    expected = etr(new, old, advantage, mask, variance)
    advantage[2] = float("nan")
    result = etr(new.requires_grad_(), old, advantage, mask, variance)
    result.loss.backward()
    assert result.loss == expected.loss
    assert result.metrics == expected.metrics
    assert bool(new.grad.isfinite().all())


def test_a_row_without_a_score_counts_in_no_variance():
    keep = torch.tensor([True, False, True, False])
    for left_out in (50.0, float("nan")):
        rewards = torch.tensor([1.0, left_out, 0.0, 50.0])
        assert group_variance(rewards, [0, 0, 0, 0], keep=keep).tolist() == [1.0, 0.0, 1.0, 0.0]


def test_bad_rewards_and_bounds_are_named():
    with pytest.raises(ValueError, match=r"etr: row 1 \(group 'b'\) has the reward 3.0, out of"):
        group_variance(of(1.0, 3.0), ["a", "b"], bounds=(0.0, 2.0))
    with pytest.raises(ValueError, match=r"etr: bounds are \(1.0, 1.0\), the first must be below"):
        group_variance(of(1.0, 1.0), ["a", "b"], bounds=(1.0, 1.0))
    with pytest.raises(ValueError, match=r"etr: row 0 \(group 'a'\) has nan in rewards"):
        group_variance(of(float("nan"), 1.0), ["a", "b"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"within": (-0.1, 0.4)}, r"etr: within is \(-0.1, 0.4\), with 0 <= least"),
        ({"within": (0.3, 0.2)}, "etr: within is"),
        ({"within": (0.1, 1.0)}, "etr: within is"),
        ({"clip": 0.05}, r"etr: clip is 0.05, which is not within \(0.1, 0.4\)"),
        ({"clip": (0.2, 0.5)}, "etr: clip is"),
        ({"micro": -1.0}, "etr: micro is -1.0"),
        ({"macro": 2.5}, "etr: micro is 0.5, at least 0, and macro 2.5, from 0 to 2"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        elastic_clip(of(1.0), of(0.5), **options)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_variance_that_is_no_part_is_named(value):
    with pytest.raises(ValueError, match=r"etr: row 1 has the variance .*group_variance\("):
        elastic_clip(of(1.0, 1.0), of(0.5, value))
    with pytest.raises(ValueError, match=r"advantage has the shape \[2\], variance \[1\]"):
        elastic_clip(of(1.0, 1.0), of(0.5))
