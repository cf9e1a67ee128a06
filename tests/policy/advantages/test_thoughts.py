import math
from itertools import groupby

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.advantages.halves import replayed

from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.policy.advantages import outcomes
from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.advantages.thoughts import ThoughtLevel, _padded, thought_advantages
from rewardsmith.policy.estimator import estimator

SOLUTIONS = st.lists(
    st.tuples(
        st.sampled_from([-1.0, 1.0]),
        st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3)), max_size=5),
        st.integers(1, 3),
    ),
    min_size=2,
    max_size=6,
)
ALPHAS = st.floats(0, 2)


def tensors(solutions):
    """Rewards, labels, steps and mask of solutions: (reward, steps of (label, tokens), last)."""
    rewards, labels, steps = [], [], []
    for reward, body, last in solutions:
        judged = [*body, (1, last)]
        rewards.append(reward)
        labels.append([label for label, _ in judged])
        steps.append([k for k, (_, length) in enumerate(judged) for _ in range(length)])
    t = max(len(row) for row in steps) + 1
    padded = torch.tensor([row + [-1] * (t - len(row)) for row in steps])
    return torch.tensor(rewards).double(), _padded(labels), padded, padded >= 0


def summed(reward, labels, r_o, r_c):
    """What each step's thought and all after it are paid."""
    thoughts = [(label, len(list(run))) for label, run in groupby(labels)]
    if reward > 0:
        paid = [r_c if label else -r_c for label, _ in thoughts]
    else:
        paid = [r_o if label else -r_o for label, _ in thoughts]
    paid[-1] = r_o
    return [sum(paid[j:]) for j, (_, length) in enumerate(thoughts) for _ in range(length)]


def advantages(solutions, group=None, **options):
    rewards, labels, steps, mask = tensors(solutions)
    group = [0] * len(rewards) if group is None else group
    return thought_advantages(rewards, labels, steps, group, mask, **options)


@given(solutions=SOLUTIONS, alpha=ALPHAS)
@settings(max_examples=80)
def test_it_is_the_sum_of_what_thoughts_are_paid(solutions, alpha):
    rewards, labels, steps, mask = tensors(solutions)
    got = thought_advantages(rewards, labels, steps, [0] * len(rewards), mask, alpha=alpha)
    outcome = grpo(rewards, [0] * len(rewards)).values
    r_c = alpha * float((rewards > 0).double().mean())
    for row, (reward, body, _) in enumerate(solutions):
        judged = [*(label for label, _ in body), 1]
        of_step = summed(reward, judged, float(outcome[row]), r_c)
        expected = [of_step[k] if k >= 0 else 0.0 for k in steps[row].tolist()]
        assert got.values[row].tolist() == pytest.approx(expected, abs=1e-12)


@given(solutions=SOLUTIONS, alpha=ALPHAS)
@settings(max_examples=40)
def test_no_number_of_thoughts_is_worth_more(solutions, alpha):
    got = advantages(solutions, alpha=alpha)
    rewards = tensors(solutions)[0]
    outcome = grpo(rewards, [0] * len(rewards)).values.abs()
    r_c = alpha * float((rewards > 0).double().mean())
    assert bool((got.values.abs() <= outcome[:, None] + r_c + 1e-12).all())


@given(solutions=SOLUTIONS, alpha=ALPHAS)
@settings(max_examples=40)
def test_splitting_steps_changes_nothing(solutions, alpha):
    split = [
        (reward, [(label, 1) for label, length in body for _ in range(length)], last)
        for reward, body, last in solutions
    ]
    assert torch.equal(
        advantages(solutions, alpha=alpha).values, advantages(split, alpha=alpha).values
    )


@given(solutions=SOLUTIONS, alpha=ALPHAS)
@settings(max_examples=40)
def test_where_every_step_goes_with_the_answer_it_is_grpo(solutions, alpha):
    flawless = [(r, [(1, length) for _, length in body], last) for r, body, last in solutions]
    rewards, _, _, mask = tensors(flawless)
    outcome = grpo(rewards, [0] * len(rewards))
    assert torch.equal(advantages(flawless, alpha=alpha).values, outcome.by_step(mask))


def test_without_alpha_correct_solutions_have_their_outcome():
    solutions = [(1.0, [(0, 2), (1, 1)], 1), (-1.0, [(1, 1)], 1)]
    got = advantages(solutions, alpha=0.0).values
    outcome = float(grpo(torch.tensor([1.0, -1.0]).double(), [0, 0]).values[0])
    assert got[0].tolist() == [outcome] * 4 + [0.0]


def test_a_group_that_always_fails_has_no_advantage():
    got = advantages([(-1.0, [(0, 1)], 1), (-1.0, [(1, 2)], 1)], alpha=1.0).values
    assert got.abs().sum() == 0.0


def test_a_group_that_always_succeeds_unlearns_wrong_thoughts():
    got = advantages([(1.0, [(0, 1)], 1), (1.0, [(1, 1)], 1)], alpha=0.3).values
    assert got.tolist() == [[-0.3, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_each_group_has_its_own_accuracy():
    solutions = [(1.0, [(0, 1)], 1)] * 4
    rewards, labels, steps, mask = tensors(solutions)
    rewards[3] = -1.0
    got = thought_advantages(rewards, labels, steps, list("aabb"), mask, alpha=0.5, eps=0.0)
    assert got.values[0, 0] == -0.5
    assert float(got.values[2, 0]) == pytest.approx(0.5**0.5 - 0.25)
    assert got.values[3, 0] == 0.0
    assert got.metrics["accuracy"] == 0.75


def test_tokens_of_tools_lie_in_a_step_or_in_none_and_do_not_train():
    rewards = torch.tensor([1.0, 0.0]).double()
    steps = torch.tensor([[0, -1, 1, 1, 2], [0, 0, 0, 0, -1]])
    mask = torch.tensor([[True, False, True, False, True], [True, True, True, True, False]])
    labels = torch.tensor([[1, 0, 1], [1, -1, -1]])
    got = thought_advantages(rewards, labels, steps, [0, 0], mask, alpha=1.0, eps=0.0)
    r = 0.5**0.5
    assert got.values[0].tolist() == pytest.approx([r, 0.0, r - 0.5, 0.0, r])
    assert got.values[1].tolist() == pytest.approx([-r, -r, -r, -r, 0.0])


def test_a_row_without_a_score_counts_nowhere_and_is_not_checked():
    rewards = torch.tensor([1.0, math.nan, -1.0]).double()
    labels = torch.tensor([[0, 1], [0, 0], [1, 1]])
    steps = torch.tensor([[0, 1], [5, 3], [0, 1]])
    keep = torch.tensor([True, False, True])
    mask = torch.ones(3, 2, dtype=torch.bool)
    got = thought_advantages(rewards, labels, steps, [0] * 3, mask, alpha=1.0, keep=keep, eps=0.0)
    r = 0.5**0.5
    assert got.values.flatten().tolist() == pytest.approx([r - 0.5, r, 0.0, 0.0, -r, -r])
    assert got.keep.tolist() == [True, False, True]
    assert got.metrics["accuracy"] == 0.5


def test_a_solution_without_a_token_has_no_advantage():
    rewards = torch.tensor([1.0, -1.0])
    steps = torch.tensor([[0, 0], [-1, -1]])
    got = thought_advantages(
        rewards, torch.tensor([[1], [-1]]), steps, [0, 0], steps >= 0, alpha=1.0
    )
    assert got.values[1].tolist() == [0.0, 0.0]
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    none = thought_advantages(
        rewards, nothing, torch.full((2, 2), -1), [0, 0], torch.zeros(2, 2).bool(), alpha=1.0
    )
    assert none.values.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_solution_alone_in_its_group_is_told_of():
    with pytest.warns(UserWarning, match="thought_level: rollouts that are alone"):
        got = advantages([(1.0, [(0, 1)], 1)], alpha=0.5)
    assert got.values.tolist() == [[-0.5, 0.0, 0.0]]


def test_groups_lie_on_several_ranks(monkeypatch):
    solutions = [(1.0, [(0, 1)], 1), (-1.0, [(0, 2)], 2), (1.0, [(1, 1)], 1), (-1.0, [], 3)]
    rewards, labels, steps, mask = tensors(solutions)
    whole = thought_advantages(rewards, labels, steps, [0] * 4, mask, alpha=0.5)
    world = torch.distributed.ProcessGroup(0, 2)
    kept = torch.ones(2, dtype=torch.bool).numpy()
    halves = [([0, 0], kept, {"rewards": rewards[i : i + 2].numpy()}) for i in (0, 2)]
    monkeypatch.setattr(outcomes, "gathered", replayed(halves))
    monkeypatch.setattr(outcomes, "rank_of", lambda ranks: 1)
    own = thought_advantages(
        rewards[2:], labels[2:], steps[2:], [0, 0], mask[2:], alpha=0.5, ranks=world
    )
    assert torch.equal(own.values, whole.values[2:])
    assert own.metrics == whole.metrics


def test_the_class_reads_a_span_and_a_column_of_lists():
    solutions = [(1.0, [(0, 2), (1, 1)], 1), (0.0, [(0, 1)], 1)]
    rewards, labels, steps, mask = tensors(solutions)
    expected = thought_advantages(rewards.float(), labels, steps, [0, 0], mask, alpha=0.5)
    made = estimator("thought_level", alpha=0.5)
    assert isinstance(made, ThoughtLevel)
    assert repr(made) == "thought_level(alpha=0.5)"
    for column in ([[0, 1, 1], [False, True]], labels):
        rollouts = Rollouts(
            {"step_labels": column}, mask=mask, group=["q", "q"], spans={"step": steps}
        )
        got = made(rollouts, Scores.outcome(rewards))
        assert torch.equal(got.values, expected.values)
        assert torch.equal(got.by_step(mask), got.values)
    with pytest.raises(MissingColumn, match="'step', needed by thought_level, a span"):
        made(Rollouts({"step_labels": [[1], [1]]}), Scores.outcome(rewards))


def test_a_last_step_that_is_labelled_wrong_is_a_contradiction():
    rewards, labels, steps, mask = tensors([(1.0, [(1, 1)], 1), (1.0, [(1, 2)], 1)])
    labels[1, 1] = 0
    with pytest.raises(ValueError, match="thought_level: the last step of row 1, step 1, has the"):
        thought_advantages(rewards, labels, steps, [0, 0], mask, alpha=0.5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0, 0, -1, 1], "row 1, token 2|row 1, step 2 lies in no span 'step'"),
        ([0, 0, 2, 2], "row 1 has no token in step 1, its token 2 lies in step 2"),
        ([1, 1, 1, 2], "row 1 has no token in step 0, its token 0 lies in step 1"),
        ([0, 1, 0, 1], "row 1 is in step 0 again at step 2"),
        ([0, 0, 0, 0], r"row 1 has 1 steps and the labels \[1, 1\]"),
        ([0, 1, 2, 2], r"row 1 has 3 steps and the labels \[1, 1\]"),
    ],
)
def test_a_gap_between_steps_and_tokens_is_named(row, message):
    steps = torch.tensor([[0, 0, 1, 1], row])
    labels, mask = torch.ones(2, 2, dtype=torch.int64), torch.ones(2, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=message):
        thought_advantages(torch.tensor([1.0, 0.0]), labels, steps, [0, 0], mask, alpha=0.5)


def test_other_bad_input_is_refused():
    rewards, labels, steps, mask = tensors([(1.0, [(1, 1)], 1), (-1.0, [(1, 2)], 1)])
    with pytest.raises(ValueError, match=r"thought_level: alpha is -1\.0, it must be at least 0"):
        thought_advantages(rewards, labels, steps, [0, 0], mask, alpha=-1.0)
    with pytest.raises(ValueError, match=r"row 0 has 2 steps and the labels \[2, 1\]"):
        thought_advantages(
            rewards, labels + torch.tensor([[1, 0], [0, 0]]), steps, [0, 0], mask, alpha=1.0
        )
    with pytest.raises(ValueError, match=r"thought_level: row 0 \(group 0\) has nan in rewards"):
        thought_advantages(rewards * math.nan, labels, steps, [0, 0], mask, alpha=1.0)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_threshold_is_met_in_the_type_of_rewards(kind):
    _, labels, steps, mask = tensors([(0.1, [(0, 1)], 1), (0.0, [(0, 1)], 1)])
    rewards = torch.tensor([0.1, 0.0], dtype=kind)
    made = thought_advantages(rewards, labels, steps, [0, 0], mask, alpha=1.0, threshold=0.1)
    assert made.metrics["accuracy"] == 0.0
