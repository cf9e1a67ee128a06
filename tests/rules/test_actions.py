"""Actions on a screen: what is right, what is well-formed, and broken references."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.actions import form_of_turns, grade
from rewardsmith.rules.verdict import Verdict

BLOCKS = ("think", "action", "tool_call")
TAP = {"kind": "click", "box": [10, 20, 30, 40]}
TYPE = {"kind": "type", "text": "hello"}


def turn(action: Any) -> str:
    text = action if isinstance(action, str) else json.dumps(action)
    return f"<think>a</think>\n<action>b</action>\n<tool_call>{text}</tool_call>"


def judged(completion: str, gold: Any, form: float = 1.0) -> tuple[float | None, str]:
    found = grade(completion, gold, blocks=BLOCKS, form=form)
    return (found.value, found.why) if isinstance(found, Verdict) else (found, "")


@pytest.mark.parametrize(
    ("action", "gold"),
    [
        ({"kind": "click", "x": 20, "y": 30}, TAP),
        ({"action": "click", "coordinate": [20, 30]}, TAP),
        ({"name": "mobile_use", "arguments": {"action": "click", "coordinate": [20, 30]}}, TAP),
        ({"name": "click", "arguments": {"x": 20, "y": 30}}, TAP),
        ({"kind": "type", "text": "hello", "x": 3}, TYPE),
        ({"kind": "back"}, {"kind": "back"}),
        ({"kind": "key", "key": "Enter"}, json.dumps({"kind": "key", "key": "Enter"})),
        ({"kind": "type", "text": "hello", "x": 11, "y": 21}, {**TYPE, "box": [10, 20, 30, 40]}),
    ],
)
def test_right_actions(action: Any, gold: Any) -> None:
    assert judged(turn(action), gold) == (2.0, "")
    assert judged(turn(action), gold, form=0.1) == (1.1, "")
    assert judged(f"<tool_call>{json.dumps(action)}</tool_call>", gold)[0] == 1.0


@pytest.mark.parametrize(
    ("action", "gold", "why"),
    [
        ({"kind": "press", "x": 20, "y": 30}, TAP, "'press' is not 'click'"),
        ({"x": 20, "y": 30}, TAP, "'None' is not 'click'"),
        ({"kind": "click", "x": 9, "y": 30}, TAP, "(9, 30) lies outside"),
        ({"kind": "click", "x": 10**4000, "y": 30}, TAP, "lies outside"),
        ({"kind": "click", "x": 20}, TAP, "the point is missing"),
        ({"kind": "click", "coordinate": [20]}, TAP, "the point is missing"),
        ({"kind": "click", "x": "20", "y": 30}, TAP, "the point is missing"),
        ({"kind": "click", "x": True, "y": 30}, TAP, "the point is missing"),
        ({"kind": "type"}, TYPE, "the argument 'text' is missing"),
        ({"kind": "type", "text": "Hello"}, TYPE, "text is 'Hello'"),
        ({"kind": "swipe", "n": True}, {"kind": "swipe", "n": 1}, "n is 'True'"),
        ("click(20, 30)", TAP, "no JSON object"),
        ("[20, 30]", TAP, "no JSON object: an action is a mapping"),
        ('{"kind": "click", "x": NaN, "y": 30}', TAP, "no JSON object"),
        ('{"kind": "click", "x": 1e999, "y": 30}', TAP, "no JSON object"),
        ("", TAP, "no JSON object"),
    ],
)
def test_wrong_actions_keep_their_form_and_say_why(action: Any, gold: Any, why: str) -> None:
    value, told = judged(turn(action), gold)
    assert value == 1.0
    assert why in told


@given(
    st.integers(-5, 5), st.integers(-5, 5), st.integers(1, 6), st.integers(1, 6),
    st.integers(-9, 12), st.integers(-9, 12), st.integers(-4, 4),
)  # fmt: skip
def test_borders_count_and_the_unit_does_not(
    x: int, y: int, w: int, h: int, px: int, py: int, power: int
) -> None:
    scale = 2.0**power
    gold = {"kind": "click", "box": [v * scale for v in (x, y, x + w, y + h)]}
    action = {"kind": "click", "x": px * scale, "y": py * scale}
    inside = x <= px <= x + w and y <= py <= y + h
    assert judged(turn(action), gold, form=0.0)[0] == float(inside)


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "<tool_call>{}</tool_call>",
        "<think>a</think><tool_call>{}</tool_call><action>b</action>",
        "<action>b</action><think>a</think><tool_call>{}</tool_call>",
        "<think>a</think><think>a</think><action>b</action><tool_call>{}</tool_call>",
        "well <think>a</think><action>b</action><tool_call>{}</tool_call>",
    ],
)
def test_what_is_not_well_formed(completion: str) -> None:
    assert judged(completion, {"kind": "none"})[0] == 0.0


def test_the_form_of_turns_is_their_mean() -> None:
    good, bad = ({"role": "assistant", "content": c} for c in (turn("{}"), "no"))
    other = {"role": "user", "content": "no"}
    assert form_of_turns([good, other, good], blocks=BLOCKS) == 1.0
    assert form_of_turns(turn("{}"), blocks=BLOCKS) == 1.0
    found = form_of_turns([good, other, bad, good, bad], blocks=BLOCKS)
    assert isinstance(found, Verdict)
    assert found.value == 0.5
    assert found.why.startswith("turn 1: ")
    assert form_of_turns([other], blocks=BLOCKS) == (0.0, "no turn of the assistant")


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        (None, "an action is a mapping, this is NoneType"),
        ("click", "Expecting value"),
        ([1], "an action is a mapping"),
        ({}, "has no kind"),
        ({"kind": 3}, "has no kind"),
        ({"kind": "click", "box": [1, 1, 1, 2]}, "has no area"),
        ({"kind": "click", "box": [1, 1, 0, 2]}, "has no area"),
        ({"kind": "click", "box": [1, 1, 2]}, "not four numbers"),
        ({"kind": "click", "x": 3, "y": 4}, "give the box"),
    ],
)
def test_a_broken_reference_is_an_error(gold: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grade(turn({"kind": "click"}), gold, blocks=BLOCKS)


@given(st.text(alphabet='<>/actionhiktool_call{}[]":,19\n\x00\ud800 '))
def test_any_text_has_a_score(text: str) -> None:
    assert judged(text, TAP)[0] in (0.0, 1.0)
    assert judged(turn(text), TAP)[0] in (0.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ({"kind": "click", "action": "swipe", "x": 20, "y": 30}, "of two kinds: click, swipe"),
        ({"action": "click", "type": "drag", "x": 20, "y": 30}, "of two kinds"),
        ({"action": "click", "x": 20, "y": 30, "coordinate": [5, 5]}, "point in two places"),
        ({"action": "click", "x": 5, "y": 5, "point": [20, 30]}, "point in two places"),
        ({"action": "click", "coordinate": [5, 5], "point": [20, 30]}, "point in two places"),
        ({"action": "click", "coordinate": [20, 30], "position": {"x": 5}}, "point in two places"),
        ({"action": "swipe", "arguments": {"action": "click", "x": 20, "y": 30}}, "two values of"),
        ({"x": 5, "y": 5, "arguments": {"action": "click", "x": 20, "y": 30}}, "two values of 'x'"),
        ({"kind": "swipe", "arguments": {"action": "click", "x": 20, "y": 30}}, "of two kinds"),
        (
            {"arguments": {"action": "click", "x": 20, "y": 30}, "parameters": {"x": 5}},
            "two values of 'x'",
        ),
    ],
)
def test_an_action_that_contradicts_itself_is_wrong(action: Any, why: str) -> None:
    value, told = judged(turn(action), TAP)
    assert value == 1.0
    assert why in told
    with pytest.raises(ValueError, match=why):
        grade("", {**action, "box": TAP["box"]}, blocks=BLOCKS)


@pytest.mark.parametrize(
    "action",
    [
        {"kind": "click", "action": "click", "x": 20, "y": 30},
        {"type": "function", "name": "tap", "arguments": {"action": "click", "point": [20, 30]}},
        {"action": "click", "arguments": {"x": 20, "y": 30}},
        {"action": "click", "x": 20, "y": 30, "position": "middle"},
    ],
)
def test_what_says_a_thing_once_or_twice_the_same_is_right(action: Any) -> None:
    assert judged(turn(action), TAP) == (2.0, "")


def test_a_position_in_words_is_an_argument() -> None:
    gold = {"kind": "scroll", "position": "top"}
    assert judged(turn(gold), gold)[0] == 2.0
    assert judged(turn({"kind": "scroll", "position": "bottom"}), gold)[0] == 1.0


@pytest.mark.parametrize("thought", ["<think>{}</think>", "<think>{}", "{}</think> no"])
def test_an_action_that_was_only_thought_is_none(thought: str) -> None:
    right = '<tool_call>{"kind": "click", "x": 20, "y": 30}</tool_call>'
    assert judged(right, TAP)[0] == 1.0
    value, told = judged(thought.format(right), TAP)
    assert value == 0.0
    assert told.startswith("no <tool_call>")
