"""Rewards that score each row by itself, with a function that executors can run elsewhere."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .execution import Evaluated, Execution, Inline, current, evaluate
from .outcome import Status
from .reward import Reward
from .rollouts import Rollouts
from .rowcall import MISSING, RowCall
from .scores import Scores


class RowReward(Reward):
    """A reward that is a function of some columns of each row.

    Subclasses say which with :meth:`by_row` in ``__init__``. Scores carry in ``info``, one entry
    per row: ``seconds`` (NaN where nothing ran), ``origin`` (0 ran, 1 as an equal row, 2 cached)
    and ``why`` (the reason that a function gave, or "").
    """

    rowcall: RowCall
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """The least and the largest score that it can give."""

    def by_row(
        self,
        call: Callable[..., Any],
        columns: Sequence[str],
        options: Mapping[str, Any] | None = None,
        *,
        bounds: tuple[float, float] = (0.0, 1.0),
        text: bool = True,
        preload: Sequence[str] = (),
    ) -> None:
        """Say what scores a row.

        Args:
            call: a function at the top level of a module; takes the columns by position.
            columns: their names; the first is the completion.
            options: further arguments of the function, plain data.
            bounds: the least and the largest score.
            text: the first column may be chat messages, of which the function takes the text.
            preload: modules that the function may need, to be imported before the first row.
        """
        self.rowcall = RowCall(
            call, tuple(columns), options=options or {}, text=text, preload=tuple(preload)
        )
        self.bounds = bounds
        self.declare(needs=columns)

    def execution(self) -> Execution:
        """What runs the rows where the caller set nothing."""
        return Execution(Inline())

    def forward(self, rollouts: Rollouts) -> Scores:
        columns = [rollouts.column(name, needed_by=self.label()) for name in self.rowcall.names]
        execution = current() or self.execution()
        return scores_of(evaluate_columns(self.rowcall, columns, execution))


def preloads(reward: Reward) -> set[str]:
    """The modules that workers may import before they begin: nothing of the user's."""
    calls = [node.rowcall for _, node in reward.walk() if isinstance(node, RowReward)]
    return {m for call in calls for m in (str(call.call.__module__), *call.preload)}


def evaluate_columns(
    call: RowCall,
    columns: Sequence[Any],
    execution: Execution,
    optional: Collection[str] = (),
) -> Evaluated:
    """The outcome of each row of some columns, which are those that ``call`` names.

    A row that lacks a column fails and is not run; of ``optional`` ones, it is run without them.
    """
    # A row of a tensor is a view, and would take the whole of it along.
    columns = [[v.clone() for v in c] if isinstance(c, Tensor) else c for c in columns]
    rows = list(zip(*columns, strict=True))
    lacking = _lacking(columns)
    if not lacking:
        return evaluate(call, rows, execution)
    kinds: dict[tuple[int, ...], list[int]] = {}
    for i in range(len(rows)):
        kinds.setdefault(lacking.get(i, ()), []).append(i)
    whole = Evaluated.of_nothing(len(rows))
    for absent, where in kinds.items():
        needed = [call.names[k] for k in absent if call.names[k] not in optional]
        if needed:
            remark = f"this row has no column {needed[0]!r}"
            whole.put(where, Evaluated.failed(len(where), remark))
            continue
        kept = [k for k in range(len(call.names)) if k not in absent]
        names = tuple(call.names[k] for k in kept)
        part = replace(call, names=names, keyword=True) if absent else call
        some = [tuple(rows[i][k] for k in kept) for i in where]
        whole.put(where, evaluate(part, some, execution))
    return whole


def _lacking(columns: Sequence[Any]) -> dict[int, tuple[int, ...]]:
    """Row -> the places of the columns that it does not have, for rows that lack any."""
    found: dict[int, tuple[int, ...]] = {}
    for k, column in enumerate(columns):
        for i, value in enumerate(column):
            if value is MISSING:
                found[i] = (*found.get(i, ()), k)
    return found


def scores_of(found: Evaluated) -> Scores:
    """Outcomes as scores [N]."""
    broke = (found.status > int(Status.ABSTAINED)).tolist()
    errors = {i: ("", remark) for i, remark in found.remarks.items() if broke[i]}
    why = np.full(len(found.status), "", dtype=object)
    for i, remark in found.remarks.items():
        if not broke[i]:
            why[i] = remark
    info: dict[str, Any] = {"seconds": found.seconds, "origin": found.origin, "why": why}
    values, status = torch.from_numpy(found.values), torch.from_numpy(found.status)
    return Scores.outcome(values, status, errors=errors, info=info)
