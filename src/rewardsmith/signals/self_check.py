"""Pay an agent for judging rightly what its searches brought back (133, ReSeek)."""

import math
from collections.abc import Callable
from typing import Any

from ..core.catalog import Paper, method
from ..core.contract import Contract
from ..core.reference import ByName
from ..core.rows import RowReward
from ..rules.self_check import grade

_SEEN = "<information>Paris is the capital of France.</information>"


@method(
    "self_check",
    kind="signal",
    seed=133,
    paper=Paper(
        "2510.00568",
        "ReSeek: A Self-Correcting Framework for Search Agents with Instructive Rewards",
        2025,
    ),
)
class SelfCheck(RowReward):
    """``match`` for each right judgment of an observation, ``-mismatch`` for each wrong one.

    An observation should be judged good if a scorer finds the reference in it, else bad; how an
    episode is read and judgments are counted: :mod:`rewardsmith.rules.self_check`. Add it to the
    reward for the final answer. The sizes and the threshold are our reading; so is dividing by the
    number of judgments, without which judging more pays more.

    The scorer sees the answer only. In a question of two hops the document with the bridge does not
    hold it, and judging it rightly costs; give the supporting facts as further references, or set
    ``settled``, as the published code does: then ``good`` is right in every episode whose final
    ``<answer>`` is, whatever was observed.

    A missing reference fails the row. ``info["why"]`` tells where nothing was judged, where
    judgments had no observation, and where the question already holds the reference.

    Args:
        gold: the column of references; a row may hold a list of which any will do.
        completion: the column of episodes: chat messages or text with blocks.
        question: the column of questions, only read to tell that they hold the reference; None
            leaves it out.
        match: paid for a right judgment.
        mismatch: taken for a wrong one; both 0 leave the outcome alone.
        threshold: what the scorer has to give an observation that is good.
        normalize: divide by the number of judgments; the score then lies in [-mismatch, match].
        settled: count ``good`` as right wherever the final answer is.
        scorer: ``(observation, reference) -> float``; None for the share of the reference's words.

    Raises:
        ValueError: a size that is negative or not finite, or a threshold that is not finite.
    """

    contract = Contract(
        full={
            "completion": f"{_SEEN}<judge>good</judge><answer>Paris</answer>",
            "answer": "Paris",
            "prompt": "What is the capital of France?",
        },
        zero={
            "completion": f"{_SEEN}<judge>bad</judge><answer>Lyon</answer>",
            "answer": "Paris",
            "prompt": "What is the capital of France?",
        },
        malformed={
            "completion": f"{_SEEN}<judge>perhaps</judge>",
            "answer": "Paris",
            "prompt": "What is the capital of France?",
        },
    )

    def __init__(
        self,
        gold: str = "answer",
        completion: str = "completion",
        question: str | None = "prompt",
        match: float = 0.1,
        mismatch: float = 0.1,
        threshold: float = 0.5,
        normalize: bool = True,
        settled: bool = False,
        scorer: Callable[[str, str], float] | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("match", match), ("mismatch", mismatch)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"self_check: {name} is {value}, it must be 0 or more")
        if not math.isfinite(threshold):
            raise ValueError(f"self_check: threshold is {threshold}")
        self.gold, self.completion, self.question = gold, completion, question
        self.match, self.mismatch, self.threshold = float(match), float(mismatch), float(threshold)
        self.normalize, self.settled, self.scorer = normalize, settled, scorer
        options: dict[str, Any] = {
            "match": self.match,
            "mismatch": self.mismatch,
            "threshold": self.threshold,
            "normalize": normalize,
            "settled": settled,
        }
        if scorer is not None:
            options["scorer"] = ByName(scorer)
        columns = (completion, gold) if question is None else (completion, gold, question)
        bounds = (0.0 - self.mismatch, self.match) if normalize else (-math.inf, math.inf)
        self.by_row(grade, columns, options, bounds=bounds, text=False)
