import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.losses.cases import batch

from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.policy.losses.importance import importance_weight, off_policy_mask

LEVELS = ["token", "sequence", "geometric"]
MODES = ["truncate", "mask"]


def _ratios(it, level):
    d = torch.where(it["mask"], it["logprob"] - it["old_logprob"], 0.0)
    if level == "token":
        return d.exp()
    total = d.sum(dim=1, keepdim=True)
    if level == "geometric":
        total = total / it["mask"].sum(dim=1, keepdim=True).clamp(min=1)
    return total.exp().expand(6, 9)


def _weight(it, **options):
    return importance_weight(it["logprob"], it["old_logprob"], it["mask"], **options)


@pytest.mark.parametrize(
    ("level", "low", "high"),
    [("token", 0.9, 1.1), ("sequence", 0.5, 1.1), ("geometric", 0.97, 1.05)],
)
def test_it_is_the_ratio_within_the_bounds_and_cut_or_dropped_outside(level, low, high):
    it = batch()
    ratio = _ratios(it, level)
    outside = (ratio < low) | (ratio > high)
    assert outside[it["mask"]].any()
    assert (~outside)[it["mask"]].any()
    cut = _weight(it, level=level, low=low, high=high)
    torch.testing.assert_close(cut, ratio.clamp(low, high) * it["mask"])
    dropped = _weight(it, level=level, mode="mask", low=low, high=high)
    torch.testing.assert_close(dropped, ratio.masked_fill(outside, 0.0) * it["mask"])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("mode", MODES)
def test_equal_policies_weigh_exactly_one(level, mode):
    it = batch()
    weight = importance_weight(it["logprob"], it["logprob"], it["mask"], level=level, mode=mode)
    assert weight.equal(it["mask"].double())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_long_rows_do_not_overflow(level, mode, shift):
    far = torch.full((1, 50_000), -2.0)
    mask = torch.ones(1, 50_000, dtype=torch.bool)
    for high in (2.0, None):
        weight = importance_weight(far + shift, far, mask, level=level, mode=mode, high=high)
        assert weight.isfinite().all()
    if mode == "truncate" and shift > 0 and level == "sequence":
        assert importance_weight(far + 1, far, mask, level=level).eq(2.0).all()


def test_a_long_sums_digits_are_kept():
    t = 100_000
    mask = torch.ones(1, t, dtype=torch.bool)
    old = torch.full((1, t), -1.0)
    rollout = old - 1e-5
    exact = (old.double() - rollout.double()).sum().exp()
    weight = importance_weight(old, rollout, mask, level="sequence", high=None)
    assert weight.dtype == torch.float32
    assert float(weight[0, 0]) == pytest.approx(float(exact), rel=1e-5)


@settings(max_examples=25)
@given(st.floats(0.1, 1.0), st.floats(1.0, 10.0), st.integers(0, 99))
def test_weights_are_within_their_bounds_or_zero(low, high, seed):
    it = batch(seed=seed)
    for level in LEVELS:
        cut = _weight(it, level=level, low=low, high=high)[it["mask"]]
        assert ((cut >= low * (1 - 1e-12)) & (cut <= high * (1 + 1e-12))).all()
        kept = _weight(it, level=level, mode="mask", low=low, high=high)[it["mask"]]
        assert ((kept == 0.0) | (kept == cut)).all()


def test_what_is_masked_may_be_anything_and_weighs_nothing():
    it = batch()
    junk = it["old_logprob"].masked_fill(~it["mask"], torch.nan)
    for level in LEVELS:
        weight = importance_weight(it["logprob"], junk, it["mask"], level=level)
        assert weight.equal(_weight(it, level=level))
        assert weight[~it["mask"]].eq(0.0).all()


def test_an_answer_that_the_engine_held_impossible_is_bounded():
    it = batch()
    it["old_logprob"][0, 0] = -torch.inf
    assert float(_weight(it)[0, 0]) == 2.0
    assert float(_weight(it, mode="mask")[0, 0]) == 0.0
    assert _weight(it, level="sequence", mode="mask")[0].eq(0.0).all()


@pytest.mark.parametrize("level", ["sequence", "geometric"])
def test_an_answer_that_neither_policy_can_choose_has_no_ratio(level):
    it = batch()
    it["mask"][:] = True
    it["logprob"][2, 1], it["old_logprob"][2, 4] = -torch.inf, -torch.inf
    with pytest.raises(ValueError, match="row 2 has the log-ratio of its whole answer nan"):
        _weight(it, level=level)
    assert _weight(it).isfinite().all()


@pytest.mark.parametrize("high", [None, 1e12])
def test_a_weight_is_at_most_of_20_nats_whatever_the_bound(high):
    it = batch()
    it["logprob"] = it["old_logprob"] + 25.0
    assert _weight(it, high=high)[it["mask"]].eq(math.exp(20.0)).all()


def test_a_ratio_on_a_bound_is_kept():
    log = torch.tensor([[math.log(2.0), math.log(0.5)]], dtype=torch.float64)
    kept = importance_weight(log, torch.zeros_like(log), log < 9, mode="mask", low=0.5, high=2.0)
    assert kept.tolist() == [[pytest.approx(2.0), pytest.approx(0.5)]]


def test_rows_dropped_by_one_level_and_weighed_by_another_multiply():
    it = batch()
    gate = _weight(it, level="geometric", mode="mask", low=0.97, high=1.05)
    weight = (gate > 0) * _weight(it, high=None)
    keep = ((_ratios(it, "geometric") >= 0.97) & (_ratios(it, "geometric") <= 1.05)) & it["mask"]
    torch.testing.assert_close(weight, torch.where(keep, _ratios(it, "token"), 0.0))
    assert keep.any()


def test_it_weighs_a_loss_and_carries_no_gradient():
    it = batch()
    rollout = it["old_logprob"] - 0.1
    weight = importance_weight(it["old_logprob"].clone().requires_grad_(), rollout, it["mask"])
    assert not weight.requires_grad
    loss = ppo(**it, weight=weight).loss
    assert float(loss) == pytest.approx(math.exp(0.1) * float(ppo(**it).loss))


def test_half_precision_is_widened():
    it = batch(dtype=torch.bfloat16)
    weight = _weight(it)
    assert weight.dtype == torch.float32
    assert weight.equal(_weight({k: v.float() for k, v in it.items()} | {"mask": it["mask"]}))


@pytest.mark.parametrize("level", LEVELS)
def test_it_compiles_without_a_graph_break(level):
    torch._dynamo.reset()
    it = batch()
    compiled = torch.compile(importance_weight, fullgraph=True, backend="eager")
    arguments = it["logprob"], it["old_logprob"], it["mask"]
    assert compiled(*arguments, level=level, mode="mask").equal(
        _weight(it, level=level, mode="mask")
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "row"}, "level is 'row', not one of token, sequence, geometric"),
        ({"mode": "clip"}, "mode is 'clip', not one of truncate, mask"),
        ({"high": 0.5}, "low is None, high is 0.5; they are to hold 1"),
        ({"low": 1.5}, "low is 1.5, high is 2.0; they are to hold 1"),
        ({"low": -0.5}, "low is -0.5, it must be at least 0"),
        ({"low": float("nan")}, "low is nan"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"importance_weight: {message}"):
        _weight(batch(), **options)


def test_bad_tensors_are_refused():
    it = batch()
    with pytest.raises(ValueError, match=r"old_logprob has the shape \[6, 9\], rollout_logprob \["):
        importance_weight(it["logprob"], it["old_logprob"][:, :4], it["mask"])
    it["old_logprob"][3, 0] = torch.nan
    with pytest.raises(ValueError, match="row 3 has the log-ratio nan at token 0"):
        _weight(it)


def test_bad_answers_that_the_policy_has_left_behind_are_dropped():
    it = batch()
    away = torch.where(it["mask"], it["old_logprob"] - it["logprob"], 0.0).sum(1)
    away = away / it["mask"].sum(1).clamp(min=1)
    keep = off_policy_mask(**_opened(it), threshold=0.02)
    expected = ~((it["advantage"] < 0) & (away > 0.02))[:, None] & it["mask"]
    assert keep.equal(expected.double())
    assert not expected[it["advantage"] < 0][it["mask"][it["advantage"] < 0]].all()


def test_good_answers_and_what_the_policy_likes_better_now_stay():
    it = batch()
    behind = {**_opened(it), "logprob": it["old_logprob"] - 3.0}
    good = {**behind, "advantage": it["advantage"].abs()}
    assert off_policy_mask(**good, threshold=0.5).equal(it["mask"].double())
    closer = {**behind, "logprob": it["old_logprob"] + 3.0}
    assert off_policy_mask(**closer, threshold=0.5).equal(it["mask"].double())
    tokens = torch.where(torch.arange(9) < 4, -1.0, 1.0).expand(6, 9)
    kept = off_policy_mask(**{**behind, "advantage": tokens}, threshold=0.5)
    assert kept.bool().equal(it["mask"] & (tokens > 0))


@pytest.mark.parametrize("threshold", [0.0, -0.5, float("nan")])
def test_a_threshold_is_above_zero(threshold):
    with pytest.raises(ValueError, match=r"off_policy_mask: threshold is .* nats, it must"):
        off_policy_mask(**_opened(batch()), threshold=threshold)


def _opened(it):
    return {
        **{k: v for k, v in it.items() if k != "old_logprob"},
        "rollout_logprob": it["old_logprob"],
    }
