"""What a program may use: numbers that make sense."""

import math
from typing import Any

import pytest

from rewardsmith.engine.sandbox import Limits


def test_the_defaults_make_sense() -> None:
    limits = Limits()
    assert limits.test <= limits.program
    assert limits.output < limits.memory
    assert Limits.of({}) == limits


def test_those_that_are_given_are_taken() -> None:
    assert Limits.of({"test": 1, "memory": 1e9}) == Limits(test=1, memory=1_000_000_000)
    assert type(Limits.of({"memory": 1e9}).memory) is int


@pytest.mark.parametrize(
    "name", ["test", "program", "memory", "processes", "disk", "output", "files"]
)
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "2", None])
def test_others_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Limits.of({name: value})


def test_unknown_ones_are_refused_and_the_known_ones_told() -> None:
    with pytest.raises(ValueError, match=r"'time'.*program"):
        Limits.of({"time": 1})


def test_equal_limits_are_equal() -> None:
    assert Limits(test=1.0) == Limits(test=1)
    assert hash(Limits(test=1.0)) == hash(Limits(test=1))
