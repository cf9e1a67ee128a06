"""PPO's clipped surrogate, with dual clip, and DAPO's setting of it."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from ...core.catalog import Paper, method
from .aggregation import Aggregation, Mode
from .tokens import Advantage, PolicyLoss, Tokens, Weight, clip_shares, clipped


@method(
    "ppo",
    kind="loss",
    paper=Paper("1707.06347", "Proximal Policy Optimization Algorithms", 2017),
)
def ppo(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    clip: float | tuple[float, float] = 0.2,
    dual_clip: float | None = None,
    aggregation: Aggregation | Mode = "token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """``L_t = max(-r A, -clip(r, 1 - e_low, 1 + e_high) A)`` with ``r = pi / pi_old``.

    At ``pi = pi_old`` its gradient is that of ``-A log pi``, up to the aggregation. GRPO's and
    Dr. GRPO's loss is this one under another aggregation.

    Args:
        logprob: [N, T] log-probabilities of the policy that is trained.
        old_logprob: [N, T] of the policy that sampled.
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T] the tokens that the policy chose.
        clip: e, or ``(e_low, e_high)``: distances from 1, so that ``0.2`` is for ratios of 0.8 to
            1.2. An e_low of 1 is no lower bound.
        dual_clip: where A < 0, the loss is at most ``-dual_clip A`` (Ye et al. 2020), which takes
            the gradient from ratios above it. verl has 3; TRL's ``delta`` is the same number. It
            may be below ``1 + e_high``, which bounds nothing where A < 0.
        aggregation: how tokens become one number.
        weight: [N, T] or [N, 1] a factor for each token's loss, such as importance weights.

    Returns:
        The loss, and the metrics ``old_kl`` (k1 of the old policy from this one), ``clipped_high``
        and ``clipped_low`` (shares of tokens); with a dual clip, ``clipped_dual``.

    Raises:
        ValueError: shapes that disagree, an advantage that is not finite, a clip outside its range
            (``0 <= e_low <= 1``, ``e_high >= 0``), or a dual clip of at most 1.

    Source: Schulman et al. 2017, eq. 7; dual clip: Ye et al. 2020 (1912.09729), eq. 5.
    """
    return _ppo("ppo", logprob, old_logprob, advantage, mask, clip, dual_clip, aggregation, weight)


@method(
    "dapo",
    kind="loss",
    paper=Paper(
        "2503.14476", "DAPO: An Open-Source LLM Reinforcement Learning System at Scale", 2025
    ),
)
def dapo(
    logprob: Float[Tensor, "n t"],
    old_logprob: Float[Tensor, "n t"],
    advantage: Advantage,
    mask: Bool[Tensor, "n t"],
    *,
    clip: tuple[float, float] = (0.2, 0.28),
    dual_clip: float | None = None,
    aggregation: Aggregation | Mode = "token-mean",
    weight: Weight | None = None,
) -> PolicyLoss:
    """:func:`ppo` that clips higher above than below, and means over all tokens of the batch.

    Unlikely tokens can gain more before the bound takes their gradient, and long answers weigh by
    their tokens. DAPO's two other parts are a sampler and a reward for length.

    Args:
        logprob: as in :func:`ppo`, like the others.
        old_logprob: [N, T].
        advantage: [N] or [N, T], or ``Advantages``.
        mask: [N, T].
        clip: ``(e_low, e_high)``.
        dual_clip: none in the paper; verl has 10 in its recipe.
        aggregation: for micro-batches, ``Aggregation.of_batch("token-mean", ...)``.
        weight: [N, T].

    Returns:
        As :func:`ppo`.

    Raises:
        ValueError: as :func:`ppo`.

    Source: Yu et al. 2025, eq. 8 to 12.
    """
    return _ppo("dapo", logprob, old_logprob, advantage, mask, clip, dual_clip, aggregation, weight)


def _ppo(
    name: str,
    logprob: Tensor,
    old_logprob: Tensor,
    advantage: Advantage,
    mask: Tensor,
    clip: float | tuple[float, float],
    dual_clip: float | None,
    aggregation: Aggregation | Mode,
    weight: Tensor | None,
) -> PolicyLoss:
    low, high = bounds(name, clip, dual_clip)
    tokens = Tokens(name, logprob, old_logprob, advantage, mask)
    ratio = tokens.log_ratio.exp()
    loss = clipped(ratio, tokens.advantage, low, high, dual_clip)
    shares = clip_shares(tokens, ratio, low, high, dual_clip)
    return tokens.finish(loss, aggregation, weight, **shares)


def bounds(
    name: str, clip: float | tuple[float, float], dual_clip: float | None = None
) -> tuple[float, float]:
    """``(1 - e_low, 1 + e_high)``.

    ValueError outside ``0 <= e_low <= 1`` and ``e_high >= 0``, or for a dual clip of at most 1.
    """
    low, high = pair(clip)
    if not 0.0 <= low <= 1.0 or not 0.0 <= high < float("inf"):
        raise ValueError(f"{name}: clip is {clip}, with 0 <= e_low <= 1 and e_high >= 0")
    if dual_clip is not None and not dual_clip > 1.0:
        raise ValueError(f"{name}: dual_clip is {dual_clip}, it must be above 1")
    return 1.0 - low, 1.0 + high


def pair(clip: float | tuple[float, float]) -> tuple[float, float]:
    """Both ends: one number, of any kind, stands for two."""
    low, high = clip if isinstance(clip, Sequence) else (clip, clip)
    return float(low), float(high)
