"""The statistics against rliable's definitions, by hand and against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rewardsmith.report.statistics import (
    ThresholdSummary,
    bootstrap_interval,
    curve_band,
    interquartile_mean,
    probability_of_improvement,
    probability_of_improvement_interval,
    steps_to_threshold,
    threshold_summary,
)

numbers = st.floats(-1e6, 1e6, allow_nan=False)
runs = st.lists(numbers, min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([100.0], 100.0),
        ([0.0, 1.0, 100.0], 101 / 3),  # n = 3: nothing is cut
        ([100.0, 2.0, -50.0, 1.0], 1.5),  # n = 4: one at each end
        ([0.0, 1.0, 2.0, 6.0, 100.0], 3.0),  # n = 5: still one
        ([0.0, 1.0, 2.0, 3.0, 5.0, 6.0, 100.0], 3.4),  # n = 7: still one
        ([0.0, 0.0, 2.0, 3.0, 5.0, 6.0, 100.0, 100.0], 4.0),  # n = 8: two
    ],
)
def test_the_iqm_cuts_a_quarter_in_whole_runs(values: list[float], expected: float) -> None:
    assert interquartile_mean(values) == pytest.approx(expected)


@given(runs)
def test_the_iqm_is_scipys_trimmed_mean(values: list[float]) -> None:
    assert interquartile_mean(values) == pytest.approx(
        stats.trim_mean(values, 0.25), rel=1e-9, abs=1e-6
    )


def test_the_iqm_of_an_axis_and_of_everything() -> None:
    x = np.arange(24.0).reshape(4, 6) ** 2
    np.testing.assert_allclose(interquartile_mean(x, axis=0), stats.trim_mean(x, 0.25, axis=0))
    assert interquartile_mean(x) == pytest.approx(stats.trim_mean(x.ravel(), 0.25))


@given(numbers, st.integers(1, 12), st.integers(1, 12))
def test_a_constant_has_the_same_iqm_and_interval_whatever_the_number_of_runs(
    value: float, n: int, m: int
) -> None:
    assert interquartile_mean([value] * n) == interquartile_mean([value] * m) == value
    assert bootstrap_interval([value] * n, resamples=20) == (value, value)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_the_iqm_refuses_nothing_and_not_finite(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"undefined|not finite"):
        interquartile_mean(values)


def test_the_bootstrap_is_deterministic_and_follows_its_seed() -> None:
    x = np.random.default_rng(0).normal(size=7)
    assert bootstrap_interval(x, seed=3) == bootstrap_interval(x, seed=3)
    assert bootstrap_interval(x, seed=3) != bootstrap_interval(x, seed=4)


def test_the_bootstrap_of_the_mean_has_the_standard_errors_width() -> None:
    x = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap_interval(x, np.mean, resamples=4000)
    half = 1.96 * x.std() / np.sqrt(len(x))
    assert low == pytest.approx(x.mean() - half, abs=0.015)
    assert high == pytest.approx(x.mean() + half, abs=0.015)


def test_a_wider_level_is_a_wider_interval() -> None:
    x = np.random.default_rng(2).normal(size=9)
    narrow, wide = bootstrap_interval(x, level=0.5), bootstrap_interval(x, level=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@given(runs)
def test_an_interval_stays_within_the_range_of_the_runs(values: list[float]) -> None:
    low, high = bootstrap_interval(values, resamples=50)
    assert min(values) <= low <= high <= max(values)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "at least one"),
        ([[1.0, 2.0]], {}, "one number per run"),
        ([1.0, float("nan")], {}, "not finite"),
        ([1.0], {"level": 1.0}, "level"),
        ([1.0], {"resamples": 0}, "resamples"),
        ([1.0, 2.0], {"statistic": lambda x, axis: x}, "reduce axis 1"),
    ],
)
def test_the_bootstrap_names_bad_input(values: object, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, **options)


def test_probability_of_improvement_by_hand() -> None:
    # 3 > 1, 3 > 2, 2 > 1 are wins and 2 = 2 a tie: 3.5 of 4 pairs.
    assert probability_of_improvement([3.0, 2.0], [1.0, 2.0]) == 3.5 / 4


@given(runs, runs)
def test_probability_of_improvement_is_mann_whitneys_u(x: list[float], y: list[float]) -> None:
    u = stats.mannwhitneyu(x, y).statistic
    assert probability_of_improvement(x, y) == pytest.approx(u / (len(x) * len(y)))


@given(runs, runs)
def test_improvement_one_way_is_its_complement_the_other(x: list[float], y: list[float]) -> None:
    assert probability_of_improvement(x, y) == pytest.approx(1 - probability_of_improvement(y, x))


def test_the_interval_of_improvement() -> None:
    x, y = np.array([0.4, 0.5, 0.9, 0.2, 0.7]), np.array([0.3, 0.6, 0.1, 0.45])
    low, high = probability_of_improvement_interval(x, y, resamples=20_000)
    rng = np.random.default_rng(9)
    draws = [
        probability_of_improvement(rng.choice(x, len(x)), rng.choice(y, len(y)))
        for _ in range(20_000)
    ]
    assert (low, high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.03)
    assert low < probability_of_improvement(x, y) < high
    assert probability_of_improvement_interval([2.0, 3.0], [0.0, 1.0]) == (1.0, 1.0)


def test_a_band_is_the_iqm_and_the_interval_of_each_step() -> None:
    x = np.random.default_rng(3).normal(size=(6, 4))
    band = curve_band([0, 10, 20, 30], x, seed=5)
    assert band.steps == (0, 10, 20, 30)
    np.testing.assert_allclose(band.center, stats.trim_mean(x, 0.25, axis=0))
    for column in range(4):
        # Whole seeds are drawn, so each column sees the resamples of the interval alone.
        assert (band.low[column], band.high[column]) == pytest.approx(
            bootstrap_interval(x[:, column], seed=5)
        )
    assert curve_band([0, 10, 20, 30], x, statistic=np.mean).center == pytest.approx(x.mean(0))


def test_a_band_of_one_seed_is_its_curve() -> None:
    band = curve_band([0, 1], [[1.0, 2.0]])
    assert band.low == band.center == band.high == (1.0, 2.0)


@pytest.mark.parametrize(
    ("steps", "values", "message"),
    [
        ([0, 1], [[1.0, 2.0, 3.0]], "one column per step"),
        ([0, 1], [1.0, 2.0], "seeds, evaluations"),
        ([1, 1], [[1.0, 2.0]], "increasing"),
        ([], [[]], "one column per step"),
    ],
)
def test_a_curve_names_bad_input(steps: list[int], values: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        curve_band(steps, values)


def test_steps_to_threshold_is_the_first_step_that_reaches_it() -> None:
    values = [
        [0.0, 0.5, 0.9, 0.4],  # reached at 10 exactly, and lost again
        [0.0, 0.1, 0.2, 0.3],
        [0.7, 0.0, 0.0, 0.0],
    ]
    assert steps_to_threshold([0, 10, 20, 30], values, 0.5) == (10, None, 0)
    with pytest.raises(ValueError, match="finite"):
        steps_to_threshold([0, 10, 20, 30], values, float("nan"))


@pytest.mark.parametrize(
    ("steps", "median", "reached"),
    [
        ([30, 10, 20], 20, 3),
        ([30, 10, None], 30, 2),  # never counts as later than every step
        ([10, None, None], None, 1),
        ([10, 20], 15, 2),
        ([10, 20, None, None], None, 2),  # exactly half: no median
        ([None], None, 0),
    ],
)
def test_the_median_step_counts_the_seeds_that_never_arrive(
    steps: list[int | None], median: int | None, reached: int
) -> None:
    assert threshold_summary(steps) == ThresholdSummary(median, reached, len(steps))


def test_a_threshold_summary_needs_seeds() -> None:
    with pytest.raises(ValueError, match="no seeds"):
        threshold_summary([])
