import math
from functools import partial

import numpy as np
import pytest
import torch
from tests.policy.losses.cases import batch, descend, same

from rewardsmith.policy.losses.clipping import bounds, dapo, ppo


def test_it_is_the_formula():
    it = batch()
    low, high, dual = 0.9, 1.2, 1.5
    total = 0.0
    for i, t in it["mask"].nonzero().tolist():
        ratio = float((it["logprob"][i, t] - it["old_logprob"][i, t]).exp())
        a = float(it["advantage"][i])
        loss = max(-ratio * a, -min(max(ratio, low), high) * a)
        total += min(loss, -dual * a) if a < 0 else loss
    out = ppo(**it, clip=(0.1, 0.2), dual_clip=dual)
    assert float(out.loss) == pytest.approx(total / int(it["mask"].sum()))


def test_dapo_is_ppo_that_clips_higher_above():
    it = batch()
    assert dapo(**it).loss == ppo(**it, clip=(0.2, 0.28)).loss != ppo(**it).loss


def test_an_advantage_of_zero_has_no_gradient():
    _, gradient = descend(ppo, **batch())
    assert gradient[2].eq(0.0).all()
    assert gradient[0].ne(0.0).any()


def test_doubling_advantages_doubles_the_loss():
    it = batch()
    value, gradient = descend(ppo, **it)
    same((2 * value, 2 * gradient), descend(ppo, **{**it, "advantage": 2 * it["advantage"]}))


def test_no_clip_at_all_is_full_on_policy_gradient():
    it = batch()
    it["logprob"] = it["old_logprob"]
    same(descend(ppo, **it, clip=0.0), descend(ppo, **it))


def test_bounds_are_distances_from_one():
    assert bounds("it", 0.25) == (0.75, 1.25)
    assert bounds("it", (0.25, 0.5)) == (0.75, 1.5)
    # As a configuration file has them.
    assert bounds("it", [0.25, 0.5]) == (0.75, 1.5)


def test_a_bound_may_be_any_number_and_a_lower_one_of_1_is_none():
    it = batch()
    assert bounds("it", np.float32(0.25)) == (0.75, 1.25)
    assert bounds("it", (np.float64(0.25), 1)) == (0.75, 2.0)
    assert bounds("it", (1, 0.25)) == (0.0, 1.25)
    it["logprob"] = it["old_logprob"] - 3.0
    _, gradient = descend(partial(ppo, clip=(1.0, 0.2)), **it)
    assert gradient.ne(0.0).equal(it["mask"] & it["advantage"].ne(0.0)[:, None])


def test_a_dual_clip_within_the_clip_holds_bad_tokens_alone():
    it = batch()
    it["logprob"] = it["old_logprob"] + math.log(1.25)
    value, _ = descend(partial(ppo, clip=0.3, dual_clip=1.1), **it)
    a = it["advantage"][:, None].expand(6, 9)[it["mask"]]
    expected = torch.where(a < 0, -1.1 * a, -1.25 * a).mean()
    torch.testing.assert_close(value, expected)


def test_metrics_count_what_was_clipped():
    it = batch(2, 2)
    it["mask"][:] = True
    it["logprob"] = it["old_logprob"] + torch.tensor([[1.0, -1.0], [1.0, 0.0]])
    it["advantage"] = torch.tensor([1.0, -1.0])
    metrics = ppo(**it).metrics
    assert float(metrics["clipped_high"]) == 0.25
    assert float(metrics["clipped_low"]) == 0.0
    assert float(metrics["old_kl"]) == pytest.approx(-0.25)
