"""Losses on ``log pi`` itself: REINFORCE, and CISPO, whose ratio is a weight without a gradient."""

from jaxtyping import Bool, Float
from torch import Tensor

from ...core.catalog import Paper, method
from .aggregation import Aggregation, Mode
from .tokens import Advantage, PolicyLoss, Tokens, Weight


@method(
    "policy_gradient",
    kind="loss",
    paper=Paper(
        "10.1007/BF00992696",
        "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning",
        1992,
    ),
)
def policy_gradient(
    logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    aggregation: Aggregation | Mode = "seq-mean-token-sum",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_t = -A log pi``: the policy gradient, without a ratio or a bound.

    **Unbiased** for samples of the policy itself, with an advantage that is, under
    ``"seq-mean-token-sum"``; the other aggregations weigh answers by their length. It is for one
    update per batch: nothing holds the policy near the one that sampled. Off-policy it is as
    unbiased as ``weight`` makes it.

    Peers: verl's ``gpg`` is this with its config's aggregation (``"token-mean"`` by default), its
    ``compute_policy_loss_reinforce`` with ``"seq-mean-token-sum"``.

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss, such as importance weights.

    Returns:
        The loss; no metrics.

    Raises:
        ValueError: shapes that disagree, or an advantage that is not finite.

    Source: Williams 1992; as the loss of GPG: Chu et al. 2025 (2504.02546).
    """
    tokens = Tokens("policy_gradient", logprob, None, advantage, mask)
    return tokens.finish(tokens.descend(tokens.advantage), aggregation, weight)


@method(
    "cispo",
    kind="loss",
    paper=Paper(
        "2506.13585",
        "MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning Attention",
        2025,
    ),
)
def cispo(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    upper: float = 5.0,
    lower: float | None = None,
    aggregation: Aggregation | Mode = "token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_t = -sg(clip(r, lower, upper)) A log pi``: every token keeps a gradient.

    PPO's bound takes the gradient from a token; this one only bounds how much it weighs. ``lower``
    and ``upper`` are bounds of the weight itself, not distances from 1.

    Peers: TRL's ``loss_type="cispo"`` is ``upper=epsilon_high``, with no lower bound and 5.0
    recommended (ScaleRL); verl's ``cispo`` is ``lower=1 - clip_ratio_low, upper=1 +
    clip_ratio_high``, of which the paper tunes only the upper.

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        upper: the greatest weight, at least 1.
        lower: the least, at most 1; None for none.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss, such as importance weights.

    Returns:
        The loss, and the metrics ``old_kl``, ``weights_lowered`` and ``weights_raised`` (shares of
        tokens whose weight a bound changed).

    Raises:
        ValueError: shapes that disagree, an advantage that is not finite, or a bound on the wrong
            side of 1.

    Source: MiniMax 2025, section 3; one-sided: Khatri et al. 2025 (ScaleRL, 2510.13786).
    """
    if not upper >= 1.0:
        raise ValueError(
            f"cispo: upper is {upper}; it bounds the weight itself, so it is at least 1: "
            "for a clip of e_high give 1 + e_high"
        )
    if lower is not None and not 0.0 <= lower <= 1.0:
        raise ValueError(f"cispo: lower is {lower}; it bounds the weight itself: 0 to 1, or None")
    tokens = Tokens("cispo", logprob, old_logprob, advantage, mask)
    ratio = tokens.log_ratio.detach().exp()
    loss = tokens.descend(ratio.clamp(lower, upper) * tokens.advantage)
    return tokens.finish(
        loss,
        aggregation,
        weight,
        weights_lowered=tokens.share(ratio > upper),
        weights_raised=tokens.share(ratio < (0.0 if lower is None else lower)),
    )
