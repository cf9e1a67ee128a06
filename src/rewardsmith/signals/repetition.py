"""How much a completion repeats itself."""

import math

from ..core.catalog import Paper, method
from ..core.contract import Contract
from ..core.outcome import Status
from ..core.rows import RowReward
from ..rules.repetition import PIECES, Piece, grade


@method(
    "repetition",
    kind="signal",
    paper=Paper("2502.03373", "Demystifying Long Chain-of-Thought Reasoning in LLMs", 2025),
)
class Repetition(RowReward):
    """``max_penalty * (1 - distinct / total)`` over the n-grams of a completion.

    0 where no n-gram occurs twice, or where there is none. One piece repeated m times gets
    ``max_penalty * (1 - 1 / (m - n + 1))``: the penalty is approached and not reached. The paper
    penalizes each repeated token; one number per completion is how trainers compute it.

    Args:
        n: the length of an n-gram.
        max_penalty: a negative number.
        unit: what n-grams consist of: lower-cased ``"words"`` (what whitespace separates),
            ``"lines"`` (without empty ones) or ``"characters"``, or ``"tokens"``.
        completion: the column; with ``"tokens"``, one of lists of token ids.

    Raises:
        ValueError: n below 1, a penalty that is not negative and finite, or an unknown unit.
    """

    contract = Contract(
        full={"completion": "No three words in a row come twice."},
        zero={"completion": "again " * 2_000},
        malformed={"completion": None},
        malformed_status=Status.FAILED,
        # A small one: how near a text comes to the penalty depends on its length.
        arguments={"max_penalty": -1e-3},
    )

    def __init__(
        self,
        n: int = 3,
        max_penalty: float = -1.0,
        unit: Piece = "words",
        completion: str = "completion",
    ) -> None:
        super().__init__()
        if n < 1 or n != int(n):
            raise ValueError(f"repetition: n is {n!r}, it must be an integer of at least 1")
        if not (math.isfinite(max_penalty) and max_penalty < 0):
            raise ValueError(f"repetition: max_penalty is {max_penalty}, it must be negative")
        if unit not in PIECES:
            raise ValueError(f"repetition: unit is {unit!r}, not one of {', '.join(PIECES)}")
        self.n, self.max_penalty = int(n), float(max_penalty)
        self.unit, self.completion = unit, completion
        options = {"n": self.n, "max_penalty": self.max_penalty, "unit": unit}
        bounds = (self.max_penalty, 0.0)
        self.by_row(grade, (completion,), options, bounds=bounds, text=unit != "tokens")
