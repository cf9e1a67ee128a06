"""Weights for tokens that another program sampled than the one that is trained.

A rollout engine rounds otherwise than the trainer, or holds older parameters. What it sampled is
weighed by the ratio of the two policies, truncated, or left out where they disagree too much.
"""

import math
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .tokens import MOST, Advantage, Tokens, check, masked, same_shape

Level: TypeAlias = Literal["token", "sequence", "geometric"]
Limit: TypeAlias = Literal["truncate", "mask"]


def importance_weight(
    old_logprob: Float[Tensor, "n t"],
    rollout_logprob: Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    *,
    level: Level = "token",
    mode: Limit = "truncate",
    low: float | None = None,
    high: float | None = 2.0,
) -> Float[Tensor, "n t"]:
    """``w = pi_old / pi_rollout``, held within ``[low, high]``: the ``weight`` of a loss.

    ``"sequence"`` weighs all tokens of a row by the product of their ratios, which is unbiased for
    the whole answer before it is limited and varies exponentially with its length; ``"geometric"``
    by their geometric mean, which keeps its scale; ``"token"`` each by its own, biased for it
    leaves out what came before, and the least variable. ``"truncate"`` (TIS) clips to the bounds,
    ``"mask"`` (MIS) gives 0 outside them. Equal policies get exactly 1 everywhere.

    Do not weigh a loss whose ratio is already taken against the rollout engine's log-probabilities
    (``old_logprob=rollout_logprob``): it would be corrected twice.

    Weights multiply. OpenRLHF's sequence mask drops rows by their geometric mean and weighs the
    tokens of the rest by their own ratios::

        gate = importance_weight(old, rollout, mask, level="geometric", mode="mask", low=.5, high=5)
        weight = (gate > 0) * importance_weight(old, rollout, mask, high=None)

    Peers: verl's ``rollout_is="token" | "sequence"`` truncates at 2.0, and masks where it is given
    both bounds (IcePop); TRL's modes are ``"token_truncate"``, ``"token_mask"``,
    ``"sequence_truncate"`` and ``"sequence_mask"``, the last with ``high=3.0`` its default;
    OpenRLHF's token level has ``low=0.5, high=5.0``.

    Args:
        old_logprob: [N, T] log-probabilities of the policy before the update, by the trainer.
        rollout_logprob: [N, T] the same tokens', by the engine that sampled them.
        mask: [N, T] the tokens that the policy chose.
        level: whose ratio.
        mode: what happens outside the bounds.
        low: the least weight; None for none.
        high: the greatest; None for none. Whatever the bounds, ``log w`` is held within 20.

    Returns:
        [N, T] weights without a gradient, in float32 or wider; 0 where ``mask`` is not.

    Raises:
        ValueError: shapes that disagree, an unknown option, bounds that do not hold 1, or a ratio
            that is not a number (not in compiled code).

    Source: truncated: Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy
    RL Training"; masked: Liu et al. 2025, "When Speed Kills Stability".
    """
    for name, value, known in (("level", level, Level), ("mode", mode, Limit)):
        if value not in get_args(known):
            raise ValueError(
                f"importance_weight: {name} is {value!r}, not one of {', '.join(get_args(known))}"
            )
    if low is not None and not low >= 0.0:
        raise ValueError(f"importance_weight: low is {low}, it must be at least 0")
    if not (0.0 if low is None else low) <= 1.0 <= (math.inf if high is None else high):
        raise ValueError(f"importance_weight: low is {low}, high is {high}; they are to hold 1")
    same_shape(
        "importance_weight",
        {"old_logprob": old_logprob, "rollout_logprob": rollout_logprob, "mask": mask},
    )
    mask = mask.bool()
    difference = masked(old_logprob.detach(), mask) - masked(rollout_logprob.detach(), mask)
    check("importance_weight", "log-ratio", difference, infinite=True)
    least = -math.inf if low is None or low == 0.0 else math.log(low)
    most = math.inf if high is None else math.log(high)
    if level != "token":
        difference = difference.sum(dim=1, keepdim=True).expand(mask.shape)
        # Of tokens that the one policy cannot choose and others that the other cannot.
        check("importance_weight", "log-ratio of its whole answer", difference, infinite=True)
    if level == "geometric":
        difference = difference / mask.sum(dim=1, keepdim=True).clamp(min=1)
    # Within the bounds before it is raised: a long row's product overflows.
    held = difference.clamp(max(least, -MOST), min(most, MOST)).exp()
    if mode == "mask":
        held = torch.where((difference >= least) & (difference <= most), held, 0.0)
    return torch.where(mask, held, 0.0)


def off_policy_mask(
    logprob: Float[Tensor, "n t"],
    rollout_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    threshold: float,
) -> Float[Tensor, "n t"]:
    """0 where ``A < 0`` and ``mean_t (log pi_rollout - log pi) > threshold``; 1 elsewhere.

    A bad answer that the policy has left behind teaches little and its gradient is large; a good
    one is worth learning from wherever it came from. It is a ``weight`` of a loss, and multiplies
    with others: what is dropped still counts in the loss's denominators, as in the paper.

    Peers: TRL's ``off_policy_mask_threshold``.

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        rollout_logprob: [N, T] of the engine that sampled.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        threshold: nats per token, above 0; 0.5 for instance.

    Returns:
        [N, T] 1 or 0, in float32 or wider; 0 where ``mask`` is not.

    Raises:
        ValueError: shapes that disagree, an advantage that is not finite, or a threshold not above
            0.

    Source: DeepSeek-AI 2025 (DeepSeek-V3.2, 2512.02556), off-policy sequence masking.
    """
    if not threshold > 0.0:
        raise ValueError(f"off_policy_mask: threshold is {threshold} nats, it must be above 0")
    tokens = Tokens("off_policy_mask", logprob.detach(), rollout_logprob, advantage, mask)
    left = -tokens.mean(tokens.log_ratio) > threshold
    return tokens.masked(torch.where(left & (tokens.advantage < 0), 0.0, 1.0))
