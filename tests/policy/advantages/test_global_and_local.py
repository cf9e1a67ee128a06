import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.policy.advantages.global_and_local import verpo_advantages
from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.advantages.returns import discounted_returns

REWARDS = st.lists(st.integers(0, 3), min_size=2, max_size=9).map(
    lambda rewards: torch.tensor(rewards, dtype=torch.float64)
)


@pytest.mark.filterwarnings("ignore:grpo. .* alone")
@given(REWARDS, st.floats(0, 3))
def test_it_is_the_sum_of_two_grpos(outcome: torch.Tensor, beta: float) -> None:
    group, local = torch.arange(len(outcome)) % 2, outcome.flip(0) / 3
    found = verpo_advantages(outcome, local, group, beta=beta).values
    parts = [grpo(rewards, group, eps=1e-4).values for rewards in (outcome, local)]
    torch.testing.assert_close(found, parts[0] + beta * parts[1])
    for k in (0, 1):
        assert float(found[group == k].sum()) == pytest.approx(0.0, abs=1e-9)


def test_numbers_of_an_advantage() -> None:
    outcome, local = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.5])
    found = verpo_advantages(outcome, local, torch.tensor([7, 7]), eps=0.0)
    assert found.values.tolist() == pytest.approx([1.5 * 0.5**0.5, -1.5 * 0.5**0.5])
    same = verpo_advantages(torch.ones(3), torch.ones(3), [0, 0, 0])
    assert same.values.tolist() == [0] * 3


def test_a_discount_counts_turns_and_not_steps() -> None:
    """Two turns of two steps each, scored by segments and put back."""
    spans = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])
    rollouts = Rollouts({"id": [0, 1]}, {"token": torch.zeros(2, 4)}, spans={"turn": spans})
    scores = Scores.outcome(torch.tensor([0.25, 1.0, 0.5, 0.5])).onto(rollouts, "turn")
    assert scores.values.tolist() == [[0.0, 0.25, 0.0, 1.0], [0.5, 0.0, 0.0, 0.5]]
    found = discounted_returns(scores.values, scores.at, gamma=0.5)
    assert found.tolist() == [[0.0, 0.75, 0.0, 1.0], [0.75, 0.0, 0.0, 0.5]]


def test_advantages_by_turn() -> None:
    outcome = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    local = torch.tensor([[0.25, 1.0], [0.5, 77.0], [0.0, 0.25]], dtype=torch.float64)
    group = torch.zeros(3, dtype=torch.int64)
    found = verpo_advantages(outcome, local, group, beta=0.5, mask=mask, eps=0.0).values
    turns = local[mask].double()
    expected = torch.zeros(3, 2, dtype=torch.float64)
    expected[mask] = 0.5 * (turns - turns.mean()) / turns.std()
    whole = (outcome.double() - outcome.mean()) / outcome.double().std()
    expected = torch.where(mask, expected + whole[:, None], 0.0)
    torch.testing.assert_close(found, expected)
    # One turn each is the same as no turns.
    flat = verpo_advantages(outcome, local[:, 0], group).values
    torch.testing.assert_close(verpo_advantages(outcome, local[:, :1], group).values[:, 0], flat)


def test_a_row_without_a_score_lends_nothing() -> None:
    local = torch.tensor([[0.0, 1.0], [1.0, 0.0], [float("nan"), 5.0]])
    outcome = torch.tensor([1.0, 0.0, float("nan")])
    keep = torch.tensor([True, True, False])
    found = verpo_advantages(outcome, local, ["g"] * 3, keep=keep)
    alone = verpo_advantages(outcome[:2], local[:2], ["g"] * 2)
    assert torch.equal(found.values[:2], alone.values)
    assert found.values[2].tolist() == [0.0, 0.0]
    assert found.keep.tolist() == [True, True, False]


def test_what_is_refused() -> None:
    zeros = torch.zeros(2)
    for beta in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="beta is"):
            verpo_advantages(zeros, zeros, [0, 0], beta=beta)
    with pytest.raises(ValueError, match="a mask is of turns"):
        verpo_advantages(zeros, zeros, [0, 0], mask=torch.ones(2, 1, dtype=torch.bool))
