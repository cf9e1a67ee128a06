"""Merging moments is exact: any split, any order, is the whole stream."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.report.moments import PairMoments

pairs = st.lists(
    st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
    max_size=30,
)


def of(rows: list[tuple[float, float]]) -> PairMoments:
    return PairMoments.of([x for x, _ in rows], [y for _, y in rows])


def assert_close(a: PairMoments, b: PairMoments) -> None:
    assert a.n == b.n
    for name, value in a.to_dict().items():
        assert value == pytest.approx(b.to_dict()[name], rel=1e-9, abs=1e-6), name


@given(pairs, st.integers(0, 30))
def test_merging_two_parts_is_the_whole(rows: list[tuple[float, float]], cut: int) -> None:
    assert_close(of(rows[:cut]).merge(of(rows[cut:])), of(rows))


@given(pairs, pairs)
def test_merging_does_not_depend_on_the_order(
    a: list[tuple[float, float]], b: list[tuple[float, float]]
) -> None:
    assert_close(of(a).merge(of(b)), of(b).merge(of(a)))


@given(pairs, pairs, pairs)
def test_merging_does_not_depend_on_the_grouping(
    a: list[tuple[float, float]], b: list[tuple[float, float]], c: list[tuple[float, float]]
) -> None:
    assert_close(of(a).merge(of(b)).merge(of(c)), of(a).merge(of(b).merge(of(c))))


@given(pairs)
def test_the_empty_stream_changes_nothing(rows: list[tuple[float, float]]) -> None:
    assert of(rows).merge(PairMoments()) == PairMoments().merge(of(rows)) == of(rows)


@given(pairs)
def test_a_correlation_lies_between_minus_one_and_one(rows: list[tuple[float, float]]) -> None:
    correlation = of(rows).correlation
    assert correlation is None or -1 <= correlation <= 1


def test_the_correlation_is_pearsons_even_far_from_zero() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=5000)
    y = 0.3 * x + rng.normal(size=5000)
    whole = PairMoments.of(x + 1e6, y - 1e6)
    assert whole.correlation == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-8)
    halves = PairMoments.of(x[:100], y[:100]).merge(PairMoments.of(x[100:], y[100:]))
    assert halves.correlation == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)


def test_moments_by_hand() -> None:
    assert PairMoments.of([1, 3], [2, 8]) == PairMoments(2, 2.0, 5.0, 2.0, 18.0, 6.0)
    assert PairMoments.of([1, 3], [2, 8]).correlation == pytest.approx(1.0)


@given(st.floats(-1e3, 1e3), st.integers(1, 50), st.integers(1, 50))
def test_a_constant_never_varied_however_it_is_split(value: float, n: int, m: int) -> None:
    constant = PairMoments.of([value] * n, range(n)).merge(PairMoments.of([value] * m, range(m)))
    assert not constant.x_varied
    assert constant.correlation is None


def test_rounding_is_no_variation() -> None:
    x = [0.1 + 0.2, 0.3] * 50
    assert PairMoments.of(x, range(100)).correlation is None


def test_small_but_real_variation_counts() -> None:
    x = [1.0, 1.0 + 1e-6] * 50
    assert PairMoments.of(x, x).correlation == pytest.approx(1.0)


def test_one_pair_and_none_have_no_correlation() -> None:
    assert PairMoments.of([1.0], [2.0]).correlation is None
    assert PairMoments().correlation is None


def test_moments_survive_json() -> None:
    moments = PairMoments.of([1.0, 2.5, 4.0], [0.1, 0.7, -3.0])
    assert PairMoments.from_dict(json.loads(json.dumps(moments.to_dict()))) == moments
    with pytest.raises(ValueError, match="no m_xy"):
        PairMoments.from_dict({k: v for k, v in moments.to_dict().items() if k != "m_xy"})


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1.0], [1.0, 2.0], "pair up"),
        ([[1.0]], [[1.0]], "one axis"),
        ([float("nan")], [1.0], "not finite"),
    ],
)
def test_bad_streams_are_named(x: object, y: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairMoments.of(x, y)
