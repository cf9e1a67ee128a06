"""How tool calls are read: what is thought, what is ambiguous, and tags within arguments."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.rules.calls import Call, NotCalls, calls_of, outlined, reference_of
from rewardsmith.rules.tool_calls import score_tool_calls

GOLD = [{"name": "a", "parameters": {"x": 1, "y": 2}}]
RIGHT = f"<tool_call>\n{json.dumps(GOLD[0])}\n</tool_call>"
CALL = Call("a", {"x": 1, "y": 2})


def block(text: str) -> str:
    return f"<tool_call>\n{text}\n</tool_call>"


def score(completion: Any, gold: Any = GOLD, **options: Any) -> float:
    value = score_tool_calls(completion, gold, **options).value
    assert value is not None
    return value


# --- what is thought ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "completion",
    [
        f"<think>{RIGHT}",
        f"<think>{RIGHT}</think>",
        f"{RIGHT}</think>",
        f"{RIGHT}\n<think>and now",
        f"<think>a</think><think>{RIGHT}",
        f"<think>a</think>{RIGHT}<think>no: {RIGHT}</think>",
        [{"role": "assistant", "content": f"<think>{RIGHT}"}],
    ],
)
def test_a_call_that_was_only_thought_is_none(completion: Any) -> None:
    with pytest.raises(NotCalls, match="that is not thought"):
        calls_of(completion)
    assert score(completion) == -3.0


@pytest.mark.parametrize(
    "completion",
    [
        f"<think>a</think>\n{RIGHT}",
        f"opened by the template</think>\n{RIGHT}",
        f"<think>I write <tool_call>.</think>\n{RIGHT}",
        f"<think><tool_call>a(</tool_call></think>\n{RIGHT}",
        f"<tool_call>a(</tool_call></think>\n{RIGHT}",
        f"{block('{}')}</think>\n{RIGHT}",
        f"<think>a</think> first {RIGHT.replace('2', '3')} <think>no</think>\n{RIGHT}",
    ],
)
def test_what_follows_the_thinking_counts(completion: str) -> None:
    assert calls_of(completion) == [CALL]


# --- tags within arguments ------------------------------------------------------------------------

TAGS = ["</tool_call>", "<tool_call>", "</think>", "<think>", "<think>x</think>", "<response>"]


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_in_an_argument_is_its_text(tag: str) -> None:
    gold = [{"name": "write", "parameters": {"y": f"a {tag} b"}}]
    right = f"<think>one two</think>\n{block(json.dumps(gold[0]))}"
    assert score(right, gold) == 4.0
    assert score(right, gold, length=2.0) == 5.0
    assert reference_of(right) == reference_of(gold)
    twice = f"{right}\n{block(json.dumps(gold[0]))}"
    assert calls_of(twice) == [Call("write", {"y": f"a {tag} b"})] * 2


@given(st.lists(st.sampled_from([*TAGS, '"', "\\", "a", "\n", "{", "]"]), max_size=6).map("".join))
def test_any_argument_is_read_as_it_was_written(text: str) -> None:
    made = json.dumps({"name": "a", "parameters": {text: [text]}})
    completion = f"<think>a</think>\n{block(made)}"
    assert calls_of(completion) == [Call("a", {text: [text]})]
    assert outlined(completion) == f"<think>a</think>\n{block('{}')}"
    assert score(completion, made) == 4.0


# --- ambiguous calls ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"name": "a", "parameters": {"x": 9, "x": 1, "y": 2}}', "'x' stands twice"),
        ('{"name": "b", "name": "a", "parameters": {"x": 1, "y": 2}}', "'name' stands twice"),
        (
            '{"name": "a", "parameters": {"x": 1, "y": 2}, "arguments": {"x": 9}}',
            "both parameters and arguments",
        ),
        (
            '{"name": "b", "function": {"name": "a", "arguments": {"x": 1, "y": 2}}}',
            "a function, and beside it a name",
        ),
        (
            '{"arguments": {}, "function": {"name": "a", "arguments": {"x": 1, "y": 2}}}',
            "a function, and beside it a name or parameters",
        ),
        ('{"name": "a", "function": "b", "parameters": {"x": 1, "y": 2}}', "name and a function"),
        ('{"name": "a", "parameters": {"x": 1e999, "y": 2}}', "1e999 is too large"),
        ('{"name": "a", "parameters": {"x": ' + "[" * 70 + "]" * 70 + "}}", "nests deeper"),
    ],
)
def test_an_ambiguous_call_is_none_and_no_reference(text: str, why: str) -> None:
    with pytest.raises(NotCalls, match=why):
        calls_of(block(text))
    assert score(block(text)) == -3.0
    for reference in (text, f"[{text}]", block(text)):
        with pytest.raises(ValueError, match=why):
            reference_of(reference)


def test_arguments_as_text_are_read_by_the_same_rules() -> None:
    def called(arguments: str) -> Any:
        return [
            {"role": "assistant", "tool_calls": [{"function": {**made, "arguments": arguments}}]}
        ]

    made = {"name": "a"}
    assert calls_of(called('{"x": 1, "y": 2}')) == [CALL]
    for bad in ('{"x": 9, "x": 1, "y": 2}', '{"x": -1e999, "y": 2}', '{"x": NaN}'):
        assert score(called(bad)) == -3.0


def test_nulls_of_a_table_are_nothing() -> None:
    filled = {"name": "a", "parameters": None, "arguments": {"x": 1, "y": 2}, "function": None}
    outer = {"function": filled, "name": None, "parameters": None}
    assert reference_of([filled])[0] == reference_of([outer])[0] == [CALL]


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "completion",
    [
        "<tool_call>{}</think>" * 200_000,
        '<tool_call>"' * 300_000,
        '<tool_call>["\\"' * 300_000,
        "<tool_call>[1,1,1,1," * 200_000,
        "<think></think>" * 300_000 + "<tool_call>",
        '<tool_call>["' + "</tool_call>" * 400_000 + '"]',
    ],
)
def test_time_is_linear(completion: str) -> None:
    began = time.process_time()
    assert score(completion, length=512.0) == -3.0
    assert time.process_time() - began < 3.0
