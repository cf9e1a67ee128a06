import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from tests.policy.advantages.halves import replayed

from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rowcall import MISSING
from rewardsmith.core.scores import Scores
from rewardsmith.policy.advantages import outcomes
from rewardsmith.policy.advantages.role_baseline import (
    RoleBaseline,
    role_advantages,
    turn_discounts,
)
from rewardsmith.policy.estimator import estimator

ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.floats(-5, 5, width=32), st.booleans()), min_size=2, max_size=24
)


def tensors(rows):
    keys, rewards, keep = zip(*rows, strict=True)
    return torch.tensor(rewards, dtype=torch.float64), list(keys), torch.tensor(keep)


def batch(rewards, roles, games=None, **columns):
    games = games or ["kuhn"] * len(rewards)
    return Rollouts({"task": games, "role": roles}, **columns), Scores.outcome(
        torch.tensor(rewards)
    )


def step(estimator, rollouts, scores):
    advantages = estimator(rollouts, scores)
    estimator.update(rollouts, scores)
    return advantages


def test_a_baseline_is_read_before_it_is_written():
    rewards = torch.tensor([1.0, 3.0, -1.0], dtype=torch.float64)
    advantages, baselines = role_advantages(rewards, ["p", "p", "q"], {"q": 0.5}, decay=0.9)
    assert advantages.values.tolist() == [1.0, 3.0 - 0.1 * 1.0, -1.5]
    assert baselines == pytest.approx({"p": 0.9 * 0.1 + 0.1 * 3.0, "q": 0.45 - 0.1})


@given(rows=ROWS, cut=st.integers(1, 23), start=st.sampled_from(["zero", "first"]))
@settings(max_examples=60)
def test_a_batch_gives_what_its_halves_give_to_the_last_digit(rows, cut, start):
    rewards, keys, keep = tensors(rows)
    cut = 1 + cut % (len(rows) - 1)
    whole, after = role_advantages(rewards, keys, {}, keep=keep, start=start)
    first, between = role_advantages(rewards[:cut], keys[:cut], {}, keep=keep[:cut], start=start)
    second, end = role_advantages(rewards[cut:], keys[cut:], between, keep=keep[cut:], start=start)
    assert torch.equal(whole.values, torch.cat([first.values, second.values]))
    assert torch.equal(whole.keep, torch.cat([first.keep, second.keep]))
    assert after == between | end


@given(rows=ROWS, row=st.integers(0, 23), by=st.floats(0.5, 2))
@settings(max_examples=60)
def test_a_baseline_holds_nothing_of_the_rows_own_reward(rows, row, by):
    rewards, keys, _ = tensors(rows)
    row %= len(rows)
    changed = rewards.clone()
    changed[row] += by
    before, _ = role_advantages(rewards, keys, {})
    after, _ = role_advantages(changed, keys, {})
    difference = after.values - before.values
    assert float(difference[row]) == pytest.approx(by)
    assert difference[:row].tolist() == [0.0] * row
    others = [i for i, key in enumerate(keys) if key != keys[row]]
    assert difference[others].tolist() == [0.0] * len(others)


def test_a_constant_reward_gives_advantages_that_fall_by_the_decay():
    advantages, _ = role_advantages(torch.full((8,), 2.0).double(), [0] * 8, {}, decay=0.7)
    assert advantages.values.tolist() == pytest.approx([2.0 * 0.7**t for t in range(8)])


def test_a_small_decay_compares_with_the_reward_before():
    rewards = torch.tensor([1.0, 4.0, -2.0, 0.5], dtype=torch.float64)
    values = role_advantages(rewards, [0] * 4, {}, decay=1e-12)[0].values
    assert values.tolist() == pytest.approx([1.0, 3.0, -6.0, 2.5])


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=30))
@settings(max_examples=30)
def test_in_zero_sum_games_the_roles_baselines_mirror_each_other(results):
    rewards = torch.tensor([r for result in results for r in (result, -result)])
    _, baselines = role_advantages(rewards, [0, 1] * len(results), {})
    assert baselines[0] == -baselines[1]


def test_a_first_reward_can_be_the_baseline():
    rewards = torch.tensor([2.0, 4.0])
    advantages, baselines = role_advantages(rewards, ["p", "p"], {}, start="first", decay=0.5)
    assert advantages.values.tolist() == [0.0, 2.0]
    assert advantages.keep.tolist() == [False, True]
    assert baselines == {"p": 3.0}


def test_rows_without_an_advantage_are_dropped_or_kept():
    rewards = torch.tensor([0.0, 1.0])
    assert role_advantages(rewards, [0, 1], {})[0].keep.tolist() == [False, True]
    assert role_advantages(rewards, [0, 1], {}, drop_zero=False)[0].keep.tolist() == [True, True]


def test_a_row_without_a_score_neither_reads_nor_writes():
    rewards = torch.tensor([1.0, float("nan"), 1.0])
    keep = torch.tensor([True, False, True])
    advantages, baselines = role_advantages(rewards, ["p", "p", "p"], {}, keep=keep, decay=0.5)
    assert advantages.values.tolist() == [1.0, 0.0, 0.5]
    assert advantages.keep.tolist() == [True, False, True]
    assert baselines == {"p": 0.75}
    assert role_advantages(rewards, [0, 1, 2], {}, keep=keep)[1].keys() == {0, 2}


def test_the_baselines_that_are_given_stay_as_they_are():
    given_baselines = {"p": 1.0}
    role_advantages(torch.tensor([5.0]), ["p"], given_baselines)
    assert given_baselines == {"p": 1.0}


def test_forward_changes_nothing_and_update_remembers():
    rae = RoleBaseline(decay=0.5)
    rollouts, scores = batch([1.0, -1.0], [0, 1])
    once, twice = rae(rollouts, scores), rae(rollouts, scores)
    assert torch.equal(once.values, twice.values)
    assert rae.memory == {}
    assert rae.update(rollouts, scores) == {"keys": 2.0, "new_keys": 2.0}
    assert rae.memory == {("kuhn", 0): 0.5, ("kuhn", 1): -0.5}
    assert rae(rollouts, scores).values.tolist() == [0.5, -0.5]


def test_what_a_batch_does_not_have_stays_remembered():
    rae = RoleBaseline(decay=0.5)
    step(rae, *batch([1.0], [0]))
    assert rae.update(*batch([1.0], [1])) == {"keys": 2.0, "new_keys": 1.0}
    assert rae.memory == {("kuhn", 0): 0.5, ("kuhn", 1): 0.5}


def test_each_game_has_its_own_roles():
    rae = RoleBaseline(decay=0.5)
    rollouts, scores = batch([1.0, 1.0], [0, 0], ["kuhn", "go"])
    assert step(rae, rollouts, scores).values.tolist() == [1.0, 1.0]
    one = RoleBaseline(["role"], decay=0.5)
    assert step(one, rollouts, scores).values.tolist() == [1.0, 0.5]
    assert one.memory == {0: 0.75}


def test_resumed_it_goes_on_to_the_last_digit():
    generator = torch.Generator().manual_seed(0)
    batches = [
        batch(torch.randn(10, generator=generator).tolist(), torch.arange(10) % 3, ["a", "b"] * 5)
        for _ in range(4)
    ]
    straight, resumed = RoleBaseline(), RoleBaseline()
    for one in batches[:2]:
        step(straight, *one)
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.memory == straight.memory
    for one in batches[2:]:
        assert torch.equal(step(straight, *one).values, step(resumed, *one).values)


def test_what_is_saved_does_not_move_on():
    rae = RoleBaseline()
    step(rae, *batch([1.0], [0]))
    state = rae.state_dict()
    step(rae, *batch([1.0], [1]))
    fresh = RoleBaseline()
    fresh.load_state_dict(state)
    assert fresh.memory.keys() == {("kuhn", 0)}


def test_turns_before_the_last_are_discounted():
    turns = torch.tensor([[0, 0, 1, 2, 2, -1], [1, 1, 3, 3, 3, 3]])
    mask = torch.tensor([[True, True, False, True, True, False], [True] * 6])
    factors = turn_discounts(turns, mask, gamma=0.5)
    assert factors.tolist() == [[0.5, 0.5, 0, 1, 1, 0], [0.5, 0.5, 1, 1, 1, 1]]


def test_the_class_weighs_turns():
    rae = RoleBaseline(gamma=0.5)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    spans = {"turn": torch.tensor([[0, 1, 2], [0, 1, -1]])}
    rollouts, scores = batch([1.0, -1.0], [0, 1], mask=mask, spans=spans)
    values = rae(rollouts, scores).by_step(mask)
    assert values.tolist() == [[0.25, 0.5, 1.0], [-0.5, -1.0, 0.0]]
    plain = RoleBaseline()(rollouts, scores)
    assert plain.weight is None
    assert plain.by_step(mask).tolist() == [[1.0, 1.0, 1.0], [-1.0, -1.0, 0.0]]
    with pytest.raises(MissingColumn, match="'turn', needed by rae's gamma"):
        rae(*batch([1.0], [0]))


def test_ranks_share_their_baselines(monkeypatch):
    rewards, keys = torch.tensor([1.0, 2.0, 3.0, 5.0]).double(), ["p", "q", "p", "p"]
    keep = torch.tensor([True, True, False, True])
    whole, baselines = role_advantages(rewards, keys, {}, keep=keep)
    world = torch.distributed.ProcessGroup(0, 2)
    halves = [
        (keys[i : i + 2], keep[i : i + 2].numpy(), {"rewards": rewards[i : i + 2].numpy()})
        for i in (0, 2)
    ]
    monkeypatch.setattr(outcomes, "gathered", replayed(halves))
    for rank in (0, 1):
        monkeypatch.setattr(outcomes, "rank_of", lambda ranks, rank=rank: rank)
        own = slice(2 * rank, 2 * rank + 2)
        part, known = role_advantages(rewards[own], keys[own], {}, keep=keep[own], ranks=world)
        assert torch.equal(part.values, whole.values[own])
        assert torch.equal(part.keep, whole.keep[own])
        assert known == baselines


def test_it_has_its_name_in_the_catalog():
    made = estimator("rae", columns=["role"], decay=0.9)
    assert isinstance(made, RoleBaseline)
    assert repr(made) == "rae(columns=('role',), decay=0.9)"


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, math.nan])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"rae: decay is .*, it must lie between 0 and 1"):
        RoleBaseline(decay=decay)
    with pytest.raises(ValueError, match="rae: decay"):
        role_advantages(torch.ones(1), [0], {}, decay=decay)


def test_other_options_out_of_range_are_refused():
    with pytest.raises((ValueError, TypeCheckError), match="start"):
        RoleBaseline(start="one")
    with pytest.raises(ValueError, match=r"rae: gamma is 0.0, it must lie in \(0, 1\]"):
        RoleBaseline(gamma=0.0)
    with pytest.raises(ValueError, match="rae: columns is 'role', a list of one or more"):
        RoleBaseline("role")
    with pytest.raises(ValueError, match=r"rae: columns is \[\]"):
        RoleBaseline([])


@pytest.mark.parametrize("value", [None, MISSING, ["a", "b"]])
def test_a_row_without_a_key_is_named(value):
    rollouts, scores = batch([1.0, 1.0], [0, value])
    with pytest.raises(ValueError, match=r"rae: row 1 has .* in the column 'role'"):
        RoleBaseline()(rollouts, scores)


def test_a_missing_column_is_named():
    rollouts = Rollouts({"task": ["kuhn"]})
    with pytest.raises(MissingColumn, match="no column 'role', needed by rae"):
        RoleBaseline()(rollouts, Scores.outcome(torch.ones(1)))


def test_a_reward_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match=r"rae: row 1 \(group 'q'\) has inf in rewards"):
        role_advantages(torch.tensor([1.0, math.inf]), ["p", "q"], {})
