"""Clip bounds that widen as a token's old probability shrinks: DCPO."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.catalog import Paper, method
from .aggregation import Aggregation, Mode
from .tokens import Advantage, PolicyLoss, Tokens, Weight, clip_shares, clipped

_LEAST = -80.0
"""Log-probabilities below it are as good as -inf: exp(80) is still finite in float32."""


@method(
    "dcpo",
    kind="loss",
    seed=121,
    paper=Paper("2509.02333", "DCPO: Dynamic Clipping Policy Optimization", 2025),
)
def dcpo(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    clip: tuple[float, float] = (0.16, 0.2),
    cap: float = 10.0,
    dual_clip: float | None = 10.0,
    aggregation: Aggregation | Mode = "seq-sum-token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_t = max(-r A, -clip(r, lo(q), hi(q)) A)``, the bounds by the old probability q.

    :func:`~rewardsmith.policy.losses.ppo` with the bounds of :func:`probability_bounds`: an
    unlikely token may grow by a factor of up to ``cap``, where a constant bound lets it gain next
    to nothing. The method's other half is an advantage that remembers a prompt's earlier rewards.

    The paper's "only token mean" is the sum over answers of each one's mean over tokens, not
    divided by their number; ``Aggregation`` calls it ``"seq-sum-token-mean"``. It grows with the
    batch, so a learning rate belongs to a batch size. The authors' code has the mean over all
    tokens of a micro-batch under that name; the two agree where a micro-batch is one answer.

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled; -inf is taken for a probability near 0.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        clip: ``(e_low, e_high)``, how much a probability may move. The paper's table has these, the
            authors' script (0.2, 0.28).
        cap: the greatest upper bound.
        dual_clip: where A < 0, the loss is at most ``-dual_clip A``; None for no such bound. The
            authors' code has one number c for it and (if it is above 10) for the cap.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss.

    Returns:
        The loss, and the metrics of :func:`~rewardsmith.policy.losses.ppo`.

    Raises:
        ValueError: shapes that disagree, an advantage that is not finite, a negative clip, a cap
            below 1, or a dual clip of at most 1.

    Source: Yang et al. 2025, dynamic adaptive clipping and only-token-mean loss; the authors' code,
    ``lime-RL/DCPO``, ``get_clip_low_high``.
    """
    if dual_clip is not None and not dual_clip > 1.0:
        raise ValueError(f"dcpo: dual_clip is {dual_clip}, it must be above 1")
    tokens = Tokens("dcpo", logprob, old_logprob, advantage, mask)
    low, high = probability_bounds(tokens.masked(old_logprob.detach()), clip=clip, cap=cap)
    ratio = tokens.log_ratio.exp()
    loss = clipped(ratio, tokens.advantage, low, high, dual_clip)
    shares = clip_shares(tokens, ratio, low, high, dual_clip)
    return tokens.finish(loss, aggregation, weight, **shares)


def probability_bounds(
    old_logprob: Float[Tensor, "n t"],
    *,
    clip: tuple[float, float] = (0.16, 0.2),
    cap: float = 10.0,
) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:
    """The ratios r with ``|r - 1| p <= e``, where ``p = r q`` is the new probability.

    ``lo = (1 + sqrt(max(1 - 4 e_low / q, 0))) / 2`` and ``hi = (1 + sqrt(1 + 4 e_high / q)) / 2``.
    Where ``q < 4 e_low``, every ratio below 1 meets the constraint; lo stays at 1/2 there, as in
    the authors' code (which has 1 for a probability that is exactly 0, where we have 1/2).

    Args:
        old_logprob: [N, T] ``log q``.
        clip: ``(e_low, e_high)``, each at least 0.
        cap: hi is at most this.

    Returns:
        lo and hi, [N, T], in float32 or wider: ``1/2 <= lo <= 1 <= hi <= cap``.

    Raises:
        ValueError: a clip that is negative or not finite, or a cap below 1.
    """
    e_low, e_high = clip
    if not (0.0 <= e_low < float("inf") and 0.0 <= e_high < float("inf")):
        raise ValueError(f"dcpo: clip is {clip}, each must be at least 0 and finite")
    if not cap >= 1.0:
        raise ValueError(f"dcpo: cap is {cap}, it must be at least 1")
    wide = torch.promote_types(old_logprob.dtype, torch.float32)
    # 1 / q, never 0 nor infinite: infinity times a clip of 0 is NaN.
    inverse = (-old_logprob.to(wide).clamp(_LEAST, 0.0)).exp()
    low = 0.5 + 0.5 * (1.0 - 4.0 * e_low * inverse).clamp(min=0.0).sqrt()
    high = 0.5 + 0.5 * (1.0 + 4.0 * e_high * inverse).sqrt()
    return low, high.clamp(max=cap)
