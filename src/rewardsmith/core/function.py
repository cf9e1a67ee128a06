"""A plain function is a reward.

Its argument names are columns. What it returns or raises passes the boundary around user code
(:mod:`rewardsmith.core.boundary`), so that every row has a score or a reason.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from .acting import Floats, Step, Terms, step_of
from .boundary import (
    AxisCheck,
    Together,
    as_numbers,
    is_async,
    score_batch,
    score_rows,
    take,
)
from .catalog import method
from .decorate import StepFailure
from .errors import MissingColumn, RewardsmithError, ScoreError
from .execution import Execution, Inline, current, evaluate
from .outcome import Status, told
from .reference import Reference, resolve
from .reward import Reward
from .rollouts import Rollouts
from .rowcall import MISSING, RowCall
from .rows import evaluate_columns, scores_of
from .scores import Scores


@method("function", kind="signal")
class Function(Reward):
    """A reward from a function whose argument names are columns.

    ``**kwargs`` receives no columns; an argument with a default is read only if the column exists.

    Args:
        call: the function; sync or async.
        batched: it takes whole columns and returns N values, instead of one row at a time.
        step: it takes the arrays [n, ...] of one environment step and returns n values; the reward
            is dense and can be computed while acting.
        on_step_failure: with ``step``, what a step that breaks does: void the ``"row"``, or
            ``"skip"`` that step alone. While acting, where nothing can be voided, it raises.

    Raises:
        ValueError: both ``batched`` and ``step``, or an async function with either.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        batched: bool = False,
        step: bool = False,
        on_step_failure: StepFailure = "row",
    ) -> None:
        super().__init__()
        if batched and step:
            raise ValueError("a function is batched (whole columns) or step (one step), not both")
        self.is_async = is_async(call)
        if self.is_async and (batched or step):
            raise ValueError("an async function scores one row at a time")
        self.call, self.batched, self.on_step_failure = call, batched, on_step_failure
        # `step` names the method by which a reward acts, so the flag lives beside it.
        self.by_step = step
        self._axis = AxisCheck()
        self.required, self.optional = argument_names(call)
        self._positional = tuple(
            name
            for name, parameter in inspect.signature(call).parameters.items()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        )
        self.declare(needs=self.required, granularity="dense" if step else "outcome")

    def arguments(self) -> dict[str, Any]:
        given: dict[str, Any] = {"call": self.call}
        if self.batched:
            given["batched"] = True
        if self.by_step:
            given["step"] = True
        if self.on_step_failure != "row":
            given["on_step_failure"] = self.on_step_failure
        return given

    def default_name(self) -> str:
        return str(getattr(self.call, "__name__", "function")).strip("<>")

    def __deepcopy__(self, memo: dict[int, Any]) -> "Function":
        return self  # it holds no state, and a lambda can be copied in no other way

    def __reduce__(self) -> tuple[Any, ...]:
        # By reference: worker processes import the function instead of unpickling its code.
        return _restore, (
            Reference.of(self.call),
            self.batched,
            self.by_step,
            self.on_step_failure,
        )

    @property
    def acts(self) -> bool:
        return self.by_step

    def forward(self, rollouts: Rollouts) -> Scores:
        if self.by_step:
            return self._score_steps(rollouts)
        columns = self._columns(rollouts.column, rollouts)
        n = len(rollouts)
        if not self.batched:
            rows = {name: _unpadded(name, column, rollouts) for name, column in columns.items()}
            return self._score_rows(rows, n)
        columns = {name: _plain(column) for name, column in columns.items()}
        results = score_batch(self.call, columns, n)
        values = torch.tensor([value for value, _, _ in results], dtype=torch.float32)
        status = torch.tensor([int(status) for _, status, _ in results], dtype=torch.int8)
        errors = {i: ("", text) for i, (_, _, text) in enumerate(results) if text}
        return Scores.outcome(values, status, errors=errors)

    def _score_rows(self, columns: Mapping[str, Any], n: int) -> Scores:
        names = tuple(columns)
        # By position where that is the same: it costs a third.
        keyword = names != self._positional[: len(names)]
        call = RowCall(self.call, names, keyword=keyword)
        execution = current() or Execution(Inline())
        if self.is_async:
            execution = replace(
                execution, executor=Together(getattr(execution.executor, "timeout", None))
            )
        if not columns:
            return scores_of(evaluate(call, [()] * n, execution))
        found = evaluate_columns(call, [*columns.values()], execution, self.optional)
        return scores_of(found)

    def _score_steps(self, rollouts: Rollouts) -> Scores:
        """Step through the rollouts; a step that breaks voids its row, or is skipped."""
        n, horizon = len(rollouts), rollouts.n_steps
        values = torch.zeros(n, horizon)
        at = rollouts.action_mask.clone()
        failed_at = torch.zeros(n, horizon, dtype=torch.bool)
        status, found = torch.zeros(2, n, dtype=torch.int8)
        errors: dict[int, tuple[str, str]] = {}
        for t in range(horizon):
            live = rollouts.action_mask[:, t].nonzero().flatten().numpy()
            s = step_of(rollouts, t)
            outcomes = score_rows(self.call, self._columns(s.column, s), live, self._axis)
            for row, (value, verdict, text) in zip(live.tolist(), outcomes, strict=True):
                values[row, t] = value
                at[row, t] = verdict == Status.SCORED
                if verdict > Status.ABSTAINED:
                    failed_at[row, t] = True
                    errors.setdefault(row, ("", f"step {t}: {text}"))
                    found[row] = max(int(found[row]), int(verdict))
        # Skipping leaves what was scored; with nothing left, the row has broken and not abstained.
        voided = found > 0 if self.on_step_failure == "row" else ~at.any(dim=1)
        status = torch.where(voided, found, status)
        return Scores.dense(values, at, status, errors=errors, failed_at=failed_at)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        n = len(s.first)
        columns = self._columns(s.column, s)
        try:
            values = as_numbers(self.call(**columns), n)
            self._axis(self.call, columns, n)
        except ScoreError as error:
            raise ScoreError(error.message, part=out.path) from error.__cause__
        except RewardsmithError:
            raise
        except Exception as error:
            raise ScoreError(f"failed: {told(error)}", part=out.path) from error
        return values, carry

    def _columns(self, read: Callable[..., Any], source: Rollouts | Step) -> dict[str, Any]:
        try:
            columns = {name: read(name) for name in self.required}
        except MissingColumn as error:
            # Named only now: a label costs more than a step of a small environment.
            raise MissingColumn(error.name, needed_by=self.label(), present=error.present) from None
        for name in self.optional:
            if _has(source, name):
                columns[name] = read(name)
        return columns


def argument_names(call: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The arguments of a function that are columns: those required, and those with a default.

    Raises:
        ValueError: an argument that cannot be given by name, or a reward where a function belongs.
    """
    if isinstance(call, Reward):
        raise ValueError(
            f"{call.label()} is a reward; give the plain function, without its @reward"
        )
    required: list[str] = []
    optional: list[str] = []
    for name, parameter in inspect.signature(call).parameters.items():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ValueError(f"argument {name!r} of {_title(call)} cannot be given by name")
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        (required if parameter.default is parameter.empty else optional).append(name)
    return tuple(required), tuple(optional)


def _title(call: Callable[..., Any]) -> str:
    return str(getattr(call, "__qualname__", repr(call)))


def _unpadded(name: str, column: Any, rollouts: Rollouts) -> Any:
    """A column by row; what is per step without the padding, which depends on its neighbors."""
    if name in rollouts.rows:
        return column
    return [take(take(column, i), real) for i, real in enumerate(rollouts.mask)]


def _plain(column: Any) -> Any:
    """A column for functions of whole columns, which know of no rows that lack it."""
    if isinstance(column, list):
        return [None if value is MISSING else value for value in column]
    return column


def _has(source: Rollouts | Step, name: str) -> bool:
    try:
        source.column(name)
    except LookupError:
        return False
    return True


def _restore(
    reference: Reference, batched: bool, step: bool, on_step_failure: StepFailure
) -> Function:
    target = resolve(reference)
    if isinstance(target, Function):
        return target
    return Function(target, batched, step, on_step_failure)
