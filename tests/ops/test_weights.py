import json
import math

import numpy as np
import pytest

from rewardsmith.policy.weights import ConvergenceWeights
from rewardsmith.samplers.shortfall import SoftmaxWeights


def noise(seed, n):
    return np.random.default_rng(seed).uniform(0.2, 0.8, n).tolist()


@pytest.mark.parametrize(
    "make", [lambda: ConvergenceWeights("ab", short=4, long=8), lambda: SoftmaxWeights("ab")]
)
def test_a_resumed_run_has_the_same_weights_to_the_last_digit(make):
    whole, first, second = make(), make(), make()
    steps = [
        dict(zip("ab", step, strict=True)) for step in zip(noise(0, 30), noise(1, 30), strict=True)
    ]
    for step in steps:
        whole.observe(step)
    for step in steps[:13]:
        first.observe(step)
    saved = json.loads(json.dumps(first.state()))
    first.observe(steps[0])
    second.load(saved)
    for step in steps[13:]:
        second.observe(step)
    assert second.weights() == whole.weights()
    assert second.state() == whole.state()


@pytest.mark.parametrize("kind", [ConvergenceWeights, SoftmaxWeights])
def test_names_and_states_of_others_are_refused(kind):
    for names in ([], ["a", "a"]):
        with pytest.raises(ValueError, match=r"names are .*; give each thing one name"):
            kind(names)
    with pytest.raises(ValueError, match=r"the state is of \['a'\], not of \['a', 'b'\]"):
        kind("ab").load(kind("a").state())
    state = kind("ab").state()
    del state["recent"]
    with pytest.raises(ValueError, match="the state has no 'recent'"):
        kind("ab").load(state)


def test_a_state_of_another_kind_is_refused():
    with pytest.raises(
        ValueError, match="rulereasoner: the state is of recap, not of rulereasoner"
    ):
        SoftmaxWeights("ab").load(ConvergenceWeights("ab").state())


@pytest.mark.parametrize("kind", [ConvergenceWeights, SoftmaxWeights])
@pytest.mark.parametrize(
    ("place", "junk", "message"),
    [
        ("weights", {"a": 1.0}, "the state has the weights {'a': 1.0}"),
        ("weights", {"a": 1.0, "b": -0.5}, "the state has the weights"),
        ("weights", {"a": 1.0, "b": math.nan}, "the state has the weights"),
        ("recent", [{"a": 0.5, "b": math.inf}], "'recent' of the state has a number that is not"),
        ("recent", {"a": [0.5, math.nan], "b": []}, "'recent' of the state has a number"),
    ],
)
def test_a_state_with_a_bad_number_is_refused_and_nothing_is_loaded(kind, place, junk, message):
    weights = kind("ab")
    before = weights.state()
    with pytest.raises(ValueError, match=message):
        weights.load({**before, place: junk})
    assert weights.state() == before


@pytest.mark.parametrize("kind", [ConvergenceWeights, SoftmaxWeights])
def test_what_is_told_is_a_copy(kind):
    weights = kind("ab")
    weights.weights()["a"] = 9.0
    weights.state()["weights"]["a"] = 9.0
    assert weights.weights()["a"] < 9.0
