"""One ratio for each sequence: GSPO's, which is clipped, and GMPO's, of clipped tokens."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.catalog import Paper, method
from ...core.warn import warn_caller
from .aggregation import Aggregation, Mode, aggregation_of
from .clipping import bounds, pair
from .tokens import Advantage, PolicyLoss, Tokens, Weight, clip_shares, clipped


@method(
    "gspo",
    kind="loss",
    paper=Paper("2507.18071", "Group Sequence Policy Optimization", 2025),
)
def gspo(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    clip: float | tuple[float, float] = (3e-4, 4e-4),
    dual_clip: float | None = None,
    aggregation: Aggregation | Mode = "seq-mean-token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_t = max(-s A, -clip(s, 1 - e_low, 1 + e_high) A)``, ``s = exp(mean_t log r_t)``.

    The ratio is the geometric mean of the tokens' ratios, the same for a whole answer, so all of
    its tokens are clipped or none. It moves less than a token's, hence the narrow clip. Each token
    carries its own gradient (the paper's GSPO-token): where the advantage is one for the row, this
    is GSPO; an advantage for each token weighs the gradient of that token. With one token it is
    ``ppo``.

    A row with n tokens counts once under ``"seq-mean-token-mean"``. ``"token-mean"`` would count
    it n times although it has one ratio: a warning says so (not in compiled code).

    Peers: verl's ``gspo`` and OpenRLHF's are this (verl leaves aggregation to its config; ratios
    above exp(10) differ). TRL: ``importance_sampling_level="sequence"`` with ``loss_type="grpo"``;
    its ``"luspo"`` is ``aggregation="seq-mean-token-sum"``, which weighs answers by their length on
    purpose.

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        clip: e, or ``(e_low, e_high)``.
        dual_clip: as in ``ppo``.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss, such as importance weights.

    Returns:
        The loss, and the metrics of ``ppo``.

    Raises:
        ValueError: as ``ppo``.

    Source: Zheng et al. 2025, eq. 5 to 7 and 13.
    """
    low, high = bounds("gspo", clip, dual_clip)
    _warn_of_length("gspo", aggregation)
    tokens = Tokens("gspo", logprob, old_logprob, advantage, mask)
    ratio = tokens.sequence_log_ratio.exp()
    loss = clipped(ratio, tokens.advantage, low, high, dual_clip)
    shares = clip_shares(tokens, ratio, low, high, dual_clip)
    return tokens.finish(loss, aggregation, weight, **shares)


@method(
    "gmpo",
    kind="loss",
    paper=Paper("2507.20673", "Geometric-Mean Policy Optimization", 2025),
)
def gmpo(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    clip: float | tuple[float, float] = 0.4,
    aggregation: Aggregation | Mode = "seq-mean-token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_i = -A_i exp(mean_t d_t)``, where ``d = log r`` is clipped token by token.

    ``d`` is held below ``e_high`` where A > 0 and above ``-e_low`` where A < 0, as PPO's bound is
    one-sided. A clipped token has no gradient; the others share the row's ratio, which outliers
    hardly move.

    The loss is one for a row. An advantage that differs within a row is averaged over its tokens,
    with a warning (not in compiled code), and so are importance weights, geometrically: a weight of
    0 anywhere drops the row. Rows without a token do not count.

    Peers: verl's ``geo_mean`` (its ``clip_ratio`` is 0.2 unless set, and it counts rows without a
    token in the mean: ``Aggregation("seq-mean-token-mean", sequences=N)`` does too); TRL's
    experimental ``GMPOTrainer``.

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled.
        advantage: [N], or [N, T] and the same throughout a row.
        mask: [N, T] the tokens that the policy chose.
        clip: e, or ``(e_low, e_high)``, of the log-ratio: 0.4 lets ratios be 0.67 to 1.49.
        aggregation: how rows become one number; as in ``gspo``, a mean over tokens warns.
        weight: [N, T] or [N, 1] a factor, such as importance weights.

    Returns:
        The loss, and the metrics of ``ppo``.

    Raises:
        ValueError: shapes that disagree, an advantage that is not finite, or a clip below 0.

    Source: Zhao et al. 2025, whose algorithm clips tokens in log space.
    """
    low, high = pair(clip)
    if not 0.0 <= low < float("inf") or not 0.0 <= high < float("inf"):
        raise ValueError(f"gmpo: clip is {clip}; of a log-ratio, e_low and e_high are at least 0")
    _warn_of_length("gmpo", aggregation)
    tokens = Tokens("gmpo", logprob, old_logprob, advantage, mask)
    mean = tokens.mean(tokens.advantage)
    if not torch.compiler.is_compiling():
        _warn_of_mixed(tokens, mean)
    tokens.advantage = tokens.masked(mean.expand(mask.shape))
    difference = tokens.log_ratio
    held = torch.where(mean > 0, difference.clamp(max=high), difference.clamp(min=-low))
    ratio = tokens.mean(held).exp()
    if weight is not None:
        weight = tokens.mean(tokens.weights(weight).log()).exp()
    shares = clip_shares(tokens, difference, -low, high)
    return tokens.finish(-ratio * tokens.advantage, aggregation, weight, **shares)


def _warn_of_length(name: str, aggregation: Aggregation | Mode) -> None:
    if not torch.compiler.is_compiling() and aggregation_of(aggregation).mode == "token-mean":
        warn_caller(
            f"{name}: aggregation 'token-mean' weighs each sequence's one ratio by its number of "
            "tokens, so that long answers decide; 'seq-mean-token-mean' counts each once"
        )


def _warn_of_mixed(tokens: Tokens, mean: Float[Tensor, "n 1"]) -> None:
    away = ((tokens.advantage - mean).abs() > 1e-4 * mean.abs()) & tokens.mask
    if bool(away.any()):
        row = int(away.any(dim=1).nonzero()[0])
        warn_caller(
            f"gmpo: row {row} has advantages that differ within it; a row has one ratio, so their "
            "mean is taken; give one advantage for each row, or use gspo"
        )
