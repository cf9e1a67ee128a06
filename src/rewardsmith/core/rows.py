"""Rewards that score each row by itself, with a function that executors can run elsewhere."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .execution import Evaluated, Execution, Inline, current, evaluate
from .outcome import Status
from .reward import Reward
from .rollouts import Rollouts
from .rowcall import RowCall
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
        rows = list(zip(*columns, strict=True))
        return scores_of(evaluate(self.rowcall, rows, current() or self.execution()))


def scores_of(found: Evaluated) -> Scores:
    """Outcomes as scores [N]."""
    errors = {
        i: ("", remark) for i, remark in found.remarks.items() if found.status[i] > Status.ABSTAINED
    }
    info: dict[str, Any] = {"seconds": found.seconds, "origin": found.origin}
    if len(errors) < len(found.remarks):
        why = np.full(len(found.status), "", dtype=object)
        for i, remark in found.remarks.items():
            if i not in errors:
                why[i] = remark
        info["why"] = why
    values, status = torch.from_numpy(found.values), torch.from_numpy(found.status)
    return Scores.outcome(values, status, errors=errors, info=info)
