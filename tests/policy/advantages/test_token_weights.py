import io
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from tests.policy.advantages.halves import replayed

from rewardsmith.core.advantages import Advantages
from rewardsmith.policy.advantages import outcomes
from rewardsmith.policy.advantages.group_relative import grpo
from rewardsmith.policy.advantages.token_weights import (
    EntropyStage,
    perplexity_weighted,
    position_bonus,
    weighted,
)

SEEDS = st.integers(0, 10_000)


def drawn(seed, n=6, t=5):
    """Advantages, log-probabilities and a mask with holes and an empty row; rubbish elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    advantage = torch.randn(n, generator=generator, dtype=torch.float64)
    advantage[1] = 0.0
    logprob = -torch.rand(n, t, generator=generator, dtype=torch.float64) * 4
    mask = torch.rand(n, t, generator=generator) < 0.7
    mask[0] = False
    return advantage, torch.where(mask, logprob, -math.inf), mask


def by_hand(advantage, logprob, mask, alpha, group=None):
    advantage, logprob, mask = advantage.numpy(), logprob.numpy(), mask.numpy()
    surprise = {i: -logprob[i][mask[i]].mean() for i in range(len(mask)) if mask[i].any()}
    values = np.zeros(mask.shape)
    for i, own in surprise.items():
        among = [x for j, x in surprise.items() if group is None or group[j] == group[i]]
        z = (own - np.mean(among)) / np.std(among) if np.std(among) > 1e-12 else 0.0
        values[i] = advantage[i] * np.clip(1 - alpha * z, 0, 2) * mask[i]
    return values


@given(seed=SEEDS, alpha=st.floats(0, 3), grouped=st.booleans())
@settings(max_examples=50)
def test_unlikely_answers_weigh_less(seed, alpha, grouped):
    advantage, logprob, mask = drawn(seed)
    group = ["a", "b", "a", "b", "a", "b"] if grouped else None
    got = perplexity_weighted(advantage, logprob, mask, alpha=alpha, group=group)
    expected = by_hand(advantage, logprob, mask, alpha, group)
    assert got.numpy() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(seed=SEEDS, alpha=st.floats(0, 50))
@settings(max_examples=50)
def test_perplexity_turns_no_sign_and_at_most_doubles(seed, alpha):
    advantage, logprob, mask = drawn(seed)
    got = perplexity_weighted(advantage, logprob, mask, alpha=alpha)
    plain = torch.where(mask, advantage[:, None], 0.0)
    assert bool((got * plain >= 0).all())
    assert bool((got.abs() <= 2 * plain.abs()).all())
    assert got[1].tolist() == [0.0] * 5
    if alpha == 0.0:
        assert torch.equal(got, plain)


def test_without_alpha_or_gamma_nothing_changes():
    advantage, logprob, mask = drawn(3)
    plain = torch.where(mask, advantage[:, None], 0.0)
    assert torch.equal(perplexity_weighted(advantage, logprob, mask, alpha=0.0), plain)
    assert torch.equal(position_bonus(advantage, mask, gamma=0.0), plain)


def test_answers_that_are_as_likely_weigh_the_same():
    # The mean of three times 0.1 is not that of five: what rounding leaves is no spread.
    mask = torch.tensor([[True] * 7, [True] * 3 + [False] * 4, [True] * 5 + [False] * 2])
    got = perplexity_weighted(
        torch.ones(3).double(), torch.full((3, 7), -0.1, dtype=torch.float64), mask, alpha=1.0
    )
    assert torch.equal(got, mask.double())


def test_an_answer_alone_or_without_a_token_is_not_compared():
    advantage = torch.tensor([1.0, 2.0, 3.0])
    logprob = torch.tensor([[-1.0, -1.0], [-3.0, -3.0], [-9.0, -9.0]])
    mask = torch.tensor([[True, True], [False, False], [True, False]])
    alone = perplexity_weighted(advantage, logprob, mask, alpha=0.5, group=["a", "a", "b"])
    assert alone.tolist() == [[1.0, 1.0], [0.0, 0.0], [3.0, 0.0]]
    both = perplexity_weighted(advantage, logprob, mask, alpha=0.5)
    assert both.tolist() == [[1.5, 1.5], [0.0, 0.0], [1.5, 0.0]]


def test_perplexities_of_other_ranks_count(monkeypatch):
    advantage, logprob, mask = drawn(5)
    whole = perplexity_weighted(advantage, logprob, mask, alpha=0.3)
    world = torch.distributed.ProcessGroup(0, 2)
    length = mask.sum(dim=1)
    surprise = -torch.where(mask, logprob, 0.0).sum(dim=1) / length.clamp(min=1)
    halves = [
        ([0] * 3, (length[i : i + 3] > 0).numpy(), {"rewards": surprise[i : i + 3].numpy()})
        for i in (0, 3)
    ]
    monkeypatch.setattr(outcomes, "gathered", replayed(halves))
    monkeypatch.setattr(outcomes, "rank_of", lambda ranks: 1)
    own = perplexity_weighted(advantage[3:], logprob[3:], mask[3:], alpha=0.3, ranks=world)
    assert torch.equal(own, whole[3:])


def test_a_bonus_grows_with_the_place_among_the_tokens_that_count():
    mask = torch.tensor([[True, False, True, True, True, False]])
    got = position_bonus(torch.tensor([-2.0]).double(), mask, gamma=0.4, slope=10.0)
    places = np.array([1, 2, 3, 4]) / 4
    bonus = 0.4 / (1 + np.exp(-10 * (places - 0.5)))
    assert got[mask].tolist() == pytest.approx((-2.0 - bonus).tolist(), rel=1e-12)
    assert got[~mask].tolist() == [0.0, 0.0]


def test_the_reverse_is_the_bonus_from_the_end():
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    advantage = torch.tensor([1.0, -1.0])
    late = position_bonus(advantage, mask, gamma=0.3)
    early = position_bonus(advantage, mask, gamma=0.3, reverse=True)
    assert torch.equal(early[0, :3], late[0, :3].flip(0))
    assert torch.equal(early[1], late[1].flip(0))
    assert early[0, 3] == 0.0
    assert float(late[0, 2]) > float(late[0, 0])


@given(seed=SEEDS, gamma=st.floats(0, 5), slope=st.floats(0, 40), reverse=st.booleans())
@settings(max_examples=50)
def test_a_bonus_turns_no_sign_and_zero_stays_zero(seed, gamma, slope, reverse):
    advantage, _, mask = drawn(seed)
    got = position_bonus(advantage, mask, gamma=gamma, slope=slope, reverse=reverse)
    plain = torch.where(mask, advantage[:, None], 0.0)
    away = (got - plain) * plain.sign()
    assert bool(((away >= 0) & (away <= gamma + 1e-12)).all())
    assert got[~mask].abs().sum() == 0.0
    assert got[1].tolist() == [0.0] * 5


def test_weights_follow_an_estimator_one_after_the_other():
    _, logprob, mask = drawn(7)
    advantages = grpo(torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 1.0]), [0, 0, 0, 1, 1, 1])
    by = partial(perplexity_weighted, logprob=logprob, mask=mask, alpha=0.1)
    first = weighted(advantages, by)
    both = weighted(first, partial(position_bonus, mask=mask, gamma=0.1))
    assert torch.equal(first.values, by(advantages.values))
    assert torch.equal(both.values, position_bonus(first.values, mask, gamma=0.1))
    assert both.metrics == advantages.metrics
    assert torch.equal(both.keep, advantages.keep)


def test_what_does_not_train_stays_that_way():
    weight = torch.rand(2, 3)
    keep = torch.tensor([True, False])
    advantages = Advantages(torch.ones(2), keep, weight)
    got = weighted(advantages, partial(position_bonus, mask=torch.ones(2, 3).bool()))
    assert (got.keep is keep, got.weight is weight) == (True, True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_widened_and_no_gradient_flows(dtype):
    advantage = torch.tensor([1.0, -1.0], dtype=dtype)
    logprob = torch.tensor([[-1.0], [-2.0]], dtype=dtype, requires_grad=True)
    mask = torch.ones(2, 1, dtype=torch.bool)
    wide = torch.promote_types(dtype, torch.float32)
    for got in (
        perplexity_weighted(advantage, logprob, mask, alpha=0.25),
        position_bonus(advantage, mask),
    ):
        assert got.dtype == wide
        assert not got.requires_grad
    got = perplexity_weighted(advantage, logprob, mask, alpha=0.25)
    assert got.tolist() == [[1.25], [-0.75]]


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_log_probability_that_is_not_finite_is_named(value):
    logprob = torch.tensor([[-1.0, -1.0], [-1.0, value]])
    with pytest.raises(ValueError, match="perplexity_weighted: row 1, token 1 has the log-prob"):
        perplexity_weighted(torch.ones(2), logprob, torch.ones(2, 2, dtype=torch.bool))


def test_bad_input_is_refused():
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"perplexity_weighted: alpha is -1\.0, it must be"):
        perplexity_weighted(torch.ones(2), torch.ones(2, 3), mask, alpha=-1.0)
    with pytest.raises(ValueError, match="position_bonus: gamma is nan, it must be at least 0"):
        position_bonus(torch.ones(2), mask, gamma=math.nan)
    with pytest.raises(ValueError, match=r"position_bonus: slope is -1\.0"):
        position_bonus(torch.ones(2), mask, slope=-1.0)
    with pytest.raises((ValueError, TypeCheckError), match="position_bonus"):
        position_bonus(torch.ones(3), mask)
    with pytest.raises((ValueError, TypeCheckError), match="perplexity_weighted"):
        perplexity_weighted(torch.ones(2), torch.ones(2, 4), mask)


def test_the_stage_is_told_by_the_slope():
    stage = EntropyStage(threshold=0.01, window=5)
    falling = [stage.observe(2.0 - 0.1 * i) for i in range(8)]
    assert falling == ["rising"] * 8
    assert stage.slope == pytest.approx(-0.1)
    flat = [stage.observe(1.3) for _ in range(5)]
    assert flat[-1] == "plateau"
    assert stage.slope == 0.0
    for i in range(5):
        stage.observe(1.3 + 0.1 * i)
    assert stage.stage == "rising"
    assert stage.slope == pytest.approx(0.1)


@given(st.lists(st.floats(0, 5), min_size=4, max_size=12))
@settings(max_examples=30)
def test_the_slope_is_that_of_least_squares(entropies):
    stage = EntropyStage(threshold=0.0, window=4)
    for entropy in entropies:
        stage.observe(entropy)
    assert stage.slope == pytest.approx(np.polyfit(range(4), entropies[-4:], 1)[0], abs=1e-9)


def test_before_the_window_is_full_the_stage_is_rising():
    stage = EntropyStage(threshold=0.1, window=3)
    assert (stage.stage, stage.slope) == ("rising", None)
    assert [stage.observe(1.0) for _ in range(3)] == ["rising", "rising", "plateau"]


def test_a_resumed_stage_goes_on():
    straight, resumed = EntropyStage(0.01, window=4), EntropyStage(0.01, window=4)
    for entropy in (2.0, 1.7, 1.5):
        straight.observe(entropy)
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for entropy in (1.4, 1.39, 1.38, 1.38, 1.38):
        assert straight.observe(entropy) == resumed.observe(entropy)
        assert straight.slope == resumed.slope


def test_bad_input_to_the_stage_is_refused():
    with pytest.raises(ValueError, match=r"EntropyStage: threshold is -0\.1, it must be"):
        EntropyStage(-0.1)
    with pytest.raises(ValueError, match="EntropyStage: window is 1, a slope needs 2 updates"):
        EntropyStage(0.1, window=1)
    with pytest.raises(ValueError, match="EntropyStage: the entropy is nan, it must be finite"):
        EntropyStage(0.1).observe(math.nan)
