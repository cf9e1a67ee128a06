"""A reward function of TRL as a signal."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal

import torch

from ...core.boundary import is_async, run, score_batch
from ...core.catalog import method
from ...core.outcome import Outcome, Status
from ...core.reference import Reference, resolve
from ...core.reward import Reward
from ...core.rollouts import Rollouts
from ...core.rowcall import MISSING
from ...core.scores import Scores
from ..versions import note_version

_OURS = {"prompts": "prompt", "completions": "completion", "completion_ids": "completion_ids"}
"""TRL's names of what it gives itself: our columns."""


@method("trl_reward", kind="signal")
class TRLReward(Reward):
    """What a reward function of TRL says of a batch: its own, or one that was written for it.

    It is called with whole columns, as TRL calls it, where the reward is scored: no other process
    runs it and nothing ends it. None abstains, NaN and infinities are bad values, a list of another
    length is one for every row, and where it raises all rows fail. A row without a column that the
    function needs fails alone.

    Args:
        call: the function, or an object that is called; sync or async. Its arguments ``prompts``,
            ``completions`` and ``completion_ids`` are the columns ``prompt``, ``completion`` and
            ``completion_ids``; ``trainer_state``, ``log_extra`` and ``log_metric`` are stand-ins
            that keep nothing; every other one is the column of its name. An argument with a default
            is read only if the column is there.
        columns: the further columns that a function with ``**kwargs`` reads.
        chat: give a prompt or completion that is a text as chat messages, which most of
            ``trl.rewards`` want.
        scope: what a row's value depends on: the ``"row"`` alone, the other rows of its
            ``"group"``, or of the ``"batch"`` (a function that subtracts the mean of what it is
            given, say). Rows of wider scope are never scored apart, and trainers that ask for one
            row at a time refuse such a reward.

    Raises:
        ValueError: an argument that cannot be given by name, ``environments``, which only TRL has,
            ``columns`` for a function without ``**kwargs``, or a scope that is none of those.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        columns: Sequence[str] = (),
        chat: bool = False,
        scope: Literal["row", "group", "batch"] = "row",
    ) -> None:
        super().__init__()
        note_version("trl")
        if isinstance(call, Reward):
            raise ValueError(f"{call.label()} is a reward already; give TRL's function")
        if scope not in ("row", "group", "batch"):
            raise ValueError(f"scope is 'row', 'group' or 'batch', not {scope!r}")
        self.call, self.columns, self.chat = call, list(columns), chat
        parameters = inspect.signature(call).parameters.values()
        self._open = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._stand_ins = tuple(
            name for name in _STAND_INS if self._open or name in {p.name for p in parameters}
        )
        needed, optional = _columns(call, self._open)
        unread = [name for name in self.columns if name not in {*needed, *optional}]
        if unread and not self._open:
            raise ValueError(
                f"{_title(call)} takes no column {unread[0]!r} and has no **kwargs: leave it out "
                "of columns"
            )
        self.required = tuple(dict.fromkeys([*needed, *self.columns]))
        self.optional = tuple(name for name in optional if name not in self.required)
        self.declare(needs=self.required, scope=scope)

    def default_name(self) -> str:
        return _title(self.call)

    def __deepcopy__(self, memo: dict[int, Any]) -> "TRLReward":
        return self  # it holds no state

    def __reduce__(self) -> tuple[Any, ...]:
        # By reference, as functions are: a file's module has no name elsewhere.
        return _restored, (Reference.of(self.call), self.columns, self.chat, self.scope)

    def forward(self, rollouts: Rollouts) -> Scores:
        columns = {
            name: list(rollouts.column(name, needed_by=self.label())) for name in self.required
        }
        columns |= {name: list(rollouts[name]) for name in self.optional if name in rollouts}
        outcomes: list[Outcome] = [_NOTHING] * len(rollouts)
        whole = []
        for row in range(len(rollouts)):
            lacking = [name for name in self.required if columns[name][row] is MISSING]
            if lacking:
                remark = f"this row has no column {lacking[0]!r}"
                outcomes[row] = 0.0, Status.FAILED, remark
            else:
                whole.append(row)
        for names, rows in self._calls(columns, whole):
            given = {name: [_plain(columns[name][row]) for row in rows] for name in names}
            found = score_batch(self._ask, given, len(rows))
            for row, outcome in zip(rows, found, strict=True):
                outcomes[row] = outcome
        values = torch.tensor([value for value, _, _ in outcomes], dtype=torch.float64)
        status = torch.tensor([int(status) for _, status, _ in outcomes], dtype=torch.int8)
        errors = {
            i: ("", text)
            for i, (_, verdict, text) in enumerate(outcomes)
            if verdict > Status.ABSTAINED
        }
        return Scores.outcome(values, status, errors=errors)

    def _calls(
        self, columns: Mapping[str, list[Any]], rows: list[int]
    ) -> list[tuple[tuple[str, ...], list[int]]]:
        """The columns and the rows of each call.

        Rows without an optional column are called without it: their score is that of the default,
        whatever their neighbors have. Only rows that are compared have to go together.
        """
        if self.scope != "row":
            names = [n for n in columns if any(columns[n][row] is not MISSING for row in rows)]
            return [(tuple(names), rows)] if rows else []
        calls: dict[tuple[str, ...], list[int]] = {}
        for row in rows:
            names = [name for name in columns if columns[name][row] is not MISSING]
            calls.setdefault(tuple(names), []).append(row)
        return list(calls.items())

    def _ask(self, **columns: Any) -> Any:
        given = {_THEIRS.get(name, name): column for name, column in columns.items()}
        if self.chat:
            for name, role in (("prompts", "user"), ("completions", "assistant")):
                if name in given:
                    given[name] = [_messages(text, role) for text in given[name]]
        given |= {name: _STAND_INS[name] for name in self._stand_ins}
        returned = self.call(**given)
        return run(_awaited(returned)) if is_async(self.call) else returned


def _nothing(name: str, value: Any) -> None:
    """Stands in for ``log_metric`` and ``log_extra``."""


_STATE = {"global_step": 0, "max_steps": 0, "epoch": 0.0, "num_train_epochs": 0, "log_history": []}
_STAND_INS: Mapping[str, Any] = {
    "trainer_state": SimpleNamespace(**_STATE),
    "log_extra": _nothing,
    "log_metric": _nothing,
}
_THEIRS = {ours: theirs for theirs, ours in _OURS.items()}
_NOTHING: Outcome = (0.0, Status.UNSCORED, "")


def _columns(call: Callable[..., Any], is_open: bool) -> tuple[list[str], list[str]]:
    """The columns that a function needs, and those that it is given where they are there."""
    needed: list[str] = []
    optional: list[str] = []
    for name, parameter in inspect.signature(call).parameters.items():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ValueError(f"argument {name!r} of {_title(call)} cannot be given by name")
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        required = parameter.default is parameter.empty
        if name == "environments" and required:
            raise ValueError(f"{_title(call)} reads `environments`, which only TRL's trainers have")
        if name not in (*_STAND_INS, "environments"):
            (needed if required else optional).append(_OURS.get(name, name))
    if is_open:
        optional += [name for name in _OURS.values() if name not in (*needed, *optional)]
    return needed, optional


def _title(call: Callable[..., Any]) -> str:
    return str(getattr(call, "__name__", type(call).__name__)).strip("<>")


def _plain(value: Any) -> Any:
    """TRL's functions know of no rows that lack a column."""
    return None if value is MISSING else value


def _messages(text: Any, role: str) -> Any:
    return [{"role": role, "content": text}] if isinstance(text, str) else text


async def _awaited(returned: Any) -> Any:
    return await returned


def _restored(
    reference: Reference,
    columns: Sequence[str],
    chat: bool,
    scope: Literal["row", "group", "batch"],
) -> TRLReward:
    return TRLReward(resolve(reference), columns, chat, scope)
