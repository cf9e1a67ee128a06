"""A bonus for right answers that follow from their reasoning: GRPO-CARE."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.catalog import Paper, method
from ...core.warn import warn_caller
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .outcomes import Outcomes, agreed, flags


@method(
    "consistency_bonus",
    kind="credit",
    seed=155,
    paper=Paper(
        "2506.16141",
        "GRPO-CARE: Consistency-Aware Reinforcement Learning for Multimodal Reasoning",
        2025,
    ),
)
def consistency_bonus(
    accuracy: Float[Tensor, " n"],
    likelihood: Float[Tensor, " n"],
    group: Ids,
    *,
    answered: Bool[Tensor, " n"] | None = None,
    keep: Bool[Tensor, " n"] | None = None,
    weight: float = 0.5,
    margin: float = 0.01,
    cap: float = 0.95,
    least_accuracy: float = 0.1,
    ranks: Ranks = None,
) -> Float[Tensor, " n"]:
    """``b_i = weight a_i`` if i is accurate and ``c_i >= mean_S c - margin``, else 0.

    S are the accurate ones of a group: ``a_i > least_accuracy`` and ``a_i >= mean_g a``. c is how
    likely a slow copy of the policy finds the answer after the reasoning, at most ``cap``. It is a
    reward: add it to the others before advantages are taken, in the place of a KL penalty. The
    published setting takes ``grpo(accuracy + format + bonus, eps=1e-4)``, with a copy that moves
    by 0.005 toward the policy every 10 steps.

    As a reward it is a group's, no rollout's: what one gets depends on its peers. An estimator of
    the sum is as biased as it is for any reward, and pursues a goal that moves with the policy.

    A group without an accurate rollout has no bonus. In a group of one row an accurate rollout is
    its own mean and gets the whole bonus; a warning tells of it. A row without an answer span
    (``answered``) counts in the mean accuracy, but not in S, and gets 0; one without a score
    (``keep``) counts nowhere and gets 0, and what it holds may be anything.

    Peers: the authors' code has ``weight=1`` if not told otherwise. An answer without a span is
    the surest there (c = 1), which is harmless as long as it is not accurate.

    Args:
        accuracy: [N] how right each answer is; at most ``least_accuracy`` is wrong.
        likelihood: [N] c in [0, 1]: exp of the mean log-probability of the answer's tokens.
        group: [N] ids of who is compared with whom.
        answered: [N] rows in which an answer was found.
        keep: [N] rows that have a score.
        weight: the bonus for an accuracy of 1.
        margin: how far below the mean c may be.
        cap: c above it counts as this much, so that certainty is not rewarded without end.
        least_accuracy: what an accurate rollout exceeds, in the type of ``accuracy``.
        ranks: processes that hold parts of the batch.

    Returns:
        The bonus [N], between 0 and ``weight * accuracy``, in the type of ``accuracy``.

    Raises:
        ValueError: a number that counts is not finite, a likelihood outside [0, 1], lengths that
            disagree, weight or margin below 0, least_accuracy below 0, or a cap outside (0, 1].

    Source: Chen et al. 2025; the authors' trainer, ``TencentARC/GRPO-CARE``.
    """
    _check_options(weight, margin, cap, least_accuracy)

    def local() -> dict[str, Tensor]:
        n = len(accuracy)
        found = torch.ones(n, dtype=torch.bool)
        if answered is not None:
            found = torch.from_numpy(flags("consistency_bonus", "answered", answered, n))
        if likelihood.shape != (n,):
            raise ValueError(
                f"consistency_bonus: {n} rows of accuracy, likelihood has the shape "
                f"{[*likelihood.shape]}"
            )
        sure = torch.where(found, likelihood.detach().cpu(), 0.0)
        return {"likelihood": sure, "answered": found}

    columns = agreed(local, ranks)
    batch = Outcomes("consistency_bonus", accuracy, group, keep, ranks, columns)
    sure = batch.columns["likelihood"]
    outside = batch.keep & ((sure < 0.0) | (sure > 1.0))
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"consistency_bonus: {batch.row(row)} has the likelihood {sure[row]:g}, outside "
            "[0, 1]; give exp(mean log-probability)"
        )
    _tell_alone(batch)
    accurate = batch.keep & (batch.columns["answered"] > 0.0)
    # Deviations of numbers that are the same are exactly 0; a mean of theirs is off by a rounding.
    accurate &= batch.above(least_accuracy) & (batch.deviations >= 0.0)
    peers = Outcomes(
        "consistency_bonus",
        torch.from_numpy(np.minimum(sure, cap)),
        batch.index,
        torch.from_numpy(accurate),
    )
    bonus = np.where(accurate & (peers.deviations >= -margin), weight * batch.rewards, 0.0)
    return batch.advantages(bonus).values


def _check_options(weight: float, margin: float, cap: float, least_accuracy: float) -> None:
    options = {"weight": weight, "margin": margin, "least_accuracy": least_accuracy}
    for name, number in options.items():
        if not number >= 0.0 or (name == "weight" and math.isinf(number)):
            raise ValueError(f"consistency_bonus: {name} is {number}, it must be at least 0")
    if not 0.0 < cap <= 1.0:
        raise ValueError(f"consistency_bonus: cap is {cap}, it must lie in (0, 1]")


def _tell_alone(batch: Outcomes) -> None:
    if batch.alone().any():
        warn_caller(
            "consistency_bonus: rollouts that are alone in their group get the whole bonus if they "
            "are accurate; sample several for each prompt and give them one group"
        )
