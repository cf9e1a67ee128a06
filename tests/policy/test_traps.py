"""Batches that estimators and losses get wrong: a right number, derived otherwise, or an error.

``tests/traps.py`` holds those that are also run through the trainers' own code.
"""

import math
import statistics
import warnings
from fractions import Fraction
from typing import Any

import pytest
import torch
from tests import traps

from rewardsmith.policy.advantages.components import gdpo
from rewardsmith.policy.advantages.group_relative import dr_grpo, grpo
from rewardsmith.policy.advantages.leave_one_out import rloo
from rewardsmith.policy.advantages.returns import reinforce_plus_plus
from rewardsmith.policy.losses.aggregation import Aggregation
from rewardsmith.policy.losses.clipping import ppo

BY_NAME = {trap.name: trap for trap in traps.TRAPS}
HALF = math.sqrt(0.5)
"""What the better of two gets, but for epsilon."""


def ours(trap: traps.Trap) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if trap.kind == "mean loss":
            return Aggregation("seq-mean-token-mean")(
                trap.rewards, torch.tensor(trap.mask, dtype=torch.bool)
            )
        if trap.kind == "gdpo":
            parts = {f"part{k}": trap.rewards[:, k] for k in range(trap.rewards.shape[1])}
            return gdpo(parts, list(trap.group)).values
        if trap.kind == "whitened":
            rewards = trap.rewards[:, None]
            return reinforce_plus_plus(rewards, torch.ones_like(rewards).bool()).values
        function = {"grpo": grpo, "rloo": rloo}[trap.kind]
        return function(trap.rewards, list(trap.group)).values


def found(name: str) -> list[float]:
    values: list[float] = ours(BY_NAME[name]).double().reshape(-1).tolist()
    return values


def test_the_table_tells_what_ours_make_of_them():
    traps.column("ours", ours)


def test_the_table_has_no_cell_unfilled():
    cells = traps.table()
    assert list(cells) == [trap.name for trap in traps.TRAPS]
    assert all(cell not in ("", "?") for row in cells.values() for cell in row.values())


@pytest.mark.parametrize(("name", "value"), [("one inf", "inf"), ("one NaN", "nan")])
def test_what_is_not_finite_is_named(name, value):
    with pytest.raises(ValueError, match=rf"grpo: row 2 \(group 'b'\) has {value} in rewards; "):
        found(name)


@pytest.mark.parametrize("name", ["one inf", "one NaN"])
def test_left_out_it_changes_nothing_for_the_others(name):
    trap = BY_NAME[name]
    with pytest.warns(UserWarning, match="grpo: rollouts that are alone in their group"):
        made = grpo(trap.rewards, list(trap.group), keep=trap.rewards.isfinite())
    assert made.values.tolist() == pytest.approx([HALF, -HALF, 0.0, 0.0], rel=1e-5)


def test_rows_that_are_alone_get_zero_and_a_warning():
    trap = BY_NAME["singleton groups"]
    for function in (grpo, dr_grpo, rloo):
        with pytest.warns(UserWarning, match="rollouts that are alone in their group get"):
            assert function(trap.rewards, ["a", "b"]).values.tolist() == [0.0, 0.0]


def test_a_constant_group_gets_exactly_zero():
    assert found("seven of 0.1: a constant group") == [0.0] * 7


def test_two_in_a_group_leave_one_out():
    assert found("two in a group, leave one out") == [1.0, -1.0]
    # Of one other there is no deviation, so nothing is divided.
    made = grpo(torch.tensor([1.0, 0.0]), [0, 0], baseline="others", scale="others", eps=0.0)
    assert made.values.tolist() == [1.0, -1.0]


def test_what_rounding_leaves_of_equal_others_divides_nothing():
    """Of seven rewards of 0.35 the deviation is 0, of six and 0.95 it is not."""
    low, high = (Fraction(float(torch.tensor(x))) for x in (0.35, 0.95))
    wanted = [float(low - (6 * low + high) / 7)] * 7 + [float(high - low)]
    assert found("seven of 0.35 and 0.95, leave one out") == pytest.approx(wanted, rel=1e-6)
    rewards = BY_NAME["seven of 0.35 and 0.95, leave one out"].rewards
    made = grpo(rewards, [0] * 8, baseline="others", scale="others", eps=1e-12).values
    spread = statistics.stdev([float(low)] * 6 + [float(high)])
    assert made.tolist() == pytest.approx([wanted[0] / spread] * 7 + wanted[7:], rel=1e-6)


def test_components_that_cancel_give_exactly_zero_and_are_told():
    trap = BY_NAME["components of a constant sum"]
    parts = {"correct": trap.rewards[:, 0], "brief": trap.rewards[:, 1]}
    with pytest.warns(UserWarning, match="gdpo: the parts cancel in groups"):
        assert gdpo(parts, list(trap.group)).values.tolist() == [0.0] * 5
    # Under unequal weights what is left is one of them, whatever the weights are.
    made = gdpo(parts, list(trap.group), weights={"correct": 2.0, "brief": 1.0}, eps=0.0).values
    correct = trap.rewards[:, 0].double()
    wanted = ((correct - correct.mean()) / correct.std()).tolist()
    assert made.tolist() == pytest.approx(wanted, rel=1e-5)


def test_groups_may_be_unequal():
    wanted = [HALF, -HALF, 2 / math.sqrt(3), -1 / math.sqrt(3), -1 / math.sqrt(3)]
    assert found("groups of two and three") == pytest.approx(wanted, rel=1e-5)


def test_ids_may_be_strings_and_rows_of_a_group_apart():
    assert found("string ids, rows apart") == pytest.approx([HALF, 0.0, -HALF, 0.0], rel=1e-5)


@pytest.mark.parametrize("largest", [traps.SPARSE, 350_000_000, 2**62])
def test_an_id_may_be_any_number(largest):
    rewards = BY_NAME["integer ids far apart"].rewards
    for group in ([7, 7, largest, largest], torch.tensor([7, 7, largest, largest])):
        made = grpo(rewards, group)
        assert made.values.tolist() == pytest.approx([HALF, -HALF, -HALF, HALF], rel=1e-5)


def test_a_row_without_a_token_counts_in_no_mean():
    assert found("a row without a token, mean over rows") == [((1.0 + 3.0) / 2 + 4.0) / 2]
    trap = BY_NAME["a row without a token, mean over rows"]
    mask = torch.tensor(trap.mask, dtype=torch.bool)
    logprob = torch.zeros(3, 2, requires_grad=True)
    advantage = torch.tensor([[1.0, 1.0], [1.0, math.nan], [math.nan, math.inf]])
    old = torch.tensor([[0.0, 0.0], [0.0, -math.inf], [-math.inf, math.nan]])
    made = ppo(logprob, old, advantage, mask, aggregation="seq-mean-token-mean")
    made.loss.backward()
    assert made.loss.item() == -1.0
    assert logprob.grad is not None
    assert logprob.grad.tolist() == [[-0.25, -0.25], [-0.5, 0.0], [0.0, 0.0]]


def test_nothing_but_rows_without_a_token_is_a_loss_of_zero():
    logprob = torch.full((2, 3), -1.0, requires_grad=True)
    made = ppo(logprob, logprob.detach(), torch.ones(2), torch.zeros(2, 3).bool())
    made.loss.backward()
    assert made.loss.item() == 0.0
    assert logprob.grad is not None
    assert not bool(logprob.grad.any())


def test_one_token_in_all_cannot_be_whitened():
    with pytest.raises(ValueError, match="only one step is marked"):
        found("one token in all, whitened")


def test_rows_of_one_token():
    logprob = torch.log(torch.tensor([[0.3], [0.9]]))
    old = torch.log(torch.tensor([[0.2], [0.5]]))
    made = ppo(logprob, old, torch.tensor([1.0, -1.0]), torch.ones(2, 1).bool(), clip=0.2)
    assert made.loss.item() == pytest.approx((-1.2 + 1.8) / 2, rel=1e-6)
    steps = torch.tensor([[1.0], [3.0], [5.0]])
    white = reinforce_plus_plus(steps, torch.ones(3, 1).bool(), eps=0.0)
    assert white.values.flatten().tolist() == pytest.approx([-1.0, 0.0, 1.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_rewards_keep_their_digits(dtype):
    rewards = 1e6 + 0.1 * torch.arange(4.0, dtype=dtype)
    exact = [Fraction(x) for x in rewards.tolist()]
    mean = sum(exact) / 4
    spread = math.sqrt(sum((x - mean) ** 2 for x in exact) / 3)
    wanted = [float(x - mean) / (spread + 1e-6) for x in exact]
    assert grpo(rewards, ["a"] * 4).values.tolist() == pytest.approx(wanted, rel=1e-6)


def test_moments_of_bfloat16_are_not_counted_in_it():
    """The mean of two neighbours is no number of that type."""
    third = math.sqrt(3) / 2
    made = grpo(BY_NAME["two neighbours in bfloat16"].rewards, ["a"] * 4).values
    assert made.dtype == torch.bfloat16
    assert made.tolist() == pytest.approx([-third, third, -third, third], rel=2**-8)


def test_ratios_of_bfloat16_are_not_counted_in_it():
    logprob = torch.tensor([[-3.015625]], dtype=torch.bfloat16)
    old = torch.tensor([[-3.0]], dtype=torch.bfloat16)
    made = ppo(logprob, old, torch.ones(1), torch.ones(1, 1).bool())
    assert made.loss.item() == pytest.approx(-math.exp(-0.015625), rel=1e-6)
    # In bfloat16 itself the ratio would be 0.984375.
    assert abs(float((logprob - old).exp()) - math.exp(-0.015625)) > 1e-4
