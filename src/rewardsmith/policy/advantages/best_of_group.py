"""Advantages for the best answer of a group alone: pass@k."""

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .outcomes import Outcomes, Scale, Singleton


@method(
    "pass_at_k",
    kind="advantage",
    paper=Paper(
        "2503.19595",
        "Optimizing Language Models for Inference Time Objectives using Reinforcement Learning",
        2025,
    ),
)
def pass_at_k(
    rewards: Float[Tensor, " n"],
    group: Ids,
    *,
    keep: Bool[Tensor, " n"] | None = None,
    scale: Scale = "none",
    eps: float = 1e-6,
    ddof: int = 1,
    singleton: Singleton = "zero",
    ranks: Ranks = None,
) -> Advantages:
    """The best of a group gets ``R_best - R_second``, the others 0.

    **Unbiased for the expected best of k answers**, k being the rows of the group: the baseline of
    answer i is the best of the others, which does not depend on it, and ``max - max_{j != i}`` is 0
    but for the best. With rewards of 0 or 1 the objective is pass@k. It holds for tokens and
    answers of a group that are summed. **Biased for the expected reward**, which it does not
    pursue: an answer that is merely good gets nothing. Dividing (``scale``) biases it for pass@k as
    well, toward groups with little spread.

    Where two or more are best, all get exactly 0: with rewards of 0 or 1, only groups with one
    right answer train. A group of one row gets 0 and a warning, or its reward with
    ``singleton="reward"``. A row without a score (``keep``) is neither best nor second, counts in
    no moment and gets 0; k is then the number of those that have one.

    Peers: verl's ``grpo_passk`` has ``scale="group"`` and raises for a group of one row.

    Args:
        rewards: [N] one per rollout, any unit.
        group: [N] ids of who is compared with whom.
        keep: [N] rows that have a score.
        scale: whose standard deviation divides, as in ``grpo``; or ``"none"``'s.
        eps: added to the standard deviation, in the unit of rewards.
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: what a rollout gets that is alone in its group.
        ranks: processes that hold parts of the batch.

    Returns:
        Advantages [N], at least 0 (but for ``singleton="reward"``).

    Raises:
        ValueError: a kept reward is not finite, lengths disagree, or an option is unknown.

    Source: Tang et al. 2025.
    """
    batch = Outcomes("pass_at_k", rewards, group, keep, ranks)
    # Rows that are not kept come last in their group, and are nobody's second.
    order = batch.groups.ranked(np.where(batch.keep, batch.rewards, -np.inf))
    best = np.searchsorted(batch.index[order], np.flatnonzero(batch.count >= 2.0))
    first, second = order[best], order[best + 1]
    values = np.zeros(len(batch))
    values[first] = batch.rewards[first] - batch.rewards[second]
    values = batch.alone_get(batch.rewards, values, singleton)
    return batch.advantages(batch.scaled(values, scale, eps, ddof))
