"""From an advantage per rollout to one per token, by perplexity or by position.

Any estimator can be followed by any of these; :func:`weighted` does it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .outcomes import Outcomes, agreed

TokenWeight: TypeAlias = Callable[[Tensor], Tensor]
"""From an advantage [N] or [N, T] to one per token [N, T]. ``partial`` makes them:
``partial(position_bonus, mask=mask, gamma=0.1)``."""

Stage: TypeAlias = Literal["rising", "plateau"]

_RESIDUE = 1e-12
"""What rounding leaves of a spread where there is none, as a part of the numbers' size."""


def weighted(advantages: Advantages, by: TokenWeight) -> Advantages:
    """An estimator's advantages, spread over tokens by a token weight.

    Args:
        advantages: of rollouts or of tokens.
        by: such as ``partial(perplexity_weighted, logprob=logprob, mask=mask)``.
    """
    return replace(advantages, values=by(advantages.values))


@method(
    "perplexity_weighted",
    kind="credit",
    seed=143,
    paper=Paper(
        "2508.02260",
        "Decomposing the Entropy-Performance Exchange: The Missing Keys to Unlocking Effective "
        "Reinforcement Learning",
        2025,
    ),
)
def perplexity_weighted(
    advantage: Float[Tensor, " n"] | Float[Tensor, "n t"],
    logprob: Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    *,
    alpha: float = 0.01,
    group: Ids | None = None,
    ranks: Ranks = None,
) -> Float[Tensor, "n t"]:
    """``A'_it = A_i clamp(1 - alpha z_i, 0, 2)``, z the standardized log-perplexity of the answer.

    ``logPPL_i = -mean_t log pi(o_it)`` over the tokens of ``mask``; ``z_i = (logPPL_i - mean) /
    std`` over the batch, or over the group. Answers that the policy finds likely are trained on
    more. The clamp holds the sign of every advantage.

    That log-perplexity is standardized and weighs answers down is the paper's; that the factor is
    ``1 - alpha z``, the population's standard deviation, the clamp, and alpha's default are our
    reading.

    **Biased** as a policy gradient: answers are weighed by more than their reward.

    Where all answers are as likely, or one is alone, z is 0 and nothing changes. An answer without
    a token counts in no moment. ``A = 0`` stays 0.

    Args:
        advantage: [N], or [N, T] of tokens.
        logprob: [N, T] of the policy that sampled; no gradient flows through it.
        mask: [N, T] the tokens that the policy chose.
        alpha: how much one standard deviation takes away, at least 0.
        group: [N] ids of who is compared with whom; None for the whole batch.
        ranks: processes that hold parts of the batch.

    Returns:
        [N, T], in float32 or wider; 0 where ``mask`` is not.

    Raises:
        ValueError: shapes that disagree, alpha out of range, or a log-probability of a marked token
            that is not finite.

    Source: Deng et al. 2025, on reward shaping by perplexity.
    """
    if not 0.0 <= alpha < math.inf:
        raise ValueError(f"perplexity_weighted: alpha is {alpha}, it must be at least 0")
    spread = agreed(lambda: _surprised(advantage, logprob, mask), ranks)
    length = mask.sum(dim=1)
    marked = torch.where(mask, logprob.detach().double(), 0.0)
    surprise = -marked.sum(dim=1) / length.clamp(min=1)
    z = _standardized(surprise, [0] * len(length) if group is None else group, length > 0, ranks)
    return spread * (1.0 - alpha * z).clamp(0.0, 2.0).to(spread)[:, None]


@method(
    "position_bonus",
    kind="credit",
    seed=143,
    paper=Paper(
        "2508.02260",
        "Decomposing the Entropy-Performance Exchange: The Missing Keys to Unlocking Effective "
        "Reinforcement Learning",
        2025,
    ),
)
def position_bonus(
    advantage: Float[Tensor, " n"] | Float[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    *,
    gamma: float = 0.1,
    slope: float = 10.0,
    reverse: bool = False,
) -> Float[Tensor, "n t"]:
    """``A'_it = A_i + sign(A_i) b_t`` with ``b_t = gamma sigmoid(slope (t / |o_i| - 1/2))``.

    Late tokens are pushed harder, in the direction in which they are pushed anyway. t counts the
    tokens of ``mask`` from 1, so that ``t / |o_i|`` lies in (0, 1], whatever stands between them.

    That a bonus grows with the relative position is the paper's; the sigmoid's form and all numbers
    are our reading.

    **Biased** as a policy gradient: b is no part of the return. ``sign(0) = 0``: a rollout whose
    group is constant gets no bonus.

    Args:
        advantage: [N], or [N, T] of tokens.
        mask: [N, T] the tokens that the policy chose.
        gamma: the most that is added, in the unit of advantages; at least 0.
        slope: how sharply the bonus sets in at the middle; at least 0, where 0 is ``gamma / 2``
            everywhere.
        reverse: count from the end instead, for comparison.

    Returns:
        [N, T], in float32 or wider; 0 where ``mask`` is not.

    Raises:
        ValueError: shapes that disagree, or an option out of range.

    Source: Deng et al. 2025, on reward shaping by position.
    """
    for name, value in (("gamma", gamma), ("slope", slope)):
        if not 0.0 <= value < math.inf:
            raise ValueError(f"position_bonus: {name} is {value}, it must be at least 0")
    spread = _by_token("position_bonus", advantage, mask)
    length = mask.sum(dim=1, keepdim=True)
    place = mask.cumsum(dim=1)
    place = length + 1 - place if reverse else place
    where = place.to(torch.float64) / length.clamp(min=1)
    bonus = gamma * torch.sigmoid(slope * (where - 0.5))
    return spread + spread.sign() * bonus.to(spread)


class EntropyStage(nn.Module):
    """Whether the policy's entropy still moves: ``"rising"`` performance, then a ``"plateau"``.

    The paper's stages: entropy falls fast while performance rises, and then both hardly move. Token
    weights are for the plateau. Our reading: the slope of the mean entropy over the last ``window``
    updates, by least squares, and "rising" while its size is above ``threshold`` or there were
    fewer updates. A stage can come back.

    Observed entropies are saved with ``state_dict``.

    Args:
        threshold: nats per update, at least 0. What is a small slope depends on the task; half of
            what the first updates show is a start.
        window: updates to look at, at least 2.

    Raises:
        ValueError: an option out of range.

    Source: Deng et al. 2025, on the stages of training.
    """

    def __init__(self, threshold: float, window: int = 20) -> None:
        super().__init__()
        if not 0.0 <= threshold < math.inf:
            raise ValueError(f"EntropyStage: threshold is {threshold}, it must be at least 0")
        if window < 2:
            raise ValueError(f"EntropyStage: window is {window}, a slope needs 2 updates")
        self.threshold, self.window = float(threshold), window
        self.seen: list[float] = []

    @property
    def slope(self) -> float | None:
        """Nats per update over the window; None before it is full."""
        if len(self.seen) < self.window:
            return None
        ahead = np.arange(self.window) - (self.window - 1) / 2
        # Counted from one of them, entropies that are the same have the slope 0.
        return float(ahead @ (np.array(self.seen) - self.seen[0]) / (ahead @ ahead))

    @property
    def stage(self) -> Stage:
        """Where training is by what was observed so far."""
        slope = self.slope
        return "rising" if slope is None or abs(slope) > self.threshold else "plateau"

    def observe(self, entropy: float) -> Stage:
        """Take in an update's mean entropy over tokens, in nats; returns the stage.

        Raises:
            ValueError: the entropy is not finite.
        """
        if not math.isfinite(entropy):
            raise ValueError(f"EntropyStage: the entropy is {entropy}, it must be finite")
        self.seen = [*self.seen, float(entropy)][-self.window :]
        return self.stage

    def get_extra_state(self) -> dict[str, list[float]]:
        return {"seen": list(self.seen)}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self.seen = [float(entropy) for entropy in state["seen"]][-self.window :]


def _by_token(method: str, advantage: Tensor, mask: Tensor) -> Float[Tensor, "n t"]:
    """Advantages at the tokens of a mask, in float32 or wider."""
    wide = advantage.detach().to(torch.promote_types(advantage.dtype, torch.float32))
    wide = wide if wide.ndim == 2 else wide[:, None]
    if len(wide) != len(mask) or wide.shape[1] not in (1, mask.shape[1]):
        raise ValueError(
            f"{method}: the advantage has the shape {[*advantage.shape]}, the mask {[*mask.shape]}"
        )
    return torch.where(mask, wide, 0.0)


def _surprised(advantage: Tensor, logprob: Tensor, mask: Tensor) -> Float[Tensor, "n t"]:
    """Advantages at tokens, all of which have a log-probability."""
    if logprob.shape != mask.shape:
        raise ValueError(
            f"perplexity_weighted: logprob has the shape {[*logprob.shape]}, "
            f"the mask {[*mask.shape]}"
        )
    broken = mask & ~logprob.isfinite()
    if bool(broken.any()):
        row, token = broken.nonzero()[0].tolist()
        raise ValueError(
            f"perplexity_weighted: row {row}, token {token} has the log-probability "
            f"{float(logprob[row, token])}; a token that was sampled has a finite one"
        )
    return _by_token("perplexity_weighted", advantage, mask)


def _standardized(
    values: Float[Tensor, " n"], group: Ids, keep: Bool[Tensor, " n"], ranks: Ranks
) -> Float[Tensor, " n"]:
    """``(x - mean_g) / std_g``; 0 where the spread is that of rounding, and where not kept."""
    batch = Outcomes("perplexity_weighted", values, group, keep, ranks)
    variance = batch.squares / np.maximum(batch.count, 1.0)
    size = np.sqrt(batch.group_mean(batch.rewards**2))
    std = np.sqrt(variance)
    z = batch.deviations / np.where(std > 0.0, std, 1.0)[batch.index]
    return batch.column(np.where((std > _RESIDUE * size)[batch.index], z, 0.0))
