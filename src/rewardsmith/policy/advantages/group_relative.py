"""Advantages relative to a group: GRPO, and Dr. GRPO, which does not divide."""

from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .outcomes import Baseline, Outcomes, Scale, Singleton


@method(
    "grpo",
    kind="advantage",
    paper=Paper(
        "2402.03300",
        "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Models",
        2024,
    ),
)
def grpo(
    rewards: Float[Tensor, " n"],
    group: Ids,
    *,
    keep: Bool[Tensor, " n"] | None = None,
    baseline: Baseline = "group",
    scale: Scale = "group",
    eps: float = 1e-6,
    ddof: int = 1,
    singleton: Singleton = "zero",
    ranks: Ranks = None,
) -> Advantages:
    """``A_i = (R_i - mean_g) / (std_g + eps)``.

    **Biased.** The mean contains the rollout's own reward, which shrinks the expected gradient by
    ``(n - 1) / n``; ``baseline="others"`` does not. Dividing by the group's standard deviation
    weighs prompts by ``1 / std``: those that are nearly always or nearly never solved most
    (difficulty bias, Dr. GRPO). ``scale="none"`` is free of it. ``eps`` matters only where rewards
    of a group hardly differ.

    A group of one row gets 0 and a warning, or, with ``singleton="reward"``, its reward, divided as
    others are (its own spread counts as 1). A group whose rewards are all the same gets exactly 0.
    A row without a score (``keep``) counts in no moment and gets 0.

    Peers: verl has ``eps=1e-6, singleton="reward"`` (its vectorized form "zero"), TRL
    ``eps=1e-4``, OpenRLHF's ``group_norm`` ``eps=1e-9``, NeMo-RL ``baseline="others",
    scale="others"``.

    Args:
        rewards: [N] one per rollout, any unit.
        group: [N] ids of who is compared with whom.
        keep: [N] rows that have a score.
        baseline: the group's mean, or that of the others in it.
        scale: whose standard deviation divides: the ``"group"``'s, the ``"others"``', the whole
            ``"batch"``'s, or ``"none"``'s.
        eps: added to the standard deviation, in the unit of rewards.
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: what a rollout gets that is alone in its group.
        ranks: processes that hold parts of the batch.

    Returns:
        Advantages [N], on the device and in the type of ``rewards``.

    Raises:
        ValueError: a kept reward is not finite, lengths disagree, or an option is unknown.

    Source: Shao et al. 2024, eq. 4; batch scale: Liu et al. 2025 (Lite PPO, 2508.08221).
    """
    batch = Outcomes("grpo", rewards, group, keep, ranks)
    centered = batch.centered(baseline, singleton)
    return batch.advantages(batch.scaled(centered, scale, eps, ddof))


@method(
    "dr_grpo",
    kind="advantage",
    paper=Paper("2503.20783", "Understanding R1-Zero-Like Training: A Critical Perspective", 2025),
)
def dr_grpo(
    rewards: Float[Tensor, " n"],
    group: Ids,
    *,
    keep: Bool[Tensor, " n"] | None = None,
    singleton: Singleton = "zero",
    ranks: Ranks = None,
) -> Advantages:
    """``A_i = R_i - mean_g``: :func:`grpo` that does not divide.

    **Unbiased up to a factor**: the expected gradient is ``(n - 1) / n`` of the true one in groups
    of n, for the mean contains the rollout's own reward; ``rloo`` has no factor. The method's other
    half is how tokens are summed: ``"seq-mean-token-sum-norm"``, a fixed length in the place of
    each answer's own. Singletons, constant groups and missing scores are as in :func:`grpo`.

    Args:
        rewards: [N] one per rollout, any unit.
        group: [N] ids of who is compared with whom.
        keep: [N] rows that have a score.
        singleton: what a rollout gets that is alone in its group.
        ranks: processes that hold parts of the batch.

    Returns:
        Advantages [N], in the unit of rewards.

    Raises:
        ValueError: as :func:`grpo`.

    Source: Liu et al. 2025, section 3.
    """
    batch = Outcomes("dr_grpo", rewards, group, keep, ranks)
    return batch.advantages(batch.centered("group", singleton))
