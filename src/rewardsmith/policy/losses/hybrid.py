"""A mixture of token and sequence ratios, each clipped by itself: DHPO."""

from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.catalog import Paper, method
from .aggregation import Aggregation, Mode
from .clipping import bounds
from .tokens import Advantage, PolicyLoss, Tokens, Weight, check, clip_shares, clipped, same_shape

Branch: TypeAlias = Literal["token", "sequence"]


@method(
    "dhpo",
    kind="loss",
    seed=122,
    paper=Paper(
        "2601.05607",
        "Orchestrating Tokens and Sequences: Dynamic Hybrid Policy Optimization for RLVR",
        2026,
    ),
)
def dhpo(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    entropy: Float[Tensor, "n t"] | None = None,
    *,
    mix: float | Literal["entropy"] = 0.5,
    direction: Branch = "token",
    clip: float | tuple[float, float] = (0.2, 0.28),
    sequence_clip: float | tuple[float, float] = (3e-4, 4e-4),
    aggregation: Aggregation | Mode = "seq-mean-token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_t = -w_t min(r A, clip(r) A) - (1 - w_t) min(s A, clip(s) A)``.

    r is the token's ratio, s the geometric mean of its answer's, with the token's own gradient.
    Each branch is clipped within its own bounds before they are mixed, so that an outlier in one
    cannot outweigh the other. ``mix=1`` is :func:`~rewardsmith.policy.losses.ppo` under the same
    aggregation, ``mix=0`` is GSPO; both to the last digit.

    With ``mix="entropy"`` the weight is a token's entropy from the least (0) to the greatest (1) of
    its answer; 1/2 throughout an answer whose entropies are all the same but for rounding. A factor
    or an offset that all entropies share changes nothing. No gradient flows through it.

    The abstract has the two ratios, the clip before the mix, and both mixtures. How the ratios get
    their gradients, how entropy becomes a weight and the default bounds (those of the two parents)
    are **our reading**, and so is ``direction``. At ``pi = pi_old`` the gradient is that of
    ``-A log pi``, whatever the mixture.

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        entropy: [N, T] of the policy at each token, in any unit; only for ``mix="entropy"``.
        mix: w, the weight of the token branch, from 0 to 1; or ``"entropy"``.
        direction: the branch that a high entropy favors.
        clip: e, or ``(e_low, e_high)``, of the token branch.
        sequence_clip: likewise, of the sequence branch.
        aggregation: how tokens become one number. ``"token-mean"`` weighs answers by length, which
            does not suit a ratio of the whole answer.
        weight: [N, T] or [N, 1] a factor for each token's loss.

    Returns:
        The loss, the metrics of ``ppo``, ``sequence_clipped_high`` and ``sequence_clipped_low``
        (shares of tokens), and ``mix``, the mean weight of the token branch.

    Raises:
        ValueError: shapes that disagree, an advantage or entropy that is not finite, no entropy
            where it is needed, a mix outside [0, 1], or a clip outside its range.

    Source: Min et al. 2026, abstract.
    """
    if direction not in get_args(Branch):
        raise ValueError(f"dhpo: direction is {direction!r}, not one of token, sequence")
    low, high = bounds("dhpo", clip)
    least, most = bounds("dhpo, sequence_clip", sequence_clip)
    tokens = Tokens("dhpo", logprob, old_logprob, advantage, mask)
    share = _share(tokens, mix, entropy, direction)
    ratio, whole = tokens.log_ratio.exp(), tokens.sequence_log_ratio.exp()
    by_token = clipped(ratio, tokens.advantage, low, high)
    by_sequence = clipped(whole, tokens.advantage, least, most)
    loss = share * by_token + (1.0 - share) * by_sequence
    told = clip_shares(tokens, ratio, low, high)
    for name, of_sequence in clip_shares(tokens, whole, least, most).items():
        told[f"sequence_{name}"] = of_sequence
    told["mix"] = torch.where(tokens.mask, share, 0.0).sum() / tokens.mask.sum().clamp(min=1)
    return tokens.finish(loss, aggregation, weight, **told)


def _share(
    tokens: Tokens, mix: float | str, entropy: Tensor | None, direction: Branch
) -> Float[Tensor, "n t"]:
    """The weight of the token branch at each token."""
    if mix != "entropy":
        if isinstance(mix, str) or not 0.0 <= mix <= 1.0:
            raise ValueError(f'dhpo: mix is {mix!r}, it must be from 0 to 1, or "entropy"')
        return torch.full_like(tokens.log_ratio, float(mix))
    if entropy is None:
        raise ValueError('dhpo: mix="entropy" needs the entropy [N, T] of each token')
    same_shape("dhpo", {"logprob": tokens.logprob, "entropy": entropy})
    entropy = tokens.masked(entropy.detach())
    check("dhpo", "entropy", entropy)
    if entropy.shape[1] == 0:
        return entropy
    least = torch.where(tokens.mask, entropy, float("inf")).amin(dim=1, keepdim=True)
    most = torch.where(tokens.mask, entropy, -float("inf")).amax(dim=1, keepdim=True)
    # A range of a few last digits is rounding, which says nothing of the tokens.
    apart = most - least > _ROUNDING * torch.maximum(most.abs(), least.abs())
    share = torch.where(apart, (entropy - least) / (most - least), 0.5)
    share = torch.where(tokens.mask, share, 0.0)
    return share if direction == "token" else 1.0 - share


_ROUNDING = 1e-6
