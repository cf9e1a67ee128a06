import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.advantages.bandit import PI, REWARD, expected_gradient, gradient_of_best

from rewardsmith.policy.advantages.greedy_baseline import remax, remax_steps

NAN = float("nan")


def test_the_baseline_is_the_greedy_answers_reward():
    advantages = remax(torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.5, 0.5, 0.5]))
    assert advantages.values.tolist() == [0.5, -0.5, 0.0]
    assert advantages.keep.all()
    assert advantages.metrics == {"zero_advantages": pytest.approx(1 / 3)}


def test_it_is_unbiased_with_one_rollout_per_prompt():
    greedy = float(REWARD[PI.argmax()])
    mean = expected_gradient(lambda r, g, _: remax(r, torch.full_like(r, greedy)).values, 1)
    np.testing.assert_allclose(mean, gradient_of_best(1), rtol=1e-12)


def test_digits_of_large_rewards_are_kept():
    rewards = torch.tensor([1e6 + 0.25, 1e6], dtype=torch.float64)
    assert remax(rewards, torch.full((2,), 1e6, dtype=torch.float64)).values.tolist() == [0.25, 0.0]


def test_rows_that_are_not_kept_may_hold_anything():
    keep = torch.tensor([True, False])
    advantages = remax(torch.tensor([1.0, NAN]), torch.tensor([0.25, NAN]), keep=keep)
    assert advantages.values.tolist() == [0.75, 0.0]
    assert advantages.keep.equal(keep)
    steps = torch.tensor([[1.0, 2.0], [NAN, NAN]])
    mask = torch.ones(2, 2, dtype=torch.bool)
    advantages = remax_steps(steps, torch.tensor([0.25, NAN]), mask, keep=keep)
    assert advantages.values.tolist() == [[2.75, 1.75], [0.0, 0.0]]
    assert advantages.keep.equal(keep)


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_a_missing_baseline_is_named(value):
    greedy, mask = torch.tensor([1.0, value]), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"remax: row 1 has (nan|inf) in greedy_reward; each"):
        remax(torch.zeros(2), greedy)
    with pytest.raises(ValueError, match=r"remax_steps: row 1 has (nan|inf) in greedy_reward"):
        remax_steps(torch.zeros(2, 3), greedy, mask)


def test_a_column_of_numbers_will_do_in_which_none_is_missing():
    rewards, column = torch.tensor([1.0, 0.0]), [0.5, None]
    with pytest.raises(ValueError, match="remax: row 1 has nan in greedy_reward"):
        remax(rewards, column)
    keep = torch.tensor([True, False])
    assert remax(rewards, column, keep=keep).values.tolist() == [0.5, 0.0]
    assert remax(rewards, [0.5, 0.25]).values.tolist() == [0.5, -0.25]


def test_what_does_not_fit_is_refused():
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"remax: 3 rollouts, greedy_reward has the shape \[2\]"):
        remax(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="remax: row 0 has nan in rewards"):
        remax(torch.tensor([NAN]), torch.zeros(1))
    with pytest.raises(ValueError, match="remax: 2 rewards, keep has 3 rows"):
        remax(torch.zeros(2), torch.zeros(2), keep=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"step_rewards have the shape \[2, 3\], mask \[2, 2\]"):
        remax_steps(torch.zeros(2, 3), torch.zeros(2), mask[:, :2])
    with pytest.raises(ValueError, match=r"remax_steps: .* \[2, 3\], keep \[3\]"):
        remax_steps(torch.zeros(2, 3), torch.zeros(2), mask, keep=torch.ones(3, dtype=torch.bool))
    broken = torch.tensor([[0.0, 0.0, 0.0], [0.0, NAN, 0.0]])
    with pytest.raises(ValueError, match="remax_steps: row 1 has nan in step_rewards at step 1"):
        remax_steps(broken, torch.zeros(2), mask)


@settings(max_examples=30)
@given(
    rewards=st.lists(st.lists(st.integers(-8, 8), min_size=4, max_size=4), min_size=1, max_size=4),
    data=st.data(),
)
def test_a_step_gets_what_is_still_to_come_less_the_baseline(rewards, data):
    steps = torch.tensor(rewards, dtype=torch.float64)
    bits = data.draw(st.lists(st.booleans(), min_size=steps.numel(), max_size=steps.numel()))
    mask = torch.tensor(bits).reshape(steps.shape)
    greedy = torch.arange(len(steps), dtype=torch.float64) / 2
    given_steps = torch.where(mask, steps, NAN)
    values = remax_steps(given_steps, greedy, mask).values
    for i, row in enumerate(values.tolist()):
        for t, value in enumerate(row):
            to_come = sum(float(steps[i, s]) for s in range(t, 4) if mask[i, s])
            assert value == (to_come - i / 2 if mask[i, t] else 0.0)


def test_one_reward_at_the_end_is_remax_at_every_step():
    steps = torch.tensor([[0.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    greedy = torch.tensor([0.5, 0.25])
    by_row = remax(steps.sum(dim=1), greedy)
    assert remax_steps(steps, greedy, mask).by_step(mask).equal(by_row.by_step(mask))


def test_no_steps_are_no_advantages():
    mask = torch.zeros(2, 0, dtype=torch.bool)
    assert remax_steps(torch.zeros(2, 0), torch.zeros(2), mask).values.shape == (2, 0)


def test_steps_of_narrow_types_are_widened_and_no_gradient_flows():
    mask = torch.ones(1, 2, dtype=torch.int64)
    for kind in (torch.int64, torch.float16, torch.bfloat16):
        steps = torch.tensor([[40000, 40000]], dtype=torch.float64).to(kind)
        made = remax_steps(steps, [0.5], mask).values
        assert made.dtype == torch.float32
        assert made.tolist() == [[2 * float(steps[0, 0]) - 0.5, float(steps[0, 0]) - 0.5]]
    steps = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    made = remax_steps(steps, torch.ones(1, requires_grad=True), mask).values
    assert made.dtype == torch.float64
    assert not made.requires_grad
