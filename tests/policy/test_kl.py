import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.policy.kl import AdaptiveKL, kl, kl_in_reward, kl_loss

NAMES = ["k1", "k2", "k3", "abs"]
each = pytest.mark.parametrize("estimator", NAMES)


def choice(seed=0, k=5):
    """A policy over k tokens, and a reference and a sampling policy, as log-probabilities."""
    make = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, k, generator=make, dtype=torch.float64)
    ref, old = logits[1:].log_softmax(dim=1)
    return logits[0].requires_grad_(), ref, old


def expected(logits, ref, old=None, **options):
    """The expected value and gradient over tokens of pi, or of old; exact."""
    own = logits.log_softmax(dim=0)
    everywhere = torch.ones(1, len(own), dtype=torch.bool)
    sampled = None if old is None else old[None]
    each = kl(own[None], ref[None], everywhere, old_logprob=sampled, **options)[0]
    mean = ((own if old is None else old).detach().exp() * each).sum()
    (gradient,) = torch.autograd.grad(mean, logits)
    return mean.detach(), gradient


def exact(of, logits):
    value = of(logits.log_softmax(dim=0))
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


def forward(ref):
    return lambda own: (own.exp() * (own - ref)).sum()


def reverse(ref):
    return lambda own: (ref.exp() * (ref - own)).sum()


def distance(ref):
    return lambda own: (own.exp() - ref.exp()).abs().sum()


@pytest.mark.parametrize("seed", range(3))
def test_values_are_unbiased_where_the_table_says_so(seed):
    logits, ref, _ = choice(seed)
    true = exact(forward(ref), logits)[0]
    for estimator in ("k1", "k3"):
        torch.testing.assert_close(expected(logits, ref, estimator=estimator)[0], true)
    assert abs(expected(logits, ref, estimator="k2")[0] - true) > 1e-3
    assert expected(logits, ref, estimator="abs")[0] > true


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_the_table(seed):
    logits, ref, _ = choice(seed)
    gradient = {name: expected(logits, ref, estimator=name)[1] for name in NAMES}
    torch.testing.assert_close(gradient["k1"], torch.zeros_like(logits))
    torch.testing.assert_close(gradient["k2"], exact(forward(ref), logits)[1])
    torch.testing.assert_close(gradient["k3"], exact(reverse(ref), logits)[1])
    torch.testing.assert_close(gradient["abs"], exact(distance(ref), logits)[1])
    assert float((gradient["k3"] - gradient["k2"]).abs().max()) > 1e-3


@each
@pytest.mark.parametrize("off_policy", [False, True])
def test_straight_through_has_the_value_of_the_estimator_and_the_gradient_of_kl(
    estimator, off_policy
):
    logits, ref, old = choice()
    sampled = old if off_policy else None
    options = {"estimator": estimator, "straight_through": True}
    value, gradient = expected(logits, ref, sampled, **options)
    torch.testing.assert_close(value, expected(logits, ref, estimator=estimator)[0])
    torch.testing.assert_close(gradient, exact(forward(ref), logits)[1])


@each
def test_off_policy_it_is_corrected_and_descends_its_expected_value(estimator):
    logits, ref, old = choice()
    value, gradient = expected(logits, ref, old, estimator=estimator)

    def of_pi(own):
        everywhere = torch.ones(1, len(own), dtype=torch.bool)
        return (own.exp() * kl(own[None], ref[None], everywhere, estimator=estimator)[0]).sum()

    torch.testing.assert_close((value, gradient), exact(of_pi, logits))
    if estimator in ("k1", "k3"):
        torch.testing.assert_close(gradient, exact(forward(ref), logits)[1])


def test_off_policy_k3_is_trl_s():
    make = torch.Generator().manual_seed(2)
    new, ref, old = torch.randn(3, 4, 5, generator=make, dtype=torch.float64).unbind()
    mask = torch.rand(4, 5, generator=make) > 0.3
    theirs = (torch.exp(ref - new) - (ref - new) - 1) * torch.exp(new - old)
    torch.testing.assert_close(kl(new, ref, mask, old_logprob=old), theirs * mask)


@settings(max_examples=60)
@given(st.floats(-1000.0, 1000.0), st.sampled_from([torch.float32, torch.float64]))
def test_k2_and_k3_are_at_least_0_and_finite(away, kind):
    new, ref = torch.tensor([[away]], dtype=kind), torch.zeros(1, 1, dtype=kind)
    mask = torch.ones(1, 1, dtype=torch.bool)
    for estimator in ("k2", "k3"):
        new.requires_grad_()
        value = kl(new, ref, mask, estimator=estimator)
        (gradient,) = torch.autograd.grad(value.sum(), new)
        assert 0.0 <= float(value.detach()) < math.inf
        assert math.isfinite(float(gradient))
        if -20.0 < away < 20.0 and kind == torch.float64 and estimator == "k3":
            true = math.expm1(-away) + away
            assert float(value.detach()) == pytest.approx(true, rel=1e-9, abs=1e-15)


def test_k3_of_a_token_that_the_policy_has_left_stays_finite():
    for kind in (torch.float32, torch.float64):
        new = torch.tensor([[-1000.0]], dtype=kind, requires_grad=True)
        value = kl(new, torch.zeros_like(new), torch.ones(1, 1, dtype=torch.bool))
        value.sum().backward()
        assert float(value.detach()) == pytest.approx(math.exp(20.0), rel=1e-6)
        assert math.isfinite(float(new.grad))


def test_k1_can_be_negative_and_near_0_k3_is_k2():
    new = torch.tensor([[-1e-2, 1e-3, -1e-4]])
    ref, mask = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    assert float(kl(new, ref, mask, estimator="k1")[0, 0]) < 0
    away = kl(new, ref, mask, estimator="k3") - kl(new, ref, mask, estimator="k2")
    # The next term of the series is d^3 / 6; exp(x) - 1 would leave rounding of 1e-7.
    assert bool((away.abs() <= new.abs() ** 3 / 5.5 + 1e-11).all())


def test_a_cap_bounds_k3_and_takes_its_gradient():
    new = torch.tensor([[-1.0, -5.0]], requires_grad=True)
    ref, mask = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    value = kl(new, ref, mask, cap=10.0)
    assert value.tolist()[0] == pytest.approx([math.e - 2.0, 10.0], rel=1e-6)
    value.sum().backward()
    assert float(new.grad[0, 1]) == 0.0 != float(new.grad[0, 0])


def test_straight_through_a_cap_leaves_the_gradient_of_k2():
    new = torch.tensor([[-5.0]], requires_grad=True)
    value = kl(new, torch.zeros(1, 1), new < 0, cap=10.0, straight_through=True)
    value.sum().backward()
    assert (float(value.detach()), float(new.grad)) == (10.0, -5.0)


def test_a_gradient_flows_through_the_policy_alone():
    new, ref, old = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(4)).unbind()
    for tensor in (new, ref, old):
        tensor.requires_grad_()
    for straight_through in (False, True):
        kl(new, ref, new < 9, old_logprob=old, straight_through=straight_through).sum().backward()
    assert new.grad is not None
    assert ref.grad is None
    assert old.grad is None


@each
@pytest.mark.parametrize("straight_through", [False, True])
def test_what_is_left_out_is_0_whatever_it_holds(estimator, straight_through):
    new = torch.tensor([[-1.0, -math.inf, math.nan]], requires_grad=True)
    ref = torch.tensor([[-2.0, -math.inf, 1.0]])
    mask = torch.tensor([[True, False, False]])
    options = {"estimator": estimator, "straight_through": straight_through}
    value = kl(new, ref, mask, old_logprob=ref, **options)
    assert value[0, 1:].tolist() == [0.0, 0.0]
    value.sum().backward()
    assert new.grad[0, 1:].tolist() == [0.0, 0.0]


def test_the_reference_gets_no_gradient_and_bfloat16_is_widened():
    new = torch.tensor([[-1.0, -2.0]], dtype=torch.bfloat16, requires_grad=True)
    ref = torch.tensor([[-1.01, -2.5]], dtype=torch.bfloat16, requires_grad=True)
    mask = torch.ones(1, 2, dtype=torch.bool)
    value = kl(new, ref, mask, estimator="k2")
    assert value.dtype == torch.float32
    value.sum().backward()
    assert ref.grad is None
    assert new.grad is not None


def test_the_loss_is_the_aggregated_estimate_and_tells_its_mean():
    logits, ref, _ = choice()
    new = logits.log_softmax(dim=0).detach()[None].requires_grad_()
    mask = torch.tensor([[True, True, False, True, False]])
    value, metrics = kl_loss(new, ref[None], mask, aggregation="token-sum")
    each_token = kl(new, ref[None], mask, estimator="k3").detach()
    torch.testing.assert_close(value.detach(), each_token.sum())
    torch.testing.assert_close(metrics["ref_kl"], each_token.sum() / 3)
    value.backward()
    torch.testing.assert_close(new.grad, (new.detach() - ref) * mask)


def test_the_loss_compiles_whole():
    make = torch.Generator().manual_seed(4)
    new, ref, old = torch.randn(3, 4, 5, generator=make).unbind()
    mask = torch.rand(4, 5, generator=make) > 0.3
    torch.compiler.reset()
    compiled = torch.compile(kl_loss, fullgraph=True, backend="aot_eager")
    for options in ({}, {"old_logprob": old, "straight_through": False}):
        own, theirs = new.clone().requires_grad_(), new.clone().requires_grad_()
        one, two = compiled(own, ref, mask, **options), kl_loss(theirs, ref, mask, **options)
        one.loss.backward()
        two.loss.backward()
        torch.testing.assert_close((one.loss, own.grad), (two.loss, theirs.grad))


def test_the_reward_pays_for_leaving_the_reference():
    rewards = torch.tensor([[0.0, 1.0, 5.0]], requires_grad=True)
    old = torch.tensor([[-1.0, -2.0, -math.inf]])
    ref = torch.tensor([[-1.5, -1.0, -math.inf]])
    mask = torch.tensor([[True, True, False]])
    paid = kl_in_reward(rewards, old, ref, mask, coefficient=0.1)
    assert paid.tolist()[0] == pytest.approx([-0.05, 1.1, 5.0])
    assert not paid.requires_grad


def test_the_policy_gradient_of_the_kl_in_the_reward_is_that_of_the_whole_answer_s_kl():
    # Two tokens of two kinds; the second depends on the first. Every answer is enumerated.
    make = torch.Generator().manual_seed(5)
    logits = torch.randn(6, generator=make, dtype=torch.float64).requires_grad_()
    reference = torch.randn(6, generator=make, dtype=torch.float64)

    def answers(of):
        first, then = of[:2].log_softmax(0), of[2:].reshape(2, 2).log_softmax(1)
        return torch.stack(
            [torch.stack([first[a], then[a, b]]) for a in range(2) for b in range(2)]
        )

    own, ref = answers(logits), answers(reference)
    mask = torch.ones(4, 2, dtype=torch.bool)
    rewards = kl_in_reward(torch.zeros(4, 2).double(), own, ref, mask, coefficient=1.0)
    to_go = rewards.flip(1).cumsum(1).flip(1)
    likely = own.sum(dim=1).exp()
    (ours,) = torch.autograd.grad((likely.detach()[:, None] * to_go * own).sum(), logits)
    own = answers(logits)
    true = (own.sum(1).exp() * (own.sum(1) - ref.sum(1))).sum()
    (whole,) = torch.autograd.grad(true, logits)
    torch.testing.assert_close(ours, -whole)


def test_the_coefficient_stays_at_the_target_and_follows_verl_s_rule():
    control = AdaptiveKL(0.2, target=6.0, horizon=10000)
    control.update(6.0, 256)
    assert control.coefficient == 0.2
    control.update(6.6, 256)
    assert control.coefficient == pytest.approx(0.2 * (1 + 0.1 * 256 / 10000))
    up, down = AdaptiveKL(0.2, 6.0, 100), AdaptiveKL(0.2, 6.0, 100)
    up.update(1000.0, 50)
    down.update(-3.0, 50)
    assert up.coefficient == pytest.approx(0.2 * 1.1)
    assert down.coefficient == pytest.approx(0.2 * 0.9)


def test_the_coefficient_goes_on_where_it_was_saved():
    one = AdaptiveKL(0.2, 6.0, 100)
    one.update(7.0, 30)
    other = AdaptiveKL(0.5, 6.0, 100)
    other.load(one.state())
    one.update(5.5, 30)
    other.update(5.5, 30)
    assert one.coefficient == other.coefficient != 0.2


@pytest.mark.parametrize("state", [{}, {"coefficient": math.nan}, {"coefficient": -1.0}])
def test_a_state_of_no_coefficient_is_refused(state):
    control = AdaptiveKL(0.5, 6.0, 100)
    with pytest.raises(ValueError, match="AdaptiveKL: the coefficient of the state is"):
        control.load(state)
    assert control.coefficient == 0.5


@pytest.mark.parametrize("name", ["initial", "target", "horizon"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_control_of_bad_numbers_is_refused(name, value):
    given = {"initial": 0.1, "target": 6.0, "horizon": 100.0, name: value}
    with pytest.raises(ValueError, match=f"AdaptiveKL: {name} is"):
        AdaptiveKL(**given)


def test_a_bad_update_changes_nothing():
    control = AdaptiveKL(0.2, 6.0, 100)
    with pytest.raises(ValueError, match="the divergence is nan"):
        control.update(math.nan, 10)
    for n in (0, 500):
        with pytest.raises(ValueError, match=f"n is {n}; it must be positive and below 500, five"):
            control.update(7.0, n)
    assert control.coefficient == 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "k4"}, "kl: estimator is 'k4', not one of k1, k2, k3, abs"),
        ({"cap": 0.0}, "kl: cap is 0.0 for k3"),
        ({"cap": 10.0, "estimator": "k1"}, "kl: cap is 10.0 for k1; it is for k3 alone"),
        ({"old_logprob": torch.zeros(1, 3)}, r"the shape \[2, 3\], old_logprob \[1, 3\]"),
    ],
)
def test_bad_options_are_refused(options, message):
    zeros, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=message):
        kl(zeros, zeros, mask, **options)


def test_bad_input_is_named():
    zeros, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"kl: logprob has the shape \[2, 3\], ref_logprob \[2, 2"):
        kl(zeros, zeros[:, :2], mask)
    broken = zeros.clone()
    broken[1, 2] = -math.inf
    with pytest.raises(ValueError, match="kl: row 1 has the ref_logprob -inf at token 2"):
        kl(zeros, broken, mask)
    with pytest.raises(ValueError, match="kl_in_reward: row 1 has the old_logprob -inf at token 2"):
        kl_in_reward(zeros, broken, zeros, mask, coefficient=0.1)
    with pytest.raises(ValueError, match=r"kl_in_reward: coefficient is -0\.1"):
        kl_in_reward(zeros, zeros, zeros, mask, coefficient=-0.1)
    with pytest.raises(
        ValueError, match=r"step_rewards has the shape \[2, 2\], old_logprob \[2, 3"
    ):
        kl_in_reward(zeros[:, :2], zeros, zeros, mask, coefficient=0.1)
    with pytest.raises(ValueError, match="the expected gradient of k1 is 0"):
        kl_loss(zeros, zeros, mask, estimator="k1", straight_through=False)
