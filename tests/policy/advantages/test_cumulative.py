import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.advantages.halves import replayed

from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.policy.advantages import outcomes
from rewardsmith.policy.advantages.cumulative import (
    CumulativeAdvantage,
    History,
    dcpo_advantages,
    pooled,
)
from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.estimator import estimator

BATCHES = st.lists(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=8), min_size=1, max_size=6
)


def history(rewards):
    return History(
        *(np.array([x]) for x in (1.0, len(rewards), np.mean(rewards), squares(rewards)))
    )


def squares(rewards):
    return float(((rewards - np.mean(rewards)) ** 2).sum())


def after(*visits):
    """The histories after batches of one task, "t"."""
    histories = {}
    for rewards in visits:
        values = torch.tensor(rewards, dtype=torch.float64)
        histories = dcpo_advantages(values, ["t"] * len(rewards), histories)[1]
    return histories


def visit(estimator, rewards, tasks, **scored):
    rollouts = Rollouts({"task": tasks})
    scores = Scores.outcome(torch.tensor(rewards), **scored)
    advantages = estimator(rollouts, scores)
    estimator.update(rollouts, scores)
    return advantages


@given(BATCHES)
@settings(max_examples=60)
def test_pooled_moments_are_those_of_all_rewards(batches):
    both = pooled(history(batches[0]), history(batches[-1]))
    everything = np.array([*batches[0], *batches[-1]])
    assert both.size[0] == len(everything)
    assert both.mean[0] == pytest.approx(everything.mean(), rel=1e-12, abs=1e-9)
    assert both.squares[0] / both.size[0] == pytest.approx(everything.var(), rel=1e-9, abs=1e-9)


@given(BATCHES)
@settings(max_examples=60)
def test_what_is_remembered_is_numpys_over_the_whole_history(batches):
    visits, size, mean, total = after(*batches)["t"]
    everything = np.concatenate(batches)
    assert (visits, size) == (len(batches), len(everything))
    assert mean == pytest.approx(everything.mean(), rel=1e-12, abs=1e-9)
    assert total / size == pytest.approx(everything.var(), rel=1e-9, abs=1e-9)


def test_pooling_equal_batches_is_the_papers_recurrence():
    rng = np.random.default_rng(0)
    batches = rng.normal(size=(5, 8))
    mean, var = batches[0].mean(), batches[0].var()
    for i, batch in enumerate(batches[1:], start=2):
        var = ((i - 1) * var + batch.var() + (i - 1) / i * (mean - batch.mean()) ** 2) / i
        mean = ((i - 1) * mean + batch.mean()) / i
    _, size, got, total = after(*batches.tolist())["t"]
    assert (got, total / size) == pytest.approx((mean, var), rel=1e-12)


@given(
    rewards=st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=12),
    ddof=st.sampled_from([0, 1]),
)
@settings(max_examples=60)
@pytest.mark.filterwarnings("ignore:grpo")
def test_a_first_visit_is_grpo(rewards, ddof):
    tasks = [i % 3 for i in range(len(rewards))]
    values = torch.tensor(rewards, dtype=torch.float64)
    expected = grpo(values, tasks, eps=0.0, ddof=ddof).values
    got = dcpo_advantages(values, tasks, {}, ddof=ddof)[0].values
    assert torch.allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("ddof", [0, 1])
def test_it_is_the_lesser_of_two_mixtures(ddof):
    past, new = [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0], np.array([1.0, 1.0, 0.0, 1.0])
    histories = after(past[:4], past[4:])
    values, _ = dcpo_advantages(torch.from_numpy(new), ["t"] * 4, histories, ddof=ddof)
    everything = np.concatenate([past, new])
    a_new = (new - new.mean()) / new.std(ddof=ddof)
    a_tot = (new - everything.mean()) / everything.std(ddof=ddof)
    sa_new, sa_tot = 2 / 3 * a_new + 1 / 3 * a_tot, 1 / 3 * a_new + 2 / 3 * a_tot
    expected = [x if abs(x) < abs(y) else y for x, y in zip(sa_new, sa_tot, strict=True)]
    assert values.values.tolist() == pytest.approx(expected, rel=1e-12)
    # Both of them are the lesser somewhere, so that neither alone would do.
    assert {abs(x) < abs(y) for x, y in zip(sa_new, sa_tot, strict=True)} == {True, False}


def test_a_constant_group_is_taught_by_its_history():
    histories = after([0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0])
    rewards = torch.ones(4, dtype=torch.float64)
    values = dcpo_advantages(rewards, ["t"] * 4, histories)[0].values
    everything = np.array([0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1, 1])
    a_tot = (1.0 - everything.mean()) / everything.std()
    assert values.tolist() == pytest.approx([a_tot / 3] * 4)
    assert grpo(rewards, ["t"] * 4).values.tolist() == [0.0] * 4


@pytest.mark.parametrize("reward", [0.1, 1e6 + 0.1, 1 / 3])
def test_a_task_that_was_never_paid_otherwise_gives_exactly_zero(reward):
    histories = after([reward] * 7, [reward] * 3)
    rewards = torch.full((7,), reward, dtype=torch.float64)
    advantages, learned = dcpo_advantages(rewards, ["t"] * 7, histories)
    assert advantages.values.tolist() == [0.0] * 7
    assert learned["t"] == (3.0, 17.0, reward, 0.0)


def test_groups_of_one_task_are_merged_before_anything():
    rewards = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    advantages, learned = dcpo_advantages(rewards, ["t", "t", "t", "t"], {})
    assert learned["t"][:3] == (1.0, 4.0, 0.75)
    dcpo = CumulativeAdvantage()
    rollouts = Rollouts({"task": ["t"] * 4}, group=["a", "a", "b", "b"])
    scores = Scores.outcome(rewards)
    assert dcpo(rollouts, scores).values.tolist() == pytest.approx(advantages.values.tolist())
    dcpo.update(rollouts, scores)
    assert dcpo.memory["t"] == learned["t"]


def test_a_group_of_one_is_told_by_its_history_alone():
    assert dcpo_advantages(torch.tensor([5.0]), ["t"], {})[0].values.tolist() == [0.0]
    histories = after([0.0, 1.0])
    value = dcpo_advantages(torch.tensor([1.0]).double(), ["t"], histories)[0].values
    everything = np.array([0.0, 1.0, 1.0])
    assert value.tolist() == pytest.approx([(1 - everything.mean()) / everything.std() / 2])


def test_a_row_without_a_score_counts_nowhere():
    rewards = torch.tensor([0.0, math.nan, 1.0, math.nan]).double()
    keep = torch.tensor([True, False, True, False])
    advantages, learned = dcpo_advantages(rewards, ["t", "t", "t", "u"], {}, keep=keep)
    assert advantages.values.tolist() == [-1.0, 0.0, 1.0, 0.0]
    assert advantages.keep.tolist() == keep.tolist()
    assert learned == {"t": (1.0, 2.0, 0.5, 0.5)}


def test_a_task_without_a_score_keeps_its_history():
    histories = after([0.0, 1.0])
    keep = torch.zeros(2, dtype=torch.bool)
    advantages, learned = dcpo_advantages(torch.ones(2), ["t", "t"], histories, keep=keep)
    assert (advantages.values.tolist(), learned) == ([0.0, 0.0], {})


def test_forward_changes_nothing_and_update_remembers():
    dcpo = CumulativeAdvantage()
    rollouts = Rollouts({"task": torch.tensor([7, 7, 8, 8])})
    scores = Scores.outcome(torch.tensor([0.0, 1.0, 1.0, 1.0]))
    once, twice = dcpo(rollouts, scores), dcpo(rollouts, scores)
    assert torch.equal(once.values, twice.values)
    assert dcpo.memory == {}
    assert once.metrics["revisited_tasks"] == 0.0
    assert dcpo.update(rollouts, scores) == {"keys": 2.0, "new_keys": 2.0}
    assert dcpo.memory == {7: (1.0, 2.0, 0.5, 0.5), 8: (1.0, 2.0, 1.0, 0.0)}
    assert dcpo(rollouts, scores).metrics["revisited_tasks"] == 1.0


def test_a_broken_row_is_left_out_by_the_class():
    status = torch.tensor([0, int(Status.TIMEOUT), 0], dtype=torch.int8)
    dcpo = CumulativeAdvantage()
    advantages = visit(dcpo, [0.0, 9.0, 1.0], ["t"] * 3, status=status)
    assert advantages.values.tolist() == [-1.0, 0.0, 1.0]
    assert dcpo.memory == {"t": (1.0, 2.0, 0.5, 0.5)}


def test_resumed_it_goes_on_to_the_last_digit():
    generator = torch.Generator().manual_seed(0)
    tasks = ["a", "b", "c", "b"] * 4
    batches = [torch.randn(16, generator=generator).tolist() for _ in range(4)]
    straight, resumed = CumulativeAdvantage(), CumulativeAdvantage()
    for rewards in batches[:2]:
        visit(straight, rewards, tasks)
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for rewards in batches[2:]:
        one, other = visit(straight, rewards, tasks), visit(resumed, rewards, tasks)
        assert torch.equal(one.values, other.values)
    assert resumed.memory == straight.memory


def test_a_task_that_a_restored_state_does_not_have_is_visited_first():
    dcpo = CumulativeAdvantage()
    visit(dcpo, [0.0, 1.0, 1.0, 0.0], ["a", "a", "b", "b"])
    state = dcpo.get_extra_state()
    del state["b"]
    restored = CumulativeAdvantage()
    restored.set_extra_state(state)
    values = visit(restored, [1.0, 1.0, 0.0, 1.0], ["a", "a", "b", "b"]).values
    assert values[2:].tolist() == [-1.0, 1.0]
    assert float(values[0]) > 0.0
    assert (restored.memory["a"][0], restored.memory["b"][0]) == (2.0, 1.0)


def test_ranks_share_their_histories(monkeypatch):
    rewards, tasks = torch.tensor([1.0, 2.0, 3.0, 5.0]).double(), ["p", "q", "p", "q"]
    keep = torch.tensor([True, True, True, False])
    whole, histories = dcpo_advantages(rewards, tasks, after([0.0]), keep=keep)
    world = torch.distributed.ProcessGroup(0, 2)
    halves = [
        (tasks[i : i + 2], keep[i : i + 2].numpy(), {"rewards": rewards[i : i + 2].numpy()})
        for i in (0, 2)
    ]
    monkeypatch.setattr(outcomes, "gathered", replayed(halves))
    for rank in (0, 1):
        monkeypatch.setattr(outcomes, "rank_of", lambda ranks, rank=rank: rank)
        own = slice(2 * rank, 2 * rank + 2)
        part, known = dcpo_advantages(rewards[own], tasks[own], {}, keep=keep[own], ranks=world)
        assert torch.equal(part.values, whole.values[own])
        assert known == histories


def test_it_has_its_name_in_the_catalog():
    made = estimator("dcpo_advantage", ddof=1)
    assert isinstance(made, CumulativeAdvantage)
    assert repr(made) == "dcpo_advantage(ddof=1)"


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="dcpo_advantage: ddof is 2, it must be 0 or 1"):
        CumulativeAdvantage(ddof=2)
    with pytest.raises(ValueError, match=r"dcpo_advantage: row 1 \(group 'u'\) has nan"):
        dcpo_advantages(torch.tensor([1.0, math.nan]), ["t", "u"], {})
    dcpo, scores = CumulativeAdvantage(), Scores.outcome(torch.ones(2))
    with pytest.raises(ValueError, match="dcpo_advantage: row 1 has None in the column 'task'"):
        dcpo(Rollouts({"task": ["t", None]}), scores)
    with pytest.raises(MissingColumn, match="no column 'task', needed by dcpo_advantage"):
        dcpo(Rollouts({"prompt": ["t", "u"]}), scores)


def test_of_a_tie_it_is_the_one_of_all_batches():
    """Two visits paid 5 on average; now 0 and 2: against these 2 is +1, against all of them -1."""
    histories = {"t": (2.0, 6.0, 5.0, 6.0)}
    made, _ = dcpo_advantages(torch.tensor([2.0, 0.0], dtype=torch.float64), ["t", "t"], histories)
    assert made.values[0].item() == pytest.approx(-1 / 3)
