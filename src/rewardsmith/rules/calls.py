"""Tool calls, read from what a model wrote and from references."""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from .jsontext import parsed, parsed_at
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

    Text holds them in ``<tool_call>`` blocks: JSON objects one after the other, or a list of them,
    each with ``name`` and ``parameters`` (or ``arguments``, not both). What is thought counts
    nothing: up to the last ``</think>``, and from a ``<think>`` that is not closed. Tags within the
    JSON of a block are part of its text. Of chat messages all of the assistant's count: their
    ``tool_calls``, whose arguments may be a mapping or JSON text, and the blocks of their text.

    Raises:
        NotCalls: there is none, or one that cannot be read: JSON as of
            :func:`~.jsontext.parsed`, where a key stands once and numbers are finite.
        TypeError: it is neither text nor messages.
    """
    calls: list[Call] = []
    for message in messages_of(completion):
        made = message.get("tool_calls") or []
        if not isinstance(made, list | tuple):
            raise NotCalls("the tool_calls of a message are no list")
        calls += map(_call, made)
        calls += _calls_in(text_of([message]))
    if not calls:
        raise NotCalls("no <tool_call>...</tool_call> that is not thought")
    return calls


def reference_of(gold: Any) -> tuple[list[Call], Template]:
    """The calls of a reference and the template of a response to it.

    A reference is a list of calls (as in :func:`calls_of`), JSON text of one, or a response written
    out. The template of a list asks for tools where it has calls and else for an answer; that of a
    response is what it holds itself.

    Raises:
        ValueError: it is none of them, or a call in it has no name or no parameters, or two.
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
    if not gold.strip():
        raise ValueError("the reference is empty; no calls are an empty list")
    calls = _calls_in(gold)
    if "<tool_call>" in gold and not calls:
        raise ValueError("the reference has a <tool_call> block without a call")
    answers = "<response>" in outlined(gold)
    if calls:
        return calls, "both" if answers else "tools"
    return calls, "answer" if answers else "neither"


# --- blocks ---------------------------------------------------------------------------------------

_TAG = re.compile(r"</?think>|<tool_call>")
_SPACE = re.compile(r"\s*")


class _Block(NamedTuple):
    """The JSON values of a ``<tool_call>`` block, and where they stand; or what is wrong."""

    values: list[Any]
    start: int
    end: int
    fault: str = ""


def outlined(text: str) -> str:
    """A text whose tags are all its own: ``{}`` stands for the JSON in its tool calls."""
    pieces, at = [], 0
    for block in _blocks(text):
        if not block.fault:
            pieces += [text[at : block.start], "{}"]
            at = block.end
    return "".join([*pieces, text[at:]])


def _calls_in(text: str) -> list[Call]:
    calls: list[Call] = []
    for block in _blocks(text):
        if block.fault:
            raise NotCalls(block.fault)
        calls += map(_call, block.values)
    return calls


def _blocks(text: str) -> list[_Block]:
    """The blocks that are no thought, up to the first that cannot be read.

    JSON is read from the opening tag on, and only what lies between blocks is searched for tags.
    """
    if "<tool_call>" not in text:
        return []
    found: list[_Block] = []
    thinking, at = False, 0
    while tag := _TAG.search(text, at):
        at = tag.end()
        if tag[0] == "</think>":
            # All before was thought, though a template may have written its opening.
            found, thinking = [], False
        elif tag[0] == "<think>":
            thinking = True
        elif not thinking:
            found.append(_block(text, at))
            at = found[-1].end
            if found[-1].fault:
                # Was it thought? Only the last place is tried: the decoder counts all lines before
                # each error.
                over = text.rfind("</think>", at)
                if over < 0:
                    break
                found, at = [], over + len("</think>")
    return [] if thinking else found


def _block(text: str, start: int) -> _Block:
    values: list[Any] = []
    first = end = after = _end_of_space(text, start)
    while not text.startswith("</tool_call>", after):
        if after == len(text):
            return _Block([], first, start, "a <tool_call> is not closed")
        try:
            value, end = parsed_at(text, after)
        except ValueError as error:
            return _Block([], first, start, f"no JSON: {str(error)[:80]}")
        values += value if isinstance(value, list) else [value]
        after = _end_of_space(text, end)
    return _Block(values, first, end, "" if values else "a <tool_call> is empty")


def _end_of_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _loads(text: str) -> Any:
    try:
        return parsed(text)
    except ValueError as error:
        raise NotCalls(f"no JSON: {str(error)[:80]}") from None


def _call(item: Any) -> Call:
    """One call: ours, or OpenAI's with its ``function``.

    Parquet fills what other rows have with nulls, which are nothing.
    """
    if isinstance(item, Mapping) and isinstance(item.get("function"), Mapping):
        if any(item.get(key) is not None for key in ("name", *_PARAMETERS)):
            raise NotCalls("a call has a function, and beside it a name or parameters")
        item = item["function"]
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
        raise NotCalls("a call has no name")
    if item.get("function") is not None:
        raise NotCalls(f"call {item['name'][:40]!r} has a name and a function")
    given = [key for key in _PARAMETERS if item.get(key) is not None]
    if len(given) > 1:
        raise NotCalls(f"call {item['name'][:40]!r} has both parameters and arguments")
    parameters = item[given[0]] if given else None
    if given == ["arguments"] and isinstance(parameters, str):
        parameters = _loads(parameters) if parameters.strip() else {}
    if not isinstance(parameters, Mapping):
        raise NotCalls(f"call {item['name'][:40]!r} has no parameters, or some that are no mapping")
    return Call(item["name"], parameters)


_PARAMETERS = ("parameters", "arguments")


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
