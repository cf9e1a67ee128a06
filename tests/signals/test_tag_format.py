"""TagFormat: rows, chats, specs, and what it refuses."""

import inspect
from typing import Any

import pytest

from rewardsmith.core.contract import check_contract
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import dumps, loads
from rewardsmith.signals import TagFormat

GOOD = "<think>a</think><answer>b</answer>"


def test_contract() -> None:
    check_contract(TagFormat(**TagFormat.contract.arguments), TagFormat.contract)


def test_rows_and_reasons() -> None:
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": GOOD}]
    scores = TagFormat(["think", "answer"])(Rollouts({"completion": [GOOD, chat, "a", None]}))
    assert scores.values.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert scores.status.tolist() == [0, 0, 0, Status.FAILED]
    assert scores.info["why"][2] == "<think> is missing"
    assert "neither text nor chat" in scores.errors[3][1]


def test_a_template_that_opens_the_tag() -> None:
    reward = TagFormat(["think"], completion="response", prefill="<think>\n", strict="start")
    rows = ["a</think> 42", "<think>a</think> 42", "a"]
    scores = reward(Rollouts({"response": rows}))
    assert scores.values.tolist() == [1.0, 0.0, 0.0]
    assert scores.info["why"][1] == "<think> stands 2 times"


def test_travels_as_a_spec() -> None:
    reward = TagFormat(["think", "answer"], prefill="<think>", partial=True, strict="start")
    again = loads(dumps(reward))
    assert again.arguments() == reward.arguments()
    assert dumps(again) == dumps(reward)


def unchecked(kind: Any, **arguments: Any) -> None:
    """Make it as callers do, whose types nobody checks."""
    inspect.unwrap(kind.__init__)(kind.__new__(kind), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tags": []}, "empty"),
        ({"tags": "think"}, "list of names"),
        ({"tags": ["a b"]}, "no tag"),
        ({"tags": ["a", "a"]}, "one twice"),
        ({"tags": ["a"], "prefill": "a"}, "does not begin"),
        ({"tags": ["a"], "strict": "end"}, "strict is 'end'"),
    ],
)
def test_what_it_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unchecked(TagFormat, **arguments)
