import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.samplers.shortfall import SoftmaxWeights


def test_shares_are_a_softmax_of_the_shortfall():
    weights = SoftmaxWeights("abc", target=0.8, temperature=0.5)
    assert weights.weights() == pytest.approx(dict.fromkeys("abc", 1 / 3))
    weights.observe({"a": 0.2, "b": 0.7, "c": 0.9})
    share = np.exp(np.array([0.6, 0.1, 0.0]) / 0.5)
    share /= share.sum()
    assert list(weights.weights().values()) == pytest.approx(share.tolist(), rel=1e-12)


@pytest.mark.parametrize(
    ("decay", "ages"), [("harmonic", [1, 1 / 2, 1 / 3]), ("geometric", [1, 0.5, 0.25])]
)
def test_older_steps_count_less_and_a_domain_by_the_steps_that_have_it(decay, ages):
    weights = SoftmaxWeights("ab", temperature=1.0, memory=3, decay=decay)
    for step in ({"a": 1.0, "b": 1.0}, {"a": 0.1}, {"a": 0.2, "b": 0.4}, {"a": 0.6, "b": 0.9}):
        weights.observe(step)
    a = np.average([0.6, 0.2, 0.1], weights=ages)
    b = np.average([0.9, 0.4], weights=ages[:2])
    expected = 1 / (1 + math.exp(a - b))
    assert weights.weights()["a"] == pytest.approx(expected, rel=1e-12)


def test_a_domain_that_is_new_looks_no_better_than_it_is():
    weights = SoftmaxWeights("ab")
    for _ in range(3):
        weights.observe({"a": 0.5})
    weights.observe({"a": 0.5, "b": 0.5})
    assert weights.weights() == pytest.approx({"a": 0.5, "b": 0.5})


@settings(max_examples=30)
@given(
    st.lists(st.dictionaries(st.sampled_from("abcd"), st.floats(0.0, 1.0), max_size=4), max_size=8),
    st.floats(0.0, 0.24),
    st.floats(0.01, 10.0),
)
def test_shares_sum_to_1_and_keep_the_floor(steps, floor, temperature):
    weights = SoftmaxWeights("abcd", floor=floor, temperature=temperature)
    for step in steps:
        weights.observe(step)
        told = weights.weights()
        assert sum(told.values()) == pytest.approx(1.0, abs=1e-12)
        assert all(share >= floor - 1e-12 for share in told.values())


def test_a_domain_outside_the_memory_keeps_its_share():
    weights = SoftmaxWeights("abc", memory=2)
    weights.observe({"a": 0.0, "b": 0.9, "c": 0.5})
    weights.observe({"b": 0.1, "c": 0.9})
    before = weights.weights()["a"]
    for step in ({"b": 0.2, "c": 0.3}, {}, {"b": 0.2, "c": 0.3}):
        weights.observe(step)
    assert weights.weights()["a"] == pytest.approx(before, rel=1e-12)
    assert weights.weights()["b"] > weights.weights()["c"]


def test_temperatures_far_out_are_uniform_and_the_furthest_behind():
    step = {"a": 0.3, "b": 0.2, "c": 0.9}
    cold = [0.0, 1.0, 0.0]
    for temperature, expected in ((1e9, [1 / 3] * 3), (1e-4, cold), (1e-310, cold)):
        weights = SoftmaxWeights("abc", temperature=temperature)
        weights.observe(step)
        assert list(weights.weights().values()) == pytest.approx(expected, abs=1e-8)


def test_shortfalls_that_are_the_same_share_alike_also_above_the_target():
    weights = SoftmaxWeights("abc", target=0.5)
    weights.observe({"a": 0.5, "b": 0.7, "c": 1.0})
    assert weights.weights() == pytest.approx(dict.fromkeys("abc", 1 / 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 1.2}, r"rulereasoner: target is 1\.2, it must be from 0 to 1"),
        ({"temperature": 0.0}, r"rulereasoner: temperature is 0\.0"),
        ({"memory": 0}, "rulereasoner: memory is 0"),
        ({"memory": 2.5}, r"rulereasoner: memory is 2\.5, it must be a whole number from 1"),
        ({"floor": 0.5}, r"floor is 0\.5; 2 domains leave room for less than 0\.5"),
        ({"floor": -0.1}, r"rulereasoner: floor is -0\.1"),
        ({"decay": "linear"}, "rulereasoner: decay is 'linear', not harmonic or geometric"),
    ],
)
def test_bad_options_of_rulereasoner_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxWeights("ab", **options)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_reward_outside_0_to_1_is_named(value):
    with pytest.raises(ValueError, match=r"domain 'b' has the mean reward .*, outside \[0, 1\]"):
        SoftmaxWeights("ab").observe({"a": 0.5, "b": value})
    with pytest.raises(ValueError, match="rulereasoner: unknown name 'c'; valid names: a, b"):
        SoftmaxWeights("ab").observe({"c": 0.5})


def test_a_mean_that_float32_rounds_past_its_bound_is_on_it():
    below = SoftmaxWeights("ab")
    below.observe({"a": 1.0000001, "b": -1e-9})
    clear = SoftmaxWeights("ab")
    clear.observe({"a": 1.0, "b": 0.0})
    assert below.state() == clear.state()


def test_initial_shares_are_up_to_a_factor_above_the_floor_and_kept_by_what_is_not_met():
    weights = SoftmaxWeights("abc", initial={"a": 6.0, "b": 3.0, "c": 1.0})
    assert weights.weights() == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1})
    raised = SoftmaxWeights("abc", initial={"a": 6.0, "b": 3.0, "c": 1.0}, floor=0.1)
    assert raised.weights() == pytest.approx({"a": 0.52, "b": 0.31, "c": 0.17})
    weights.observe({"a": 0.5, "b": 0.5})
    assert weights.weights() == pytest.approx({"a": 0.45, "b": 0.45, "c": 0.1})


@pytest.mark.parametrize(
    "initial",
    [{"a": 1.0}, {"a": 1.0, "c": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": math.inf}],
)
def test_bad_initial_shares_are_refused(initial):
    with pytest.raises(ValueError, match=r"rulereasoner: initial is .*; give each of a, b a posi"):
        SoftmaxWeights("ab", initial=initial)
