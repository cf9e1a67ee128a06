"""Advantages against the reward of the greedy answer: ReMax."""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from .outcomes import Outcomes
from .step_rewards import StepRewards

Greedy: TypeAlias = Float[Tensor, " n"] | Sequence[float | None]


@method(
    "remax",
    kind="advantage",
    paper=Paper(
        "2310.10505",
        "ReMax: A Simple, Effective, and Efficient Reinforcement Learning Method for Aligning "
        "Large Language Models",
        2023,
    ),
)
def remax(
    rewards: Float[Tensor, " n"],
    greedy_reward: Greedy,
    *,
    keep: Bool[Tensor, " n"] | None = None,
) -> Advantages:
    """``A_i = R_i - b_i``, b the reward of the greedy answer to the same prompt.

    **Unbiased.** b depends on the prompt and the policy, not on what was sampled. It costs one more
    answer for each prompt and needs no group: one rollout per prompt will do. A rollout that is as
    good as the greedy answer gets exactly 0. A row without a score (``keep``) gets 0, and its
    baseline may be anything.

    Args:
        rewards: [N] one per rollout, any unit.
        greedy_reward: [N] the baseline of each rollout, in the same unit: a tensor, or a column of
            numbers, in which None is missing.
        keep: [N] rows that have a score.

    Returns:
        Advantages [N], in the unit of rewards.

    Raises:
        ValueError: a kept row has no finite reward or baseline, or lengths disagree.

    Source: Li et al. 2023.
    """
    greedy = _baseline("remax", greedy_reward, len(rewards), keep)
    batch = Outcomes("remax", rewards, (), keep, columns={"greedy_reward": greedy}, whole=True)
    return batch.advantages(batch.rewards - batch.columns["greedy_reward"])


@method(
    "remax_steps",
    kind="advantage",
    paper=Paper(
        "2310.10505",
        "ReMax: A Simple, Effective, and Efficient Reinforcement Learning Method for Aligning "
        "Large Language Models",
        2023,
    ),
)
def remax_steps(
    step_rewards: Float[Tensor, "n t"],
    greedy_reward: Greedy,
    mask: Bool[Tensor, "n t"],
    *,
    keep: Bool[Tensor, " n"] | None = None,
) -> Advantages:
    """``A_t = sum_{s >= t} R_s - b``: :func:`remax` of rewards by step, such as a KL penalty's.

    **Unbiased**: what was earned before a step does not depend on it, and neither does b. With one
    reward at the last step it is :func:`remax` at every step. Where ``mask`` is not, rewards do not
    count and the advantage is 0.

    Peers: verl's ``remax``.

    Args:
        step_rewards: [N, T] rewards, any unit.
        greedy_reward: [N] the greedy answer's whole reward, as in :func:`remax`.
        mask: [N, T] the steps that the policy chose.
        keep: [N] rows that have a score.

    Returns:
        Advantages [N, T], in the type of ``step_rewards``, or float32 if that is narrower.

    Raises:
        ValueError: a kept row has a reward under the mask or a baseline that is not finite, or
            shapes disagree.

    Source: Li et al. 2023; by step as in verl.
    """
    steps = StepRewards("remax_steps", step_rewards, mask, keep)
    greedy = _baseline("remax_steps", greedy_reward, len(step_rewards), keep)
    advantages = steps.returns(1.0, end=-greedy.to(step_rewards.device)).tensor(steps.kind)
    steps.check(advantages)
    return Advantages(advantages, steps.keep)


def _baseline(
    method: str, given: Greedy, n: int, keep: Bool[Tensor, " n"] | None
) -> Float[Tensor, " n"]:
    """Baselines in float64, 0 in rows that are not kept."""
    if isinstance(given, Tensor):
        greedy = given.detach().double()
    else:
        numbers = [float("nan") if number is None else number for number in given]
        greedy = torch.tensor(numbers, dtype=torch.float64, device="cpu")
    if greedy.ndim != 1 or len(greedy) != n:
        raise ValueError(
            f"{method}: {n} rollouts, greedy_reward has the shape {[*greedy.shape]}; each rollout "
            "needs the reward of its prompt's greedy answer"
        )
    if keep is not None and len(keep) == n:
        greedy = torch.where(keep.to(greedy.device).bool(), greedy, 0.0)
    broken = ~greedy.isfinite()
    if bool(broken.any()):
        row = int(broken.nonzero()[0])
        raise ValueError(
            f"{method}: row {row} has {float(greedy[row])} in greedy_reward; each rollout needs "
            "the reward of its prompt's greedy answer, or leave the row out: keep"
        )
    return greedy
