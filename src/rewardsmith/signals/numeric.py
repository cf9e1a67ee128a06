"""Signal: whether a completion's final answer is near enough to a number, in its unit."""

import math

from ..core.catalog import method
from ..core.contract import Contract
from ..core.rows import RowReward
from ..rules.extraction import AUTO
from ..rules.numeric import UNITS, grade


@method("numeric_answer", kind="signal")
class NumericAnswer(RowReward):
    """1 if ``|a - g| <= max(rel_tol |g|, abs_tol)`` in the gold number's unit, else 0.

    Args:
        gold: the column of the right numbers, perhaps with units.
        completion: the column of the completions.
        answer: where in a completion its answer stands, as for ``math_answer``.
        rel_tol: tolerance relative to the gold number.
        abs_tol: tolerance in the gold number's unit.
        unit: whether the answer's unit is ``required``, ``optional`` or ``ignored``.

    Raises:
        ValueError: a tolerance is negative or not finite, or an option is unknown.
    """

    contract = Contract(
        full={"completion": r"That makes \boxed{1.5\text{ km}}.", "answer": "1500 m"},
        zero={"completion": r"That makes \boxed{1.5\text{ m}}.", "answer": "1500 m"},
        malformed={"completion": r"That makes \boxed{\infty}.", "answer": "1500 m"},
    )

    def __init__(
        self,
        gold: str = "answer",
        completion: str = "completion",
        answer: str = AUTO,
        rel_tol: float = 0.0,
        abs_tol: float = 0.0,
        unit: str = "optional",
    ) -> None:
        super().__init__()
        if not answer.strip():
            raise ValueError("numeric_answer: answer is empty, it says where the answer stands")
        if unit not in UNITS:
            raise ValueError(f"numeric_answer: unit is {unit!r}, not one of {', '.join(UNITS)}")
        for name, value in (("rel_tol", rel_tol), ("abs_tol", abs_tol)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"numeric_answer: {name} is {value}, not a finite number >= 0")
        self.gold, self.completion, self.answer = gold, completion, answer
        self.rel_tol, self.abs_tol, self.unit = float(rel_tol), float(abs_tol), unit
        self.by_row(
            grade,
            (completion, gold),
            {
                "answer": answer,
                "rel_tol": self.rel_tol,
                "abs_tol": self.abs_tol,
                "unit": unit,
            },
        )
