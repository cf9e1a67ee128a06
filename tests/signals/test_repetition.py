"""Repetition: rows, units, specs, and what it refuses."""

import inspect
from typing import Any

import pytest

from rewardsmith.core.contract import check_contract
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import dumps, loads
from rewardsmith.signals import Repetition


def test_contract() -> None:
    check_contract(Repetition(**Repetition.contract.arguments), Repetition.contract)


def test_rows_and_reasons() -> None:
    reward = Repetition(max_penalty=-2.0)
    chat = [{"role": "assistant", "content": "a b c a b c"}]
    scores = reward(Rollouts({"completion": [chat, "a a a a", "", "a b c"]}))
    assert scores.values.tolist() == [-0.5, -1.0, 0.0, 0.0]
    assert scores.info["why"].tolist() == [
        "1 of 4 3-grams of words are repeated",
        "1 of 2 3-grams of words are repeated",
        "",
        "",
    ]
    assert reward.bounds == (-2.0, 0.0)
    ids = Rollouts({"ids": [[1, 2, 1, 2, 1]]})
    assert Repetition(n=2, unit="tokens", completion="ids")(ids).values.tolist() == [-0.5]


def test_travels_as_a_spec() -> None:
    reward = Repetition(n=5, max_penalty=-1, unit="lines")
    again = loads(dumps(reward))
    assert again.arguments() == reward.arguments() == {"n": 5, "unit": "lines"}


def unchecked(kind: Any, **arguments: Any) -> None:
    """Make it as callers do, whose types nobody checks."""
    inspect.unwrap(kind.__init__)(kind.__new__(kind), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 2.5}, "n is 2.5"),
        ({"max_penalty": 0.0}, "must be negative"),
        ({"max_penalty": 1.0}, "must be negative"),
        ({"max_penalty": float("-inf")}, "must be negative"),
        ({"unit": "bytes"}, "unit is 'bytes'"),
    ],
)
def test_what_it_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unchecked(Repetition, **arguments)
