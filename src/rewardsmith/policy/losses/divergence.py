"""Trust regions in the policy's divergence rather than its ratio: DPPO's mask, DRO's penalty."""

import math
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.catalog import Paper, method
from .aggregation import Aggregation, Mode
from .clipping import pair
from .tokens import Advantage, PolicyLoss, Tokens, Weight

Divergence: TypeAlias = Literal["tv", "kl"]


@method(
    "dppo",
    kind="loss",
    paper=Paper("2602.04879", "Rethinking the Trust Region in LLM Reinforcement Learning", 2026),
)
def dppo(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    divergence: Divergence = "tv",
    bound: float | tuple[float, float] | None = None,
    truncate: float = 20.0,
    aggregation: Aggregation | Mode = "token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_t = -sg(min(r, truncate) M) A log pi``: M is 0 where a token has left its trust region.

    That is, where it moves as its advantage pulls (r > 1 and A > 0, or r < 1 and A < 0) and the
    divergence of the two policies at this token is above ``bound``. The divergence is of two
    outcomes, this token or any other:

    - ``"tv"``: ``|p - p_old|``
    - ``"kl"``: ``p_old log(p_old / p) + (1 - p_old) log((1 - p_old) / (1 - p))``

    A ratio's clip binds rare tokens hard and likely ones hardly: from 0.001 to 0.003 is a ratio of
    3 and nothing to the distribution, from 0.99 to 0.8 a ratio within 0.2 and a great change. This
    bound treats them by what they do.

    Peers: verl's ``dppo_tv`` and ``dppo_kl`` (``clip_ratio_low`` and ``clip_ratio_high`` are
    ``bound``, ``clip_ratio_c`` is ``truncate``).

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled; the paper takes the sampler's own.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        divergence: which.
        bound: the greatest, or ``(below, above)`` for r < 1 and r > 1; None for 0.15 of ``"tv"``
            and 0.05 of ``"kl"``.
        truncate: the greatest weight, at least 1.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss, such as importance weights.

    Returns:
        The loss, and the metrics ``old_kl``, ``left_high`` and ``left_low`` (shares of tokens whose
        gradient the bound took, above and below).

    Raises:
        ValueError: shapes that disagree, an advantage that is not finite, or an option that is
            unknown or outside its range.

    Source: Qi et al. 2026 (binary approximation).
    """
    if divergence not in ("tv", "kl"):
        raise ValueError(f"dppo: divergence is {divergence!r}, not one of tv, kl")
    if bound is None:
        bound = 0.15 if divergence == "tv" else 0.05
    below, above = pair(bound)
    if not (below >= 0.0 and above >= 0.0):
        raise ValueError(f"dppo: bound is {bound}, it must be at least 0")
    if not truncate >= 1.0:
        raise ValueError(f"dppo: truncate is {truncate}; it bounds the ratio, so it is at least 1")
    tokens = Tokens("dppo", logprob, old_logprob, advantage, mask)
    away = _BINARY[divergence](tokens.logprob.detach(), tokens.masked(old_logprob.detach()))
    moved = tokens.log_ratio.detach()
    high = (tokens.advantage > 0) & (moved > 0) & (away > above)
    low = (tokens.advantage < 0) & (moved < 0) & (away > below)
    ratio = torch.where(high | low, 0.0, moved.exp().clamp(max=truncate))
    return tokens.finish(
        tokens.descend(ratio * tokens.advantage),
        aggregation,
        weight,
        left_high=tokens.share(high),
        left_low=tokens.share(low),
    )


@method(
    "dro",
    kind="loss",
    paper=Paper(
        "2405.19107",
        "Offline Regularised Reinforcement Learning for Large Language Models Alignment",
        2024,
    ),
)
def dro(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    beta: float,
    aggregation: Aggregation | Mode = "token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_t = -A log pi + beta / 2 (log pi - log pi_old)^2``: no ratio, so any data will do.

    A token stops moving at ``log pi = log pi_old + A / beta``. In the paper pi_old is the
    reference, the square is that of a whole answer, and A is the reward less a learned value; that
    is this under answers of one token. A square for each token is our reading of what it becomes
    for language models, which is verl's too.

    Peers: verl's ``dro`` (``dro_beta``).

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that it is held to.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        beta: how fast it is held, in the unit of advantages, above 0.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss.

    Returns:
        The loss, and the metric ``old_kl``.

    Raises:
        ValueError: shapes that disagree, an advantage that is not finite, or a beta not above 0.

    Source: Richemond et al. 2024, the policy's half of the objective.
    """
    if not 0.0 < beta < math.inf:
        raise ValueError(f"dro: beta is {beta}, it must be above 0")
    tokens = Tokens("dro", logprob, old_logprob, advantage, mask)
    # Not the ratio's logarithm, which is held within 20: beyond it nothing would pull back.
    loss = tokens.descend(tokens.advantage) + 0.5 * beta * tokens.away.square()
    return tokens.finish(loss, aggregation, weight)


def _binary_tv(logprob: Tensor, old_logprob: Tensor) -> Tensor:
    return (logprob.exp() - old_logprob.exp()).abs()


def _binary_kl(logprob: Tensor, old_logprob: Tensor) -> Tensor:
    other, old_other = (-torch.expm1(of) for of in (logprob, old_logprob))
    # A probability of 1 leaves nothing to the others: 0 / 0.
    least = 1e-8
    rest = old_other * (old_other.clamp(min=least) / other.clamp(min=least)).log()
    return old_logprob.exp() * (old_logprob - logprob) + rest


_BINARY = {"tv": _binary_tv, "kl": _binary_kl}
