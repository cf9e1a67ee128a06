import math

import pytest
import torch
from tests.policy.losses.cases import batch

from rewardsmith.policy.losses.tokens import Tokens, clip_shares, clipped


def _tokens(**changed) -> Tokens:
    return Tokens("it", **{**batch(), **changed})


def test_what_the_mask_leaves_out_is_zero_throughout():
    it = batch()
    out = ~it["mask"]
    tokens = _tokens(
        logprob=it["logprob"].masked_fill(out, -torch.inf),
        old_logprob=it["old_logprob"].masked_fill(out, torch.nan),
    )
    for values in (tokens.logprob, tokens.log_ratio, tokens.advantage):
        assert values[out].eq(0.0).all()
        assert values.isfinite().all()


def test_a_ratio_is_held_within_twenty_nats():
    it = batch()
    tokens = _tokens(logprob=it["old_logprob"] - 50.0)
    assert tokens.log_ratio[it["mask"]].eq(-20.0).all()


def test_the_mean_of_a_row_is_over_its_tokens():
    it = batch()
    mean = _tokens().mean(it["logprob"])
    for row in range(5):
        expected = it["logprob"][row][it["mask"][row]].mean()
        assert float(mean[row]) == pytest.approx(float(expected))
    assert float(mean[5]) == 0.0


def test_a_share_is_of_tokens_and_of_none_is_zero():
    it = batch()
    first = torch.zeros_like(it["mask"])
    first[:, 0] = True
    assert float(_tokens().share(first)) == pytest.approx(5 / int(it["mask"].sum()))
    assert float(_tokens(mask=torch.zeros_like(first)).share(first)) == 0.0


def test_a_sequence_ratio_is_the_geometric_mean_with_each_tokens_own_gradient():
    it = batch()
    leaf = it["logprob"].clone().requires_grad_()
    ratio = _tokens(logprob=leaf).sequence_log_ratio
    row = (it["logprob"] - it["old_logprob"])[0][it["mask"][0]].mean()
    torch.testing.assert_close(ratio[0].detach(), row.expand(9))
    (ratio * torch.arange(9.0)).sum().backward()
    assert leaf.grad[0].equal(torch.where(it["mask"][0], torch.arange(9.0), 0.0).double())


def test_a_token_of_probability_zero_does_not_make_its_row_nan():
    it = batch()
    it["logprob"][0, 0] = -torch.inf
    leaf = it["logprob"].requires_grad_()
    ratio = _tokens(logprob=leaf).sequence_log_ratio
    ratio.sum().backward()
    assert ratio.isfinite().all()
    assert leaf.grad.isfinite().all()


def test_there_is_no_kl_without_an_old_policy():
    assert "old_kl" not in _tokens(old_logprob=None).finish(torch.ones(6, 9), "token-mean").metrics
    assert "old_kl" in _tokens().finish(torch.ones(6, 9), "token-mean").metrics


@pytest.mark.parametrize("away", [12.0, -12.0])
def test_the_kl_from_the_old_policy_is_told_however_great(away):
    it = batch()
    told = _tokens(logprob=it["old_logprob"] + away).finish(torch.ones(6, 9), "token-mean").metrics
    assert float(told["old_kl"]) == pytest.approx(-away)


def test_weights_may_be_one_for_each_row_and_anything_where_nothing_is():
    it = batch()
    weight = torch.full((6, 1), 2.0, requires_grad=True)
    assert float(_tokens().finish(torch.ones(6, 9), "token-mean", weight).loss) == 2.0
    junk = torch.where(it["mask"], 2.0, torch.nan)
    assert float(_tokens().finish(torch.ones(6, 9), "token-mean", junk).loss) == 2.0


def test_an_advantage_for_each_row_stands_at_each_token():
    it = batch()
    wide = _tokens(advantage=it["advantage"][:, None].expand(6, 9))
    assert wide.advantage.equal(_tokens().advantage)


def test_an_advantage_that_is_masked_need_not_be_finite():
    advantage = torch.where(batch()["mask"], 1.0, torch.nan)
    assert _tokens(advantage=advantage).advantage.isfinite().all()
    with pytest.raises(ValueError, match="it: row 0 has the advantage nan at token 0"):
        _tokens(advantage=torch.full((6, 9), torch.nan))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.15, 2.0, -2.3, -2.0),
        (1.5, 2.0, -2.4, 0.0),
        (0.5, 2.0, -1.0, -2.0),
        (1.5, -2.0, 3.0, 2.0),
        (0.95, -2.0, 1.9, 2.0),
        (0.5, -2.0, 1.8, 0.0),
        (4.0, -2.0, 6.0, 0.0),
    ],
)
def test_the_surrogate_is_cut_where_a_bound_is_passed(ratio, advantage, loss, slope):
    at = torch.tensor([[ratio]], dtype=torch.float64, requires_grad=True)
    value = clipped(at, torch.tensor([[advantage]]).double(), 0.9, 1.2, dual=3.0)
    value.sum().backward()
    assert float(value.detach()) == pytest.approx(loss)
    assert float(at.grad) == slope


def test_bounds_may_be_one_for_each_token():
    ratio = torch.tensor([[1.5, 1.5]])
    high = torch.tensor([[1.2, 2.0]])
    loss = clipped(ratio, torch.ones(1, 2), torch.zeros(1, 2), high)
    assert loss.tolist() == [[pytest.approx(-1.2), -1.5]]


def test_shares_count_the_tokens_without_a_gradient():
    it = batch()
    tokens = _tokens()
    leaf = tokens.log_ratio.exp().requires_grad_()
    clipped(leaf, tokens.advantage, 0.9, 1.1).sum().backward()
    stopped = leaf.grad.eq(0.0) & tokens.advantage.ne(0.0) & it["mask"]
    shares = clip_shares(tokens, leaf.detach(), 0.9, 1.1)
    total = float(shares["clipped_high"] + shares["clipped_low"])
    assert stopped.any()
    assert math.isclose(total, int(stopped.sum()) / int(it["mask"].sum()), rel_tol=1e-6)
