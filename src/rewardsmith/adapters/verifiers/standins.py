"""What a reward function of verifiers is given in the place of a rollout: a row's columns.

This file imports no torch, for the processes that only run rows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...rules.text import text_of
from ..fields import Fields, fielded

ROLES = ("prompt", "completion", "state", "task", "trace")
"""Arguments that are made of a row; any other is a column of that name."""


class State(Fields):
    """A state of a rubric: a dict first, whose methods no column takes the place of."""

    __getattribute__ = dict.__getattribute__


class Trace:
    """A finished trace as far as rewards read one: what was said, and the task.

    It has no tokens, no timing and no calls; a function that reads those fails.
    """

    def __init__(self, task: Fields, before: list[Fields], after: list[Fields]) -> None:
        self.task = Fields(data=task)
        self.messages = [*before, *after]
        self.assistant_messages = [m for m in after if m["role"] == "assistant"]
        self.tool_messages = [m for m in after if m["role"] == "tool"]
        self.num_turns = len(self.assistant_messages)
        self.info: dict[str, Any] = {}
        self.rewards: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self._after = after

    @property
    def last_message(self) -> Fields:
        return self.messages[-1]

    @property
    def last_reply(self) -> str:
        """As verifiers has it: the text of the model's last message, without the space around."""
        return text_of(self._after).strip()

    @property
    def transcript(self) -> str:
        """The messages as text, each under its role; with the calls of tools, as verifiers does."""
        return "\n\n".join(_block(message) for message in self.messages)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a row has no trace.{name}: it holds what was said, and the task")


def _block(message: Fields) -> str:
    """A message of a transcript: its role, its text, and what it calls."""
    head, said = f"[{message['role']}]", dict.get(message, "content")
    calls: list[str] = []
    if message["role"] == "assistant":
        for call in dict.get(message, "tool_calls") or []:
            # Chats keep a call's name and arguments under "function", verifiers beside its id.
            call = dict.get(call, "function") or call
            space = dict.get(call, "namespace")
            name = f"{space}.{call['name']}" if space else call["name"]
            calls.append(f"[tool_call {name}({call['arguments']})]")
    elif message["role"] == "tool" and dict.get(message, "name"):
        head = f"[tool {message['name']}]"
    if isinstance(said, list):
        said = "\n".join(part["text"] for part in said if part["type"] == "text")
    return "\n".join([head, *([said] if said else []), *calls])


def ask(
    *, function_: Callable[..., Any], takes_: Sequence[str], weight_: float = 1.0, **row: Any
) -> Any:
    """Call a function of verifiers on the columns of one row.

    Args:
        function_: the function; of ``verifiers.v1`` or of its rubrics.
        takes_: its arguments.
        weight_: what its score is multiplied with.
        row: the columns.

    Returns:
        What the function returned; of named scores their sum, as verifiers adds them up.
    """
    return weighted(summed(function_(**_given(takes_, row))), weight_)


async def ask_async(
    *, function_: Callable[..., Any], takes_: Sequence[str], weight_: float = 1.0, **row: Any
) -> Any:
    """As :func:`ask`, for async functions."""
    return weighted(summed(await function_(**_given(takes_, row))), weight_)


def _given(takes: Sequence[str], row: dict[str, Any]) -> dict[str, Any]:
    before, after = chat(row.get("prompt"), "user"), chat(row["completion"], "assistant")
    task = fielded({name: value for name, value in row.items() if name != "completion"})
    made: dict[str, Any] = {"prompt": before, "completion": after, "task": task}
    if "trace" in takes:
        made["trace"] = Trace(task, before, after)
    if "state" in takes:
        made["state"] = State(task | {"prompt": before, "completion": after, "task": task})
    known = row | made
    return {name: known[name] for name in takes if name in known}


def summed(result: Any) -> Any:
    """A mapping of scores as one; None for an empty one, of which verifiers records nothing."""
    if not isinstance(result, Mapping):
        return result
    return sum(result.values()) if result else None


def weighted(result: Any, weight: float) -> Any:
    """A score times its weight; what is no number is left for others to refuse."""
    if weight == 1.0 or result is None or isinstance(result, str | bytes):
        return result
    try:
        return float(result) * weight
    except (TypeError, ValueError):
        return result


def chat(said: Any, role: str) -> list[Fields]:
    """Text or messages as messages with fields."""
    if said is None:
        return []
    if isinstance(said, str):
        return [Fields(role=role, content=said)]
    messages = fielded([said] if isinstance(said, dict) else said)
    if not isinstance(messages, list) or not all(
        isinstance(m, Fields) and "role" in m for m in messages
    ):
        raise TypeError(
            f"the {'prompt' if role == 'user' else 'completion'} is neither text nor chat"
        )
    return messages
