"""Advantages over time: the recursion's laws, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.ops.scan import How, how
from rewardsmith.policy.advantages.greedy_baseline import remax_steps
from rewardsmith.policy.advantages.returns import (
    discounted_returns,
    gae,
    reinforce,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
)
from rewardsmith.policy.advantages.step_rewards import StepRewards
from rewardsmith.policy.estimator import estimator


def case(seed: int = 0, n: int = 4, t: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, n, t, generator=g, dtype=torch.float64)
    return rewards, values, torch.rand(n, t, generator=g) < 0.7


def full(x: Tensor) -> Tensor:
    return torch.ones(x.shape, dtype=torch.bool)


def test_returns_are_discounted_by_marked_steps() -> None:
    rewards = torch.tensor([[1.0, torch.nan, 2.0, 4.0, torch.inf]])
    mask = torch.tensor([[True, False, True, True, False]])
    got = discounted_returns(rewards, mask, gamma=0.5)
    assert got.tolist() == [[3.0, 0.0, 4.0, 4.0, 0.0]]
    assert reinforce(rewards, mask, gamma=0.5).values.tolist() == got.tolist()


@given(seed=st.integers(0, 99), holes=st.lists(st.integers(0, 7), max_size=5), lam=st.floats(0, 1))
@settings(max_examples=30)
def test_inserting_masked_steps_anywhere_changes_no_marked_advantage(
    seed: int, holes: list[int], lam: float
) -> None:
    rewards, values, mask = case(seed)
    mask[0] = True
    more = [x.clone() for x in (rewards, values, mask)]
    for at in holes:
        junk = (torch.inf, torch.nan, False)
        more = [
            torch.cat([x[:, :at], torch.full((4, 1), j, dtype=x.dtype), x[:, at:]], dim=1)
            for x, j in zip(more, junk, strict=True)
        ]
    end = torch.arange(4.0, dtype=torch.float64)
    own = gae(rewards, values, mask, gamma=0.9, lam=lam, bootstrap=end)
    inserted = gae(*more, gamma=0.9, lam=lam, bootstrap=end)
    assert torch.allclose(inserted.values[more[2]], own.values[mask], rtol=1e-11, atol=1e-12)
    assert torch.allclose(inserted.returns[more[2]], own.returns[mask], rtol=1e-11, atol=1e-12)
    plain, holed = (reinforce_plus_plus(x[0], x[2], gamma=0.9) for x in ((rewards, 0, mask), more))
    assert torch.allclose(holed.values[more[2]], plain.values[mask], rtol=1e-11, atol=1e-12)


def test_lam_0_is_one_step_td() -> None:
    rewards, values, _ = case()
    end = torch.arange(4.0, dtype=torch.float64)
    following = torch.cat([values[:, 1:], end[:, None]], dim=1)
    made = gae(rewards, values, full(values), gamma=0.9, lam=0.0, bootstrap=end, whiten=False)
    assert torch.allclose(made.values, rewards + 0.9 * following - values, rtol=1e-12)
    assert torch.allclose(made.returns, rewards + 0.9 * following, rtol=1e-12)


def test_lam_1_is_the_return_minus_v_and_no_v_moves_the_returns() -> None:
    rewards, values, mask = case()
    returns = discounted_returns(rewards, mask, gamma=0.9)
    made = gae(rewards, values, mask, gamma=0.9, lam=1.0, whiten=False)
    assert torch.allclose(made.values, torch.where(mask, returns - values, 0.0), rtol=1e-12)
    shifted = gae(rewards, values + 3.0, mask, gamma=0.9, lam=1.0, whiten=False)
    assert torch.allclose(shifted.returns, returns, rtol=1e-11)
    half = gae(rewards, values + 3.0, mask, gamma=0.9, lam=0.5, whiten=False)
    assert not torch.allclose(half.returns, returns, atol=0.1)


def test_whitened_advantages_have_mean_0_and_variance_1_and_returns_are_of_before() -> None:
    rewards, values, mask = case()
    made = gae(rewards, values, mask, gamma=0.9, lam=0.8)
    plain = gae(rewards, values, mask, gamma=0.9, lam=0.8, whiten=False)
    own = plain.values[mask]
    expected = (own - own.mean()) / (own.var() + 1e-8).sqrt()
    assert torch.allclose(made.values[mask], expected, rtol=1e-11)
    assert torch.equal(made.returns, plain.returns)
    assert torch.allclose(plain.returns, torch.where(mask, plain.values + values, 0.0))


def test_a_truncated_episode_goes_on_with_the_critics_value() -> None:
    rewards, values = torch.tensor([[1.0, 2.0]] * 2), torch.zeros(2, 2)
    made = gae(
        rewards,
        values,
        full(values),
        gamma=0.5,
        bootstrap=torch.tensor([8.0, 0.0]),
        whiten=False,
    )
    assert made.returns.tolist() == [[4.0, 6.0], [2.0, 2.0]]


def test_rows_that_are_not_kept_count_nowhere() -> None:
    rewards, values, mask = case()
    keep = torch.tensor([True, False, True, True])
    broken = rewards.clone()
    broken[1] = torch.nan
    for made, own in (
        (gae(broken, values, mask, keep=keep), gae(rewards[keep], values[keep], mask[keep])),
        (
            reinforce_plus_plus(broken, mask, keep=keep),
            reinforce_plus_plus(rewards[keep], mask[keep]),
        ),
        (reinforce(broken, mask, keep=keep), reinforce(rewards[keep], mask[keep])),
    ):
        assert torch.allclose(made.values[keep], own.values, rtol=1e-12)
        assert made.values[1].tolist() == [0.0] * 7
        assert made.keep.tolist() == keep.tolist()


def test_reinforce_plus_plus_whitens_returns() -> None:
    rewards, _, mask = case()
    own = discounted_returns(rewards, mask, gamma=0.9)[mask]
    made = reinforce_plus_plus(rewards, mask, gamma=0.9).values
    expected = (own - own.mean()) / (own.var() + 1e-8).sqrt()
    assert torch.allclose(made[mask], expected, rtol=1e-11)
    assert bool((made[~mask] == 0.0).all())


def test_the_baseline_is_the_groups_mean_and_rows_weigh_as_many_as_their_steps() -> None:
    rewards = torch.tensor([1.0, 3.0, 2.0, 8.0, 5.0], dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([[1], [6], [3], [2], [4]])
    keep = torch.tensor([True, True, True, True, False])
    made = reinforce_plus_plus_baseline(rewards, [0, 0, 1, 1, 1], mask, keep=keep)
    own = np.repeat([-1.0, 1.0, -3.0, 3.0], [1, 6, 3, 2])
    expected = (own - own.mean()) / np.sqrt(own.var(ddof=1) + 1e-8)
    tokens = made.by_step(mask)
    assert tokens[:4][mask[:4]].tolist() == pytest.approx(expected.tolist(), rel=1e-12)
    assert tokens[4].tolist() == [0.0] * 6


def test_groups_of_the_same_reward_get_exactly_zero_and_singletons_are_told_of() -> None:
    mask = torch.ones(3, 2, dtype=torch.bool)
    same = reinforce_plus_plus_baseline(torch.full((3,), 0.1), [0, 0, 0], mask)
    assert same.values.tolist() == [0.0] * 3
    with pytest.warns(UserWarning, match="reinforce_plus_plus_baseline: .* alone in"):
        made = reinforce_plus_plus_baseline(torch.tensor([0.0, 2.0, 9.0]), [0, 0, 1], mask)
    assert made.values[2] == 0.0
    with pytest.warns(UserWarning, match="alone"):
        made = reinforce_plus_plus_baseline(
            torch.tensor([0.0, 2.0, 9.0]), [0, 0, 1], mask, singleton="reward"
        )
    assert made.values[2] > 1.0


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, torch.float64])
def test_large_rewards_keep_their_digits_in_every_type(kind: torch.dtype) -> None:
    noise = torch.randn(4, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rewards = (1e6 + 1e5 * noise).to(kind)
    made = reinforce_plus_plus(rewards, full(rewards))
    own = rewards.double().flip(1).cumsum(dim=1).flip(1)
    assert made.values.dtype == torch.promote_types(kind, torch.float32)
    expected = (own - own.mean()) / own.std()
    assert torch.allclose(made.values.double(), expected, rtol=1e-6, atol=1e-6)


def test_a_mean_far_above_the_spread_takes_no_digits_from_float32() -> None:
    """Returns near 1e9 that differ by hundreds: stored in float32 they would be 64 apart."""
    rewards = 1e6 + 8.0 * torch.randn(64, 1, generator=torch.Generator().manual_seed(0)).round()
    rewards = torch.cat([rewards, torch.full((64, 999), 1e6)], dim=1)
    first = torch.zeros(64, 1000, dtype=torch.bool)
    first[:, 0] = True
    values = torch.zeros(64, 1000)
    values[:, 0] = -1e9
    made = gae(rewards, values, first).values[:, 0]
    own = rewards[:, 0].double()
    assert torch.allclose(made.double(), (own - own.mean()) / own.std(), rtol=1e-5, atol=1e-6)


def test_one_step_and_rows_without_a_step() -> None:
    rewards, values = torch.tensor([[1.0], [3.0], [7.0]]), torch.ones(3, 1)
    mask = torch.tensor([[True], [True], [False]])
    made = gae(rewards, values, mask)
    assert made.values[:, 0].tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5, 0.0])
    assert made.returns.tolist() == [[1.0], [3.0], [0.0]]
    nothing = gae(rewards, values, mask & False, whiten=False)
    assert nothing.values.tolist() == [[0.0]] * 3
    assert discounted_returns(rewards[:0], mask[:0]).shape == (0, 1)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_what_is_not_finite_is_named(value: str) -> None:
    rewards, values, mask = case()
    mask[2, 3] = True
    broken = rewards.clone()
    broken[2, 3] = float(value)
    for name, call in {
        "discounted_returns": lambda: discounted_returns(broken, mask),
        "reinforce": lambda: reinforce(broken, mask, gamma=0.0),
        "reinforce_plus_plus": lambda: reinforce_plus_plus(broken, mask),
        "gae": lambda: gae(broken, values, mask),
    }.items():
        with pytest.raises(ValueError, match=rf"{name}: row 2 has {value} in step_rewards at step"):
            call()
    with pytest.raises(ValueError, match=rf"gae: row 2 has {value} in values at step 3"):
        gae(rewards, broken, mask, lam=0.0, whiten=False)
    end = torch.tensor([0.0, 0.0, 0.0, float(value)])
    mask[3] = False
    assert bool(gae(rewards, values, mask, bootstrap=end).values.isfinite().all())
    mask[3, 1] = True
    with pytest.raises(ValueError, match=rf"gae: row 3 has {value} in bootstrap;"):
        gae(rewards, values, mask, bootstrap=end)


def test_bad_input_is_named() -> None:
    rewards, values, mask = case()
    with pytest.raises(ValueError, match=r"gae: step_rewards have the shape \[4, 7\], values"):
        StepRewards("gae", rewards, mask, None, values=values[:, 1:])
    with pytest.raises(ValueError, match=r"gae: step_rewards .*\[4, 7\], bootstrap \[3\]"):
        StepRewards("gae", rewards, mask, None, values=values, bootstrap=rewards[1:, 0])
    with pytest.raises(ValueError, match=r"reinforce: step_rewards .*\[4, 7\], mask \[3, 7\]"):
        StepRewards("reinforce", rewards, mask[1:], None)
    with pytest.raises(ValueError, match=r"reinforce: .* one number per step is needed"):
        StepRewards("reinforce", rewards[:, 0], mask, None)
    with pytest.raises(ValueError, match=r"gae: lam is 1\.1, it must lie in"):
        gae(rewards, values, mask, lam=1.1)
    one = torch.zeros_like(mask)
    with pytest.raises(ValueError, match="reinforce_plus_plus: no step is marked"):
        reinforce_plus_plus(rewards, one)
    one[0, 0] = True
    with pytest.raises(ValueError, match="gae: only one step is marked"):
        gae(rewards, values, one)
    with pytest.raises(ValueError, match="reinforce_plus_plus_baseline: only one step is marked"):
        reinforce_plus_plus_baseline(rewards[:, 0], [0, 0, 1, 1], one)
    for other in (mask[1:], mask[:, 0]):
        with pytest.raises(ValueError, match=r"baseline: rewards have the shape \[4\], mask \["):
            reinforce_plus_plus_baseline(rewards[:, 0], [0, 0, 1, 1], other)
    with pytest.raises(ValueError, match=r"reinforce_plus_plus_baseline: eps is -1\.0"):
        reinforce_plus_plus_baseline(rewards[:, 0], [0, 0, 1, 1], mask, eps=-1.0)


def test_finite_numbers_that_overflow_are_told_of() -> None:
    rewards, values, mask = case()
    rewards[2] = 1e308
    mask[2] = True
    for name, call in {
        "discounted_returns": lambda: discounted_returns(rewards, mask),
        "reinforce_plus_plus": lambda: reinforce_plus_plus(rewards, mask),
        "gae": lambda: gae(rewards, values, mask),
    }.items():
        with pytest.raises(ValueError, match=f"{name}: row 2 holds finite numbers, .* overflows"):
            call()
    # Here all are finite, and only the sum of the rows is not.
    large = torch.full((4, 1), 3e38)
    assert torch.equal(discounted_returns(large, full(large)), large)


def test_a_batch_without_a_score_is_zero_and_told_of() -> None:
    rewards, values, mask = case()
    none = torch.zeros(4, dtype=torch.bool)
    for name, call in {
        "reinforce_plus_plus": lambda: reinforce_plus_plus(rewards, mask, keep=none),
        "gae": lambda: gae(rewards, values, mask, keep=none),
        "reinforce_plus_plus_baseline": lambda: reinforce_plus_plus_baseline(
            rewards[:, 0], [0, 0, 1, 1], mask, keep=none
        ),
    }.items():
        with pytest.warns(UserWarning, match=f"{name}: no row of the batch has a score") as told:
            made = call()
        assert len(told) == 1
        assert not made.values.any()
        assert not made.keep.any()
    one = none.clone()
    one[1] = True
    with pytest.raises(ValueError, match="gae: no step is marked, whitening is undefined"):
        gae(rewards, values, mask & one[:, None] & False, keep=one)


def test_what_rounding_leaves_of_equal_returns_is_not_divided() -> None:
    near = torch.tensor([0.1 + 0.2, 0.3, 0.3], dtype=torch.float64)
    one = torch.ones(3, 1, dtype=torch.bool)
    assert not reinforce_plus_plus(near[:, None], one, eps=0.0).values.any()
    with pytest.warns(UserWarning, match="alone"):
        made = reinforce_plus_plus_baseline(near, [0, 1, 2], one, eps=0.0, singleton="reward")
    assert not made.values.any()


def test_masks_of_0_and_1_are_masks() -> None:
    rewards, values, mask = case()
    number = mask.long()
    group = [0, 0, 1, 1]
    for call in (
        lambda mask: discounted_returns(rewards, mask),
        lambda mask: reinforce_plus_plus(rewards, mask).values,
        lambda mask: reinforce_plus_plus_baseline(rewards[:, 0], group, mask).values,
        lambda mask: gae(rewards, values, mask).values,
    ):
        assert torch.equal(call(number), call(mask))


def test_results_have_the_wider_type_of_rewards_and_values() -> None:
    rewards, values, mask = case()
    narrow, wide = gae(rewards.half(), values, mask), gae(rewards, values.half(), mask)
    assert narrow.values.dtype == narrow.returns.dtype == wide.values.dtype == torch.float64
    assert gae(rewards.half(), values.bfloat16(), mask).values.dtype == torch.float32


def test_rows_of_a_critics_advantages_take_their_returns_along() -> None:
    rewards, values, mask = case()
    whole = gae(rewards, values, mask)
    for rows in ([2, 0], slice(1, 3), torch.tensor([True, False, False, True])):
        some = whole.select(rows)
        assert torch.equal(some.returns, whole.returns[rows])
        assert torch.equal(some.values, whole.values[rows])


def test_an_estimator_takes_a_column_named_bootstrap() -> None:
    rewards, values, mask = case()
    end = [1.0, 2.0, 3.0, 4.0]
    rollouts = Rollouts({"bootstrap": end}, {"values": values}, action_mask=mask)
    scores = Scores.dense(torch.where(mask, rewards, 0.0), mask)
    made = estimator("gae", gamma=0.9)(rollouts, scores)
    expected = gae(rewards, values, mask, torch.tensor(end), gamma=0.9)
    assert torch.allclose(made.values, expected.values, atol=1e-5)
    without = estimator("gae", gamma=0.9)(Rollouts({}, rollouts.steps, action_mask=mask), scores)
    plain = gae(rewards, values, mask, gamma=0.9)
    assert torch.allclose(without.values, plain.values, atol=1e-5)
    assert not torch.allclose(made.values, plain.values, atol=0.1)


@pytest.mark.parametrize("way", ["torch", "compiled"])
def test_the_default_device_of_others_does_not_matter(way: How) -> None:
    if way == "compiled":
        pytest.importorskip("numba")
    rewards, values, mask = case()
    with how(way):
        expected = gae(rewards, values, mask), remax_steps(rewards, [1.0] * 4, mask)
        with torch.device("meta"):
            made = gae(rewards, values, mask), remax_steps(rewards, [1.0] * 4, mask)
    for ours, theirs in zip(made, expected, strict=True):
        assert torch.equal(ours.values, theirs.values)
