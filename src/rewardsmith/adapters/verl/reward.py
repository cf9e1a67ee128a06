"""A reward function written for verl as a reward of ours."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...core.boundary import Together, is_async
from ...core.catalog import method
from ...core.errors import SpecError
from ...core.execution import Execution, Inline, current
from ...core.reference import ByName, Reference, resolve
from ...core.reward import Reward
from ...core.rollouts import Rollouts
from ...core.rowcall import RowCall
from ...core.rows import evaluate_columns, scores_of
from ...core.scores import Scores
from ...core.source import code_digest
from ..versions import note_version
from .calls import ask, ask_async

_ANSWERS = ("solution_str", "predict_str", "model_output")
"""What verl's functions call the response."""


@method("verl_reward", kind="signal")
class VerlReward(Reward):
    """A ``compute_score`` function of verl's scores each row by itself.

    It is given what its signature takes of ``solution_str`` (in verl's own functions also
    ``predict_str`` or ``model_output``), ``ground_truth``, ``data_source`` and ``extra_info``. It
    returns a number, a dict with ``score``, or a sequence that begins with the score; the rest of a
    dict is kept as JSON in ``info["why"]``. None, or a score of None, abstains.

    Args:
        call: the function; sync or async. Async ones run on one event loop in the calling process.
        completion: the column of completions, text or messages, of which the text is given.
        ground_truth: the column of what is right.
        data_source: the column of the data set's name.
        extra_info: the column of what else the data says; where it is not there, an empty dict.
        reward_kwargs: further arguments, the same for every row; they come before columns, so
            ``data_source`` can be given here. Plain data.

    Raises:
        ValueError: the function takes no response, takes an argument that nothing is known of, or
            does not take one of ``reward_kwargs``.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        completion: str = "completion",
        ground_truth: str = "ground_truth",
        data_source: str = "data_source",
        extra_info: str = "extra_info",
        reward_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        note_version("verl")
        if isinstance(call, Reward):
            call = getattr(call, "call", call)
        self.call, self.completion, self.ground_truth = call, completion, ground_truth
        self.data_source, self.extra_info = data_source, extra_info
        self.reward_kwargs = None if reward_kwargs is None else dict(reward_kwargs)
        self.is_async = is_async(call)
        taken = arguments_of(call, self.reward_kwargs or {})
        columns = {
            taken.answer: completion,
            "ground_truth": ground_truth,
            "data_source": data_source,
            "extra_info": extra_info,
        }
        self._taken = taken
        self._columns = {name: columns[name] for name in (*taken.required, *taken.optional)}
        spare = {"extra_info"} & set(taken.required)
        self.required = tuple(columns[name] for name in taken.required if name not in spare)
        self.optional = tuple(columns[name] for name in (*spare, *taken.optional))
        self._spare = tuple(spare)
        self._called: dict[str, Any] = {}
        self.declare(needs=self.required, granularity="outcome")

    def default_name(self) -> str:
        return str(getattr(self.call, "__name__", "verl")).strip("<>")

    def __deepcopy__(self, memo: dict[int, Any]) -> "VerlReward":
        return self  # it holds no state, and a lambda can be copied in no other way

    def __reduce__(self) -> tuple[Any, ...]:
        # By reference: worker processes import the function instead of unpickling its code.
        rest = {name: value for name, value in self.arguments().items() if name != "call"}
        return _restored, (Reference.of(self.call), rest)

    def forward(self, rollouts: Rollouts) -> Scores:
        who = self.label()
        names = dict.fromkeys(self.required)
        columns = {name: rollouts.column(name, needed_by=who) for name in names}
        for name in self.optional:
            if name in rollouts:
                columns.setdefault(name, rollouts.column(name))
        execution = current() or Execution(Inline())
        if self.is_async:
            limit = getattr(execution.executor, "timeout", None)
            execution = replace(execution, executor=Together(limit))
        call = self._rowcall(tuple(columns))
        return scores_of(evaluate_columns(call, [*columns.values()], execution, self.optional))

    def _rowcall(self, names: tuple[str, ...]) -> RowCall:
        # Not in __init__: the digest reads the function's file.
        self._called = self._called or _identity(self.call)
        verl = {
            "columns": self._columns,
            "answer": self._taken.answer,
            "given": self.reward_kwargs or {},
            "spare": self._spare,
            **self._called,
        }
        function = ask_async if self.is_async else ask
        return RowCall(function, names, keyword=True, options={"_verl": verl})


@dataclass(frozen=True)
class Taken:
    """What a function of verl's takes of a row."""

    answer: str
    """Its name for the response."""
    required: tuple[str, ...]
    optional: tuple[str, ...]
    """With a default of their own."""


def arguments_of(call: Callable[..., Any], given: Mapping[str, Any]) -> Taken:
    """What a function takes, as verl would call it.

    Raises:
        ValueError: see :class:`VerlReward`.
    """
    parameters = inspect.signature(call).parameters
    title = str(getattr(call, "__qualname__", repr(call)))
    named = {n: p for n, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    every = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    answer = next((name for name in _ANSWERS if name in named), _ANSWERS[0] if every else None)
    if answer is None or answer in given:
        raise ValueError(
            f"{title} takes none of {', '.join(_ANSWERS)}: wrap it in a function that does, "
            "compute_score(data_source, solution_str, ground_truth, extra_info)"
        )
    known = (answer, "ground_truth", "data_source", "extra_info")
    if unknown := [n for n in given if n not in named and not every]:
        raise ValueError(f"reward_kwargs: {title} takes no {unknown[0]!r}")
    for name, parameter in named.items():
        if name in known or name in given or parameter.default is not parameter.empty:
            continue
        raise ValueError(
            f"{title} takes {name!r}, which is none of {', '.join(known)}: give it in reward_kwargs"
        )
    taken = [n for n in known if (n in named or every) and n not in given]
    optional = [n for n in taken if n not in named or named[n].default is not named[n].empty]
    optional = [n for n in optional if n != answer]
    return Taken(answer, tuple(n for n in taken if n not in optional), tuple(optional))


def _identity(call: Callable[..., Any]) -> dict[str, Any]:
    """A function as an option: by name, with the digest of its code, so that caches know it.

    What was written for verl often asks a judge, and answers of judges are what caches are for.
    """
    try:
        reference, code = Reference.of(call), code_digest(call)
    except SpecError:
        return {"call": ByName(call)}  # scored here, and refused by what has to send it away
    if code is None:
        return {"call": ByName(call)}
    return {"call": [reference.where, reference.qualname], "code": code}


def _restored(reference: Reference, rest: Mapping[str, Any]) -> VerlReward:
    return VerlReward(resolve(reference), **rest)
