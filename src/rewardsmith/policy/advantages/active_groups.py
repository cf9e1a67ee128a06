"""Advantages that make up for the groups that say nothing: GPG."""

import math
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .outcomes import Outcomes, Singleton

Alpha: TypeAlias = Literal["groups", "nonzero"] | float


@method(
    "gpg",
    kind="advantage",
    paper=Paper(
        "2504.02546",
        "GPG: A Simple and Strong Reinforcement Learning Baseline for Model Reasoning",
        2025,
    ),
)
def gpg(
    rewards: Float[Tensor, " n"],
    group: Ids,
    *,
    keep: Bool[Tensor, " n"] | None = None,
    alpha: Alpha = "groups",
    f_norm: float = 1.0,
    singleton: Singleton = "zero",
    ranks: Ranks = None,
) -> Advantages:
    """``A_i = alpha (R_i - mean_g) / F``, alpha the share of groups that say something, inverted.

    A group whose rewards are all the same gives no gradient, but counts where a loss is averaged.
    ``alpha="groups"`` is ``B / (B - M)`` for B groups, M of them constant: it makes the mean over
    all groups one over those that say something. That this is the paper's alpha is our reading of
    its description. The loss that belongs to it is ``-A log pi``, without ratio or clip.

    **Biased.** The mean contains the rollout's own reward, which shrinks the expected gradient by
    ``(n - 1) / n``. alpha depends on the rewards as well: a batch with many constant groups is
    scaled up, so that prompts count for more where the others of their batch say little.

    A group of one row gets 0 and a warning, and counts as constant; with ``singleton="reward"`` it
    gets its reward and does not. If all groups are constant, all advantages are 0 and alpha is 1.
    A row without a score (``keep``) counts in no moment and gets 0; a group without any score
    counts neither in B nor in M.

    Peers: verl has ``alpha="nonzero"`` (it takes, and ignores, a number) and
    ``singleton="reward"``. The two alphas differ: "nonzero" takes an answer with the reward 0 for
    one that says nothing, and a group that is all right for one that says something.

    Args:
        rewards: [N] one per rollout, any unit.
        group: [N] ids of who is compared with whom.
        keep: [N] rows that have a score.
        alpha: ``"groups"``; ``"nonzero"``, rows over rows whose reward is not 0; or a number.
        f_norm: F, which divides.
        singleton: what a rollout gets that is alone in its group.
        ranks: processes that hold parts of the batch; alpha is of all of it.

    Returns:
        Advantages [N], in the unit of rewards; metric ``alpha``.

    Raises:
        ValueError: a kept reward is not finite, lengths disagree, an option is unknown, or alpha or
            f_norm is not above 0.

    Source: Chu et al. 2025.
    """
    for name, number in (("alpha", alpha), ("f_norm", f_norm)):
        if not isinstance(number, str) and not (math.isfinite(number) and number > 0.0):
            raise ValueError(f"gpg: {name} is {number}, it must be above 0")
    batch = Outcomes("gpg", rewards, group, keep, ranks)
    if isinstance(alpha, str):
        batch.check("alpha", alpha, ("groups", "nonzero"))
    centered = batch.centered("group", singleton)
    if alpha == "groups":
        silent = batch.constant
        if singleton == "reward":
            silent = silent & (batch.count != 1.0)
        scored = batch.count > 0.0
        groups, active = int(scored.sum()), int((scored & ~silent).sum())
        factor = groups / active if active else 1.0
    elif alpha == "nonzero":
        nonzero = int(np.count_nonzero(batch.kept(batch.rewards)))
        factor = int(batch.keep.sum()) / max(nonzero, 1)
    else:
        factor = float(alpha)
    return batch.advantages(centered * (factor / f_norm), alpha=factor)
