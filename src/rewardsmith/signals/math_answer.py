"""Signal: whether a completion's final answer equals the right one, exactly."""

from ..core.catalog import method
from ..core.contract import Contract
from ..core.execution import Execution
from ..core.rows import RowReward
from ..rules.extraction import AUTO
from ..rules.maths import grade


@method("math_answer", kind="signal")
class MathAnswer(RowReward):
    """1 if the final answer of a completion equals the gold one, else 0.

    Args:
        gold: the column of the right answers.
        completion: the column of the completions.
        answer: where in a completion its answer stands: ``auto``, ``boxed``, ``tag``, ``last
            number``, ``all``, or a marker such as ``A:``.
        fast: whether numbers are compared exactly before math-verify is asked.

    Raises:
        ValueError: ``answer`` is empty.
    """

    contract = Contract(
        full={"completion": r"Half of it: $\boxed{\frac{1}{2}}$.", "answer": "0.5"},
        zero={"completion": r"It is $\boxed{\frac{1}{3}}$.", "answer": "0.5"},
        malformed={"completion": "\x00 I would say 0.5", "answer": "0.5"},
    )

    def __init__(
        self,
        gold: str = "answer",
        completion: str = "completion",
        answer: str = AUTO,
        fast: bool = True,
    ) -> None:
        super().__init__()
        if not answer.strip():
            raise ValueError("math_answer: answer is empty, it says where the answer stands")
        self.gold, self.completion, self.answer, self.fast = gold, completion, answer, fast
        self.by_row(
            grade,
            (completion, gold),
            {"answer": answer, "fast": fast},
            preload=("rewardsmith.rules.symbolic",),
        )

    def execution(self) -> Execution:
        # An expression may take sympy for ever; here, nothing could end that. Imported late: what
        # sets its own executor needs no pebble.
        from ..engine.processes import shared

        return shared()
