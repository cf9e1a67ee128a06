"""Does a gain come from the reward? Logs of a run, and rewards that say nothing to compare with.

Clipped updates lower the entropy of a policy even where the reward is a coin toss, and a falling
entropy looks like learning. Two questions follow. What did the clip do in this run? Its log answers
that (:func:`spurious_reward_check`). Does the gain survive a reward that knows nothing? Only a
second run does: with :func:`shuffled` or :func:`flipped` rewards, everything else the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..core.catalog import Paper, method
from ..policy.losses.clipping import bounds

_NONE = 1e-9


class LoggedUpdate(NamedTuple):
    """What one update of a policy was computed from."""

    logprob: Float[Tensor, "n t"]
    """Of the policy before the update."""
    old_logprob: Float[Tensor, "n t"]
    """Of the policy that sampled."""
    advantage: Float[Tensor, " n"] | Float[Tensor, "n t"]
    mask: Bool[Tensor, "n t"]


@dataclass(frozen=True)
class SpuriousReport:
    """What the clip did, and what became of the entropy; see :func:`spurious_reward_check`."""

    clipped_high: tuple[float, ...]
    """For each update, the share of tokens above the bound with A > 0: their gradient was cut."""
    clipped_low: tuple[float, ...]
    """The share below the bound with A < 0."""
    pull: tuple[float, ...]
    """What the clip would expect of a coin toss of this size: ``E|A| / 2`` times the share of
    tokens outside the bounds, in the unit of advantages."""
    entropy: tuple[float, ...]
    """``-mean log pi_old`` in nats per token: an unbiased estimate for the tokens that were met."""
    entropy_slope: float
    """Least squares over updates, in nats per token and update."""


@method(
    "spurious_reward_check",
    kind="audit",
    seed=145,
    paper=Paper(
        "2512.16912",
        "Exploration v.s. Exploitation: Rethinking RLVR through Clipping, Entropy, and Spurious "
        "Reward",
        2025,
    ),
)
def spurious_reward_check(
    updates: Sequence[LoggedUpdate], *, clip: float | Sequence[float] = 0.2
) -> SpuriousReport:
    """Shares of tokens that the clip cut, and the slope of entropy, from a run's log; no verdict.

    If advantages are symmetric about 0 and independent of what was sampled, the clipped surrogate
    still has an expected gradient for a given policy: ``(E|A| / 2) (1[r < 1 - e_low] -
    1[r > 1 + e_high]) grad r`` for each token, back towards the policy that sampled; without the
    clip it is 0. That is our reading of the paper, and checked over all tosses for four answers in
    the tests of its reproduction. ``pull`` is the size of it. In a run, the policy depends on the
    rewards from the second update per rollout on, and the formula is no more than a guide; with one
    update per rollout all ratios are 1, and clip and pull are 0.

    None of these numbers says whether the reward was right. A gain that a run with ``shuffled``
    rewards has too does not come from it. The recorded verdict is of the paper's claim, that a coin
    toss takes entropy by the clip alone, and not of this function, which reads the logs there.

    Args:
        updates: in the order of the run; several of one rollout may follow each other.
        clip: e, or ``(e_low, e_high)``, that the run was trained with.

    Raises:
        ValueError: fewer than two updates, shapes that disagree, an update without a token, a
            number of a marked token that is not finite, a clip outside the range of ``ppo``'s, or
            a policy whose entropy was 0 from the start: of that, nothing can be told.

    Source: Chen et al. 2025.
    """
    pair = (clip, clip) if isinstance(clip, int | float) else (clip[0], clip[1])
    low, high = bounds("spurious_reward_check", pair)
    if len(updates) < 2:
        raise ValueError(
            f"spurious_reward_check: {len(updates)} updates have no slope; two or more are needed"
        )
    rows = [_told(number, update, low, high) for number, update in enumerate(updates)]
    above, below, pull, entropy = (tuple(column) for column in zip(*rows, strict=True))
    if entropy[0] < _NONE:
        raise ValueError(
            "spurious_reward_check: the policy of the first update has an entropy of 0 (it always "
            "says the same), so that none can be lost"
        )
    slope = np.polyfit(np.arange(len(entropy)), entropy, 1)[0]
    return SpuriousReport(above, below, pull, entropy, float(slope))


def _told(
    number: int, update: LoggedUpdate, low: float, high: float
) -> tuple[float, float, float, float]:
    mask = update.mask.bool()
    advantage = update.advantage
    if advantage.ndim == 1:
        advantage = advantage[:, None].expand(len(advantage), mask.shape[1])
    given = {
        "logprob": update.logprob,
        "old_logprob": update.old_logprob,
        "advantage": advantage,
    }
    marked = {}
    for name, tensor in given.items():
        if tensor.shape != mask.shape:
            raise ValueError(
                f"spurious_reward_check: in update {number} {name} has the shape "
                f"{[*tensor.shape]}, mask {[*mask.shape]}"
            )
        marked[name] = tensor.detach()[mask].double()
        if not bool(marked[name].isfinite().all()):
            raise ValueError(
                f"spurious_reward_check: in update {number} {name} of a marked token is not finite"
            )
    if not bool(mask.any()):
        raise ValueError(f"spurious_reward_check: update {number} has no token")
    size, old = marked["advantage"], marked["old_logprob"]
    ratio = (marked["logprob"] - old).exp()
    above, below = ratio > high, ratio < low
    outside = (above | below).double().mean()
    return (
        float((above & (size > 0)).double().mean()),
        float((below & (size < 0)).double().mean()),
        float(size.abs().mean() * outside / 2.0),
        float(-old.mean()),
    )


def shuffled(rewards: Float[Tensor, " n"], generator: torch.Generator) -> Float[Tensor, " n"]:
    """The same rewards, given to other rollouts: as many of each value, and no word about any.

    Args:
        rewards: [N], of a batch. Within each group it would leave the groups' means as they were.
        generator: of the permutation.
    """
    return rewards[torch.randperm(len(rewards), generator=generator).to(rewards.device)]


def flipped(
    rewards: Float[Tensor, " n"] | Bool[Tensor, " n"], share: float, generator: torch.Generator
) -> Float[Tensor, " n"] | Bool[Tensor, " n"]:
    """Rewards of 0 and 1 (or False and True), of which a random share becomes ``1 - R``.

    The expected gradient of the raw reward is ``1 - 2 share`` times what it was; with a half,
    nothing is left.

    Args:
        rewards: [N], each 0 or 1.
        share: rho, from 0 to 1.
        generator: of who is flipped.

    Raises:
        ValueError: a share outside its range, or a reward that is neither 0 nor 1.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"flipped: share is {share}, it must lie in [0, 1]")
    odd = (rewards != 0.0) & (rewards != 1.0)
    if bool(odd.any()):
        row = int(odd.nonzero()[0])
        raise ValueError(f"flipped: row {row} has the reward {float(rewards[row])}, not 0 or 1")
    wrong = torch.rand(len(rewards), generator=generator).to(rewards.device) < share
    return torch.where(wrong, (rewards == 0.0).to(rewards.dtype), rewards)
