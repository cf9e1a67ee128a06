"""What holds for every loss, whatever its formula."""

from functools import partial

import pytest
import torch
from tests.policy.losses.cases import LOSSES, MODES, batch, descend, every_loss, same

from rewardsmith.core.advantages import Advantages
from rewardsmith.policy.kl import kl, kl_in_reward, kl_loss
from rewardsmith.policy.losses.aggregation import Aggregation
from rewardsmith.policy.losses.clipping import dapo, ppo
from rewardsmith.policy.losses.covariance import clip_cov
from rewardsmith.policy.losses.detached import cispo, policy_gradient
from rewardsmith.policy.losses.divergence import dppo
from rewardsmith.policy.losses.dynamic_bounds import dcpo
from rewardsmith.policy.losses.importance import importance_weight, off_policy_mask
from rewardsmith.policy.losses.sequence_ratio import gmpo, gspo
from rewardsmith.policy.losses.soft_gate import vespo
from rewardsmith.policy.losses.value import value_loss


@every_loss
@pytest.mark.parametrize("mode", MODES)
def test_on_policy_its_gradient_is_that_of_the_advantage_times_log_pi(name, mode):
    it = batch()
    it["logprob"] = it["old_logprob"]
    how = Aggregation(mode, length=20.0) if mode.endswith("norm") else Aggregation(mode)
    loss = partial(clip_cov, band=(1e8, 1e9)) if name == "clip_cov" else LOSSES[name]
    _, gradient = descend(loss, **it, aggregation=how)
    logprob = it["logprob"].clone().requires_grad_()
    how(-it["advantage"][:, None] * logprob, it["mask"]).backward()
    torch.testing.assert_close(gradient, logprob.grad, rtol=1e-12, atol=1e-15)
    assert gradient[~it["mask"]].eq(0.0).all()
    assert gradient.ne(0.0).any()


@every_loss
def test_padding_and_holes_change_nothing_whatever_is_in_them(name):
    it = batch()
    value, gradient = descend(LOSSES[name], **it)
    places = [0, 1, 2, 3, 5, 6, 7, 8, 9]
    wide = {"mask": torch.zeros(6, 12, dtype=torch.bool)}
    wide["mask"][:, places] = it["mask"]
    for column, junk in (("logprob", -torch.inf), ("old_logprob", torch.nan)):
        wide[column] = torch.full((6, 12), junk, dtype=torch.float64)
        wide[column][:, places] = torch.where(it["mask"], it[column], junk)
    wide["advantage"] = torch.full((6, 12), torch.nan, dtype=torch.float64)
    wide["advantage"][:, places] = torch.where(it["mask"], it["advantage"][:, None], torch.inf)
    wider, spread = descend(LOSSES[name], **wide)
    same((value, gradient), (wider, spread[:, places]))
    assert spread.isfinite().all()
    assert spread[~wide["mask"]].eq(0.0).all()


@every_loss
def test_the_order_of_rows_does_not_matter_and_rows_without_a_token_do_not_count(name):
    it = batch()
    value, gradient = descend(LOSSES[name], **it)
    order = torch.tensor([3, 5, 0, 4, 1, 2])
    turned = descend(LOSSES[name], **{k: v[order] for k, v in it.items()})
    same((value, gradient[order]), turned)
    without = descend(LOSSES[name], **{k: v[:-1] for k, v in it.items()})
    same((value, gradient[:-1]), without)


@every_loss
def test_a_batch_without_a_token_has_the_loss_zero(name):
    it = batch()
    it["mask"] = torch.zeros_like(it["mask"])
    value, gradient = descend(LOSSES[name], **it)
    assert value == 0.0
    assert gradient.eq(0.0).all()


@every_loss
def test_half_precision_is_widened_before_anything_is_subtracted(name):
    it = batch(dtype=torch.bfloat16)
    value, gradient = descend(LOSSES[name], **it)
    assert value.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    wide = {k: v if v.dtype == torch.bool else v.float() for k, v in it.items()}
    expected, slope = descend(LOSSES[name], **wide)
    assert value == expected
    assert gradient.equal(slope.to(torch.bfloat16))


@every_loss
def test_ratios_beyond_any_bound_stay_finite(name):
    it = batch(dtype=torch.float32)
    for far in (-1e4, 1e4):
        it["logprob"] = it["old_logprob"] + torch.where(torch.arange(9) % 2 == 0, far, 0.0)
        value, gradient = descend(LOSSES[name], **it)
        assert value.isfinite()
        assert gradient.isfinite().all()


# Not of the covariance losses, whose means are those of the tokens given.
@pytest.mark.parametrize("name", [name for name in LOSSES if not name.endswith("_cov")])
@pytest.mark.parametrize("mode", MODES)
def test_micro_batches_add_up_to_the_batch(name, mode):
    it = batch()
    how = Aggregation.of_batch(mode, it["mask"], length=20.0 if mode.endswith("norm") else None)
    whole = descend(LOSSES[name], **it, aggregation=how)
    parts = [
        descend(LOSSES[name], **{k: v[rows] for k, v in it.items()}, aggregation=how)
        for rows in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    same(whole, (sum(p[0] for p in parts), torch.cat([p[1] for p in parts])))
    # And the whole by its own denominators.
    own = Aggregation(mode, length=20.0) if mode.endswith("norm") else mode
    same(whole, descend(LOSSES[name], **it, aggregation=own))


@every_loss
def test_weights_multiply_and_carry_no_gradient(name):
    it = batch()
    row = torch.tensor([0.5, 2.0, 1.0, 0.25, 1.5, 3.0], dtype=torch.float64, requires_grad=True)
    weight = row[:, None].expand(it["mask"].shape)
    weighted = descend(LOSSES[name], **it, weight=weight)
    parts = [
        descend(
            LOSSES[name], **it, weight=torch.ones_like(weight) * (torch.arange(6) == i)[:, None]
        )
        for i in range(6)
    ]
    total = sum(float(row[i].detach()) * parts[i][0] for i in range(6))
    slopes = sum(float(row[i].detach()) * parts[i][1] for i in range(6))
    same(weighted, (total, slopes))
    assert row.grad is None
    same(descend(LOSSES[name], **it), (sum(p[0] for p in parts), sum(p[1] for p in parts)))


@every_loss
def test_metrics_are_finite_numbers_without_a_gradient(name):
    it = batch()
    out = LOSSES[name](it["logprob"].requires_grad_(), *list(it.values())[1:])
    assert all(m.ndim == 0 and m.isfinite() and not m.requires_grad for m in out.metrics.values())
    if name != "policy_gradient":
        kl = (it["old_logprob"] - it["logprob"].detach())[it["mask"]].mean()
        assert float(out.metrics["old_kl"]) == pytest.approx(float(kl))


def _compiled(name, backend):
    torch._dynamo.reset()
    it = batch(dtype=torch.float32)
    compiled = torch.compile(LOSSES[name], fullgraph=True, backend=backend)
    torch.testing.assert_close(descend(compiled, **it), descend(LOSSES[name], **it))


@every_loss
def test_it_compiles_without_a_graph_break(name):
    _compiled(name, "eager")


@pytest.mark.slow
@every_loss
def test_compiled_to_kernels_it_is_the_same(name):
    _compiled(name, "inductor")


@every_loss
def test_shapes_that_disagree_are_named(name):
    it = batch()
    for column in ("old_logprob", "mask", "advantage"):
        if name == "policy_gradient" and column == "old_logprob":
            continue
        with pytest.raises(ValueError, match=rf"logprob has the shape \[6, 9\], {column} \["):
            descend(LOSSES[name], **{**it, column: it[column][:-1]})


@every_loss
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_an_advantage_that_is_not_finite_is_named(name, value):
    it = batch()
    it["advantage"][1] = float(value)
    with pytest.raises(
        ValueError, match=rf"{name[:3]}.*row 1 has the advantage {value} at token 0"
    ):
        descend(LOSSES[name], **it)


@pytest.mark.parametrize("loss", [ppo, dapo, gspo, clip_cov], ids=lambda f: f.__name__)
@pytest.mark.parametrize("clip", [(1.1, 0.2), (-0.1, 0.2), (0.2, -0.1), (0.2, float("inf"))])
def test_a_clip_outside_its_range_is_refused(loss, clip):
    with pytest.raises(ValueError, match=rf"{loss.__name__}: clip is .*0 <= e_low <= 1"):
        loss(**batch(), clip=clip)


@pytest.mark.parametrize("loss", [ppo, dapo, gspo, dcpo], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dual_clip", [1.0, 0.5, float("nan")])
def test_a_dual_clip_that_is_not_above_1_is_refused(loss, dual_clip):
    with pytest.raises(ValueError, match=rf"dual_clip is {dual_clip}, it must be above 1"):
        loss(**batch(), dual_clip=dual_clip)


@pytest.mark.parametrize("loss", [ppo, dapo, gspo, dcpo], ids=lambda f: f.__name__)
def test_what_the_dual_clip_cuts_is_told(loss):
    it = batch()
    it["logprob"] = it["old_logprob"] + torch.linspace(0.1, 0.8, 6, dtype=torch.float64)[:, None]
    it["advantage"] = -torch.ones(6, dtype=torch.float64)
    metrics = loss(**it, dual_clip=1.5).metrics
    slopes = [descend(partial(loss, dual_clip=dual), **it)[1] for dual in (1.5, None)]
    cut = slopes[0].eq(0.0) & slopes[1].ne(0.0)
    assert cut.any()
    assert float(metrics["clipped_dual"]) == pytest.approx(int(cut.sum()) / int(it["mask"].sum()))
    assert "clipped_dual" not in loss(**it, dual_clip=None).metrics


def test_with_one_token_a_sequence_ratio_is_the_tokens():
    it = batch(n=40, t=1)
    it["mask"][:-1] = True
    narrow = descend(partial(ppo, clip=0.05), **it)
    same(narrow, descend(partial(gspo, clip=0.05), **it))
    wide = descend(partial(ppo, clip=(0.99, 1e9)), **it)
    same(wide, descend(partial(gmpo, clip=100.0), **it))
    assert not torch.allclose(narrow[0], wide[0])


@every_loss
def test_advantages_bring_their_weights_and_the_rows_that_train(name):
    it = batch()
    keep = torch.tensor([True, False, True, True, False, True])
    weight = torch.linspace(0.5, 2.0, 54, dtype=torch.float64).view(6, 9)
    values = torch.where(keep, it["advantage"], torch.nan)
    found = descend(LOSSES[name], **{**it, "advantage": Advantages(values, keep, weight)})
    plain = {"advantage": it["advantage"][:, None] * weight, "mask": it["mask"] & keep[:, None]}
    same(found, descend(LOSSES[name], **{**it, **plain}))


@every_loss
@pytest.mark.parametrize("column", ["logprob", "old_logprob"])
def test_a_log_probability_that_is_nan_is_named(name, column):
    if name == "policy_gradient" and column == "old_logprob":
        return
    it = batch()
    it[column][3, 0] = torch.nan
    with pytest.raises(ValueError, match=r"row 3 has the log-\w+ nan at token 0"):
        descend(LOSSES[name], **it)


@every_loss
def test_a_gradient_flows_through_the_log_probability_alone(name):
    it = batch()
    it["weight"] = torch.linspace(0.5, 2.0, 54, dtype=torch.float64).view(6, 9)
    expected = descend(LOSSES[name], **it)
    leaves = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in it.items()}
    # Not through detached copies: descend() takes the log-probability's gradient alone.
    loss = LOSSES[name](**leaves).loss
    loss.backward()
    same(expected, (loss.detach(), leaves["logprob"].grad))
    assert all(leaves[k].grad is None for k in leaves if k != "logprob")


@every_loss
def test_a_mask_of_zeros_and_ones_is_a_mask(name):
    it = batch()
    for dtype in (torch.int64, torch.float32):
        same(
            descend(LOSSES[name], **it),
            descend(LOSSES[name], **{**it, "mask": it["mask"].to(dtype)}),
        )


@pytest.mark.parametrize(
    "of",
    [
        lambda one, two, mask: kl(one, two, mask, old_logprob=two),
        lambda one, two, mask: kl_loss(one, two, mask).loss,
        lambda one, two, mask: kl_loss(one, two, mask).metrics["ref_kl"],
        lambda one, two, mask: kl_in_reward(two, one, two, mask, coefficient=0.1),
        lambda one, two, mask: value_loss(one, two, two, mask).loss,
        lambda one, two, mask: value_loss(one, two, two, mask).metrics["clipped"],
        lambda one, two, mask: importance_weight(one, two, mask, level="geometric"),
        lambda one, two, mask: off_policy_mask(one, two, one, mask, threshold=0.1),
        lambda one, two, mask: Aggregation.of_batch("token-mean", mask)(one, mask),
        lambda one, two, mask: Aggregation.of_batch("seq-mean-token-mean", mask)(one, mask),
    ],
)
def test_a_mask_of_zeros_and_ones_is_a_mask_for_all_else(of):
    it = batch()
    one, two, mask = it["logprob"], it["old_logprob"], it["mask"]
    for dtype in (torch.int64, torch.float32):
        assert of(one, two, mask.to(dtype)).equal(of(one, two, mask))


@every_loss
def test_a_weight_is_one_for_each_token_or_row_and_nothing_else(name):
    it = batch(9, 9)
    row = torch.linspace(0.5, 2.0, 9, dtype=torch.float64)
    same(
        descend(LOSSES[name], **it, weight=row[:, None]),
        descend(LOSSES[name], **it, weight=row[:, None].expand(9, 9)),
    )
    # As many rows as tokens: [N] would be spread over the wrong one.
    for weight in (row, row[None], row[:5, None], torch.ones(9, 9, 1)):
        with pytest.raises(
            ValueError, match=r"weight has the shape .* must be \[9, 9\], or \[9, 1\]"
        ):
            LOSSES[name](**it, weight=weight)


@pytest.mark.parametrize("loss", [policy_gradient, cispo, vespo, dppo], ids=lambda f: f.__name__)
def test_a_token_of_probability_0_that_nothing_pulls_at_has_no_gradient(loss):
    it = batch()
    it["advantage"][0] = 0.0
    it["logprob"][0, 0] = -torch.inf
    loss = LOSSES["policy_gradient"] if loss is policy_gradient else loss
    value, gradient = descend(loss, **it)
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert gradient[0].eq(0.0).all()
    assert gradient[1].ne(0.0).any()


@every_loss
def test_an_advantage_of_another_length_is_told_as_it_was_given(name):
    it = batch()
    for advantage in (torch.ones(3).double(), Advantages(torch.ones(3), torch.ones(3) > 0)):
        with pytest.raises(ValueError, match=r"has the shape \[6, 9\], advantage \[3\]$"):
            LOSSES[name](**{**it, "advantage": advantage})
