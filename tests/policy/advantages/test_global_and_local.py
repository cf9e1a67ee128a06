import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.policy.advantages.global_and_local import verpo_advantages
from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.advantages.returns import discounted_returns
from rewardsmith.policy.estimator import estimator

REWARDS = st.lists(st.integers(0, 3), min_size=2, max_size=9).map(
    lambda rewards: torch.tensor(rewards, dtype=torch.float64)
)


@pytest.mark.filterwarnings("ignore:.* alone in their group")
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
    zeros_by_turn, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    for local, options, shapes in (
        (torch.zeros(3), {}, r"outcome has the shape \[2\], local \[3\]"),
        (torch.zeros(2, 1, 1), {}, r"outcome has the shape \[2\], local \[2, 1, 1\]"),
        (zeros_by_turn, {"mask": mask[:, :2]}, r"local has the shape \[2, 3\], mask \[2, 2\]"),
        (zeros_by_turn, {"mask": mask[:1]}, r"local has the shape \[2, 3\], mask \[1, 3\]"),
        (zeros, {"keep": mask[0]}, r"local has the shape \[2\], keep \[3\]"),
    ):
        with pytest.raises(ValueError, match=f"verpo: {shapes}"):
            verpo_advantages(zeros, local, [0, 0], **options)
    with pytest.raises(ValueError, match="verpo: eps is -1"):
        verpo_advantages(zeros, zeros, [0, 0], eps=-1.0)
    nan = float("nan")
    with pytest.raises(ValueError, match=r"verpo: row 1 \(group 'b'\) has nan in rewards"):
        verpo_advantages(torch.tensor([0.0, nan]), zeros, ["a", "b"])
    with pytest.raises(ValueError, match="verpo: row 1 has nan in local;"):
        verpo_advantages(zeros, torch.tensor([0.0, nan]), ["a", "a"])
    zeros_by_turn[1, 2] = nan
    with pytest.raises(ValueError, match="verpo: row 1 has nan in local at step 2"):
        verpo_advantages(zeros, zeros_by_turn, ["a", "a"])


def test_types_are_widened_and_masks_of_0_and_1_are_masks() -> None:
    outcome, local = torch.tensor([1, 0, 1]), torch.tensor([[3, 1], [0, 2], [2, 2]])
    mask = torch.tensor([[1, 1], [1, 0], [0, 1]])
    found = verpo_advantages(outcome, local, [0, 0, 0], mask=mask).values
    wide = verpo_advantages(outcome.double(), local, [0, 0, 0], mask=mask.bool()).values
    assert (found.dtype, wide.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(found.double(), wide, rtol=1e-5, atol=1e-6)
    assert bool(wide[mask > 0].all())


@pytest.mark.parametrize("local", [torch.rand(3), torch.rand(3, 4)])
def test_a_group_of_one_row_gets_zero_and_one_warning(local: torch.Tensor) -> None:
    with pytest.warns(UserWarning, match="verpo: .* alone in their group") as told:
        found = verpo_advantages(torch.tensor([1.0, 0.0, 1.0]), local, ["a", "a", "b"]).values
    assert len(told) == 1
    assert not found[2].any()
    assert bool(found[:2].all())


def test_of_rollouts_it_goes_by_name_as_gdpo() -> None:
    """As the docstring has it, of the parts that the signal gives."""
    parts = {
        name: Scores.outcome(torch.tensor(values))
        for name, values in {
            "tests": [9.0, 1.0, 5.0, 2.0],
            "global": [1.0, 0.0, 0.0, 1.0],
            "local": [1.0, 0.25, 0.75, 1.0],
        }.items()
    }
    scores = Scores.outcome(torch.zeros(4), parts=parts)
    rollouts = Rollouts({"prompt": ["x"] * 4}, group=[0, 0, 1, 1])
    weights = {"tests": 0.0, "global": 1.0, "local": 0.5}
    made = estimator("gdpo", weights=weights, whiten="none", eps=1e-4)(rollouts, scores)
    expected = verpo_advantages(parts["global"].values, parts["local"].values, rollouts.group)
    torch.testing.assert_close(made.values, expected.values)
