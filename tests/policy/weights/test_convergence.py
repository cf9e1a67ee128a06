import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.policy.weights import ConvergenceWeights

QUICK = {"short": 4, "long": 8, "inertia": 0.0}


def fed(weights, series):
    for step in zip(*series.values(), strict=True):
        weights.observe(dict(zip(series, step, strict=True)))
    return weights.weights()


def noise(seed, n=12):
    return np.random.default_rng(seed).uniform(0.2, 0.8, n).tolist()


def test_weights_are_uniform_until_enough_was_observed():
    series = {"a": noise(0), "b": noise(1), "c": [0.5] * 12}
    weights = ConvergenceWeights(series, **QUICK)
    for step in list(zip(*series.values(), strict=True))[:7]:
        weights.observe(dict(zip(series, step, strict=True)))
        assert weights.weights() == {"a": 1.0, "b": 1.0, "c": 1.0}
    weights.observe({name: of[7] for name, of in series.items()})
    assert weights.weights() != {"a": 1.0, "b": 1.0, "c": 1.0}


def test_the_formula_by_hand():
    a, b = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [0.3, 0.5, 0.3, 0.5, 0.3, 0.5, 0.3, 0.4]
    weights = fed(
        ConvergenceWeights("ab", temperature=0.5, instability=2.0, **QUICK), {"a": a, "b": b}
    )
    scores = []
    for rewards in (a, b):
        x = (max(rewards) - np.array(rewards)) / (max(rewards) - min(rewards))
        scores.append(x[-4:].mean() / x.mean() + 2.0 * x[-4:].std() / x[-4:].mean())
    share = np.exp(np.array(scores) / 0.5)
    expected = 2 * share / share.sum()
    assert [weights["a"], weights["b"]] == pytest.approx(expected.tolist(), rel=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.01, 100.0))
def test_weights_have_no_unit_no_order_and_sum_to_the_number_of_objectives(seed, unit):
    series = {"a": noise(seed), "b": noise(seed + 1), "c": noise(seed + 2)}
    plain = fed(ConvergenceWeights(series, **QUICK), series)
    assert sum(plain.values()) == pytest.approx(3.0, rel=1e-12)
    turned = {name: series[name] for name in "cab"}
    assert fed(ConvergenceWeights(turned, **QUICK), turned) == pytest.approx(plain, rel=1e-9)
    scaled = {name: [unit * r for r in of] for name, of in series.items()}
    assert fed(ConvergenceWeights(scaled, **QUICK), scaled) == pytest.approx(plain, rel=1e-6)
    losses = {name: [-unit * r for r in of] for name, of in series.items()}
    of_losses = fed(ConvergenceWeights(series, losses=list("abc"), **QUICK), losses)
    assert of_losses == pytest.approx(plain, rel=1e-6)


def test_series_that_are_the_same_weigh_the_same():
    weights = fed(ConvergenceWeights("ab", **QUICK), {"a": noise(3), "b": noise(3)})
    assert weights == {"a": 1.0, "b": 1.0}


def test_an_objective_that_is_done_weighs_the_least_and_a_volatile_one_the_most():
    done = [0.1, 0.5, 0.9, *[0.995, 0.996] * 6]
    slow, wild = [0.1 + 0.001 * i for i in range(15)], [0.1, 0.9, 0.15] * 5
    series = {"done": done, "constant": [0.7] * 15, "slow": slow, "wild": wild}
    for best in (None, {"done": 1.0}):
        weights = fed(ConvergenceWeights(series, best=best, **QUICK), series)
        assert weights["done"] == weights["constant"] < weights["slow"] < weights["wild"]


def test_an_objective_that_never_moves_weighs_more_if_there_is_more_to_gain():
    series = {"never": [0.0] * 12, "done": [1.0] * 12}
    assert fed(ConvergenceWeights(series, **QUICK), series) == {"never": 1.0, "done": 1.0}
    best = {"never": 1.0, "done": 1.0}
    weights = fed(ConvergenceWeights(series, best=best, **QUICK), series)
    assert weights["never"] == pytest.approx(2 * math.e / (1 + math.e))


def test_one_that_still_climbs_near_its_best_is_not_done():
    # The range is 0 to 1 and x is below 0.05 in both; one of them moves by 0.005 a step.
    still = [0.0, 0.5, 0.9, 0.98, *[0.97] * 8]
    climbs = [0.0, 0.5, 0.9, 0.98, *[0.96 + 0.005 * i for i in range(8)]]
    series = {"still": still, "climbs": climbs}
    best = dict.fromkeys(series, 1.0)
    options = {"best": best, "instability": 0.0, **QUICK}
    weights = fed(ConvergenceWeights(series, **options), series)
    assert weights["climbs"] > weights["still"]
    apart = fed(ConvergenceWeights(series, slope=0.01, **options), series)
    assert apart == {"still": 1.0, "climbs": 1.0}


def test_one_that_swings_near_its_best_is_not_done():
    # x of the last four is 0.049, 0, 0, 0.049: below 0.05, without a slope, spread by 0.0245.
    swings = [0.0, 0.5, 0.9, 0.951, 0.951, 1.0, 1.0, 0.951]
    series = {"swings": swings, "constant": [0.7] * 8}
    for noise, done in ((0.02, False), (0.03, True)):
        weights = fed(ConvergenceWeights(series, noise=noise, **QUICK), series)
        assert (weights["swings"] == weights["constant"]) is done


def test_a_temperature_near_0_gives_all_to_the_highest_score():
    series = {"slow": [0.1 + 0.001 * i for i in range(15)], "wild": [0.1, 0.9, 0.15] * 5}
    weights = fed(ConvergenceWeights(series, temperature=1e-310, **QUICK), series)
    assert weights == {"slow": 0.0, "wild": 2.0}


def test_a_mean_that_float32_rounds_past_its_bound_is_on_it():
    rounded = float(np.float32(0.1))
    assert rounded > 0.1
    options = {"best": {"a": 0.1}, **QUICK}
    ours, exact = ConvergenceWeights("ab", **options), ConvergenceWeights("ab", **options)
    fed(ours, {"a": [0.02] * 4 + [rounded] * 5, "b": noise(0, 9)})
    fed(exact, {"a": [0.02] * 4 + [0.1] * 5, "b": noise(0, 9)})
    assert ours.state() == exact.state()


def test_a_great_temperature_and_a_lone_objective_leave_weights_at_1():
    series = {"a": noise(0), "b": [0.5] * 12}
    hot = fed(ConvergenceWeights(series, temperature=1e12, **QUICK), series)
    assert hot == pytest.approx({"a": 1.0, "b": 1.0}, abs=1e-9)
    assert fed(ConvergenceWeights(["a"], **QUICK), {"a": noise(0)}) == {"a": 1.0}


def test_inertia_averages_over_steps():
    series = {"a": noise(0, 8), "b": noise(1, 8)}
    quick = fed(ConvergenceWeights(series, **QUICK), series)
    slow = fed(ConvergenceWeights(series, **{**QUICK, "inertia": 0.9}), series)
    assert slow["a"] == pytest.approx(0.9 + 0.1 * quick["a"])


def test_a_step_with_nan_is_left_out_and_told_of():
    weights, other = (ConvergenceWeights("ab", **QUICK) for _ in range(2))
    for i, (a, b) in enumerate(zip(noise(0), noise(1), strict=True)):
        weights.observe({"a": a, "b": b})
        other.observe({"a": a, "b": b})
        if i == 5:
            with pytest.warns(UserWarning, match="a step is left out, objective 'b' is nan"):
                other.observe({"a": 0.9, "b": math.nan})
    assert weights.weights() == other.weights()
    assert weights.state() == other.state()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"losses": ["c"]}, "recap: unknown name 'c'"),
        ({"best": {"aa": 1.0}}, "recap: unknown name 'aa'"),
        ({"short": 1}, "recap: short is 1 and long 50"),
        ({"short": 60}, "recap: short is 60 and long 50"),
        ({"short": 2.5}, r"recap: short is 2\.5, it must be a whole number from 1"),
        ({"long": 50.0}, r"recap: long is 50\.0, it must be a whole number"),
        ({"temperature": 0.0}, r"recap: temperature is 0\.0, it must be positive"),
        ({"noise": math.nan}, "recap: noise is nan"),
        ({"inertia": 1.0}, r"recap: inertia is 1\.0, from 0 to below 1"),
        ({"instability": -1.0}, r"instability -1\.0"),
    ],
)
def test_bad_options_of_recap_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ConvergenceWeights("ab", **options)


def test_bad_observations_of_recap_are_named():
    weights = ConvergenceWeights(["reward", "replay"], losses=["replay"], best={"reward": 1.0})
    with pytest.raises(ValueError, match="recap: objective 'replay' was not observed"):
        weights.observe({"reward": 0.5})
    with pytest.raises(ValueError, match="recap: unknown name 'repla'; did you mean 'replay'"):
        weights.observe({"reward": 0.5, "repla": 1.0})
    with pytest.raises(ValueError, match=r"'reward' is 1\.5, better than its best 1\.0"):
        weights.observe({"reward": 1.5, "replay": 1.0})
