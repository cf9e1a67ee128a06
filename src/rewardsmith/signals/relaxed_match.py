"""Verifiers for types of answers that need not be exact (159, Mixed-R1; 093, VaseVL)."""

from ..core.catalog import Paper, method
from ..core.contract import Contract
from ..core.rows import RowReward
from ..rules.extraction import AUTO
from ..rules.intervals import interval_overlap
from ..rules.relaxed import keyword_f1, relaxed_match


@method(
    "relaxed_match",
    kind="signal",
    seed=159,
    paper=Paper(
        "2505.24164",
        "Mixed-R1: Unified Reward Perspective For Reasoning Capability in Multimodal Large "
        "Language Models",
        2025,
    ),
)
class RelaxedMatch(RowReward):
    """1 if the answer is within 5 % of a number, or the same text, else 0.

    The usual relaxed accuracy on charts; that the source uses it is our reading. A relative
    tolerance is meant for quantities read off a chart: of the year 2000 it lets 1900 pass.

    Args:
        gold: the column of references, text or numbers. An empty one fails its row.
        completion: the column of text or chat messages.
        answer: where the answer stands: ``auto``, ``boxed``, ``tag``, ``last number``, ``all``, or
            a marker such as ``A:``.
        tolerance: the share of the reference that a number may be off.

    Raises:
        ValueError: a tolerance outside [0, 1), or an empty ``answer``.
    """

    contract = Contract(
        full={"completion": "It is <answer>1,050</answer>", "answer": 1000},
        zero={"completion": "It is <answer>1,051</answer>", "answer": 1000},
        malformed={"completion": "some", "answer": 1000},
    )

    def __init__(
        self,
        gold: str = "answer",
        completion: str = "completion",
        answer: str = AUTO,
        tolerance: float = 0.05,
    ) -> None:
        super().__init__()
        _check_answer(self.method_name, answer)
        if not 0 <= tolerance < 1:
            raise ValueError(f"relaxed_match: tolerance is {tolerance}, not within 0 and 1")
        self.gold, self.completion, self.answer = gold, completion, answer
        self.tolerance = float(tolerance)
        options = {"answer": answer, "tolerance": self.tolerance}
        self.by_row(relaxed_match, (completion, gold), options)


@method("keyword_f1", kind="signal", seed=93)
class KeywordF1(RowReward):
    """``2 |A and B| / (|A| + |B|)`` of the sets of words of answer and reference, in [0, 1].

    Args:
        gold: the column of references. One without a word fails its row.
        completion: the column of text or chat messages.
        answer: where the answer stands, as for :class:`RelaxedMatch`.

    Raises:
        ValueError: an empty ``answer``.
    """

    contract = Contract(
        full={"completion": "<answer>Horse and rider</answer>", "answer": "rider and horse"},
        zero={"completion": "<answer>a ship</answer>", "answer": "rider, horse"},
        malformed={"completion": "<think>horse", "answer": "rider, horse"},
    )

    def __init__(
        self, gold: str = "answer", completion: str = "completion", answer: str = AUTO
    ) -> None:
        super().__init__()
        _check_answer(self.method_name, answer)
        self.gold, self.completion, self.answer = gold, completion, answer
        self.by_row(keyword_f1, (completion, gold), {"answer": answer})


@method("interval_overlap", kind="signal", seed=93)
class IntervalOverlap(RowReward):
    """``|A and B| / |A or B|`` in years of the answer's range and the reference's, in [0, 1].

    Args:
        gold: the column of references: two whole numbers, or text such as ``550-525 BC``. One that
            is no range fails its row.
        completion: the column of text or chat messages.
        answer: where the answer stands, as for :class:`RelaxedMatch`.
        strict: a range that ends before it begins scores 0 instead of being turned around.

    Raises:
        ValueError: an empty ``answer``.
    """

    contract = Contract(
        full={"completion": "<answer>550-525 BC</answer>", "answer": "-550 to -525"},
        zero={"completion": "<answer>524 BC</answer>", "answer": "-550 to -525"},
        malformed={"completion": "<answer>archaic</answer>", "answer": "-550 to -525"},
    )

    def __init__(
        self,
        gold: str = "answer",
        completion: str = "completion",
        answer: str = AUTO,
        strict: bool = False,
    ) -> None:
        super().__init__()
        _check_answer(self.method_name, answer)
        self.gold, self.completion, self.answer, self.strict = gold, completion, answer, strict
        self.by_row(interval_overlap, (completion, gold), {"answer": answer, "strict": strict})


def _check_answer(name: str, answer: str) -> None:
    if not answer.strip():
        raise ValueError(f"{name}: answer is empty, it says where the answer stands")
