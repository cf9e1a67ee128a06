"""A reward function of verifiers as a reward of ours: of a task, or of a rubric."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ...core.boundary import Together, is_async
from ...core.catalog import method
from ...core.execution import Execution, Inline, current
from ...core.reference import ByName, Reference, resolve
from ...core.reward import Reward
from ...core.rollouts import Rollouts
from ...core.rowcall import RowCall
from ...core.rows import evaluate_columns, scores_of
from ...core.scores import Scores
from ..versions import note_version
from .standins import ROLES, ask, ask_async

GROUPED = ("completions", "prompts", "answers", "states", "tasks", "infos")


@method("verifiers_reward", kind="signal")
class VerifiersReward(Reward):
    """A reward function that was written for verifiers, asked row by row.

    It may take ``(task, trace)`` as a function for ``verifiers.v1`` does, or any of ``completion``,
    ``prompt``, ``answer``, ``info``, ``state`` and ``task`` as one of a rubric. ``task`` and
    ``state`` have the columns by attribute and by key; ``trace`` has what was said
    (``last_reply``, ``messages``, ``assistant_messages``, ``transcript`` and so on) and no more;
    ``completion`` and ``prompt`` are chat messages, also where the columns are text. Named scores
    are added up, and the weight of ``@vf.reward(weight=...)`` is multiplied in, as in the total of
    verifiers. None, or no named score at all, is an abstention, what is no finite number a bad
    value, an exception a failure.

    Args:
        call: the function; sync or async.
        columns: the columns that ``task`` and ``state`` hold; any other argument of the function is
            a column by its own name. ``completion`` always is read.

    Raises:
        ValueError: the function scores groups, or needs a runtime or a parser.
    """

    def __init__(self, call: Callable[..., Any], columns: Sequence[str] = ("answer",)) -> None:
        super().__init__()
        note_version("verifiers")
        if isinstance(columns, str):
            raise ValueError(f"columns is {columns!r}; give a list of names")
        self.call, self.columns = call, tuple(columns)
        self.weight = float(getattr(call, "_vf_weight", 1.0))
        self.takes, defaults = _arguments(call)
        required = ["completion"]
        optional: list[str] = []
        if whole := not {"task", "state", "trace"}.isdisjoint(self.takes):
            required += self.columns
        for name in self.takes:
            if name == "prompt" or name not in ROLES:
                (optional if name in defaults else required).append(name)
        if whole:
            optional.append("prompt")
        self.required = tuple(dict.fromkeys(required))
        self.optional = tuple(n for n in dict.fromkeys(optional) if n not in required)
        self.declare(needs=self.required)

    def default_name(self) -> str:
        return str(getattr(self.call, "__name__", self.method_name))

    def __deepcopy__(self, memo: dict[int, Any]) -> "VerifiersReward":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (Reference.of(self.call), self.columns)

    def forward(self, rollouts: Rollouts) -> Scores:
        label = self.label()
        names = [*self.required, *(name for name in self.optional if name in rollouts)]
        columns = [rollouts.column(name, needed_by=label) for name in names]
        execution = current() or Execution(Inline())
        function: Callable[..., Any] = ask
        if is_async(self.call):
            function = ask_async
            timeout = getattr(execution.executor, "timeout", None)
            execution = replace(execution, executor=Together(timeout))
        options = {
            "function_": ByName(self.call),
            "takes_": self.takes,
            "weight_": self.weight,
        }
        call = RowCall(function, tuple(names), keyword=True, options=options)
        return scores_of(evaluate_columns(call, columns, execution, self.optional))


def _arguments(call: Callable[..., Any]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The names of a function's arguments, and of those that have a default."""
    title = str(getattr(call, "__qualname__", repr(call)))
    takes: list[str] = []
    defaults: set[str] = set()
    for name, parameter in inspect.signature(call).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        given = parameter.default is not parameter.empty
        if name in GROUPED:
            raise ValueError(
                f"{title} scores a group (its argument {name!r} is plural); here each row is "
                "scored by itself"
            )
        if name in ("runtime", "parser"):
            if given:
                continue
            raise ValueError(
                f"{title} needs a {name}, which rows do not have: give it a default, or wrap it in "
                "a function that makes one"
            )
        takes.append(name)
        if given:
            defaults.add(name)
    return tuple(takes), frozenset(defaults)


def _restored(reference: Reference, columns: tuple[str, ...]) -> VerifiersReward:
    return VerifiersReward(resolve(reference), columns)
