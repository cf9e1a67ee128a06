"""What holds for every estimator of one reward per rollout, in groups of any ids and sizes."""

import warnings
from collections.abc import Callable, Iterator

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.advantages.halves import replayed
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
    words = []
    for group in (["a", "a", "c"], ["a", "a", "d"]):
        with pytest.warns(UserWarning, match=r"alone in their group") as told:
            advantages = METHODS[name](rewards, group, lengths, None)
        words += [str(warning.message) for warning in told]
    # One warning of each batch, always in the same words, so that it can be shown once.
    assert len(words) == 2
    assert len(set(words)) == 1
    assert advantages.metrics["alone"] == 1.0
    assert advantages.values[2] == 0.0
    assert advantages.values.abs().sum() > 0.0


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
    with pytest.warns(UserWarning, match=r"no row of the batch has a score") as told:
        advantages = METHODS[name](rewards, ["a", "a"], lengths, torch.tensor([False, False]))
    assert len(told) == 1
    assert advantages.values.tolist() == [0.0, 0.0]
    assert not advantages.keep.any()
    shared = {"zero_advantages": 0.0, "constant_groups": 0.0, "alone": 0.0}
    assert advantages.metrics.items() >= shared.items()


@pytest.mark.parametrize("name", METHODS)
def test_metrics_are_plain_floats_over_kept_rows(name):
    rewards, group = torch.tensor([1.0, 0.0, 2.0, 2.0, 5.0, 9.0]), list("aabbcd")
    keep = torch.tensor([True] * 5 + [False])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = METHODS[name](rewards, group, torch.ones(6), keep).metrics
    assert {type(value) for value in metrics.values()} == {float}
    # Rows 2 to 4, and the worse or the better of the first two where only one of them trains.
    zeros = 4 if name.startswith(("pass_at_k", "negatives")) else 3
    assert metrics["zero_advantages"] == pytest.approx(zeros / 5)
    assert metrics["constant_groups"] == pytest.approx(2 / 3)
    assert metrics["alone"] == 1.0


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"r": [1.0, 0.0]}, r"must be a tensor \[N\], this is a? ?list"),
        ({"r": torch.ones(2, 1)}, r"shape \[2, 1\]|must be a tensor \[N\], this is \[2, 1\]"),
        ({"g": None}, r"group needs one hashable id per row, .* this is None"),
        ({"g": [torch.tensor(0), torch.tensor(0)]}, r"group needs .* one is tensor\(0\)"),
        ({"g": torch.zeros(2, 1)}, r"group needs one hashable id .* the shape is \[2, 1\]"),
        ({"g": [float("nan"), 1.0]}, r"group needs one hashable id .* one is nan"),
        ({"g": [[1], [1]]}, r"group needs one hashable id .* unhashable type: 'list'"),
        ({"k": [True, True]}, r"keep.* must be a bool tensor \[N\], this is a list"),
        ({"k": torch.ones(2)}, r"keep.* must be a bool tensor \[N\], this is float32 \[2\]"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_what_is_no_column_is_told_with_what_to_give(name, change, told):
    given = {"r": torch.tensor([1.0, 0.0]), "g": [0, 0], "n": torch.ones(2), "k": None} | change
    with pytest.raises(ValueError, match=told):
        METHODS[name](*given.values())


@pytest.fixture
def as_users_run_it() -> Iterator[None]:
    """Without the tests' own check of annotations, which would come first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


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
    def taken_down(thing: tuple, ranks: object) -> list:
        if thing[1] is not None:
            sent.append(thing[1])
        return [thing]

    monkeypatch.setattr(outcomes, "gathered", taken_down)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for rank in (0, 1):
            one(rank)
    assert len(sent) == 2
    monkeypatch.setattr(outcomes, "gathered", replayed(sent))
    for rank in (0, 1):
        monkeypatch.setattr(outcomes, "rank_of", lambda ranks, rank=rank: rank)
        part = one(rank)
        assert part.values.equal(whole.values[own[rank]])
        assert part.keep.equal(keep[own[rank]])
        assert part.metrics == whole.metrics
