"""Clip, bounded, symlog: their formulas and ranges, and what they refuse."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import laws
from tests.laws import ABSTAINED, FAILED, dense, outcome

from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.pointwise import Bounded, Clip, Symlog, bounded, clip, symlog

numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=6)


@given(values=numbers, low=st.floats(-10, 0), width=st.floats(0.1, 10))
@settings(max_examples=40)
def test_formulas(values: list[float], low: float, width: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    high = low + width
    assert clip(x, low, high).tolist() == [min(max(v, low), high) for v in values]
    squashed = bounded(x, low, high, 2.0)
    assert bool(((squashed >= low) & (squashed <= high)).all())
    for v, y, z in zip(values, squashed.tolist(), symlog(x).tolist(), strict=True):
        # sigmoid(x) = (1 + tanh(x / 2)) / 2, which does not overflow.
        assert y == pytest.approx(low + width * (1 + math.tanh(v / 4)) / 2, abs=1e-9)
        assert z == pytest.approx(math.copysign(math.log1p(abs(v)), v), abs=1e-12)
    order = x.argsort()
    assert bool((symlog(x)[order].diff() >= 0).all())
    assert bool((squashed[order].diff() >= 0).all())


@pytest.mark.parametrize("make", [Clip, Bounded, Symlog])
def test_statuses_and_steps_stay_as_they_are(make: Any) -> None:
    rows = make(outcome([3.0, 3.0, 3.0], [0, ABSTAINED, FAILED]))(laws.text(3))
    assert rows.status.tolist() == [0, ABSTAINED, FAILED]
    assert rows.errors == {2: ("of", "broke 3")}
    assert rows.values[1:].tolist() == [0.0, 0.0]
    steps = make(dense([[3.0, 4.0]], at=[[False, True]]))(laws.text(1))
    assert steps.at.tolist() == [[False, True]]
    assert steps.values[0, 0] == 0.0
    assert steps.values[0, 1] > 0.0


def test_acting_on_reversed_arrays() -> None:
    # What an environment slices out of a larger array cannot always be shared with torch.
    from rewardsmith.core.acting import Step, Terms

    back = laws.np.array([1.0, 2.0, 3.0])[::-1]
    no = laws.np.zeros(3, dtype=bool)
    step = Step(None, None, None, back, no, no, no, ~no)
    values, _ = Clip(EnvReward(), 0.0, 2.0).step(step, None, Terms())
    assert values.tolist() == [2.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Clip(EnvReward(), 1.0, 1.0), r"clip: low 1.0 must lie below high 1.0"),
        (lambda: Clip(EnvReward(), math.nan, 1.0), "clip: low nan"),
        (lambda: Clip(EnvReward(), 0.0, math.nan), "high nan"),
        (lambda: Bounded(EnvReward(), 0.0, math.inf), "the bounds 0.0, inf are not finite"),
        (lambda: Bounded(EnvReward(), 2.0, 1.0), "bounded: low 2.0 must lie below high 1.0"),
        (lambda: Bounded(EnvReward(), scale=0.0), "scale is 0.0, it must be a positive number"),
        (lambda: Bounded(EnvReward(), scale=math.nan), "scale is nan"),
    ],
)
def test_what_they_refuse(make: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_a_clip_may_be_open_on_one_side() -> None:
    rollouts = Rollouts(steps={"env_reward": torch.tensor([[-5.0, 5.0]])})
    assert Clip(EnvReward(), -math.inf, 1.0)(rollouts).values.tolist() == [[-5.0, 1.0]]
