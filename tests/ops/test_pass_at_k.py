import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.ops.pass_at_k import pass_at_k_rate


@settings(max_examples=100)
@given(data=st.data())
def test_it_is_the_share_of_sets_with_a_right_answer(data):
    n = data.draw(st.integers(1, 200))
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    expected = 1 - math.comb(n - c, k) / math.comb(n, k)
    assert float(pass_at_k_rate(n, c, k)) == pytest.approx(expected, abs=1e-13)


def test_the_ends_are_exact():
    assert pass_at_k_rate([8, 8, 8, 1], [0, 8, 5, 1], 1).tolist() == [0.0, 1.0, 0.625, 1.0]
    assert pass_at_k_rate(8, [0, 5, 6], 4).tolist() == [0.0, 1.0, 1.0]
    assert float(pass_at_k_rate(10**6, 1, 10**3)) == pytest.approx(1e-3, rel=1e-9)


def test_it_is_unbiased_for_every_success_rate():
    n, k = 7, 3
    for p in (0.1, 0.5, 0.9):
        chance = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
        mean = np.dot(chance, pass_at_k_rate(n, np.arange(n + 1), k))
        assert mean == pytest.approx(1 - (1 - p) ** k, rel=1e-12)


def test_it_grows_with_k_and_with_what_is_right():
    by_k = [float(pass_at_k_rate(16, 3, k)) for k in range(1, 17)]
    assert by_k == sorted(by_k)
    by_c = pass_at_k_rate(16, np.arange(17), 5).tolist()
    assert by_c == sorted(by_c)


@pytest.mark.parametrize(
    ("n", "c", "k", "told"),
    [
        ([8, 3], [1, 1], 4, "prompt 1 has 3 answers, k is 4: sample at least k"),
        ([8, 8], [1, 9], 4, "prompt 1 has 9 right answers, which is not within 0 and n"),
        ([8], [-1], 4, "prompt 0 has -1 right answers"),
        ([8.5], [1], 4, "prompt 0 has 8.5 as n: no whole number"),
        ([8], [float("nan")], 4, "prompt 0 has nan as c: no whole number"),
        ([8], [1], 0, "k is 0, it must be at least 1"),
    ],
)
def test_counts_that_cannot_be_are_refused(n, c, k, told):
    with pytest.raises(ValueError, match=told):
        pass_at_k_rate(n, c, k)
