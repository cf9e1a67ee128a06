"""Signal: whether a completion names the right letter of a multiple choice."""

from ..core.catalog import method
from ..core.contract import Contract
from ..core.rows import RowReward
from ..rules.choice import grade
from ..rules.extraction import AUTO


@method("choice", kind="signal")
class Choice(RowReward):
    """1 if a completion names the right choice and no other, else 0.

    Args:
        gold: the column of the right letters; with ``options`` also texts, or indices from 0.
        completion: the column of the completions.
        options: the column of the choices' texts, in order or by letter, if there is one.
        answer: where in a completion its answer stands, as for ``math_answer``.

    Raises:
        ValueError: ``answer`` is empty.
    """

    contract = Contract(
        full={"completion": "It barks, so the answer is (B).", "answer": "B"},
        zero={"completion": "It barks, so the answer is (C).", "answer": "B"},
        malformed={"completion": "A dog \x00 barks. \nBoth may be.", "answer": "B"},
    )

    def __init__(
        self,
        gold: str = "answer",
        completion: str = "completion",
        options: str | None = None,
        answer: str = AUTO,
    ) -> None:
        super().__init__()
        if not answer.strip():
            raise ValueError("choice: answer is empty, it says where the answer stands")
        self.gold, self.completion, self.options, self.answer = gold, completion, options, answer
        columns = (completion, gold) if options is None else (completion, gold, options)
        self.by_row(grade, columns, {"answer": answer})
