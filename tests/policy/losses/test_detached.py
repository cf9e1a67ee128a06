from functools import partial

import pytest
import torch
from tests.policy.losses.cases import batch, descend

from rewardsmith.policy.losses.detached import cispo, policy_gradient


def test_it_is_the_policy_gradient():
    it = batch()
    del it["old_logprob"]
    out = policy_gradient(**it)
    sums = torch.where(it["mask"], it["logprob"], 0.0).sum(1)
    assert float(out.loss) == pytest.approx(float(-(it["advantage"] * sums).sum() / 5))
    assert out.metrics == {}


def test_cispo_weighs_each_tokens_gradient_by_its_clipped_ratio():
    it = batch()
    _, gradient = descend(partial(cispo, upper=1.2, lower=0.9), **it)
    ratio = (it["logprob"] - it["old_logprob"]).exp()
    expected = -ratio.clamp(0.9, 1.2) * it["advantage"][:, None] * it["mask"] / it["mask"].sum()
    torch.testing.assert_close(gradient, expected)
    assert (ratio[it["mask"]] > 1.2).any()
    assert (ratio[it["mask"]] < 0.9).any()


def test_cispo_clips_above_alone_unless_told():
    it = batch()
    ratio = (it["logprob"] - it["old_logprob"]).exp()
    _, gradient = descend(partial(cispo, upper=1.0), **it)
    expected = -ratio.clamp(max=1.0) * it["advantage"][:, None] * it["mask"] / it["mask"].sum()
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("far", [-1e3, -5.0, 0.0, 5.0, 1e3])
def test_no_token_of_cispo_ever_loses_its_gradient(far):
    it = batch()
    it["logprob"] = it["old_logprob"] + far
    _, gradient = descend(cispo, **it)
    assert gradient.ne(0.0).equal(it["mask"] & it["advantage"].ne(0.0)[:, None])


def test_cispo_counts_the_weights_that_a_bound_changed():
    it = batch()
    metrics = cispo(**it, upper=1.2, lower=0.9).metrics
    ratio = (it["logprob"] - it["old_logprob"]).exp()[it["mask"]]
    assert float(metrics["weights_lowered"]) == pytest.approx(float((ratio > 1.2).double().mean()))
    assert float(metrics["weights_raised"]) == pytest.approx(float((ratio < 0.9).double().mean()))
    assert float(cispo(**it).metrics["weights_raised"]) == 0.0


@pytest.mark.parametrize("upper", [0.28, -1.0, float("nan")])
def test_cispo_refuses_a_distance_from_one_as_its_bound(upper):
    with pytest.raises(ValueError, match=r"cispo: upper is .* for a clip of e_high give 1 \+ e_h"):
        cispo(**batch(), upper=upper)


@pytest.mark.parametrize("lower", [1.2, -0.1])
def test_cispo_refuses_a_lower_bound_above_one(lower):
    with pytest.raises(ValueError, match=r"cispo: lower is .*: 0 to 1, or None"):
        cispo(**batch(), lower=lower)
