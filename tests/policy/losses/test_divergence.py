import math
from functools import partial

import pytest
import torch
from tests.policy.losses.cases import batch, descend

from rewardsmith.policy.losses.divergence import dppo, dro


def _slope(loss, p: float, old: float, advantage: float, **options) -> float:
    """The gradient in the log-probability of one token."""
    logprob = torch.tensor([[p]], dtype=torch.float64).log().requires_grad_()
    old_logprob = torch.tensor([[old]], dtype=torch.float64).log()
    a = torch.tensor([advantage], dtype=torch.float64)
    loss(logprob, old_logprob, a, torch.tensor([[True]]), **options).loss.backward()
    return float(logprob.grad)


def test_dppo_lets_rare_tokens_move_and_holds_likely_ones():
    # PPO's clip of 0.2 does the opposite of both.
    assert _slope(dppo, 0.003, 0.001, 1.0) == pytest.approx(-3.0)
    assert _slope(dppo, 0.80, 0.99, -1.0) == 0.0


@pytest.mark.parametrize("divergence", ["tv", "kl"])
def test_dppo_takes_the_gradient_only_of_moves_that_the_advantage_asks_for(divergence):
    away = partial(_slope, dppo, divergence=divergence)
    assert away(0.9, 0.3, 1.0) == 0.0
    assert away(0.3, 0.9, -1.0) == 0.0
    assert away(0.9, 0.3, -1.0) == pytest.approx(3.0)
    assert away(0.3, 0.9, 1.0) == pytest.approx(-1 / 3)


@pytest.mark.parametrize(("p", "old"), [(0.5, 0.4), (0.4, 0.5), (0.95, 0.9), (0.02, 0.1)])
def test_dppos_bound_is_the_divergence_of_two_outcomes(p, old):
    a = 1.0 if p > old else -1.0
    tv = abs(p - old)
    kl = old * math.log(old / p) + (1 - old) * math.log((1 - old) / (1 - p))
    for divergence, away in (("tv", tv), ("kl", kl)):
        assert _slope(dppo, p, old, a, divergence=divergence, bound=away * 0.99) == 0.0
        assert _slope(dppo, p, old, a, divergence=divergence, bound=away * 1.01) != 0.0


def test_dppo_bounds_each_side_by_its_own():
    assert _slope(dppo, 0.5, 0.4, 1.0, bound=(0.01, 0.2)) != 0.0
    assert _slope(dppo, 0.5, 0.4, 1.0, bound=(0.2, 0.01)) == 0.0
    assert _slope(dppo, 0.4, 0.5, -1.0, bound=(0.01, 0.2)) == 0.0


def test_dppo_truncates_the_ratio():
    assert _slope(dppo, 0.04, 0.001, 1.0) == pytest.approx(-20.0)
    assert _slope(dppo, 0.04, 0.001, 1.0, truncate=5.0) == pytest.approx(-5.0)


def test_dppo_counts_what_it_holds():
    it = batch()
    out = dppo(**it, bound=(0.02, 0.03))
    _, gradient = descend(partial(dppo, bound=(0.02, 0.03)), **it)
    live = it["mask"] & it["advantage"].ne(0.0)[:, None]
    held = int((live & gradient.eq(0.0)).sum()) / int(it["mask"].sum())
    told = float(out.metrics["left_high"] + out.metrics["left_low"])
    assert told == pytest.approx(held)
    assert held > 0.0


def test_dppo_holds_a_token_that_was_certain():
    # The others had nothing: 0 log(0 / 0.4) is 0, and the divergence is -log 0.6.
    assert _slope(dppo, 0.6, 1.0, -1.0, divergence="kl", bound=0.5) == 0.0
    assert _slope(dppo, 0.6, 1.0, -1.0, divergence="kl", bound=0.52) == pytest.approx(0.6)
    assert _slope(dppo, 1.0, 0.6, 1.0, divergence="kl", bound=0.5) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dppo_knows_what_a_certain_token_leaves_to_the_others(dtype):
    logprob = torch.tensor([[0.0, -1e-7, 0.0]], dtype=dtype, requires_grad=True)
    old = torch.tensor([[0.0, 0.0, -1e-7]], dtype=dtype)
    mask = torch.ones(1, 3, dtype=torch.bool)
    out = dppo(logprob, old, torch.tensor([1.0], dtype=dtype), mask, divergence="kl")
    out.loss.backward()
    assert logprob.grad.isfinite().all()
    assert logprob.grad.ne(0.0).all()


def test_dro_is_at_rest_where_the_advantage_is_paid_for():
    for far in (-30.0, -1.0, 0.0, 1.0, 30.0):
        logprob = torch.tensor([[far - 1.0]], dtype=torch.float64, requires_grad=True)
        old = torch.tensor([[-1.0]], dtype=torch.float64)
        a = torch.tensor([2.0], dtype=torch.float64)
        dro(logprob, old, a, torch.tensor([[True]]), beta=0.5).loss.backward()
        assert float(logprob.grad) == pytest.approx(-2.0 + 0.5 * far)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"divergence": "js"}, "dppo: divergence is 'js', not one of tv, kl"),
        ({"bound": -0.1}, "dppo: bound is -0.1, it must be at least 0"),
        ({"bound": (0.1, float("nan"))}, r"dppo: bound is \(0.1, nan\)"),
        ({"truncate": 0.5}, "dppo: truncate is 0.5; it bounds the ratio"),
    ],
)
def test_dppo_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        dppo(**batch(), **options)


@pytest.mark.parametrize("beta", [0.0, -1.0, float("inf")])
def test_dro_refuses_a_beta_that_does_not_hold(beta):
    with pytest.raises(ValueError, match=r"dro: beta is .*, it must be above 0"):
        dro(**batch(), beta=beta)
