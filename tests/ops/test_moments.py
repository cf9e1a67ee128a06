"""Running moments: exact over any split of a stream."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.ops.moments import Moments

streams = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30)


@given(stream=streams, cuts=st.lists(st.integers(0, 30), max_size=4))
@settings(max_examples=60)
def test_any_split_gives_the_moments_of_the_whole(stream: list[float], cuts: list[int]) -> None:
    moments = Moments()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for low, high in itertools.pairwise(edges):
        moments.add(stream[low:high])
    assert moments.count == len(stream)
    assert moments.mean == pytest.approx(math.fsum(stream) / len(stream), rel=1e-12, abs=1e-12)
    assert moments.variance == pytest.approx(np.var(stream), rel=1e-9, abs=1e-9)


def test_a_large_mean_does_not_drown_the_variance() -> None:
    moments = Moments()
    for value in (1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16):
        moments.add([value])
    assert moments.variance == pytest.approx(22.5, rel=1e-9)


@given(streams, streams)
@settings(max_examples=20)
def test_saved_and_read_it_goes_on_as_if_nothing_had_happened(
    first: list[float], second: list[float]
) -> None:
    moments = Moments()
    moments.add(first)
    again = Moments.of_state(moments.state())
    for m in (moments, again):
        m.add(np.array(second, dtype=np.float32))
    assert again == moments


def test_nothing_seen() -> None:
    moments = Moments()
    moments.add([])
    assert (moments.count, moments.mean, moments.variance) == (0.0, 0.0, 0.0)
