"""Pattern and Keywords: rows, specs, and what they refuse."""

import inspect
from typing import Any

import pytest

from rewardsmith.core.contract import check_contract
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import dumps, loads
from rewardsmith.signals import Keywords, Pattern


@pytest.mark.parametrize("kind", [Pattern, Keywords])
def test_contract(kind: Any) -> None:
    check_contract(kind(**kind.contract.arguments), kind.contract)


def test_rows_and_reasons() -> None:
    chat = [{"role": "assistant", "content": "step 1, step 2"}]
    rollouts = Rollouts({"completion": [chat, "Step 21", ""]})
    assert Pattern(r"step \d")(rollouts).values.tolist() == [1.0, 0.0, 0.0]
    assert Pattern(r"step \d", case=False)(rollouts).values.tolist() == [1.0, 1.0, 0.0]
    assert Pattern(r"step \d", mode="count", most=4)(rollouts).values.tolist() == [0.5, 0.0, 0.0]
    words = Keywords(["step", "1"], mode="fraction")(rollouts)
    assert words.values.tolist() == [1.0, 0.5, 0.0]
    assert words.info["why"].tolist() == ["", "missing: 1", "missing: step, 1"]


@pytest.mark.parametrize(
    "reward",
    [
        Pattern("a+", "count", 3, case=False),
        Keywords(["a b", "c"], "any", case=True, whole_words=False),
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
        (Pattern, {"pattern": "(?=a)"}, "RE2 does not take the pattern"),
        (Pattern, {"pattern": "("}, "missing"),
        (Pattern, {"pattern": "a", "mode": "match"}, "mode is 'match'"),
        (Pattern, {"pattern": "a", "mode": "count", "most": 0}, "most is 0"),
        (Pattern, {"pattern": "a", "most": 2}, "mode='count'"),
        (Keywords, {"words": []}, "list of some"),
        (Keywords, {"words": "ab"}, "list of some"),
        (Keywords, {"words": ["a", " "]}, "blank"),
        (Keywords, {"words": ["a", "A"]}, "twice"),
        (Keywords, {"words": ["a"], "mode": "most"}, "mode is 'most'"),
    ],
)
def test_what_they_refuse(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unchecked(kind, **arguments)
