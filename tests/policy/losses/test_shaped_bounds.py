"""What holds for every loss whose bounds are not constant, as it does for ppo."""

import pytest
import torch

from rewardsmith.policy.losses.dynamic_bounds import dcpo
from rewardsmith.policy.losses.elastic import etr
from rewardsmith.policy.losses.hybrid import dhpo


def elastic(new, old, advantage, mask, **options):
    variance = torch.linspace(0.0, 1.0, len(new))
    return etr(new, old, advantage, mask, variance, **options)


def by_entropy(new, old, advantage, mask, **options):
    entropy = torch.linspace(0.1, 2.0, new.numel()).reshape(new.shape)
    return dhpo(new, old, advantage, mask, entropy, mix="entropy", **options)


LOSSES = [dcpo, elastic, dhpo, by_entropy]
each = pytest.mark.parametrize("loss", LOSSES)


def batch(n=4, t=6):
    make = torch.Generator().manual_seed(1)
    new, old = (torch.randn(2, n, t, generator=make) - 1.5).unbind()
    mask = torch.rand(n, t, generator=make) > 0.3
    mask[-1] = False
    return new, old, torch.randn(n, generator=make), mask


def gradient(loss, new, *rest, **options):
    new = new.clone().requires_grad_()
    value = loss(new, *rest, **options).loss
    value.backward()
    return value.detach(), new.grad


@each
@pytest.mark.parametrize("t", [1, 6])
def test_on_policy_its_gradient_is_that_of_the_advantage(loss, t):
    new, _, advantage, mask = batch(t=t)
    _, ours = gradient(loss, new, new.clone(), advantage, mask, aggregation="token-mean")
    expected = -advantage[:, None] * mask / mask.sum()
    torch.testing.assert_close(ours, expected)


@each
@pytest.mark.parametrize("left_out", [-float("inf"), float("nan"), 1e30])
def test_tokens_that_are_left_out_may_be_anything(loss, left_out):
    new, old, advantage, mask = batch()
    expected = gradient(loss, new, old, advantage, mask)
    broken = [torch.where(mask, of, left_out) for of in (new, old)]
    value, ours = gradient(loss, *broken, advantage, mask)
    assert value == expected[0]
    assert torch.equal(ours, expected[1])
    assert bool((ours[~mask] == 0).all())


@each
def test_bfloat16_is_widened_before_anything_is_subtracted(loss):
    new, old, advantage, mask = batch()
    new, old = new.bfloat16(), old.bfloat16()
    value, ours = gradient(loss, new, old, advantage, mask)
    wide, expected = gradient(loss, new.float(), old.float(), advantage, mask)
    assert value.dtype == torch.float32
    assert value == wide
    assert torch.equal(ours, expected.bfloat16())


@each
def test_it_compiles_whole(loss):
    new, old, advantage, mask = batch()
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        gradient(compiled, new, old, advantage, mask), gradient(loss, new, old, advantage, mask)
    )


@each
def test_its_metrics_carry_no_gradient_and_are_finite(loss):
    new, old, advantage, mask = batch()
    metrics = loss(new.requires_grad_(), old, advantage, mask).metrics
    assert {"old_kl", "clipped_high", "clipped_low"} <= metrics.keys()
    assert all(bool(of.isfinite()) and not of.requires_grad for of in metrics.values())


@each
def test_a_ratio_beyond_all_measure_stays_finite(loss):
    new, old, advantage, mask = batch()
    value, ours = gradient(loss, new + 200.0, old, advantage, mask)
    assert bool(value.isfinite())
    assert bool(ours.isfinite().all())


@each
def test_shapes_and_advantages_are_checked(loss):
    new, old, advantage, mask = batch()
    with pytest.raises(ValueError, match=r"the shape \[4, 6\], mask \[4, 5\]"):
        loss(new, old, advantage, mask[:, :5])
    mask[1, 2], advantage[1] = True, float("nan")
    with pytest.raises(ValueError, match="row 1 has the advantage nan at token"):
        loss(new, old, advantage, mask)
