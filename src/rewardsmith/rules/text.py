"""Completions as text: a string, or the messages of a chat."""

from collections.abc import Mapping
from typing import Any


def text_of(completion: Any) -> str:
    """The text that a completion ends with: itself, or what its last assistant message says.

    Args:
        completion: a string, or messages ``{"role": ..., "content": ...}`` in their order (one may
            stand alone). Content is a string or a list of parts, of which ``{"type": "text"}``
            counts; messages of other roles (tools, the environment) are passed over.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Mapping):
        completion = [completion]
    if not isinstance(completion, list | tuple):
        raise TypeError(f"it is {type(completion).__name__}, neither text nor chat messages")
    for message in reversed(completion):
        if not isinstance(message, Mapping) or "role" not in message:
            raise TypeError("it is a list, but not of messages {'role': ..., 'content': ...}")
        if message["role"] == "assistant":
            return _content(message.get("content"))
    return ""


def _content(content: Any) -> str:
    # A message that only calls tools has no content.
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [p.get("text", "") for p in content if isinstance(p, Mapping)]
        return "".join(part for part in parts if isinstance(part, str))
    raise TypeError(f"a message's content is {type(content).__name__}, neither text nor parts")
