"""Length and Overlong: rows, units, specs, and what they refuse."""

import inspect
from typing import Any

import pytest
import torch

from rewardsmith.core.contract import check_contract
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import dumps, loads
from rewardsmith.signals import Length, Overlong


@pytest.mark.parametrize("kind", [Length, Overlong])
def test_contract(kind: Any) -> None:
    check_contract(kind(**kind.contract.arguments), kind.contract)


def test_a_band() -> None:
    reward = Length(low=2, high=3, slack=2)
    chat = [{"role": "assistant", "content": "a b"}]
    scores = reward(Rollouts({"completion": [chat, "a", "a b c d", "a b c d e", None]}))
    assert scores.values.tolist() == [1.0, 0.5, 0.5, 0.0, 0.0]
    assert scores.status.tolist() == [0, 0, 0, 0, Status.FAILED]
    assert scores.info["why"][1] == "1 words, which is fewer than 2"


def test_tokens() -> None:
    rollouts = Rollouts({"completion": ["a", "a"], "completion_ids": [[1] * 15, [1] * 99]})
    overlong = Overlong(max_length=16, cache=4)
    assert overlong(rollouts).values.tolist() == [-0.75, -1.0]
    assert overlong.bounds == (-1.0, 0.0)
    assert Length(high=20, unit="tokens", completion="completion_ids")(
        rollouts
    ).values.tolist() == [1, 0]
    assert Overlong(1, unit="words", completion="completion")(rollouts).values.tolist() == [0, 0]


def test_padded_tokens_are_not_counted() -> None:
    rollouts = Rollouts(steps={"token": torch.zeros(2, 5)}, mask=torch.ones(2, 5, dtype=torch.bool))
    scores = Overlong(max_length=16, completion="token")(rollouts)
    assert scores.status.tolist() == [Status.FAILED, Status.FAILED]
    assert "without padding" in scores.errors[0][1]


@pytest.mark.parametrize(
    "reward",
    [
        Length(low=2),
        Length(high=3.5, slack=1, unit="characters"),
        Overlong(8, 2),
        Overlong(8, unit="words"),
    ],
)
def test_travel_as_specs(reward: Any) -> None:
    again = loads(dumps(reward))
    assert again.arguments() == reward.arguments()
    assert dumps(again) == dumps(reward)


def unchecked(kind: Any, **arguments: Any) -> None:
    """Make it as callers do, whose types nobody checks."""
    inspect.unwrap(kind.__init__)(kind.__new__(kind), **arguments)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Length, {}, "give low, high or both"),
        (Length, {"low": 3, "high": 2}, "low 3 lies above high 2"),
        (Length, {"low": -1}, "finite numbers"),
        (Length, {"high": float("nan")}, "finite numbers"),
        (Length, {"high": float("inf")}, "finite numbers"),
        (Length, {"low": 1, "slack": -1}, "finite numbers"),
        (Length, {"low": 1, "unit": "bytes"}, "unit is 'bytes'"),
        (Overlong, {"max_length": 0}, "at least 1"),
        (Overlong, {"max_length": 4, "cache": 5}, "between 0 and 4"),
        (Overlong, {"max_length": 4, "cache": -1}, "between 0 and 4"),
        (Overlong, {"max_length": 4, "unit": "lines"}, "unit is 'lines'"),
    ],
)
def test_what_they_refuse(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unchecked(kind, **arguments)
