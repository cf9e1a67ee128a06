"""The loss of retried answers: its factor, what stays of ppo, and the borders between the two."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.losses.cases import batch, descend, same

from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.policy.losses.retried import herl, retried_weight

ratios = st.floats(math.exp(-20.0), math.exp(20.0))
gammas = st.floats(0.01, 100.0)


def none(n=6):
    return torch.zeros(n, dtype=torch.bool)


@settings(max_examples=60)
@given(ratios, ratios, gammas)
def test_the_factor_rises_stays_below_1_and_has_its_slope(one, two, gamma):
    low, high = sorted((one, two))
    r = torch.tensor([low, high], dtype=torch.float64, requires_grad=True)
    factor = retried_weight(r, gamma)
    assert 0.0 < factor[0] <= factor[1] < 1.0
    factor.sum().backward()
    torch.testing.assert_close(r.grad, gamma / (r.detach() + gamma) ** 2)


@settings(max_examples=20)
@given(gammas)
def test_at_a_ratio_of_1_the_factor_is_one_over_one_plus_gamma(gamma):
    assert float(retried_weight(torch.ones((), dtype=torch.float64), gamma)) == pytest.approx(
        1.0 / (1.0 + gamma)
    )


@pytest.mark.parametrize("options", [{}, {"clip": (0.1, 0.2), "dual_clip": 1.5}])
def test_without_a_replaced_row_it_is_ppo_to_the_last_digit(options):
    it = batch()
    ours = descend(herl, **it, replaced=none(), **options)
    theirs = descend(ppo, **it, **options)
    assert ours[0] == theirs[0]
    assert torch.equal(ours[1], theirs[1])
    told = herl(**it, replaced=none(), **options).metrics
    plain = ppo(**it, **options).metrics
    assert {name: told[name] for name in plain} == plain
    assert told["replaced"] == told["replaced_weight"] == 0.0
    same(ours, descend(herl, **it, **options))


def test_replaced_tokens_by_hand():
    """Ratios of 3 and 1/2, far out of the clip; the last token is none of the retry's."""
    old = torch.full((1, 3), -2.0, dtype=torch.float64)
    new = old + torch.tensor([[math.log(3.0), math.log(0.5), math.log(3.0)]], dtype=torch.float64)
    replaced = torch.tensor([[True, True, False]])
    advantage = torch.tensor([2.0], dtype=torch.float64)
    mask = torch.ones(1, 3, dtype=torch.bool)
    value, gradient = descend(herl, new, old, advantage, mask, replaced=replaced, gamma=0.5)
    assert float(value) == pytest.approx(-2.0 * (3.0 / 3.5 + 0.5 / 1.0 + 1.2) / 3)
    wanted = [-2.0 * 0.5 * r / (r + 0.5) ** 2 / 3 for r in (3.0, 0.5)]
    assert gradient[0].tolist() == pytest.approx([*wanted, 0.0])
    told = herl(new, old, advantage, mask, replaced, gamma=0.5).metrics
    assert float(told["replaced"]) == pytest.approx(2 / 3)
    assert float(told["replaced_weight"]) == pytest.approx((3.0 / 3.5 + 0.5) / 2)
    assert float(told["clipped_high"]) == pytest.approx(1 / 3)


def test_without_gamma_the_ratio_stands_alone():
    it = batch()
    everyone = ~none()
    wide = descend(ppo, **it, clip=(1.0, 1e9))
    same(descend(herl, **it, replaced=everyone, gamma=None), wide)


def test_without_a_sampler_the_ratio_is_the_probability():
    it = batch()
    it["old_logprob"] = torch.zeros_like(it["old_logprob"])
    value, _ = descend(herl, **it, replaced=~none(), gamma=0.1)
    pi = it["logprob"].exp()
    by_token = torch.where(it["mask"], -it["advantage"][:, None] * pi / (pi + 0.1), 0.0)
    assert float(value) == pytest.approx(float(by_token.sum() / it["mask"].sum()))


def test_flags_of_rows_are_those_of_their_tokens():
    it = batch()
    rows = torch.tensor([True, False, True, True, False, False])
    same(
        descend(herl, **it, replaced=rows),
        descend(herl, **it, replaced=rows[:, None].expand(6, 9)),
    )
    assert not torch.equal(descend(herl, **it, replaced=rows)[1], descend(ppo, **it)[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ratios_beyond_any_bound_stay_finite(dtype):
    it = batch(dtype=dtype)
    for far in (-1e4, 1e4):
        it["logprob"] = it["old_logprob"] + torch.where(torch.arange(9) % 2 == 0, far, 0.0)
        value, gradient = descend(herl, **it, replaced=~none())
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_padding_changes_nothing_whatever_is_in_it():
    it = batch()
    rows = torch.tensor([True, False, True, True, False, False])
    value, gradient = descend(herl, **it, replaced=rows)
    it["logprob"] = it["logprob"].masked_fill(~it["mask"], -torch.inf)
    it["old_logprob"] = it["old_logprob"].masked_fill(~it["mask"], torch.nan)
    same((value, gradient), descend(herl, **it, replaced=rows))


def test_it_compiles_without_a_graph_break():
    torch._dynamo.reset()
    it = batch(dtype=torch.float32)
    compiled = torch.compile(herl, fullgraph=True, backend="eager")
    for replaced in (torch.arange(6) % 2 == 0, it["mask"], None):
        torch.testing.assert_close(
            descend(compiled, **it, replaced=replaced), descend(herl, **it, replaced=replaced)
        )


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.inf, math.nan])
def test_a_gamma_that_is_not_above_0_is_refused(gamma):
    with pytest.raises(ValueError, match=rf"herl: gamma is {gamma}.*None is for the plain ratio"):
        herl(**batch(), replaced=none(), gamma=gamma)


@pytest.mark.parametrize("shape", [(5,), (6, 1), (9,), (6, 8)])
def test_flags_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"logprob has the shape \[6, 9\], replaced \["):
        herl(**batch(), replaced=torch.zeros(shape, dtype=torch.bool))
