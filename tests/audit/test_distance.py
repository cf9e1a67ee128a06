"""The Pearson distance between rewards."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from rewardsmith.audit.distance import pearson_distance

trajectories = st.lists(st.floats(-100, 100), min_size=2, max_size=8).filter(
    lambda x: max(x) - min(x) > 0.1
)


@given(trajectories, st.floats(0.01, 100), st.floats(-100, 100))
@settings(max_examples=60)
def test_affine_maps(truth: list[float], scale: float, shift: float) -> None:
    x = np.array(truth)
    assert pearson_distance(scale * x + shift, x) == pytest.approx(0, abs=1e-3)
    assert pearson_distance(-scale * x + shift, x) == pytest.approx(1, abs=1e-6)


@given(st.data())
@settings(max_examples=60)
def test_the_formula(data: st.DataObject) -> None:
    x = np.array(data.draw(trajectories))
    y = np.array(data.draw(st.lists(st.floats(-9, 9), min_size=len(x), max_size=len(x))))
    assume(y.max() - y.min() > 0.1)
    expected = math.sqrt(max(0.0, (1 - pearsonr(x, y).statistic) / 2))
    assert pearson_distance(x, y) == pytest.approx(expected, abs=1e-6)
    assert pearson_distance(y, x) == pytest.approx(pearson_distance(x, y), abs=1e-9)


@pytest.mark.parametrize("pair", [([1, 1, 1], [1, 2, 3]), ([1, 2], [0, 0])])
def test_a_constant_is_undefined(pair: tuple[list[int], list[int]]) -> None:
    with pytest.warns(UserWarning, match="rewards are constant"):
        assert math.isnan(pearson_distance(*pair))


def test_huge_and_tiny_rewards() -> None:
    x = np.array([1.0, 2.0, 4.0])
    assert pearson_distance(4e307 * x, 1e-300 * x) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "pair", [([1], [1]), ([1, 2], [1, 2, 3]), ([1, math.nan], [1, 2]), ([1, 2], [1, math.inf])]
)
def test_what_it_refuses(pair: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="pearson_distance"):
        pearson_distance(*pair)
