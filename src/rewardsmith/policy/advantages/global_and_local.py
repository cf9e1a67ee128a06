"""Two rewards of a program, each normalized within its group: all tests passed, and which (VeRPO).

:class:`rewardsmith.signals.VeRPO` gives both as parts. By turns, local rewards are put where the
turns end (``scores.onto(rollouts, "turn")``), and ``discounted_returns`` of
:mod:`rewardsmith.policy.advantages` lends them to the turns before.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...ops.difficulty import check_beta
from ...ops.groups import Groups, Ids
from .group_relative import grpo


def verpo_advantages(
    outcome: Float[Tensor, " n"],
    local: Float[Tensor, " n"] | Float[Tensor, "n t"],
    group: Ids,
    *,
    beta: float = 0.5,
    keep: Bool[Tensor, " n"] | None = None,
    mask: Bool[Tensor, "n t"] | None = None,
    eps: float = 1e-4,
) -> Advantages:
    """``A = norm(R_global) + beta norm(R_local)``, each normalized as by GRPO within its group.

    **Biased** as GRPO is, and ``beta = 0`` is GRPO on the outcome. Of rollouts it is ``gdpo`` with
    the weights 1 and beta, without its whitening of the batch. A group of one row gets 0 and a
    warning, one whose rewards are all the same 0, and a row without a score counts nowhere.

    Args:
        outcome: R_global [N].
        local: R_local [N]; or of each turn [N, T], as it is or as discounted returns. Turns are
            normalized over all turns of the group, and share their rollout's outcome.
        group: [N] who is compared with whom.
        beta: the share of the local reward; at least 0.
        keep: [N] rows that have a score.
        mask: [N, T] where turns are (of local rewards by turn); elsewhere the advantage is 0.
        eps: added to the standard deviation.

    Returns:
        Advantages [N], or [N, T] by turn.

    Raises:
        ValueError: a beta that is negative or not finite, a mask that does not fit, or what
            ``grpo`` raises.

    Source: 2601.03525; that each is normalized in its group, and by turn over all turns, is our
    reading.
    """
    check_beta(beta)
    whole = grpo(outcome, group, keep=keep, eps=eps)
    if local.ndim == 1:
        if mask is not None:
            raise ValueError("verpo: a mask is of turns, and these local rewards are of rollouts")
        own = grpo(local, group, keep=keep, eps=eps)
        return Advantages(whole.values + beta * own.values, whole.keep, metrics=whole.metrics)
    mask = torch.ones_like(local, dtype=torch.bool) if mask is None else mask
    mask = mask & whole.keep[:, None]
    of_turn = torch.from_numpy(Groups(group).index)[:, None].expand(local.shape)[mask.cpu()]
    turns = torch.zeros_like(local)
    turns[mask] = grpo(local[mask], of_turn, eps=eps).values
    values = torch.where(mask, whole.values[:, None] + beta * turns, 0.0)
    return Advantages(values, whole.keep, metrics=whole.metrics)
