"""Advantages of which only the negative ones are kept."""

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .outcomes import Baseline, Outcomes, Scale, Singleton


@method(
    "negatives_only",
    kind="advantage",
    seed=132,
    paper=Paper(
        "2510.04028",
        "The Debate on RLVR Reasoning Capability Boundary: Shrinkage, Expansion, or Both? A "
        "Two-Stage Dynamic View",
        2025,
    ),
)
def negatives_only(
    rewards: Float[Tensor, " n"],
    group: Ids,
    *,
    keep: Bool[Tensor, " n"] | None = None,
    baseline: Baseline = "group",
    scale: Scale = "group",
    eps: float = 1e-6,
    ddof: int = 1,
    singleton: Singleton = "zero",
    ranks: Ranks = None,
) -> Advantages:
    """``A_i = min(A_i of grpo, 0)``: answers below their group's mean lose, none gains by itself.

    What they lose goes to all other answers in proportion to their probability, the rare ones
    included, where pushing up what was sampled concentrates on it. That the paper trains on
    relative negative gradients is its text; that they are GRPO's advantages, and divided as those
    are, is our reading.

    **Biased**, on purpose: half of the policy gradient is left out. Rows that are set to 0 still
    train (``keep`` does not change), so they count where a loss is averaged.

    A group of one row gets 0 and a warning, or its reward, if that is negative, with
    ``singleton="reward"``. A group whose rewards are all the same, be they all right, gets exactly
    0. A row without a score (``keep``) counts in no moment and gets 0.

    Args:
        rewards: [N] one per rollout, any unit.
        group: [N] ids of who is compared with whom.
        keep: [N] rows that have a score.
        baseline: the group's mean, or that of the others in it.
        scale: whose standard deviation divides, as in ``grpo``.
        eps: added to the standard deviation, in the unit of rewards.
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: what a rollout gets that is alone in its group.
        ranks: processes that hold parts of the batch.

    Returns:
        Advantages [N], at most 0; metric ``negative``, the share of rows below 0.

    Raises:
        ValueError: as ``grpo``.

    Source: Yao et al. 2025, section 4.
    """
    batch = Outcomes("negatives_only", rewards, group, keep, ranks)
    values = batch.scaled(batch.centered(baseline, singleton), scale, eps, ddof)
    values = np.minimum(values, 0.0)
    return batch.advantages(values, negative=np.count_nonzero(values) / max(len(batch), 1))
