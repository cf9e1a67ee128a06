"""The node around the tool-call score: columns, bounds, statuses, arguments."""

import inspect
import math
from typing import Any

import pytest

from rewardsmith.core.contract import check_contract
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import dumps, loads
from rewardsmith.rules.tool_schedule import growing_length, smooth, two_stage
from rewardsmith.signals.tool_calls import ToolCalls

ROW = {"name": "add", "parameters": {"a": 1}}
RIGHT = '<think>x</think>\n<tool_call>\n{"name": "add", "parameters": {"a": 1}}\n</tool_call>'


def test_it_keeps_its_contract() -> None:
    check_contract(ToolCalls(), ToolCalls.contract)


def test_rows_of_messages_and_text_and_broken_references() -> None:
    messages = [{"role": "assistant", "tool_calls": [{"function": ROW}]}]
    scores = ToolCalls(gold="calls")(
        Rollouts(
            {
                "completion": [RIGHT, messages, "nothing", RIGHT],
                "calls": [[ROW], [ROW], [ROW], [{"name": "add"}]],
            }
        )
    )
    assert scores.values.tolist() == [4.0, 4.0, -3.0, 0.0]
    assert scores.status.tolist() == [Status.SCORED] * 3 + [Status.FAILED]
    assert scores.info["why"][0] == "correctness 3, format 1"
    assert "no <tool_call>" in scores.info["why"][2]
    assert "'add' has no parameters" in scores.errors[3][1]


@pytest.mark.parametrize(
    ("options", "bounds"),
    [
        ({}, (-3.0, 4.0)),
        ({"correct": (1.0, 2.0), "form": (0.5, 0.5)}, (0.5, 2.5)),
        ({"length": 512}, (-3.0, 5.0)),
    ],
)
def test_its_bounds_hold_references_without_calls(
    options: dict[str, Any], bounds: tuple[float, float]
) -> None:
    reward = ToolCalls(**options)
    assert reward.bounds == bounds
    rollouts = Rollouts({"completion": [RIGHT, "", RIGHT, ""], "answer": [[ROW], [ROW], [], []]})
    values = reward(rollouts).values
    assert bounds[0] <= float(values.min())
    assert float(values.max()) <= bounds[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"correct": (math.nan, 3.0)}, "correct is"),
        ({"correct": (3.0, -3.0)}, "correct is"),
        ({"form": (0.0, math.inf)}, "form is"),
        ({"length": 0}, "length is 0"),
        ({"length": math.nan}, "length is nan"),
        ({"extra": -0.1}, "extra is -0.1"),
        ({"extra": math.inf}, "extra is inf"),
        ({"variant": "finest"}, "variant is 'finest', not one of fine, coarse"),
        ({"matching": "best"}, "matching is 'best'"),
        ({"template": "tool"}, "template is 'tool'"),
    ],
)
def test_what_it_refuses(options: dict[str, Any], message: str) -> None:
    # Without the tests' own check of types, which would be the first to object.
    init = inspect.unwrap(ToolCalls.__init__)
    with pytest.raises(ValueError, match=message):
        init(ToolCalls.__new__(ToolCalls), **options)


def test_schedules_are_its_arguments_and_it_is_written_down() -> None:
    for options in (two_stage(10), smooth(40), growing_length(5)):
        reward = ToolCalls(variant="refined", strict=True, matching="optimal", extra=0.5, **options)
        again = loads(dumps(reward))
        assert repr(again) == repr(reward)
        row = Rollouts({"completion": [RIGHT], "answer": [[ROW]]})
        assert again(row).values.tolist() == reward(row).values.tolist()
