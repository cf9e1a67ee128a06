"""A rollout of verifiers as a row: the task's fields, and what the model said.

Read by what the objects have and not by their classes, which differ between its two stacks.
"""

from collections.abc import Mapping
from typing import Any

from ...rules.text import text_of
from ..fields import fields, plain


def row_of_trace(task: Any, trace: Any) -> dict[str, Any]:
    """A row of a task's data and a trace (``verifiers.v1``).

    Every field of the task is a column. Beside them: ``completion``, the text of the last reply, as
    it was said (``trace.last_reply`` is stripped); ``messages``, the chat from the model's first
    message on, with tools and users; ``prompt``, the task's or, where it has none, the messages
    before; ``trace``, with ``id``, ``info``, ``num_turns``, ``is_truncated`` and
    ``stop_condition``.
    """
    before, after = _halves(trace)
    row = {name: plain(value) for name, value in (fields(task) or {}).items()}
    if row.get("prompt") is None:
        row["prompt"] = before
    replies = trace.assistant_messages
    # 0.3 knew no agents below others.
    reply = getattr(trace, "root_reply", None)
    if reply is None:
        reply = replies[-1].content if replies else None
    row |= {
        "completion": reply or "",
        "messages": after,
        "trace": {
            "id": trace.id,
            "info": plain(trace.info),
            "num_turns": trace.num_turns,
            "is_truncated": trace.is_truncated,
            "stop_condition": trace.stop_condition,
        },
    }
    return row


def _halves(trace: Any) -> tuple[list[Any], list[Any]]:
    """The messages of the last branch, before and from the first that the model made."""
    branches = trace.branches
    nodes = branches[-1].nodes if branches else []
    first = next((i for i, node in enumerate(nodes) if node.sampled), len(nodes))
    said = [_message(node.message) for node in nodes]
    return said[:first], said[first:]


def row_of_state(state: Any) -> dict[str, Any]:
    """A row of a state (``verifiers.legacy``).

    Every field of the input and of the task is a column, as are ``answer`` and ``info``. Beside
    them ``prompt`` and ``messages``, the chat before and after the model began, and ``completion``,
    the text of its last message. Where the rollout has none, ``completion`` is None.
    """
    task = state.get("task")
    row = {name: plain(value) for name, value in (fields(state.get("input")) or {}).items()}
    row |= {name: plain(value) for name, value in (fields(task) or {}).items()}
    for name in ("prompt", "answer", "info"):
        value = state.get(name)
        if value is not None:
            row[name] = [_message(m) for m in value] if _chat(value) else plain(value)
    said = state.get("completion")
    row["messages"] = [_message(m) for m in said] if _chat(said) else said
    row["completion"] = _text(row["messages"])
    return row


def _chat(value: Any) -> bool:
    return isinstance(value, list) and any(fields(message) is not None for message in value)


def _message(message: Any) -> dict[str, Any]:
    """A message as a dict, without the fields that say nothing."""
    known = plain(message)
    return {name: value for name, value in known.items() if value is not None or name == "content"}


def _text(said: Any) -> Any:
    """The text of the last message; what is neither text nor chat stays, to be told of."""
    if not isinstance(said, list) or not said or not isinstance(said[0], Mapping):
        return "" if said == [] else said
    if all(message.get("role") == "text" for message in said):
        return "".join(str(message["content"]) for message in said)
    return text_of(said)
