"""Clip bounds by how much a sample and its group have to tell: ETR."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.catalog import Paper, method
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from ..advantages.outcomes import Outcomes
from .aggregation import Aggregation, Mode
from .clipping import bounds, pair
from .tokens import Advantage, PolicyLoss, Tokens, Weight, clip_shares, clipped


@method(
    "etr",
    kind="loss",
    seed=141,
    paper=Paper(
        "2601.03723", "ETR: Outcome-Guided Elastic Trust Regions for Policy Optimization", 2026
    ),
)
def etr(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    variance: Float[Tensor, " n"],
    *,
    clip: float | tuple[float, float] = 0.2,
    micro: float = 0.5,
    macro: float = 0.5,
    within: tuple[float, float] = (0.1, 0.4),
    aggregation: Aggregation | Mode = "seq-mean-token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """:func:`~rewardsmith.policy.losses.ppo` whose clip is :func:`elastic_clip`'s.

    The paper's abstract has the two levels, a clip that scales with the advantage (micro) and with
    the variance of the group (macro); the formula is **our reading**. With ``micro=macro=0`` it is
    ``ppo`` under the same aggregation, to the last digit. Compare it with a constant clip of the
    same mean width (the metric ``clip_width``): what a wider clip gains is no gain of elasticity.

    An advantage that was divided by the group's standard deviation is, for rewards of 0 and 1, a
    function of the share p that is solved, such as ``sqrt((1 - p) / p)``. Then the two levels are
    not independent: the metrics ``micro`` and ``macro`` tell both factors.

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        variance: [N] in [0, 1]: :func:`group_variance` of the rewards.
        clip: e, or ``(e_low, e_high)``, of a group of half the largest variance and an advantage
            of 0.
        micro: how much an advantage widens the clip.
        macro: how much a group's variance moves it.
        within: the least and the greatest e.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss.

    Returns:
        The loss, the metrics of ``ppo``, and the means over tokens of the factors ``micro`` and
        ``macro`` and of ``clip_width``, the e of the side that the advantage's sign can use.

    Raises:
        ValueError: shapes that disagree, an advantage that is not finite, or what
            :func:`elastic_clip` refuses.

    Source: Zhang et al. 2026, abstract.
    """
    tokens = Tokens("etr", logprob, old_logprob, advantage, mask)
    size = tokens.advantage
    low, high = elastic_clip(size, variance, clip=clip, micro=micro, macro=macro, within=within)
    ratio = tokens.log_ratio.exp()
    loss = clipped(ratio, tokens.advantage, low, high)
    told = {
        "micro": _by_advantage(size, micro),
        "macro": _by_variance(variance, macro)[:, None],
        "clip_width": torch.where(size < 0, 1.0 - low, high - 1.0),
    }
    count = tokens.mask.sum().clamp(min=1)
    means = {name: torch.where(tokens.mask, of, 0.0).sum() / count for name, of in told.items()}
    return tokens.finish(
        loss, aggregation, weight, **clip_shares(tokens, ratio, low, high), **means
    )


def elastic_clip(
    advantage: Float[Tensor, " n"] | Float[Tensor, "n t"],
    variance: Float[Tensor, " n"],
    *,
    clip: float | tuple[float, float] = 0.2,
    micro: float = 0.5,
    macro: float = 0.5,
    within: tuple[float, float] = (0.1, 0.4),
) -> tuple[Tensor, Tensor]:
    """``e_i = e (1 + micro tanh|A_i|) (1 + macro (v_g - 1/2))``, held within two numbers.

    Only the side moves that the sign of the advantage can use, the upper one where ``A > 0`` and
    the lower one where ``A < 0``. The other keeps e, as do both where ``A = 0``; it bounds nothing
    there. Our reading.

    Args:
        advantage: [N] or [N, T].
        variance: [N] v_g in [0, 1], the variance of a row's group as a part of the largest.
        clip: e, or ``(e_low, e_high)``.
        micro: at least 0.
        macro: from 0 to 2.
        within: the least and the greatest e.

    Returns:
        ``1 - e_low`` and ``1 + e_high`` of each row (or token), in float64, in the shape of
        ``advantage``.

    Raises:
        ValueError: a clip that is not within the two numbers, those numbers not in the order
            ``0 <= least <= most < 1``, micro or macro outside its range, or a variance outside
            [0, 1] (not looked at under ``torch.compile``).
    """
    low, high = bounds("etr", clip)
    e_low, e_high = pair(clip)
    least, most = within
    if not 0.0 <= least <= most < 1.0:
        raise ValueError(f"etr: within is {within}, with 0 <= least <= most < 1")
    if not (least <= e_low <= most and least <= e_high <= most):
        raise ValueError(f"etr: clip is {clip}, which is not within {within}")
    if not 0.0 <= micro < float("inf") or not 0.0 <= macro <= 2.0:
        raise ValueError(f"etr: micro is {micro}, at least 0, and macro {macro}, from 0 to 2")
    if variance.shape != advantage.shape[:1]:
        raise ValueError(
            f"etr: advantage has the shape {[*advantage.shape]}, variance {[*variance.shape]}; "
            "one number per row is needed"
        )
    if not torch.compiler.is_compiling():
        _check_variance(variance)
    spread = _by_variance(variance, macro)
    factor = _by_advantage(advantage, micro) * (spread if advantage.ndim == 1 else spread[:, None])
    # From 1.0 in float64, as bounds() has it: factors of 1 give ppo's bounds to the last digit.
    lower = torch.where(advantage < 0, 1.0 - (e_low * factor).clamp(least, most), low)
    upper = torch.where(advantage > 0, 1.0 + (e_high * factor).clamp(least, most), high)
    return lower, upper


def group_variance(
    rewards: Float[Tensor, " n"],
    group: Ids,
    *,
    bounds: tuple[float, float] | None = None,
    keep: Bool[Tensor, " n"] | None = None,
    ranks: Ranks = None,
) -> Float[Tensor, " n"]:
    """``v_g = 4 Var_g(R) / (b - a)^2``: a group's variance as a part of the largest possible.

    Rewards from a to b have a variance of at most ``(b - a)^2 / 4`` (Popoviciu): half of them a,
    half b. For rewards of 0 and 1 this is ``4 p (1 - p)``, exactly; it holds for any others too.

    Args:
        rewards: [N] one per rollout, any unit.
        group: [N] ids of who is compared with whom.
        bounds: ``(a, b)``, the least and the greatest possible reward. Without it the least and
            the greatest of this batch stand in, so that v_g depends on the batch; in one whose
            rewards are all the same it is 0.
        keep: [N] rows that have a score; the others count nowhere and get 0.
        ranks: processes that hold parts of the batch.

    Returns:
        v_g [N] in [0, 1], the same in all rows of a group; 0 for a row that is alone in its group
        and in groups whose rewards are all the same. In the rewards' type and on their device.

    Raises:
        ValueError: a kept reward that is not finite or out of bounds, bounds that are not in
            order, or lengths that disagree.
    """
    batch = Outcomes("etr", rewards, group, keep, ranks)
    kept = batch.rewards[batch.keep]
    if bounds is None:
        low, high = (float(kept.min()), float(kept.max())) if len(kept) else (0.0, 0.0)
    else:
        low, high = bounds
        if not low < high:
            raise ValueError(f"etr: bounds are {bounds}, the first must be below the second")
        out = batch.keep & ((batch.rewards < low) | (batch.rewards > high))
        if out.any():
            row = int(out.argmax())
            raise ValueError(
                f"etr: {batch.row(row)} has the reward {batch.rewards[row]}, out of bounds {bounds}"
            )
    # Divided before it is squared: the square of a tiny range is 0.
    part = batch.group_mean((2.0 * batch.deviations / ((high - low) or 1.0)) ** 2)
    # Rounding may lift a half-and-half group above the bound by its last digit.
    return batch.advantages(part.clip(0.0, 1.0)[batch.index]).values


def _by_advantage(advantage: Tensor, micro: float) -> Tensor:
    return 1.0 + micro * advantage.detach().to(torch.float64).abs().tanh()


def _by_variance(variance: Tensor, macro: float) -> Tensor:
    return 1.0 + macro * (variance.detach().to(torch.float64) - 0.5)


def _check_variance(variance: Tensor) -> None:
    inside = (variance >= 0.0) & (variance <= 1.0)
    if not bool(inside.all()):
        row = int((~inside).nonzero()[0])
        raise ValueError(
            f"etr: row {row} has the variance {float(variance[row])}, which is a part of the "
            "largest, from 0 to 1: group_variance(rewards, group) makes it"
        )
