"""Losses that spare the tokens whose updates take the most entropy: Clip-Cov and KL-Cov.

A policy's entropy falls by the covariance of log-probability and advantage. A few tokens hold most
of it; these losses take their gradient, or bind them to the policy that sampled.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...core.catalog import Paper, method
from .aggregation import Aggregation, Mode
from .clipping import bounds
from .tokens import Advantage, PolicyLoss, Tokens, Weight, clip_shares, clipped, same_shape


@method(
    "clip_cov",
    kind="loss",
    paper=Paper(
        "2505.22617",
        "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models",
        2025,
    ),
)
def clip_cov(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    clip: float | tuple[float, float] = 0.2,
    share: float = 2e-4,
    band: tuple[float, float] = (1.0, 5.0),
    draws: Float[Tensor, "n t"] | None = None,
    aggregation: Aggregation | Mode = "token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``ppo``, without a few random tokens of high covariance.

    ``cov_t = (A_t - mean A)(log pi_t - mean log pi)`` over the batch. Of the tokens with
    ``band[0] < cov < band[1]`` that the ratio's bound leaves alone, ``max(1, floor(share
    #tokens))`` random ones have the loss 0; they still count in means. At pi = pi_old all other
    tokens have the gradient of ``-A log pi``.

    Means and number are those of the tokens given: micro-batches choose each their own.

    Peers: verl's ``clip_cov`` (``clip_cov_ratio`` is ``share``, ``clip_cov_lb`` and
    ``clip_cov_ub`` are ``band``); it draws from torch's global generator, so the same tokens are
    dropped only where all candidates are.

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        clip: e, or ``(e_low, e_high)``.
        share: how many tokens are dropped, of all; above 0, at most 1.
        band: the covariances among which they are, in the unit of advantages times nats.
        draws: [N, T] random numbers: the candidates with the least are dropped. To choose the same
            again, ``torch.rand(mask.shape, generator=generator)``; None draws from the global
            generator of the device.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss, such as importance weights.

    Returns:
        The loss, the metrics of ``ppo``, and ``dropped`` (the share of tokens).

    Raises:
        ValueError: as ``ppo``; a share outside its range, a band that is empty, or draws of another
            shape.

    Source: Cui et al. 2025, section 4 (Clip-Cov).
    """
    low, high = bounds("clip_cov", clip)
    _check_share("clip_cov", share)
    if not band[0] < band[1]:
        raise ValueError(f"clip_cov: band is {band}, the lower bound is to be below the upper")
    tokens = Tokens("clip_cov", logprob, old_logprob, advantage, mask)
    draws = torch.rand_like(tokens.logprob) if draws is None else draws
    same_shape("clip_cov", {"logprob": logprob, "draws": draws})
    ratio = tokens.log_ratio.exp()
    bound = ((ratio > high) & (tokens.advantage > 0)) | ((ratio < low) & (tokens.advantage < 0))
    covariance = _covariance(tokens)
    candidate = (covariance > band[0]) & (covariance < band[1]) & tokens.mask & ~bound
    dropped = _least(torch.where(candidate, draws, torch.inf), _number(tokens, share)) & candidate
    loss = clipped(ratio, tokens.advantage, low, high)
    return tokens.finish(
        torch.where(dropped, 0.0, loss),
        aggregation,
        weight,
        dropped=tokens.share(dropped),
        **clip_shares(tokens, ratio, low, high),
    )


@method(
    "kl_cov",
    kind="loss",
    paper=Paper(
        "2505.22617",
        "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models",
        2025,
    ),
)
def kl_cov(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    share: float = 2e-4,
    coefficient: float = 1.0,
    aggregation: Aggregation | Mode = "token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_t = -r A``, and ``+ coefficient |log r|`` for the tokens of the highest covariance.

    The covariance is that of ``clip_cov``; the ``max(1, floor(share #tokens))`` tokens that have
    the most of it are bound to the policy that sampled. No ratio is clipped. At pi = pi_old the
    gradient is that of ``-A log pi``, for ``|x|`` has the slope 0 at 0.

    Means and number are those of the tokens given: micro-batches choose each their own. Of tokens
    that tie, the first are taken.

    Peers: verl's ``kl_cov`` (``kl_cov_ratio`` is ``share``; ``ppo_kl_coef`` is ``coefficient``, 0.1
    in its config).

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        share: how many tokens are bound, of all; above 0, at most 1.
        coefficient: of the penalty, in the unit of advantages, at least 0.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss, such as importance weights.

    Returns:
        The loss, and the metrics ``old_kl`` and ``bound_kl`` (the mean of ``|log r|`` over the
        tokens that are bound).

    Raises:
        ValueError: shapes that disagree, an advantage that is not finite, or an option outside its
            range.

    Source: Cui et al. 2025, section 4 (KL-Cov).
    """
    _check_share("kl_cov", share)
    if not 0.0 <= coefficient < float("inf"):
        raise ValueError(f"kl_cov: coefficient is {coefficient}, it must be at least 0")
    tokens = Tokens("kl_cov", logprob, old_logprob, advantage, mask)
    order = torch.where(tokens.mask, -_covariance(tokens), torch.inf)
    held = _least(order, _number(tokens, share)) & tokens.mask
    # As far as it goes: the ratio's logarithm is held within 20, beyond which nothing pulls back.
    away = torch.where(held, tokens.away.abs(), 0.0)
    loss = -tokens.log_ratio.exp() * tokens.advantage + coefficient * away
    return tokens.finish(loss, aggregation, weight, bound_kl=away.sum() / held.sum().clamp(min=1))


def _covariance(tokens: Tokens) -> Float[Tensor, "n t"]:
    count = tokens.mask.sum().clamp(min=1)
    logprob = tokens.logprob.detach()
    return (tokens.advantage - tokens.advantage.sum() / count) * (logprob - logprob.sum() / count)


def _number(tokens: Tokens, share: float) -> Int[Tensor, ""]:
    """How many tokens a share is, at least 1."""
    count = tokens.mask.sum().to(torch.float64)
    return (count * share).floor().clamp(min=1.0).to(torch.int64)


def _least(scores: Float[Tensor, "n t"], number: Int[Tensor, ""]) -> Bool[Tensor, "n t"]:
    """The ``number`` least scores; ``number`` is data, the shapes are not."""
    order = scores.flatten().argsort(stable=True)
    first = torch.arange(order.shape[0], device=order.device) < number
    return torch.zeros_like(first).scatter(0, order, first).view(scores.shape)


def _check_share(name: str, share: float) -> None:
    if not 0.0 < share <= 1.0:
        raise ValueError(f"{name}: share is {share}; it is above 0 and at most 1")
