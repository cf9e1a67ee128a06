"""Advantages of thoughts: steps of one judgment, merged, each paid once (TP-GRPO)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ...core.advantages import Advantages
from ...core.bases import Estimator
from ...core.catalog import Paper, method
from ...core.errors import MissingColumn
from ...core.rollouts import Rollouts
from ...core.scores import Scores
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .outcomes import Outcomes, Singleton, agreed
from .spans import numbered


def thought_advantages(
    rewards: Float[Tensor, " n"],
    labels: Int64[Tensor, "n k"],
    steps: Int64[Tensor, "n t"],
    group: Ids,
    mask: Bool[Tensor, "n t"],
    *,
    alpha: float,
    keep: Bool[Tensor, " n"] | None = None,
    threshold: float = 0.5,
    eps: float = 1e-6,
    ddof: int = 1,
    singleton: Singleton = "zero",
    ranks: Ranks = None,
) -> Advantages:
    """Outcome advantages, taken back at the tokens of steps that the answer does not come from.

    ``r_o`` is GRPO's advantage of the solution, ``r_c = alpha`` times the share of the group's
    solutions that are correct. A step's label is 1 where it goes with the answer: in a correct
    solution it is right, in a wrong one it leads to the wrong answer. Else it is 0: wrong, and
    undecided. Consecutive steps of one label are one thought::

        solution   thought's label   paid    advantage of its tokens
        correct    1                 r_c     r_o
        correct    0                -r_c     r_o - r_c
        wrong      1                 r_o     r_o
        wrong      0                -r_o     0

    The last thought holds the answer and is paid ``r_o``. The advantage is the sum of what a
    thought and all after it are paid; since labels alternate between thoughts, it is the last
    column, however many thoughts there are: ``|A| <= |r_o| + r_c``. Splitting a thought into more
    steps changes nothing.

    **Biased**, as GRPO is, and by the judge: what is paid to thoughts is no part of the return.

    A group of one solution has ``r_o = 0`` and a warning, or its reward with
    ``singleton="reward"``. In a constant group ``r_o`` is 0, and only wrong thoughts of correct
    solutions have an advantage, ``-r_c``. A row without a score counts in no moment and gets 0.

    Args:
        rewards: [N] outcomes, such as 0 and 1, or -1 and 1.
        labels: [N, K] of each step 1 or 0, and -1 behind the last.
        steps: [N, T] the step that a token lies in, counted from 0 in each row, -1 outside.
        group: [N] ids of who is compared with whom.
        mask: [N, T] the tokens that the policy chose; each lies in a step.
        alpha: r_c in a group that is always correct, in the unit of advantages; at least 0.
        keep: [N] rows that have a score.
        threshold: a solution is correct if its reward is above this, in the type of ``rewards``.
        eps: as in ``grpo``, like what follows.
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: what a solution gets that is alone in its group.
        ranks: processes that hold parts of the batch.

    Returns:
        Advantages [N, T], 0 where ``mask`` is not, and the metric ``accuracy``.

    Raises:
        ValueError: a kept row whose last step has the label 0, whose labels are not as many as its
            steps, or that has a token in no step or a step without a token; shapes that disagree,
            or an option out of range.

    Source: He et al. 2025. The closed form is derived from what the paper pays; alpha is not known
    to us from it.
    """
    if not 0.0 <= alpha < float("inf"):
        raise ValueError(f"thought_level: alpha is {alpha}, it must be at least 0")
    scored = mask.new_ones(len(mask)) if keep is None else keep
    goes = agreed(lambda: _label_of_token(labels, steps, mask, scored), ranks)
    batch = Outcomes("thought_level", rewards, group, keep, ranks)
    right = batch.above(threshold).astype(np.float64)
    accuracy = batch.group_mean(right)
    centered = batch.centered("group", singleton)
    mean_accuracy = float(right.sum() / max(np.count_nonzero(batch.keep), 1))
    outcome = batch.advantages(batch.scaled(centered, "group", eps, ddof), accuracy=mean_accuracy)
    paid = batch.column(alpha * accuracy[batch.index])[:, None]
    r_o = outcome.values[:, None]
    correct = batch.column(right)[:, None] > 0.0
    wrong_thought = torch.where(correct, r_o - paid, 0.0)
    values = torch.where(goes, r_o, wrong_thought)
    return Advantages(
        torch.where(mask & scored[:, None], values, 0.0), outcome.keep, metrics=outcome.metrics
    )


@method(
    "thought_level",
    kind="advantage",
    seed=42,
    paper=Paper(
        "2507.23317",
        "Good Learners Think Their Thinking: Generative PRM Makes Large Reasoning Model More "
        "Efficient Math Learner",
        2025,
    ),
)
class ThoughtLevel(Estimator):
    """Outcome advantages corrected by labels of steps, merged into thoughts (TP-GRPO).

    The formula, what biases it and what groups of one, constant groups and missing scores give are
    :func:`thought_advantages`'. It reads the span ``"step"`` and a column of labels, and it
    remembers nothing.

    Args:
        alpha: r_c in a group that is always correct, in the unit of advantages.
        labels: the column of labels: for each row 1 or 0 for each step, as a list or a row of a
            tensor that ends in -1.
        threshold: a solution is correct if its reward is above this.
        eps: as in ``grpo``, like what follows.
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: what a solution gets that is alone in its group.
        ranks: processes that hold parts of the batch; a spec leaves it out.

    Raises:
        ValueError: in ``forward``, as :func:`thought_advantages`. MissingColumn: the column or the
            span is not there.

    Source: He et al. 2025.
    """

    def __init__(
        self,
        alpha: float,
        labels: str = "step_labels",
        threshold: float = 0.5,
        eps: float = 1e-6,
        ddof: int = 1,
        singleton: Singleton = "zero",
        ranks: Any = None,  # Ranks, which no spec can hold and its schema does not know
    ) -> None:
        super().__init__()
        self.alpha, self.labels, self.threshold = float(alpha), labels, float(threshold)
        self.eps, self.ddof, self.singleton, self.ranks = float(eps), ddof, singleton, ranks

    def forward(self, rollouts: Rollouts, scores: Scores) -> Advantages:
        if "step" not in rollouts.spans:
            raise MissingColumn("step", needed_by="thought_level, a span", present=rollouts.spans)
        return thought_advantages(
            scores.total(),
            _padded(rollouts.column(self.labels, needed_by="thought_level")),
            rollouts.spans["step"],
            rollouts.group,
            rollouts.action_mask,
            alpha=self.alpha,
            keep=scores.scored,
            threshold=self.threshold,
            eps=self.eps,
            ddof=self.ddof,
            singleton=self.singleton,
            ranks=self.ranks,
        )


def _label_of_token(
    labels: Int64[Tensor, "n k"],
    steps: Int64[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    keep: Bool[Tensor, " n"],
) -> Bool[Tensor, "n t"]:
    """Whether a token's step goes with the answer; checked in rows that are kept."""
    if len(labels) != len(steps):
        raise ValueError(f"thought_level: {len(labels)} rows of labels, {len(steps)} of steps")
    looked_at = (mask | (steps >= 0)) & keep[:, None]
    number, count = numbered("thought_level", "step", steps, looked_at)
    skipped = looked_at & (number != steps)
    if bool(skipped.any()):
        row, token = skipped.nonzero()[0].tolist()
        raise ValueError(
            f"thought_level: row {row} has no token in step {int(number[row, token])}, its token "
            f"{token} lies in step {int(steps[row, token])}; steps are counted from 0 without a gap"
        )
    place = torch.arange(labels.shape[1], device=labels.device)
    inside = place < count[:, None]
    fits = torch.where(inside, (labels == 0) | (labels == 1), labels == -1).all(dim=1)
    fits &= count <= labels.shape[1]
    if bool((keep & ~fits).any()):
        row = int((keep & ~fits).nonzero()[0])
        raise ValueError(
            f"thought_level: row {row} has {int(count[row])} steps and the labels "
            f"{labels[row].tolist()}; each step needs 0 or 1, and -1 stands behind the last"
        )
    if labels.shape[1] == 0:
        return torch.zeros_like(mask)
    last = labels.gather(1, (count - 1).clamp(min=0)[:, None])[:, 0]
    odd = keep & (count > 0) & (last == 0)
    if bool(odd.any()):
        row = int(odd.nonzero()[0])
        raise ValueError(
            f"thought_level: the last step of row {row}, step {int(count[row]) - 1}, has the label "
            "0; it holds the answer, and goes with it: its label is 1"
        )
    return labels.gather(1, number.clamp(min=0)) == 1


def _padded(labels: Tensor | Sequence[Sequence[int]]) -> Int64[Tensor, "n k"]:
    if isinstance(labels, Tensor):
        return labels.long()
    longest = max((len(row) for row in labels), default=0)
    rows = [[*(int(label) for label in row), *[-1] * (longest - len(row))] for row in labels]
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), longest)
