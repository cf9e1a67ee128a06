import math
import warnings
from functools import partial

import pytest
import torch
from tests.policy.losses.cases import batch, descend, same

from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.policy.losses.sequence_ratio import gmpo, gspo


def _rows(it):
    for i in range(5):
        here = it["mask"][i]
        yield float(it["advantage"][i]), (it["logprob"] - it["old_logprob"])[i][here].tolist()


def test_gspo_is_the_formula():
    it = batch()
    losses = []
    for a, log_ratios in _rows(it):
        s = math.exp(sum(log_ratios) / len(log_ratios))
        losses.append(max(-s * a, -min(max(s, 0.95), 1.02) * a))
    assert float(gspo(**it, clip=(0.05, 0.02)).loss) == pytest.approx(sum(losses) / 5)
    assert losses != [-a * math.exp(sum(r) / len(r)) for a, r in _rows(it)]


def test_gspo_clips_a_whole_row_or_none_of_it():
    it = batch()
    _, gradient = descend(gspo, **it)
    for i in range(5):
        slopes = gradient[i][it["mask"][i]]
        assert slopes.eq(slopes[0]).all()
    assert gradient[it["mask"]].eq(0.0).any()
    assert gradient.ne(0.0).any()


def test_gspo_does_not_change_where_every_token_stands_twice():
    it = batch()
    twice = {k: v if v.ndim == 1 else v.repeat_interleave(2, dim=1) for k, v in it.items()}
    value, gradient = descend(partial(gspo, clip=0.05), **it)
    doubled, spread = descend(partial(gspo, clip=0.05), **twice)
    same((value, gradient), (doubled, spread[:, ::2] + spread[:, 1::2]))


def test_gspo_weighs_each_tokens_gradient_by_its_own_advantage():
    it = batch()
    it["advantage"] = torch.linspace(0.5, 2.0, 9, dtype=torch.float64).expand(6, 9)
    _, gradient = descend(partial(gspo, clip=0.9), **it)
    row = it["mask"][0]
    ratio = (it["logprob"] - it["old_logprob"])[0][row].mean().exp()
    expected = -ratio * it["advantage"][0][row] / int(row.sum()) / 5
    torch.testing.assert_close(gradient[0][row], expected)


def test_gspo_bounds_bad_rows_by_the_dual_clip():
    it = batch()
    it["logprob"] = it["old_logprob"] + 2.0
    it["advantage"] = -torch.ones(6, dtype=torch.float64)
    value, gradient = descend(partial(gspo, dual_clip=3.0), **it)
    assert value == 3.0
    assert gradient.eq(0.0).all()


@pytest.mark.parametrize("loss", [gspo, gmpo])
def test_a_mean_over_tokens_is_told_to_weigh_long_answers(loss):
    with pytest.warns(UserWarning, match=f"{loss.__name__}: aggregation 'token-mean' weighs"):
        loss(**batch(), aggregation="token-mean")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(**batch())


def test_gmpo_is_the_formula():
    it = batch()
    losses = []
    for a, log_ratios in _rows(it):
        held = [min(d, 0.2) if a > 0 else max(d, -0.1) for d in log_ratios]
        losses.append(-a * math.exp(sum(held) / len(held)))
    assert float(gmpo(**it, clip=(0.1, 0.2)).loss) == pytest.approx(sum(losses) / 5)


def test_gmpo_takes_the_gradient_from_clipped_tokens_alone():
    it = batch()
    _, gradient = descend(partial(gmpo, clip=(0.1, 0.2)), **it)
    away = it["logprob"] - it["old_logprob"]
    a = it["advantage"][:, None]
    clipped = ((a > 0) & (away > 0.2)) | ((a < 0) & (away < -0.1))
    live = it["mask"] & (a != 0) & ~clipped
    assert gradient.ne(0.0).equal(live)
    assert (clipped & it["mask"]).any()


def test_gmpo_counts_the_tokens_that_it_clips():
    it = batch()
    metrics = gmpo(**it, clip=(0.1, 0.2)).metrics
    away, a = (it["logprob"] - it["old_logprob"])[it["mask"]], it["advantage"][:, None]
    a = a.expand(6, 9)[it["mask"]]
    high, low = (a > 0) & (away > 0.2), (a < 0) & (away < -0.1)
    assert high.any()
    assert low.any()
    assert float(metrics["clipped_high"]) == pytest.approx(float(high.double().mean()))
    assert float(metrics["clipped_low"]) == pytest.approx(float(low.double().mean()))


def test_gmpo_without_clipping_has_gspos_value_and_gradient():
    it = batch()
    same(descend(partial(gmpo, clip=50.0), **it), descend(partial(gspo, clip=(0.99, 1e9)), **it))


def test_gmpo_averages_an_advantage_that_differs_within_a_row():
    it = batch()
    mixed = it["advantage"][:, None] + torch.arange(9.0).expand(6, 9)
    mean = torch.where(it["mask"], mixed, 0.0).sum(1) / it["mask"].sum(1).clamp(min=1)
    with pytest.warns(UserWarning, match="gmpo: row 0 has advantages that differ within it"):
        loss = gmpo(**{**it, "advantage": mixed}).loss
    assert float(loss) == pytest.approx(float(gmpo(**{**it, "advantage": mean}).loss))


def test_gmpo_takes_the_geometric_mean_of_weights():
    it = batch()
    weight = torch.rand(6, 9, dtype=torch.float64) + 0.5
    logs = torch.where(it["mask"], weight.log(), 0.0).sum(1) / it["mask"].sum(1).clamp(min=1)
    rows = logs.exp()[:, None].expand(6, 9)
    same(descend(gmpo, **it, weight=weight), descend(gmpo, **it, weight=rows))
    weight[0, 0] = 0.0
    _, gradient = descend(gmpo, **it, weight=weight)
    assert gradient[0].eq(0.0).all()
    assert gradient[1].ne(0.0).any()


@pytest.mark.parametrize("clip", [-0.1, (0.2, -1.0), float("nan"), float("inf")])
def test_gmpo_refuses_a_clip_below_zero(clip):
    with pytest.raises(ValueError, match=r"gmpo: clip is .* e_low and e_high are at least 0"):
        gmpo(**batch(), clip=clip)


def test_equal_lengths_make_the_aggregations_of_a_row_the_same():
    it = batch()
    it["mask"][:] = True
    same(descend(gspo, **it), descend(gspo, **it, aggregation="token-mean"))
    same(
        descend(partial(ppo, clip=0.9), **it),
        descend(partial(ppo, clip=0.9), **it, aggregation="seq-mean-token-mean"),
    )
