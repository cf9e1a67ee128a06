"""Advantages against a mean that weighs answers by their length: OPO."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .outcomes import Baseline, Outcomes, Singleton

Lengths: TypeAlias = Int[Tensor, " n"] | Float[Tensor, " n"]


@method(
    "opo",
    kind="advantage",
    paper=Paper("2505.23585", "On-Policy RL with Optimal Reward Baseline", 2025),
)
def opo(
    rewards: Float[Tensor, " n"],
    group: Ids,
    lengths: Lengths,
    *,
    keep: Bool[Tensor, " n"] | None = None,
    baseline: Baseline = "group",
    singleton: Singleton = "zero",
    ranks: Ranks = None,
) -> Advantages:
    """``A_i = R_i - sum_j L_j R_j / sum_j L_j`` over the group; it does not divide.

    The baseline with the least variance weighs rewards by ``|grad log pi|^2``. It is this one if
    that grows with the length and with nothing else, which is the paper's assumption.

    **Biased.** The baseline contains the rollout's own reward: ``A_i`` is ``1 - L_i / sum L`` times
    what it is against the others. That factor depends on the answer, for long ones are shrunk
    more, so unlike ``dr_grpo``'s the direction changes too, if lengths differ.
    ``baseline="others"`` leaves the own reward out and is unbiased.

    A group of one row gets 0 and a warning, or its reward with ``singleton="reward"``. A group
    whose rewards are all the same gets exactly 0. A row without a score (``keep``) counts in no
    baseline and gets 0; its length may be anything. ``sum L_i A_i`` over a group is 0.

    Peers: verl has ``singleton="reward"``.

    Args:
        rewards: [N] one per rollout, any unit.
        group: [N] ids of who is compared with whom.
        lengths: [N] tokens that the policy chose, or any other weight above 0.
        keep: [N] rows that have a score.
        baseline: that of the group, or of the others in it.
        singleton: what a rollout gets that is alone in its group.
        ranks: processes that hold parts of the batch.

    Returns:
        Advantages [N], in the unit of rewards.

    Raises:
        ValueError: a kept reward is not finite, a kept length is not above 0, lengths disagree, or
            an option is unknown.

    Source: Hao et al. 2025.
    """
    batch = Outcomes("opo", rewards, group, keep, ranks, {"lengths": lengths})
    batch.check("baseline", baseline, ("group", "others"))
    weight = batch.columns["lengths"]
    empty = batch.keep & (weight <= 0.0)
    if empty.any():
        row = int(empty.argmax())
        raise ValueError(
            f"opo: {batch.row(row)} has the length {weight[row]:g}, it must be above 0; leave "
            "rollouts out in which the policy chose nothing: keep"
        )
    weight = batch.kept(weight)
    total = batch.groups.sum(weight)
    # Counted from the mean, large rewards keep their digits and constant groups stay exactly 0.
    away = batch.deviations
    shift = batch.groups.sum(weight * away) / np.where(total == 0.0, 1.0, total)
    values = away - shift[batch.index]
    if baseline == "others":
        rest = total[batch.index] - weight
        values = values * total[batch.index] / np.where(rest == 0.0, 1.0, rest)
    return batch.advantages(batch.alone_get(batch.rewards, values, singleton))
