"""What holds for every estimator of one reward per rollout, in groups of any ids and sizes."""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, distributed

from rewardsmith.core.advantages import Advantages
from rewardsmith.policy.advantages import outcomes
from rewardsmith.policy.advantages.active_groups import gpg
from rewardsmith.policy.advantages.best_of_group import pass_at_k
from rewardsmith.policy.advantages.components import gdpo
from rewardsmith.policy.advantages.leave_one_out import rloo
from rewardsmith.policy.advantages.length_weighted import opo
from rewardsmith.policy.advantages.negatives import negatives_only

Method = Callable[..., Advantages]

# Of rewards, group, lengths, keep, and further options.
METHODS: dict[str, Method] = {
    "rloo": lambda r, g, n, k, **o: rloo(r, g, keep=k, **o),
    "opo": lambda r, g, n, k, **o: opo(r, g, n, keep=k, **o),
    "opo of others": lambda r, g, n, k, **o: opo(r, g, n, keep=k, baseline="others", **o),
    "gpg": lambda r, g, n, k, **o: gpg(r, g, keep=k, **o),
    "pass_at_k": lambda r, g, n, k, **o: pass_at_k(r, g, keep=k, **o),
    "pass_at_k, std": lambda r, g, n, k, **o: pass_at_k(r, g, keep=k, scale="group", **o),
    "negatives_only": lambda r, g, n, k, **o: negatives_only(r, g, keep=k, **o),
    "gdpo": lambda r, g, n, k, **o: gdpo({"a": r}, g, keep=None if k is None else {"a": k}, **o),
}
IDS = ["p", "q", 10**12, -3, ("x", 1)]


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, list, Tensor]:
    """Rewards, ids and lengths of groups of 2 to 5 rows that lie anyhow."""
    ids = draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True))
    group = draw(st.permutations([i for i in ids for _ in range(draw(st.integers(2, 5)))]))
    n = len(group)
    rewards = draw(st.lists(st.integers(-16, 16), min_size=n, max_size=n))
    lengths = draw(st.lists(st.integers(1, 9), min_size=n, max_size=n))
    return torch.tensor(rewards, dtype=torch.float64) / 8, group, torch.tensor(lengths)


def close(one: Tensor, other: Tensor, tolerance: float = 1e-9) -> bool:
    return bool(torch.allclose(one, other, rtol=tolerance, atol=tolerance))


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=12)
@given(batch=batches(), seed=st.integers(0, 99))
def test_the_order_of_rows_changes_nothing(name, batch, seed):
    rewards, group, lengths = batch
    order = np.random.default_rng(seed).permutation(len(group))
    there = METHODS[name](rewards, group, lengths, None).values
    moved = METHODS[name](rewards[order], [group[i] for i in order], lengths[order], None).values
    assert close(moved, there[order])


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=12)
@given(batch=batches(), shifts=st.lists(st.integers(-5, 5), min_size=5, max_size=5))
def test_a_constant_for_each_group_changes_nothing(name, batch, shifts):
    rewards, group, lengths = batch
    by = torch.tensor([shifts[IDS.index(i)] for i in group], dtype=torch.float64)
    there = METHODS[name](rewards, group, lengths, None).values
    assert close(METHODS[name](rewards + by, group, lengths, None).values, there)


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=12)
@given(batch=batches())
def test_large_rewards_keep_their_digits(name, batch):
    rewards, group, lengths = batch
    there = METHODS[name](rewards, group, lengths, None).values
    assert close(METHODS[name](rewards + 1e6, group, lengths, None).values, there, 1e-8)


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=12)
@given(batch=batches(), scale=st.sampled_from([0.5, 3.0]))
def test_a_factor_scales_advantages_or_leaves_them(name, batch, scale):
    rewards, group, lengths = batch
    there = METHODS[name](rewards, group, lengths, None).values
    free = name in ("pass_at_k, std", "negatives_only", "gdpo")
    scaled = METHODS[name](rewards * scale, group, lengths, None).values
    # What is added to a deviation of at least 1/16 shows as less than 1e-4 of it.
    assert close(scaled, there if free else there * scale, 1e-4)


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=12)
@given(batch=batches(), data=st.data())
def test_rows_without_a_score_are_as_if_they_were_not_there(name, batch, data):
    rewards, group, lengths = batch
    n = len(group)
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(any)))
    garbage = data.draw(st.sampled_from([float("nan"), float("inf"), 99.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        all_rows = METHODS[name](torch.where(keep, rewards, garbage), group, lengths, keep)
        rest = [i for i, kept in zip(group, keep.tolist(), strict=True) if kept]
        alone = METHODS[name](rewards[keep], rest, lengths[keep], None)
    assert close(all_rows.values[keep], alone.values)
    assert all_rows.values[~keep].eq(0.0).all()
    assert all_rows.keep.equal(keep)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", [0.35, 1.0, -0.1, 1e6 + 0.1])
def test_a_group_of_equal_rewards_gets_exactly_zero(name, value):
    rewards = torch.tensor([value, 1.0, value, 0.0, value], dtype=torch.float64)
    lengths = torch.tensor([3, 2, 7, 1, 5])
    values = METHODS[name](rewards, ["c", 8, "c", 8, "c"], lengths, None).values
    assert values[[0, 2, 4]].tolist() == [0.0, 0.0, 0.0]
    assert values[[1, 3]].abs().max() > 0.1


@pytest.mark.parametrize("name", METHODS)
def test_a_lone_rollout_gets_zero_and_is_told_of(name):
    rewards, lengths = torch.tensor([1.0, 0.0, 7.0]), torch.tensor([1, 2, 3])
    with pytest.warns(UserWarning, match=r"1 of 3 rollouts are alone .* row 2 \(group 'c'\)"):
        values = METHODS[name](rewards, ["a", "a", "c"], lengths, None).values
    assert values[2] == 0.0
    assert values.abs().sum() > 0.0


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_reward_that_is_not_finite_is_named(name, value):
    rewards = torch.tensor([1.0, float(value), 3.0, 2.0])
    with pytest.raises(ValueError, match=r": row 1 \(group 'q'\) has -?(nan|inf) in "):
        METHODS[name](rewards, ["p", "q", "p", "q"], torch.ones(4), None)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_advantages_have_the_type_of_rewards_and_no_gradient(name, kind):
    rewards = torch.tensor([1.0, 0.0, 3.0], dtype=kind, requires_grad=True)
    values = METHODS[name](rewards, [0, 0, 0], torch.tensor([1, 2, 3]), None).values
    assert values.dtype == kind
    assert not values.requires_grad


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_without_scores_does_not_train(name):
    rewards, lengths = torch.tensor([float("nan"), 1.0]), torch.tensor([1, 2])
    advantages = METHODS[name](rewards, ["a", "a"], lengths, torch.tensor([False, False]))
    assert advantages.values.tolist() == [0.0, 0.0]
    assert not advantages.keep.any()


@pytest.fixture
def world() -> Iterator[distributed.ProcessGroup]:
    """A process group of this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield distributed.group.WORLD
    distributed.destroy_process_group()


@pytest.mark.parametrize("name", METHODS)
def test_a_group_may_lie_on_several_ranks(name, world, monkeypatch):
    rewards = torch.tensor([1.0, 0.0, 3.0, 1.0, 1.0, float("nan"), 0.5], dtype=torch.float64)
    group, lengths = ["a", "b", "a", "b", "b", "a", "a"], torch.arange(1, 8)
    keep = ~rewards.isnan()
    whole = METHODS[name](rewards, group, lengths, keep)
    own = [slice(0, 3), slice(3, 7)]
    sent: list = []

    def one(rank: int) -> Advantages:
        part = own[rank]
        return METHODS[name](rewards[part], group[part], lengths[part], keep[part], ranks=world)

    # What each rank would send to the others is taken down first.
    monkeypatch.setattr(outcomes, "gathered", lambda thing, ranks: sent.append(thing) or [thing])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for rank in (0, 1):
            one(rank)
    assert len(sent) == 2
    monkeypatch.setattr(outcomes, "gathered", lambda thing, ranks: sent)
    for rank in (0, 1):
        monkeypatch.setattr(outcomes, "rank_of", lambda ranks, rank=rank: rank)
        part = one(rank)
        assert part.values.equal(whole.values[own[rank]])
        assert part.keep.equal(keep[own[rank]])
        assert part.metrics == whole.metrics
