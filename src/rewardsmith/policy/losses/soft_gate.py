"""Smooth gates in the place of a clip: SAPO for each token, VESPO for each sequence."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.catalog import Paper, method
from .aggregation import Aggregation, Mode
from .tokens import MOST, Advantage, PolicyLoss, Tokens, Weight


@method(
    "sapo",
    kind="loss",
    paper=Paper("2511.20347", "Soft Adaptive Policy Optimization", 2025),
)
def sapo(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    tau_positive: float = 1.0,
    tau_negative: float = 1.05,
    aggregation: Aggregation | Mode = "seq-mean-token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_t = -A (4 / tau) sigmoid(tau (r - 1))``: the gradient fades as the ratio leaves 1.

    The gate has the slope 1 and the value ``2 / tau`` at r = 1, so on-policy the gradient is that
    of ``-A log pi``; far off it vanishes without a jump. ``tau`` says how soon: ``tau_positive``
    where A > 0, ``tau_negative`` elsewhere, greater because what lowers one token raises all the
    others a little.

    Peers: TRL's ``loss_type="sapo"``, verl's ``sapo`` (which aggregates this way whatever its
    config says).

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        tau_positive: how soon the gate closes where A > 0, above 0.
        tau_negative: elsewhere, above 0.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss, such as importance weights.

    Returns:
        The loss, and the metrics ``old_kl`` and ``gate_slope`` (the mean of the gate's slope: 1
        where every token counts in full).

    Raises:
        ValueError: shapes that disagree, an advantage that is not finite, or a tau not above 0.

    Source: Gao et al. 2025, the gate and its two temperatures.
    """
    for name, given in {"tau_positive": tau_positive, "tau_negative": tau_negative}.items():
        if not 0.0 < given < math.inf:
            raise ValueError(f"sapo: {name} is {given}, it must be above 0")
    tokens = Tokens("sapo", logprob, old_logprob, advantage, mask)
    tau = _pick(tokens.advantage > 0, tau_positive, tau_negative, tokens.advantage)
    open_ = torch.sigmoid(tau * (tokens.log_ratio.exp() - 1.0))
    slope = 4.0 * open_ * (1.0 - open_)
    return tokens.finish(
        -tokens.advantage * (4.0 / tau) * open_,
        aggregation,
        weight,
        gate_slope=tokens.masked(slope).sum() / tokens.mask.sum().clamp(min=1),
    )


@method(
    "vespo",
    kind="loss",
    paper=Paper(
        "2602.10693",
        "VESPO: Variational Sequence-level Soft Policy Optimization for Off-Policy LLM Training",
        2026,
    ),
)
def vespo(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    positive: tuple[float, float] = (2.0, 3.0),
    negative: tuple[float, float] = (3.0, 2.0),
    aggregation: Aggregation | Mode = "token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_t = -sg(phi(W)) A log pi``, ``phi(W) = W^k exp(lambda (1 - W))``, ``W = prod_t r_t``.

    The weight of a whole answer, without normalizing by its length: 1 on-policy, greatest at
    ``W = k / lambda``, and near 0 for answers that have become much likelier or much less likely.
    It carries no gradient. ``log W`` is held within -18.4 (1e-8) and 20.

    Peers: TRL's ``loss_type="vespo"`` (``vespo_k_pos, vespo_lambda_pos`` are ``positive``, and so
    on). It folds importance weights of the sampler into W; here that is ``old_logprob`` of the
    sampler, where ``weight`` multiplies the loss from outside.

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        positive: ``(k, lambda)`` where A >= 0; k at least 0, lambda above 0.
        negative: likewise, where A < 0.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss.

    Returns:
        The loss, and the metrics ``old_kl`` and ``gate`` (the mean of phi over tokens).

    Raises:
        ValueError: shapes that disagree, an advantage that is not finite, or a k or lambda outside
            its range.

    Source: Shen et al. 2026; the numbers and the bounds of W as in TRL.
    """
    for name, given in {"positive": positive, "negative": negative}.items():
        if not (0.0 <= given[0] < math.inf and 0.0 < given[1] < math.inf):
            raise ValueError(
                f"vespo: {name} is {given}: (k, lambda), with k at least 0 and lambda above 0"
            )
    tokens = Tokens("vespo", logprob, old_logprob, advantage, mask)
    total = tokens.log_ratio.detach().sum(dim=1, keepdim=True).clamp(math.log(1e-8), MOST)
    raised = tokens.advantage >= 0
    k = _pick(raised, positive[0], negative[0], tokens.advantage)
    fade = _pick(raised, positive[1], negative[1], tokens.advantage)
    gate = (fade + k * total - fade * total.exp()).exp()
    return tokens.finish(
        tokens.descend(gate * tokens.advantage),
        aggregation,
        weight,
        gate=tokens.masked(gate).sum() / tokens.mask.sum().clamp(min=1),
    )


def _pick(
    where: Bool[Tensor, "n t"], here: float, there: float, like: Float[Tensor, "n t"]
) -> Float[Tensor, "n t"]:
    return torch.full_like(like, there).masked_fill(where, here)
