"""Advantages against the mean of the others in the group: RLOO."""

from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .outcomes import Outcomes, Singleton


@method(
    "rloo",
    kind="advantage",
    paper=Paper(
        "2402.14740",
        "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback "
        "in LLMs",
        2024,
    ),
)
def rloo(
    rewards: Float[Tensor, " n"],
    group: Ids,
    *,
    keep: Bool[Tensor, " n"] | None = None,
    singleton: Singleton = "zero",
    ranks: Ranks = None,
) -> Advantages:
    """``A_i = R_i - mean_{j != i} R_j``: each rollout against the others of its group.

    **Unbiased.** The others were sampled independently of rollout i, so ``E[b grad log pi(y_i)]``
    is ``E[b] E[grad log pi] = 0``. It holds for tokens that are summed: a mean over each answer's
    own length weighs answers by what they are. In groups of n it is ``n / (n - 1)`` times
    ``dr_grpo``, and a group's sum is 0.

    A group of one row has no others: it gets 0 and a warning, or its reward with
    ``singleton="reward"``, which is REINFORCE and unbiased too. A group whose rewards are all the
    same gets exactly 0. A row without a score (``keep``) is nobody's other and gets 0; where
    answers lack a score for what they say, those that remain are no fair sample.

    Peers: verl's ``rloo`` has ``singleton="reward"``, its vectorized form "zero".

    Args:
        rewards: [N] one per rollout, any unit.
        group: [N] ids of who is compared with whom.
        keep: [N] rows that have a score.
        singleton: what a rollout gets that is alone in its group.
        ranks: processes that hold parts of the batch.

    Returns:
        Advantages [N], in the unit of rewards.

    Raises:
        ValueError: a kept reward is not finite, lengths disagree, or an option is unknown.

    Source: Ahmadian et al. 2024; the estimator is that of Kool et al. 2019.
    """
    batch = Outcomes("rloo", rewards, group, keep, ranks)
    return batch.advantages(batch.centered("others", singleton))
