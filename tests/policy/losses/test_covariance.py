from functools import partial

import pytest
import torch
from tests.policy.losses.cases import batch, descend, same

from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.policy.losses.covariance import clip_cov, kl_cov


def _covariance(it):
    mask, a = it["mask"], it["advantage"][:, None].expand(it["mask"].shape)
    here = (a - a[mask].mean()) * (it["logprob"] - it["logprob"][mask].mean())
    return here.masked_fill(~mask, -torch.inf)


def _candidates(it, low, high):
    covariance = _covariance(it)
    ratio, a = (it["logprob"] - it["old_logprob"]).exp(), it["advantage"][:, None]
    bound = ((ratio > 1.2) & (a > 0)) | ((ratio < 0.8) & (a < 0))
    return (covariance > low) & (covariance < high) & ~bound, bound


def test_clip_cov_is_ppo_without_the_candidates():
    it = batch(20, 20)
    candidates, bound = _candidates(it, 0.3, 1.5)
    assert candidates.any()
    assert (bound & (_covariance(it) > 0.3)).any()
    _, plain = descend(ppo, **it)
    _, gradient = descend(partial(clip_cov, share=1.0, band=(0.3, 1.5)), **it)
    torch.testing.assert_close(gradient, plain.masked_fill(candidates, 0.0))


@pytest.mark.parametrize(("share", "number"), [(1e-9, 1), (0.02, None), (0.05, None)])
def test_clip_cov_drops_as_many_as_its_share_of_all_tokens(share, number):
    it = batch(20, 20)
    count = int(it["mask"].sum())
    number = number or int(share * count)
    candidates, _ = _candidates(it, 0.3, 1.5)
    assert number < int(candidates.sum())
    out = clip_cov(**it, share=share, band=(0.3, 1.5))
    assert float(out.metrics["dropped"]) == pytest.approx(number / count)
    _, gradient = descend(partial(clip_cov, share=share, band=(0.3, 1.5)), **it)
    _, plain = descend(ppo, **it)
    dropped = gradient.ne(plain)
    assert int(dropped.sum()) == number
    assert (dropped & ~candidates).sum() == 0
    assert gradient[dropped].eq(0.0).all()


def test_clip_cov_drops_the_candidates_with_the_least_draws():
    it = batch(20, 20)
    candidates, _ = _candidates(it, 0.3, 1.5)
    draws = torch.rand(20, 20, generator=torch.Generator().manual_seed(3))
    _, gradient = descend(partial(clip_cov, share=0.02, band=(0.3, 1.5), draws=draws), **it)
    dropped = gradient.ne(descend(ppo, **it)[1])
    last = draws[dropped].max()
    assert draws[candidates & ~dropped].min() > last
    again = descend(partial(clip_cov, share=0.02, band=(0.3, 1.5), draws=draws), **it)
    assert again[1].equal(gradient)


def test_clip_cov_draws_anew_each_time_from_the_global_generator():
    it = batch(20, 20)
    loss = partial(clip_cov, share=0.02, band=(0.3, 1.5))
    torch.manual_seed(1)
    first, second = descend(loss, **it), descend(loss, **it)
    assert not first[1].equal(second[1])
    torch.manual_seed(1)
    same(first, descend(loss, **it))


def test_clip_cov_without_a_candidate_is_ppo():
    it = batch()
    out = clip_cov(**it, band=(1e8, 1e9))
    assert float(out.loss) == float(ppo(**it).loss)
    assert float(out.metrics["dropped"]) == 0.0


@pytest.mark.parametrize(("share", "number"), [(1e-9, 1), (0.2, None), (1.0, None)])
def test_kl_cov_holds_the_tokens_of_the_highest_covariance(share, number):
    it = batch()
    count = int(it["mask"].sum())
    number = number or int(share * count)
    ratio, a = (it["logprob"] - it["old_logprob"]).exp(), it["advantage"][:, None]
    top = torch.zeros(54, dtype=torch.bool)
    top[_covariance(it).flatten().topk(number).indices] = True
    penalty = torch.where(top.view(6, 9), 0.3 * ratio.log().abs(), 0.0)
    expected = torch.where(it["mask"], penalty - ratio * a, 0.0).sum() / count
    out = kl_cov(**it, share=share, coefficient=0.3)
    assert float(out.loss) == pytest.approx(float(expected))
    mean = float(penalty.sum()) / 0.3 / number
    assert float(out.metrics["bound_kl"]) == pytest.approx(mean)


def test_kl_covs_penalty_pulls_back_to_the_old_policy():
    it = batch()
    it["advantage"] = torch.zeros(6, dtype=torch.float64)
    _, gradient = descend(partial(kl_cov, share=1.0), **it)
    away = (it["logprob"] - it["old_logprob"]).sign() * it["mask"]
    assert gradient.sign().equal(away)


def test_kl_covs_penalty_pulls_back_from_however_far():
    logprob = torch.tensor([[-26.0]], dtype=torch.float64, requires_grad=True)
    old, mask = torch.tensor([[-1.0]], dtype=torch.float64), torch.tensor([[True]])
    out = kl_cov(logprob, old, torch.zeros(1).double(), mask, share=1.0, coefficient=0.5)
    out.loss.backward()
    assert float(out.loss.detach()) == 12.5
    assert float(logprob.grad) == -0.5


@pytest.mark.parametrize("loss", [clip_cov, kl_cov])
@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_outside_its_range_is_refused(loss, share):
    with pytest.raises(ValueError, match=f"{loss.__name__}: share is {share}; it is above 0"):
        loss(**batch(), share=share)


def test_other_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"clip_cov: band is \(2.0, 1.0\), the lower bound is to"):
        clip_cov(**batch(), band=(2.0, 1.0))
    with pytest.raises(ValueError, match=r"clip_cov: logprob has the shape \[6, 9\], draws \[6\]"):
        clip_cov(**batch(), draws=torch.rand(6))
    with pytest.raises(ValueError, match=r"kl_cov: coefficient is -1.0, it must be at least 0"):
        kl_cov(**batch(), coefficient=-1.0)
