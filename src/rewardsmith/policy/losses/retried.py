"""A loss for groups in which retried answers stand in the place of sampled ones: HeRL."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.catalog import Paper, method
from .aggregation import Aggregation, Mode
from .clipping import bounds
from .tokens import Advantage, PolicyLoss, Tokens, Weight, clip_shares, clipped


@method(
    "herl",
    kind="loss",
    seed=20,
    paper=Paper(
        "2603.20046",
        "Experience is the Best Teacher: Motivating Effective Exploration in Reinforcement "
        "Learning for LLMs",
        2026,
    ),
)
def herl(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    replaced: Bool[Tensor, " n"] | Bool[Tensor, "n t"] | None = None,
    *,
    gamma: float | None = 1.0,
    clip: float | tuple[float, float] = 0.2,
    dual_clip: float | None = None,
    aggregation: Aggregation | Mode = "token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_t = -A r / (r + gamma)`` at replaced tokens, :func:`ppo`'s loss at all others.

    A retried answer was sampled under another prompt, so that its ratios lie far from 1 and a clip
    would cut most of them. Here nothing is cut: the factor rises with the ratio and is below 1, and
    its slope in ``log r``, ``gamma r / (r + gamma)^2``, is greatest at ``r = gamma``. Tokens that
    the policy hardly has, or has already, pull little. **On-policy it is not ``-A log pi``**: at
    ``r = 1`` a replaced token pulls ``gamma / (1 + gamma)^2`` of what others do, 1/4 for gamma 1.

    ``old_logprob`` of a replaced token is what the sampler gave it under the prompt that it saw, or
    under the prompt that it trains under; the authors' code takes either. Where it is not known, 0
    stands in: r is then pi.

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        replaced: [N] the rows whose answer is a retry's, or [N, T] its tokens; None where a batch
            has none.
        gamma: the ratio at which a replaced token pulls most, above 0; None for the plain ratio,
            ``-A r``, which the authors' code has for 0.
        clip: e, or ``(e_low, e_high)``, of the other tokens, as in ``ppo``.
        dual_clip: of the other tokens. The authors' code has 3.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss.

    Returns:
        The loss, the metrics of ``ppo``, of which those of the clip leave out replaced tokens, and
        ``replaced``, the share of tokens, and ``replaced_weight``, the mean factor of those.

    Raises:
        ValueError: shapes that disagree, an advantage that is not finite, a gamma not above 0, or a
            clip that ``ppo`` refuses.

    Source: Zhang et al. 2026, and the authors' ``core_algos.py`` (``mixpolicy_vanilla``), whose
    gamma is 1 for instructions and 0.1 for medicine.
    """
    low, high = bounds("herl", clip, dual_clip)
    tokens = Tokens("herl", logprob, old_logprob, advantage, mask)
    n, t = tokens.mask.shape
    if replaced is None:
        replaced = torch.zeros_like(tokens.mask)
    if replaced.shape not in ((n,), (n, t)):
        raise ValueError(
            f"herl: logprob has the shape {[n, t]}, replaced {[*replaced.shape]}; it is one flag "
            "for each row, or for each token"
        )
    there = replaced.bool() if replaced.ndim == 2 else replaced.bool()[:, None].expand(n, t)
    ratio = tokens.log_ratio.exp()
    factor = retried_weight(ratio, gamma)
    # No bound cuts a ratio of 1, so that the shares are those of the other tokens.
    sampled = torch.where(there, 1.0, ratio)
    loss = torch.where(
        there,
        -tokens.advantage * factor,
        clipped(sampled, tokens.advantage, low, high, dual_clip),
    )
    count = (there & tokens.mask).sum().clamp(min=1)
    return tokens.finish(
        loss,
        aggregation,
        weight,
        **clip_shares(tokens, sampled, low, high, dual_clip),
        replaced=tokens.share(there),
        replaced_weight=torch.where(there & tokens.mask, factor, 0.0).sum() / count,
    )


def retried_weight(ratio: Float[Tensor, "..."], gamma: float | None) -> Float[Tensor, "..."]:
    """``r / (r + gamma)``: below 1, rising, with the slope ``gamma / (r + gamma)^2``.

    Args:
        ratio: r of any shape, at least 0.
        gamma: above 0; None for r itself.

    Raises:
        ValueError: gamma is not above 0, or not finite.
    """
    if gamma is None:
        return ratio
    if not 0.0 < gamma < math.inf:
        raise ValueError(f"herl: gamma is {gamma}, it must be above 0; None is for the plain ratio")
    return ratio / (ratio + gamma)
