"""Outcomes of rows that were scored together, as scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..core.outcome import Outcome, Status
from ..core.rowcall import MISSING
from ..core.scores import Scores


def lacking(names: Sequence[str], row: Sequence[Any]) -> Outcome | None:
    """The outcome of a row that lacks one of its columns; None where it has them all."""
    for name, cell in zip(names, row, strict=True):
        if cell is MISSING:
            return 0.0, Status.FAILED, f"this row has no column {name!r}"
    return None


def scores_from(outcomes: Sequence[Outcome], info: Mapping[str, Any] | None = None) -> Scores:
    """Scores [N]; the remark of a row that was scored goes to ``info["why"]``."""
    why = np.full(len(outcomes), "", dtype=object)
    errors = {}
    for i, (_, status, remark) in enumerate(outcomes):
        if status > Status.ABSTAINED:
            errors[i] = ("", remark)
        else:
            why[i] = remark
    values = torch.tensor([value for value, _, _ in outcomes], dtype=torch.float64)
    statuses = torch.tensor([int(status) for _, status, _ in outcomes], dtype=torch.int8)
    return Scores.outcome(values, statuses, errors=errors, info={"why": why, **(info or {})})
