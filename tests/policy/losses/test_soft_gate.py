import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.losses.cases import batch, descend

from rewardsmith.policy.losses.soft_gate import sapo, vespo


def _one(loss, log_ratio: float, advantage: float, **options) -> tuple[float, float]:
    """Value and slope of one token whose log-probability is log_ratio - 1."""
    logprob = torch.tensor([[log_ratio - 1.0]], dtype=torch.float64, requires_grad=True)
    old, a = torch.tensor([[-1.0]], dtype=torch.float64), torch.tensor([advantage]).double()
    value = loss(logprob, old, a, torch.tensor([[True]]), **options).loss
    value.backward()
    return float(value.detach()), float(logprob.grad)


@settings(max_examples=30)
@given(st.floats(0.1, 20.0), st.floats(0.1, 20.0), st.floats(-5.0, 5.0).filter(lambda a: a != 0))
def test_sapos_gate_has_the_slope_one_and_the_value_two_by_tau_on_policy(positive, negative, a):
    value, slope = _one(sapo, 0.0, a, tau_positive=positive, tau_negative=negative)
    assert slope == pytest.approx(-a)
    assert value == pytest.approx(-a * 2.0 / (positive if a > 0 else negative))


def test_sapo_is_the_formula():
    it = batch()
    total = 0.0
    for i in range(5):
        tau = 1.5 if it["advantage"][i] > 0 else 2.5
        ratio = (it["logprob"] - it["old_logprob"])[i][it["mask"][i]].exp()
        gate = 4.0 / tau / (1.0 + torch.exp(-tau * (ratio - 1.0)))
        total -= float(it["advantage"][i] * gate.mean())
    out = sapo(**it, tau_positive=1.5, tau_negative=2.5)
    assert float(out.loss) == pytest.approx(total / 5)


def test_sapos_gate_closes_on_both_sides_and_sooner_for_negative_advantages():
    slopes = [abs(_one(sapo, d, 1.0)[1]) / math.exp(d) for d in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert slopes == sorted(slopes, reverse=True)
    assert slopes[-1] < 1e-10
    assert abs(_one(sapo, -3.0, 1.0)[1]) < abs(_one(sapo, 0.0, 1.0)[1])
    assert abs(_one(sapo, 1.0, -1.0)[1]) < abs(_one(sapo, 1.0, 1.0)[1])


def test_sapo_tells_how_open_its_gates_are():
    it = batch()
    it["logprob"] = it["old_logprob"]
    assert float(sapo(**it).metrics["gate_slope"]) == pytest.approx(1.0)
    it["logprob"] = it["old_logprob"] + 5.0
    assert float(sapo(**it).metrics["gate_slope"]) < 1e-6


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("name", ["tau_positive", "tau_negative"])
def test_sapo_refuses_a_tau_that_is_not_above_zero(name, tau):
    with pytest.raises(ValueError, match=f"sapo: {name} is {tau}, it must be above 0"):
        sapo(**batch(), **{name: tau})


def test_vespo_weighs_rows_by_their_whole_ratio():
    it = batch()
    _, gradient = descend(vespo, **it)
    for i in range(5):
        a = float(it["advantage"][i])
        k, fade = (2.0, 3.0) if a >= 0 else (3.0, 2.0)
        w = math.exp(float((it["logprob"] - it["old_logprob"])[i][it["mask"][i]].sum()))
        phi = w**k * math.exp(fade * (1.0 - w))
        slopes = gradient[i][it["mask"][i]]
        expected = torch.full_like(slopes, -a * phi / int(it["mask"].sum()))
        torch.testing.assert_close(slopes, expected)


@pytest.mark.parametrize(("advantage", "best"), [(1.0, 2 / 3), (-1.0, 3 / 2)])
def test_vespos_weight_is_greatest_at_k_by_lambda(advantage, best):
    weights = {w: abs(_one(vespo, math.log(w), advantage)[1]) for w in (0.1, best, 1.0, 4.0)}
    assert max(weights, key=weights.__getitem__) == best
    assert weights[1.0] == pytest.approx(1.0)


def test_vespo_does_not_tell_apart_ratios_below_its_least():
    least = abs(_one(vespo, math.log(1e-8), 1.0)[1])
    assert least == pytest.approx(1e-16 * math.exp(3.0), rel=1e-6, abs=0.0)
    assert abs(_one(vespo, -19.9, 1.0)[1]) == pytest.approx(least, rel=1e-6, abs=0.0)


def test_vespo_does_not_overflow_on_long_rows():
    for shift in (-1.0, 1.0):
        logprob = torch.full((1, 100_000), -2.0).requires_grad_()
        mask = torch.ones(1, 100_000, dtype=torch.bool)
        out = vespo(logprob, logprob.detach() - shift, torch.tensor([1.0]), mask)
        out.loss.backward()
        assert out.loss.isfinite()
        assert logprob.grad.abs().max() < 1e-12


@pytest.mark.parametrize("pair", [(-1.0, 2.0), (2.0, 0.0), (2.0, float("inf"))])
@pytest.mark.parametrize("name", ["positive", "negative"])
def test_vespo_refuses_a_kernel_that_does_not_fall(name, pair):
    with pytest.raises(ValueError, match=f"vespo: {name} is .*k at least 0 and lambda above 0"):
        vespo(**batch(), **{name: pair})
