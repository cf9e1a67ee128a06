"""Screening decisions and their evidence, and the sum that the paper rewards (061)."""

import math
import warnings
from collections.abc import Mapping, Sequence

from ..core.algebra import WeightedSum
from ..core.catalog import Paper, method
from ..core.contract import Contract
from ..core.reward import Reward
from ..core.rows import RowReward
from ..rules.screening import decision, evidence_overlap

WEIGHTS = {"decision": 0.5, "format": 0.2, "evidence": 0.2, "length": 0.1}
"""What the four criteria weigh: our reading, for the paper's numbers are not to be had."""


@method(
    "screening",
    kind="signal",
    seed=61,
    paper=Paper(
        "2511.16073",
        "A Mathematical Framework for Custom Reward Functions in Job Application Evaluation using "
        "Reinforcement Learning",
        2025,
    ),
)
class Screening(RowReward):
    """1 for the right decision among a few labels, ``-penalty`` for a wrong one.

    How a decision is found in what follows the thought:
    :func:`~rewardsmith.rules.screening.decision_of`. A completion without
    a clear one scores like a wrong one, with the reason in ``info["why"]``: were silence cheaper
    than an error, a policy would learn silence.

    Alone, the size of the penalty changes nothing for estimators that divide by the group's
    standard deviation: two values are two values. It counts against the other parts of a sum, and
    there large ones taught the paper's model to reject everybody. Keep it below 1.

    Args:
        gold: the column of right decisions.
        completion: the column of completions.
        labels: what can be decided.
        penalty: what an error costs, at least 0.

    Raises:
        ValueError: fewer than two labels, labels that are empty or alike, or a penalty that is
            negative or not finite.
    """

    contract = Contract(
        full={"completion": "Ten years of Python.\nDecision: SELECTED", "answer": "SELECTED"},
        zero={"completion": "No degree.\nDecision: REJECTED", "answer": "SELECTED"},
        malformed={"completion": "SELECTED or REJECTED?", "answer": "SELECTED"},
    )

    def __init__(
        self,
        gold: str = "answer",
        completion: str = "completion",
        labels: Sequence[str] = ("SELECTED", "REJECTED"),
        penalty: float = 0.25,
    ) -> None:
        super().__init__()
        self.labels = tuple(labels)
        if len(self.labels) < 2 or not all(label.strip() == label != "" for label in self.labels):
            raise ValueError(f"screening: labels are {labels}; give two words or more")
        if len({label.casefold() for label in self.labels}) < len(self.labels):
            raise ValueError(f"screening: labels {labels} differ in case only")
        if not (math.isfinite(penalty) and penalty >= 0):
            raise ValueError(f"screening: penalty is {penalty}, it must be 0 or more")
        self.gold, self.completion, self.penalty = gold, completion, float(penalty)
        options = {"labels": self.labels, "penalty": self.penalty}
        self.by_row(decision, (completion, gold), options, bounds=(0.0 - self.penalty, 1.0))


@method(
    "evidence_overlap",
    kind="signal",
    seed=61,
    paper=Paper(
        "2511.16073",
        "A Mathematical Framework for Custom Reward Functions in Job Application Evaluation using "
        "Reinforcement Learning",
        2025,
    ),
)
class EvidenceOverlap(RowReward):
    """The share of a rationale's words that stand in the document it judges, in [0, 1].

    The measure is our reading. It is a share of what was *said*, so one quoted word, or the whole
    document copied, scores 1: use it beside a length band and with a small weight.

    Args:
        document: the column of documents (a resume).
        completion: the column of completions.
    """

    contract = Contract(
        full={"completion": "Python experience", "document": "Experience: ten years of Python."},
        zero={"completion": "Knows Haskell", "document": "Experience: ten years of Python."},
        malformed={"completion": "", "document": "Experience: ten years of Python."},
    )

    def __init__(self, document: str = "document", completion: str = "completion") -> None:
        super().__init__()
        self.document, self.completion = document, completion
        self.by_row(evidence_overlap, (completion, document))


def screening_sum(
    parts: Mapping[str, Reward], weights: Mapping[str, float] | None = None
) -> WeightedSum:
    """The paper's weighted sum over criteria, as a :class:`~rewardsmith.core.algebra.WeightedSum`.

    ``r = 0.5 decision + 0.2 format + 0.2 evidence + 0.1 length``: parts and weights are our
    reading. Each part stays visible in ``Scores.parts``.

    Args:
        parts: the criteria by name.
        weights: of each; default :data:`WEIGHTS`. A sum other than 1 is warned of: the total is
            then not on the scale of a single criterion.

    Raises:
        ValueError: names that differ, or a weight that is not finite.
    """
    if weights is None:
        unknown = sorted(parts.keys() - WEIGHTS.keys())
        if unknown:
            raise ValueError(f"no weight is known for {unknown}: give weights")
        weights = {name: WEIGHTS[name] for name in parts}
    made = WeightedSum(parts, weights)
    total = math.fsum(weights.values())
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        warnings.warn(f"the weights of the criteria sum to {total:g}, not 1", stacklevel=2)
    return made
