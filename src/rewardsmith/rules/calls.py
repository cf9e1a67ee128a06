"""Tool calls, read from what a model wrote and from references."""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from .text import text_of

Template: TypeAlias = Literal["auto", "tools", "answer", "both", "neither"]


class Call(NamedTuple):
    """One tool call."""

    name: str
    parameters: Mapping[str, Any]


class NotCalls(ValueError):  # noqa: N818 - it says what a text is
    """A text or a message that holds no readable tool calls."""


def calls_of(completion: Any) -> list[Call]:
    """The calls that a completion makes, in their order.

    Text holds them in ``<tool_call>`` blocks behind its last ``</think>``: JSON objects one after
    the other, or a list of them, each with ``name`` and ``parameters`` (or ``arguments``). Of chat
    messages all of the assistant's count: their ``tool_calls``, whose arguments may be a mapping or
    JSON text, and the blocks of their text.

    Raises:
        NotCalls: there is none, or one that cannot be read.
        TypeError: it is neither text nor messages.
    """
    calls: list[Call] = []
    for message in messages_of(completion):
        made = message.get("tool_calls") or []
        if not isinstance(made, list | tuple):
            raise NotCalls("the tool_calls of a message are no list")
        calls += map(_call, made)
        text = text_of([message])
        if "<tool_call>" in text:
            calls += _calls_in(text.rpartition("</think>")[2])
    if not calls:
        raise NotCalls("no <tool_call>...</tool_call>")
    return calls


def reference_of(gold: Any) -> tuple[list[Call], Template]:
    """The calls of a reference and the template of a response to it.

    A reference is a list of calls (as in :func:`calls_of`), JSON text of one, or a response written
    out. The template of a list asks for tools where it has calls and else for an answer; that of a
    response is what it holds itself.

    Raises:
        ValueError: it is none of them, or a call in it has no name or no parameters.
    """
    if isinstance(gold, Mapping):
        gold = [gold]
    if isinstance(gold, str):
        if gold.lstrip()[:1] not in ("[", "{"):
            return _reference_text(gold)
        gold = _loads(gold)
        gold = [gold] if isinstance(gold, Mapping) else gold
    # Arrays come from Parquet; they have no other sign of being lists.
    if hasattr(gold, "tolist"):
        gold = gold.tolist()
    if not isinstance(gold, list | tuple):
        raise ValueError(f"the reference is {type(gold).__name__}, not a list of tool calls")
    calls = [_call(item) for item in gold]
    return calls, "tools" if calls else "answer"


def _reference_text(gold: str) -> tuple[list[Call], Template]:
    tools, answers = "<tool_call>" in gold, "<response>" in gold
    if not gold.strip():
        raise ValueError("the reference is empty; no calls are an empty list")
    calls = _calls_in(gold.rpartition("</think>")[2]) if tools else []
    if tools and not calls:
        raise ValueError("the reference has a <tool_call> block without a call")
    if tools:
        return calls, "both" if answers else "tools"
    return calls, "answer" if answers else "neither"


def _calls_in(text: str) -> list[Call]:
    calls: list[Call] = []
    for piece in text.split("<tool_call>")[1:]:
        block, closed, _ = piece.partition("</tool_call>")
        if not closed:
            raise NotCalls("a <tool_call> is not closed")
        found = _values(block)
        if not found:
            raise NotCalls("a <tool_call> is empty")
        calls += map(_call, found)
    return calls


_SPACE = re.compile(r"\s*")


def _values(block: str) -> list[Any]:
    """The JSON values in a block one after the other; the items of those that are lists."""
    found: list[Any] = []
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    at = _end_of_space(block, 0)
    while at < len(block):
        try:
            value, at = decoder.raw_decode(block, at)
        # Integers of thousands of digits are a ValueError, deep nesting a RecursionError.
        except (ValueError, RecursionError) as error:
            raise NotCalls(f"no JSON: {str(error)[:80]}") from None
        found += value if isinstance(value, list) else [value]
        at = _end_of_space(block, at)
    return found


def _end_of_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _loads(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotCalls(f"no JSON: {str(error)[:80]}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _call(item: Any) -> Call:
    """One call: ours, or OpenAI's with its ``function``."""
    if isinstance(item, Mapping) and isinstance(item.get("function"), Mapping):
        item = item["function"]
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
        raise NotCalls("a call has no name")
    parameters = item.get("parameters")
    if parameters is None:
        parameters = item.get("arguments")
        if isinstance(parameters, str):
            parameters = _loads(parameters) if parameters.strip() else {}
    if not isinstance(parameters, Mapping):
        raise NotCalls(f"call {item['name'][:40]!r} has no parameters, or some that are no mapping")
    return Call(item["name"], parameters)


def messages_of(completion: Any) -> list[Mapping[str, Any]]:
    """The assistant's messages; text is one."""
    if isinstance(completion, str):
        return [{"role": "assistant", "content": completion}]
    text_of(completion)  # raises where these are no messages
    messages = [completion] if isinstance(completion, Mapping) else completion
    return [message for message in messages if message.get("role") == "assistant"]


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal: 1 is 1.0, but true is not 1."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)
