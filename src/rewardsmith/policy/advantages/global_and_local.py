"""Two rewards of a program, each normalized within its group: all tests passed, and which (VeRPO).

:class:`rewardsmith.signals.VeRPO` gives both as parts. By turns, local rewards are put where the
turns end (``scores.onto(rollouts, "turn")``), and ``discounted_returns`` of
:mod:`rewardsmith.policy.advantages` lends them to the turns before.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...ops.difficulty import check_beta
from ...ops.groups import Ids, listed
from ...ops.ranks import Ranks
from .outcomes import Outcomes
from .step_rewards import check_finite


def verpo_advantages(
    outcome: Float[Tensor, " n"],
    local: Float[Tensor, " n"] | Float[Tensor, "n t"],
    group: Ids,
    *,
    beta: float = 0.5,
    keep: Bool[Tensor, " n"] | None = None,
    mask: Bool[Tensor, "n t"] | None = None,
    eps: float = 1e-4,
    ranks: Ranks = None,
) -> Advantages:
    """``A = norm(R_global) + beta norm(R_local)``, each normalized as by GRPO within its group.

    **Biased** as GRPO is, and ``beta = 0`` is GRPO on the outcome. A group of one row gets 0 and a
    warning, also by turn; one whose rewards are all the same 0, and a row without a score counts
    nowhere.

    Of rollouts it is ``gdpo`` with the weights 1 and beta, without its whitening of the batch. So
    it goes by name: ``estimator("gdpo", weights={"tests": 0.0, "global": 1.0, "local": beta},
    whiten="none", eps=1e-4)``.

    Args:
        outcome: R_global [N].
        local: R_local [N]; or of each turn [N, T], as it is or as discounted returns. Turns are
            normalized over all turns of the group, and share their rollout's outcome.
        group: [N] who is compared with whom.
        beta: the share of the local reward; at least 0.
        keep: [N] rows that have a score.
        mask: [N, T] where turns are (of local rewards by turn); elsewhere the advantage is 0.
        eps: added to the standard deviation.
        ranks: processes that hold parts of the batch.

    Returns:
        Advantages [N], or [N, T] by turn, in the wider type of both rewards, at least float32.

    Raises:
        ValueError: a beta that is negative or not finite, shapes that disagree, a kept outcome or
            a marked local reward that is not finite (row and step are named), or an eps below 0.

    Source: 2601.03525; that each is normalized in its group, and by turn over all turns, is our
    reading.
    """
    check_beta(beta)
    if local.ndim == 1 and mask is not None:
        raise ValueError("verpo: a mask is of turns, and these local rewards are of rollouts")
    rows = outcome.shape[:1]
    if local.ndim not in (1, 2) or local.shape[:1] != rows:
        shapes = f"{[*outcome.shape]}, local {[*local.shape]}"
        raise ValueError(f"verpo: outcome has the shape {shapes}; [N], and [N] or [N, T] are valid")
    for name, given, shape in (("mask", mask, local.shape), ("keep", keep, rows)):
        if given is not None and given.shape != shape:
            shapes = f"{[*local.shape]}, {name} {[*given.shape]}"
            raise ValueError(f"verpo: local has the shape {shapes}")
    kind = torch.promote_types(torch.promote_types(outcome.dtype, local.dtype), torch.float32)
    batch = Outcomes("verpo", outcome.to(kind), group, keep, ranks)
    whole = batch.advantages(batch.scaled(batch.centered(), "group", eps))
    # Of turns that are alone with their rollout, none has another to be compared with.
    share = batch.column(np.where(batch.alone(), 0.0, beta))
    at = torch.ones_like(local, dtype=torch.bool) if mask is None else mask.bool()
    at = at & (whole.keep if local.ndim == 1 else whole.keep[:, None]).to(at.device)
    marked = local.detach()[at].to(kind)
    check_finite("verpo", marked, ranks, local=(local, at))
    ids = listed(group, "verpo")
    of_turn = [ids[row] for row in at.nonzero()[:, 0].tolist()]
    turns = Outcomes("verpo", marked, of_turn, ranks=ranks)
    own = torch.zeros_like(local, dtype=kind)
    own[at] = turns.column(turns.scaled(turns.deviations, "group", eps))
    if local.ndim == 1:
        return Advantages(whole.values + share * own, whole.keep, metrics=whole.metrics)
    values = torch.where(at, whole.values[:, None] + share[:, None] * own, 0.0)
    return Advantages(values, whole.keep, metrics=whole.metrics)
