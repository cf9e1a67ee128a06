"""Advantages from rewards per step: discounted returns, GAE, REINFORCE and REINFORCE++.

Steps outside ``mask`` are skipped: a step is discounted by the number of marked steps that lie
between, and neither a reward nor a value of a step that is not marked is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .outcomes import Outcomes, Singleton
from .step_rewards import StepRewards
from .whitening import standard


def discounted_returns(
    step_rewards: Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    *,
    gamma: float = 1.0,
    keep: Bool[Tensor, " n"] | None = None,
) -> Float[Tensor, "n t"]:
    """``G_t = R_t + gamma G_{t'}`` with t' the next marked step; 0 at steps that are not marked.

    Args:
        step_rewards: R [N, T], any unit; read only where ``mask`` is.
        mask: [N, T] steps that count.
        gamma: discount for each marked step, in [0, 1].
        keep: [N] rows that have a score; the others are 0.

    Returns:
        Returns [N, T], in the type of ``step_rewards``, or float32 if that is narrower.

    Raises:
        ValueError: shapes that disagree, ``gamma`` outside [0, 1], or a marked reward that is not
            finite; row and step are named.
    """
    steps = StepRewards("discounted_returns", step_rewards, mask, keep, gamma=gamma)
    returns = steps.returns(gamma).tensor(steps.kind)
    steps.check(returns)
    return returns


@method(
    "reinforce",
    kind="advantage",
    paper=Paper(
        "10.1007/BF00992696",
        "Simple statistical gradient-following algorithms for connectionist reinforcement learning",
        1992,
    ),
)
def reinforce(
    step_rewards: Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    *,
    gamma: float = 1.0,
    keep: Bool[Tensor, " n"] | None = None,
) -> Advantages:
    """``A_t = G_t``, the discounted return from the step on.

    **Unbiased** for the undiscounted objective with ``gamma=1``. With ``gamma < 1`` biased for
    both: for the undiscounted one, and for the discounted one, as the factor ``gamma^t`` of the
    step itself is left out, which is usual. There is no baseline: adding a constant to all rewards
    changes the variance.

    A row without a score (``keep``) gets 0.

    Args:
        step_rewards: R [N, T], any unit; read only where ``mask`` is.
        mask: [N, T] steps that the policy chose.
        gamma: discount for each marked step, in [0, 1].
        keep: [N] rows that have a score.

    Returns:
        Advantages [N, T], in the type of ``step_rewards``, or float32 if that is narrower.

    Raises:
        ValueError: as :func:`discounted_returns`.

    Source: Williams 1992; from the step on: Sutton et al. 2000.
    """
    steps = StepRewards("reinforce", step_rewards, mask, keep, gamma=gamma)
    returns = steps.returns(gamma).tensor(steps.kind)
    steps.check(returns)
    return Advantages(returns, steps.keep)


@method(
    "reinforce_plus_plus",
    kind="advantage",
    paper=Paper(
        "2501.03262",
        "REINFORCE++: A Simple and Efficient Approach for Aligning Large Language Models",
        2025,
    ),
)
def reinforce_plus_plus(
    step_rewards: Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    *,
    gamma: float = 1.0,
    eps: float = 1e-8,
    ddof: int = 1,
    floor: float = 0.0,
    keep: Bool[Tensor, " n"] | None = None,
    ranks: Ranks = None,
) -> Advantages:
    """``A = whiten(G)``: discounted returns, whitened over all marked steps of the batch.

    **Biased**, by an order of 1 over the number of marked steps: the mean contains the step's own
    return, and the scale is the batch's. The KL penalty of the paper is part of the reward.

    There are no groups; a row without a score (``keep``) counts in no moment and gets 0, and there
    is a warning if no row has one. Returns that are all the same give exactly 0.

    Peers: verl has these defaults. OpenRLHF ``ddof=0, eps=0.0, floor=1e-8``, and it discounts by
    steps that are not marked too.

    Args:
        step_rewards: R [N, T], any unit; read only where ``mask`` is.
        mask: [N, T] steps that the policy chose.
        gamma: discount for each marked step, in [0, 1].
        eps: added to the variance.
        ddof: 1 for the sample's variance, 0 for the population's.
        floor: what the variance is raised to if it is less.
        keep: [N] rows that have a score.
        ranks: processes that hold parts of the batch.

    Returns:
        Advantages [N, T], in the type of ``step_rewards``, or float32 if that is narrower.

    Raises:
        ValueError: as :func:`discounted_returns` and :func:`whiten`.

    Source: Hu et al. 2025.
    """
    name = "reinforce_plus_plus"
    steps = StepRewards(name, step_rewards, mask, keep, ranks, gamma=gamma)
    returns = steps.returns(gamma)
    rows = returns.moments()
    steps.check(rows)
    mean, scale = standard(
        name, rows, eps=eps, ddof=ddof, floor=floor, ranks=ranks, keep=steps.keep
    )
    return Advantages(returns.tensor(steps.kind, shift=mean, scale=scale), steps.keep)


@method(
    "reinforce_plus_plus_baseline",
    kind="advantage",
    paper=Paper(
        "2501.03262",
        "REINFORCE++: A Simple and Efficient Approach for Aligning Large Language Models",
        2025,
    ),
)
def reinforce_plus_plus_baseline(
    rewards: Float[Tensor, " n"],
    group: Ids,
    mask: Bool[Tensor, "n t"],
    *,
    eps: float = 1e-8,
    keep: Bool[Tensor, " n"] | None = None,
    singleton: Singleton = "zero",
    ranks: Ranks = None,
) -> Advantages:
    """``A_i = whiten(R_i - mean_g)``, whitened over the marked steps of the batch.

    A row's number stands at all its steps, so a row counts in mean and variance as often as it has
    marked steps.

    **Biased**: the group's mean contains the rollout's own reward, which shrinks the expected
    gradient by ``(n - 1) / n``; long rows weigh more in the mean that is taken off; the scale is
    the batch's.

    A group of one row gets 0 before whitening and a warning, or its reward with
    ``singleton="reward"``. A group whose rewards are all the same gets 0 before whitening. A row
    without a score (``keep``) counts in no moment and gets 0, and there is a warning if no row has
    one.

    Peers: verl has ``singleton="reward"``.

    Args:
        rewards: [N] one per rollout, any unit.
        group: [N] ids of who is compared with whom.
        mask: [N, T] steps that the policy chose.
        eps: added to the variance.
        keep: [N] rows that have a score.
        singleton: what a rollout gets, before whitening, that is alone in its group.
        ranks: processes that hold parts of the batch.

    Returns:
        Advantages [N], on the device and in the type of ``rewards``.

    Raises:
        ValueError: a kept reward is not finite, shapes disagree, an option is unknown or out of
            its range, or fewer than two steps of kept rows are marked.

    Source: Hu et al. 2025.
    """
    name = "reinforce_plus_plus_baseline"
    if mask.shape[:-1] != rewards.shape:
        shapes = f"{[*rewards.shape]}, mask {[*mask.shape]}"
        raise ValueError(f"{name}: rewards have the shape {shapes}; [N] and [N, T] are needed")
    batch = Outcomes(name, rewards, group, keep, ranks, {"lengths": mask.bool().sum(dim=1)})
    values = batch.centered("group", singleton)
    if not batch.keep.any():
        return batch.advantages(values)
    lengths = batch.kept(batch.columns["lengths"])
    rows = torch.from_numpy(np.stack([lengths, values, np.zeros(len(batch))], axis=1))
    # All ranks hold the rows of all.
    mean, scale = standard(name, rows, eps=eps)
    return batch.advantages((values - mean) * scale)


@dataclass(eq=False, kw_only=True)
class GeneralizedAdvantages(Advantages):
    """Advantages of a critic, and what the critic is fitted to."""

    returns: Float[Tensor, "n t"]
    """``A + V`` with A before whitening, TD(lambda); 0 where nothing is marked."""

    def select(self, rows: Sequence[int] | slice | Tensor) -> Self:
        """Those of some rows, and the returns of these."""
        return replace(super().select(rows), returns=self.returns[rows])


@method(
    "gae",
    kind="advantage",
    paper=Paper(
        "1506.02438",
        "High-Dimensional Continuous Control Using Generalized Advantage Estimation",
        2015,
    ),
)
def gae(
    step_rewards: Float[Tensor, "n t"],
    values: Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    bootstrap: Float[Tensor, " n"] | None = None,
    *,
    gamma: float = 1.0,
    lam: float = 1.0,
    whiten: bool = True,
    keep: Bool[Tensor, " n"] | None = None,
    ranks: Ranks = None,
) -> GeneralizedAdvantages:
    """``A_t = R_t + gamma V_{t'} - V_t + gamma lam A_{t'}``, t' the next marked step.

    **Unbiased** with ``lam=1, gamma=1`` and without whitening: the return without a baseline that
    does not depend on the action. ``lam < 1`` trades variance for the bias of the critic, and is
    one-step TD at 0. Whitening is biased by an order of 1 over the number of marked steps.

    After a row's last marked step V is 0, as at the end of an episode, or ``bootstrap``. There are
    no groups; a row without a score (``keep``) counts in no moment and gets 0, and there is a
    warning if no row is left to whiten.

    Peers: verl's is the same. OpenRLHF takes values and rewards of steps that are not marked as 0
    and discounts by them, which differs where a row has holes; it whitens with the population's
    variance.

    Args:
        step_rewards: R [N, T], any unit; read only where ``mask`` is.
        values: V [N, T] of the critic, in the unit of rewards; read only where ``mask`` is.
        mask: [N, T] steps that the policy chose.
        bootstrap: [N] the critic's value of the state after the last marked step: of an episode
            that was truncated, and 0 of one that ended. Of an estimator, a column of that name.
        gamma: discount for each marked step, in [0, 1].
        lam: in [0, 1].
        whiten: whether advantages get mean 0 and variance 1 over all marked steps.
        keep: [N] rows that have a score.
        ranks: processes that hold parts of the batch.

    Returns:
        Advantages [N, T], and the returns that the critic is fitted to, in the wider type of
        rewards and values, at least float32.

    Raises:
        ValueError: shapes that disagree, ``gamma`` or ``lam`` outside [0, 1], a marked reward or
            value or a bootstrap that is not finite (row and step are named), or fewer than two
            marked steps to whiten.

    Source: Schulman et al. 2016, eq. 16. The bootstrap at truncation is our reading, checked
    against the recursion written out.
    """
    steps = StepRewards(
        "gae", step_rewards, mask, keep, ranks, values, bootstrap, gamma=gamma, lam=lam
    )
    advantage = steps.gae(gamma, lam)
    rows = advantage.moments()
    steps.check(rows)
    mean, scale = (0.0, 1.0)
    if whiten:
        mean, scale = standard("gae", rows, ranks=ranks, keep=steps.keep)
    white = advantage.tensor(steps.kind, shift=mean, scale=scale)
    returns = advantage.tensor(steps.kind, plus=steps.values)
    return GeneralizedAdvantages(white, steps.keep, returns=returns)
