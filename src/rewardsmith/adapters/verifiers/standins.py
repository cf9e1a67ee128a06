"""What a reward function of verifiers is given in the place of a rollout: a row's columns.

This file imports no torch, for the processes that only run rows.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ...rules.text import text_of
from ..fields import Fields, fielded

ROLES = ("prompt", "completion", "state", "task", "trace")
"""Arguments that are made of a row; any other is a column of that name."""


class Trace:
    """A finished trace as far as rewards read one: what was said, and the task.

    It has no tokens, no timing and no calls; a function that reads those fails.
    """

    def __init__(self, task: Fields, before: list[Fields], after: list[Fields]) -> None:
        self.task = Fields(data=task)
        self.messages = [*before, *after]
        self.assistant_messages = [m for m in after if m.get("role") == "assistant"]
        self.tool_messages = [m for m in after if m.get("role") == "tool"]
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
        """The messages as text, each under its role."""
        return "\n\n".join(
            f"[{m.role}]\n{text_of({**m, 'role': 'assistant'})}" for m in self.messages
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a row has no trace.{name}: it holds what was said, and the task")


def ask(*, function_: Callable[..., Any], takes_: Sequence[str], **row: Any) -> Any:
    """Call a function of verifiers on the columns of one row.

    Args:
        function_: the function; of ``verifiers.v1`` or of its rubrics.
        takes_: its arguments.
        row: the columns.

    Returns:
        What the function returned; of named scores their sum, as verifiers adds them up.
    """
    return summed(function_(**_given(takes_, row)))


async def ask_async(*, function_: Callable[..., Any], takes_: Sequence[str], **row: Any) -> Any:
    """As :func:`ask`, for async functions."""
    return summed(await function_(**_given(takes_, row)))


def _given(takes: Sequence[str], row: dict[str, Any]) -> dict[str, Any]:
    before, after = chat(row.get("prompt"), "user"), chat(row["completion"], "assistant")
    task = fielded({name: value for name, value in row.items() if name != "completion"})
    made: dict[str, Any] = {"prompt": before, "completion": after, "task": task}
    if "trace" in takes:
        made["trace"] = Trace(task, before, after)
    if "state" in takes:
        made["state"] = Fields(task | {"prompt": before, "completion": after, "task": task})
    known = row | made
    return {name: known[name] for name in takes if name in known}


def summed(result: Any) -> Any:
    """A mapping of scores as one."""
    return sum(result.values()) if isinstance(result, dict) else result


def chat(said: Any, role: str) -> list[Fields]:
    """Text or messages as messages with fields."""
    if said is None:
        return []
    if isinstance(said, str):
        return [Fields(role=role, content=said)]
    messages = fielded([said] if isinstance(said, dict) else said)
    if not isinstance(messages, list) or not all(isinstance(m, Fields) for m in messages):
        raise TypeError(
            f"the {'prompt' if role == 'user' else 'completion'} is neither text nor chat"
        )
    return messages
