"""The critic's loss."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .aggregation import Aggregation, Mode, aggregation_of
from .tokens import PolicyLoss, check, masked, same_shape


def value_loss(
    values: Float[Tensor, "n t"],
    old_values: Float[Tensor, "n t"] | None,
    returns: Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    *,
    clip: float | None = 0.5,
    aggregation: Aggregation | Mode = "token-mean",
) -> PolicyLoss:
    """``L_t = max((V - R)^2, (clip(V, V_old - e, V_old + e) - R)^2) / 2``.

    The greater of the two: a value that has moved by more than e towards its return has no
    gradient, one that has moved away from it keeps its own. At V = V_old the gradient is that of
    ``(V - R)^2 / 2``, which ``clip=None`` is everywhere.

    Peers: verl's ``compute_value_loss`` (``cliprange_value``), TRL's and OpenRLHF's, all with a
    default of 0.2 or 0.5.

    Args:
        values: [N, T] of the critic that is trained.
        old_values: [N, T] of the critic before the update; None if nothing is clipped.
        returns: [N, T] what it is to predict.
        mask: [N, T] the tokens that the policy chose.
        clip: e, in the unit of rewards, above 0; None for none.
        aggregation: how tokens become one number.

    Returns:
        The loss, and the metric ``clipped`` (the share of tokens without a gradient).

    Raises:
        ValueError: shapes that disagree, a value or return that is not finite, a clip that is not
            above 0, or one without old values.

    Source: the reference implementation of PPO; Schulman et al. 2017 has it without the clip.
    """
    if clip is not None and not 0.0 < clip < math.inf:
        raise ValueError(f"value_loss: clip is {clip}; it is above 0, or None for none")
    if clip is not None and old_values is None:
        raise ValueError(
            f"value_loss: clip is {clip} of old_values, which are None; give clip=None"
        )
    given = {"values": values, "returns": returns, "mask": mask}
    if old_values is not None:
        given["old_values"] = old_values
    same_shape("value_loss", given)
    mask = mask.bool()
    now, target = masked(values, mask), masked(returns.detach(), mask)
    check("value_loss", "value", now)
    check("value_loss", "return", target)
    loss = (now - target).square()
    bound = torch.zeros_like(mask)
    if clip is not None and old_values is not None:
        old = masked(old_values.detach(), mask)
        check("value_loss", "old value", old)
        held = (old + (now - old).clamp(-clip, clip) - target).square()
        bound = held > loss
        loss = torch.maximum(loss, held)
    share = bound.sum() / mask.sum().clamp(min=1)
    return PolicyLoss(0.5 * aggregation_of(aggregation)(loss, mask), {"clipped": share})
