import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.policy.weights.imitation import MetaWeight, meta_gradient


class Bowls:
    """Three quadratic losses of two parameters, the second of them a matrix."""

    def __init__(self, seed=0):
        make = torch.Generator().manual_seed(seed)
        shapes = [(3,), (2, 2)]
        self.theta = [torch.randn(s, generator=make, dtype=torch.float64) for s in shapes]
        self.centers = {
            name: [torch.randn(s, generator=make, dtype=torch.float64) for s in shapes]
            for name in ("val", "sft", "rl")
        }

    def loss(self, name, theta=None):
        theta = self.theta if theta is None else theta
        pairs = zip(theta, self.centers[name], strict=True)
        return float(sum((of - center).square().sum() for of, center in pairs))

    def grad(self, name, theta=None):
        theta = self.theta if theta is None else theta
        return [2 * (of - center) for of, center in zip(theta, self.centers[name], strict=True)]

    def stepped(self, mu, lr):
        mixed = zip(self.theta, self.grad("sft"), self.grad("rl"), strict=True)
        return [of - lr * (mu * sft + (1 - mu) * rl) for of, sft, rl in mixed]


@pytest.mark.parametrize("seed", range(3))
def test_the_meta_gradient_is_that_of_finite_differences(seed):
    bowls, lr, mu, h = Bowls(seed), 0.05, 0.4, 0.1
    up, down = (bowls.loss("val", bowls.stepped(mu + s, lr)) for s in (h, -h))
    numeric = (up - down) / (2 * h)
    after = bowls.grad("val", bowls.stepped(mu, lr))
    grads = bowls.grad("sft"), bowls.grad("rl")
    assert meta_gradient(after, *grads, lr) == pytest.approx(numeric, rel=1e-6)
    # With the gradient before the step, to first order in the learning rate.
    small = 1e-6
    up, down = (bowls.loss("val", bowls.stepped(mu + s, small)) for s in (h, -h))
    before = meta_gradient(bowls.grad("val"), *grads, small)
    assert before == pytest.approx((up - down) / (2 * h), rel=1e-3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("normalized", [False, True])
def test_the_sign_lowers_the_validation_loss(seed, normalized):
    bowls, lr = Bowls(seed), 0.05
    weight = MetaWeight(1.0, initial=0.5, rate=0.5, entropy_rate=0.0)
    start = bowls.loss("val", bowls.stepped(0.5, lr))
    for _ in range(200):
        mu = weight.weights()["sft"]
        at = bowls.grad("val", bowls.stepped(mu, lr))
        told = meta_gradient(at, bowls.grad("sft"), bowls.grad("rl"), lr, normalized=normalized)
        weight.observe({"entropy": 1.0, "meta_gradient": told})
    grid = [bowls.loss("val", bowls.stepped(m / 100, lr)) for m in range(5, 96)]
    end = bowls.loss("val", bowls.stepped(weight.weights()["sft"], lr))
    assert end < start
    if normalized is False:
        assert end <= min(grid) + 1e-3


def test_gradients_that_are_the_same_say_nothing():
    bowls = Bowls()
    sft = bowls.grad("sft")
    for normalized in (False, True):
        assert meta_gradient(bowls.grad("val"), sft, sft, 0.1, normalized=normalized) == 0.0


def test_none_counts_as_0():
    val, sft = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])
    assert meta_gradient([val, None], [sft, val], [None, val], 0.1) == pytest.approx(-0.1)
    assert meta_gradient([val], [None], [sft], 0.1) == pytest.approx(0.1)
    assert meta_gradient([None], [None], [None], 0.1) == 0.0
    zeros = torch.zeros(2)
    plain = meta_gradient([val], [sft], [zeros], 0.1, normalized=True)
    assert meta_gradient([val], [sft], [None], 0.1, normalized=True) == plain


@settings(max_examples=20)
@given(st.integers(0, 99), st.floats(0.01, 100.0), st.floats(1e-6, 1.0))
def test_the_normalized_form_is_minus_a_cosine_without_a_unit(seed, unit, lr):
    bowls = Bowls(seed)
    grads = [bowls.grad(name) for name in ("val", "sft", "rl")]
    told = meta_gradient(*grads, lr, normalized=True)
    scaled = [[unit * of for of in grad] for grad in grads]
    assert meta_gradient(*scaled, 0.1, normalized=True) == pytest.approx(told, rel=1e-9)
    flat = [torch.cat([of.flatten() for of in grad]) for grad in grads]
    cosine = torch.nn.functional.cosine_similarity(flat[0], flat[1] - flat[2], dim=0)
    assert told == pytest.approx(-float(cosine), rel=1e-9)


def test_bad_gradients_are_refused():
    one, other = torch.ones(2), torch.ones(3)
    with pytest.raises(ValueError, match="amft: 1 validation, 2 sft and 1 rl gradients"):
        meta_gradient([one], [one, one], [one], 0.1)
    with pytest.raises(ValueError, match="amft: the gradients of parameter 1 have the shapes"):
        meta_gradient([one, one], [one, other], [one, None], 0.1)
    for lr in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="amft: lr is"):
            meta_gradient([one], [one], [one], lr)


def test_the_update_by_hand():
    weight = MetaWeight(2.0, initial=0.5, rate=0.1, entropy_rate=0.2)
    weight.observe({"entropy": 1.5, "meta_gradient": 0.3})
    told = weight.weights()
    assert told["sft"] == pytest.approx(0.5 - 0.1 * 0.3 + 0.2 * (2.0 - 1.5))
    assert told["rl"] == pytest.approx(1.0 - told["sft"])
    turned = MetaWeight(2.0, initial=0.5, rate=0.1, entropy_rate=0.2, low_entropy="explore")
    turned.observe({"entropy": 1.5, "meta_gradient": 0.3})
    assert turned.weights()["sft"] == pytest.approx(0.5 - 0.1 * 0.3 - 0.2 * (2.0 - 1.5))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0.0, 1e3), st.floats(-1e6, 1e6)), max_size=8))
def test_the_weight_stays_within_its_bounds(steps):
    weight = MetaWeight(1.0, rate=1.0, entropy_rate=1.0, within=(0.1, 0.9))
    for entropy, gradient in steps:
        weight.observe({"entropy": entropy, "meta_gradient": gradient})
        assert 0.1 <= weight.weights()["sft"] <= 0.9
        assert sum(weight.weights().values()) == pytest.approx(1.0)


def test_without_validation_data_entropy_moves_it_and_one_warning_says_so(recwarn):
    weight = MetaWeight(1.0, initial=0.5)
    with pytest.warns(UserWarning, match="amft: without a meta_gradient, the entropy alone"):
        weight.observe({"entropy": 0.5})
    assert weight.weights()["sft"] == pytest.approx(0.5 + 5e-4 * 0.5)
    weight.observe({"entropy": 0.5})
    assert not recwarn.list


def test_a_resumed_run_has_the_same_weight_to_the_last_digit():
    whole, other = MetaWeight(1.0), MetaWeight(1.0)
    steps = [{"entropy": 0.1 * i, "meta_gradient": math.sin(i)} for i in range(20)]
    for step in steps[:9]:
        whole.observe(step)
    other.load(json.loads(json.dumps(whole.state())))
    for step in steps[9:]:
        whole.observe(step)
        other.observe(step)
    assert other.weights() == whole.weights() != {"rl": 0.2, "sft": 0.8}


@pytest.mark.parametrize("mu", [7.0, 0.96, math.nan])
def test_a_state_outside_the_bounds_is_refused(mu):
    weight = MetaWeight(1.0)
    with pytest.raises(ValueError, match=rf"amft: mu of the state is {mu}, not within"):
        weight.load({**weight.state(), "mu": mu})
    assert weight.weights()["sft"] == 0.8


def test_the_warning_about_the_source_is_where_users_read():
    assert "asked to withdraw" in MetaWeight.__doc__
    assert "state of the art" not in MetaWeight.__doc__


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": 0.99}, r"amft: initial is 0\.99 and within \(0\.05, 0\.95\)"),
        ({"within": (-0.1, 0.9)}, "0 <= least <= initial <= most <= 1"),
        ({"within": (0.9, 0.5)}, "0 <= least"),
        ({"rate": -1.0}, r"amft: rate is -1\.0"),
        ({"entropy_rate": math.nan}, "amft: entropy_rate is nan"),
        ({"target_entropy": -1.0}, r"amft: target_entropy is -1\.0"),
        ({"low_entropy": "up"}, "amft: low_entropy is 'up', not imitate or explore"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MetaWeight(**{"target_entropy": 1.0, **options})


@pytest.mark.parametrize(
    ("means", "message"),
    [
        ({"meta_gradient": 0.1}, r"amft: observed \['meta_gradient'\]; give the entropy"),
        ({"entropy": 1.0, "meta_grad": 0.1}, r"amft: observed \['entropy', 'meta_grad'\]"),
        ({"entropy": math.nan}, "amft: entropy is nan"),
        ({"entropy": 1.0, "meta_gradient": math.inf}, "amft: meta_gradient is inf"),
    ],
)
def test_bad_observations_are_named(means, message):
    weight = MetaWeight(1.0)
    with pytest.raises(ValueError, match=message):
        weight.observe(means)
    assert weight.weights() == pytest.approx({"rl": 0.2, "sft": 0.8})
