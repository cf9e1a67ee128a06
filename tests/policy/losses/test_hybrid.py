import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.policy.losses.clipping import ppo
from rewardsmith.policy.losses.hybrid import dhpo
from rewardsmith.policy.losses.sequence_ratio import gspo


def batch(seed=0, n=6, t=5, spread=0.3):
    make = torch.Generator().manual_seed(seed)
    new, old = (torch.randn(2, n, t, generator=make) * spread - 1.0).unbind()
    mask = torch.rand(n, t, generator=make) > 0.2
    return new.requires_grad_(), old, torch.randn(n, generator=make), mask


def descended(loss, new):
    (gradient,) = torch.autograd.grad(loss, new)
    return loss.detach(), gradient


def test_it_is_the_formula():
    new, old, advantage, mask = batch()
    mask[:] = True
    given = advantage[:, None]
    ratio = (new - old).exp()
    whole = (new - old).mean(dim=1, keepdim=True).exp().expand_as(ratio)
    one = torch.minimum(ratio * given, ratio.clamp(0.8, 1.28) * given)
    two = torch.minimum(whole * given, whole.clamp(1 - 0.05, 1 + 0.07) * given)
    expected = -(0.3 * one + 0.7 * two).mean()
    result = dhpo(new, old, advantage, mask, mix=0.3, sequence_clip=(0.05, 0.07))
    assert float(result.loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(result.metrics["mix"]) == pytest.approx(0.3)


def test_its_ends_are_ppo_and_gspo_to_the_last_digit():
    new, old, advantage, mask = batch()
    token = descended(dhpo(new, old, advantage, mask, mix=1).loss, new)
    aggregation = "seq-mean-token-mean"
    plain = ppo(new, old, advantage, mask, clip=(0.2, 0.28), aggregation=aggregation)
    for ours, theirs in zip(token, descended(plain.loss, new), strict=True):
        assert torch.equal(ours, theirs)
    sequence = dhpo(new, old, advantage, mask, mix=0.0, sequence_clip=(0.01, 0.02))
    whole = gspo(new, old, advantage, mask, clip=(0.01, 0.02))
    assert sequence.metrics["sequence_clipped_high"] == whole.metrics["clipped_high"]
    assert sequence.metrics["sequence_clipped_low"] == whole.metrics["clipped_low"]
    ours, theirs = descended(sequence.loss, new), descended(whole.loss, new)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert float(ours[1].abs().sum()) > 0


@settings(max_examples=20)
@given(st.floats(0.0, 1.0), st.integers(0, 100))
def test_with_one_token_and_one_clip_it_is_ppo_whatever_the_mixture(mix, seed):
    new, old, advantage, mask = batch(seed, t=1)
    ours = dhpo(new, old, advantage, mask, mix=mix, clip=0.2, sequence_clip=0.2).loss
    theirs = ppo(new, old, advantage, mask, clip=0.2, aggregation="seq-mean-token-mean").loss
    torch.testing.assert_close(descended(ours, new), descended(theirs, new))


def test_a_high_entropy_leans_to_the_branch_of_the_direction():
    new, old, advantage, mask = batch(n=1, t=4)
    mask[:] = torch.tensor([[True, True, True, False]])
    entropy = torch.tensor([[0.5, 2.0, 1.0, float("nan")]])
    by_token = dhpo(new, old, advantage, mask, entropy, mix="entropy")
    assert float(by_token.metrics["mix"]) == pytest.approx((0.0 + 1.0 + 1 / 3) / 3)
    # One token of ppo, one of gspo, and a third between them.
    both = [dhpo(new, old, advantage, mask, mix=mix) for mix in (0.0, 1.0)]
    at = torch.stack([torch.autograd.grad(one.loss, new)[0][0] for one in both])
    share = torch.tensor([0.0, 1.0, 1 / 3, 0.0])
    expected = share * at[1] + (1 - share) * at[0]
    _, gradient = descended(by_token.loss, new)
    torch.testing.assert_close(gradient[0], expected)
    turned = dhpo(new, old, advantage, mask, entropy, mix="entropy", direction="sequence")
    assert float(turned.metrics["mix"]) == pytest.approx((1.0 + 0.0 + 2 / 3) / 3)


@settings(max_examples=20)
@given(st.floats(0.01, 100.0), st.integers(0, 100))
def test_a_factor_on_all_entropies_changes_nothing(factor, seed):
    new, old, advantage, mask = batch(seed)
    entropy = torch.rand(new.shape, generator=torch.Generator().manual_seed(seed)).double()
    one = dhpo(new, old, advantage, mask, entropy, mix="entropy")
    other = dhpo(new, old, advantage, mask, entropy * factor, mix="entropy")
    torch.testing.assert_close(one.loss, other.loss)


def test_entropies_that_are_the_same_mix_by_half():
    new, old, advantage, mask = batch()
    mask[0] = False
    even = dhpo(new, old, advantage, mask, torch.full_like(old, 0.7), mix="entropy")
    half = dhpo(new, old, advantage, mask, mix=0.5)
    assert even.loss == half.loss
    assert float(even.metrics["mix"]) == 0.5


def test_entropies_that_differ_by_rounding_mix_by_half():
    new, old, advantage, mask = batch(n=2, t=4)
    mask[:] = True
    entropy = torch.tensor([[1.0, 1.0, 1.0 + 1.2e-7, 1.0], [1.0, 1.0, 1.001, 1.0]])
    share = dhpo(new, old, advantage, mask, entropy, mix="entropy").metrics["mix"]
    assert float(share) == pytest.approx((4 * 0.5 + 1.0) / 8)


def test_rows_of_no_tokens_have_the_loss_0():
    empty, mask = torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)
    assert dhpo(empty, empty, torch.ones(2), mask, empty, mix="entropy").loss == 0.0


def test_no_gradient_flows_through_the_weight():
    new, old, advantage, mask = batch()
    entropy = (new * 2.0 + 3.0).square()
    loss = dhpo(new, old, advantage, mask, entropy, mix="entropy").loss
    fixed = dhpo(new, old, advantage, mask, entropy.detach(), mix="entropy").loss
    assert torch.equal(torch.autograd.grad(loss, new)[0], torch.autograd.grad(fixed, new)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mix": "entropy"}, r'dhpo: mix="entropy" needs the entropy \[N, T\]'),
        ({"mix": 1.5}, "dhpo: mix is 1.5, it must be from 0 to 1"),
        ({"mix": -0.1}, "dhpo: mix is -0.1"),
        ({"mix": float("nan")}, "dhpo: mix is nan"),
        ({"mix": "even"}, "dhpo: mix is 'even'"),
        ({"direction": "low"}, "dhpo: direction is 'low', not one of token, sequence"),
        ({"clip": 1.1}, "dhpo: clip is 1.1"),
        ({"sequence_clip": -1.0}, "dhpo, sequence_clip: clip is -1.0"),
        ({"mix": "entropy", "entropy": torch.zeros(1, 2)}, r"the shape \[6, 5\], entropy \[1, 2\]"),
    ],
)
def test_bad_options_are_refused(options, message):
    new, old, advantage, mask = batch()
    with pytest.raises(ValueError, match=message):
        dhpo(new, old, advantage, mask, **options)


def test_an_entropy_that_is_not_finite_is_named():
    new, old, advantage, mask = batch()
    mask[:] = True
    entropy = torch.ones_like(old)
    entropy[2, 3] = float("inf")
    with pytest.raises(ValueError, match="dhpo: row 2 has the entropy inf at token 3"):
        dhpo(new, old, advantage, mask, entropy, mix="entropy")
