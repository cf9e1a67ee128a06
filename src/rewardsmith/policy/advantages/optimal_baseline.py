"""A baseline for each token that takes the most variance out: the optimal token baseline (OTB)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...ops.groups import Groups, Ids
from .outcomes import Singleton, flags

_SLACK = 1e-3
"""By how much a probability may be above 1, which is that of half precision."""
_RESIDUE = 1e-6
"""What rounding leaves, in float32, of the gradient's square of a token that was certain."""


@method(
    "otb",
    kind="advantage",
    paper=Paper(
        "2602.07078",
        "The Optimal Token Baseline: Variance Reduction for Long-Horizon LLM-RL",
        2026,
    ),
)
def optimal_token(
    step_rewards: Float[Tensor, "n t"],
    group: Ids,
    mask: Bool[Tensor, "n t"],
    logprob: Float[Tensor, "n t"],
    sum_pi_squared: Float[Tensor, "n t"],
    *,
    keep: Bool[Tensor, " n"] | None = None,
    singleton: Singleton = "zero",
) -> Advantages:
    """``A_it = G_it - B_gt`` with ``B_gt = sum_i W_it G_it / sum_i W_it`` over the group's rows.

    G is the return from token t on, not discounted. ``W_it = sum_{s <= t} (1 - 2 pi_is + q_is)``
    with ``q = sum_v pi(v)^2``: each term is the squared norm of the log-probability's gradient with
    respect to the logits, and W stands for that of the whole answer up to t. Of all baselines that
    depend on the group and the place, the weighted mean is the one of least variance if W is right.

    Rows are compared at the same place t. Where none of them has a gradient yet (W is 0
    throughout, but for rounding), the weights are equal.

    **Biased**: B holds the row's own return, and its weight holds the token at t; both shrink with
    the size of the group.

    A token with which no other row of its group shares a place (a group of one, the end of the
    longest answer) has nothing to be compared with: it gets 0, or its return with
    ``singleton="reward"``. Where all returns at a place are the same, the advantage is exactly 0. A
    row without a score counts nowhere and gets 0.

    Peers: verl's ``optimal_token_baseline`` has ``singleton="reward"``; with
    ``handle_zero_tail=True`` its tail is counted by tokens, here by places. It can weigh W by
    squared importance weights of the rollout, which this does not.

    Args:
        step_rewards: [N, T] any unit; an outcome stands at the last action step.
        group: [N] ids of who is compared with whom. A group lies on one rank.
        mask: [N, T] the tokens that the policy chose.
        logprob: [N, T] log-probabilities of the sampled tokens.
        sum_pi_squared: [N, T] q: the sum of the squares of all tokens' probabilities, in [0, 1].
        keep: [N] rows that have a score.
        singleton: what a token gets that is alone at its place: 0, or its return.

    Returns:
        Advantages [N, T], in the unit of rewards; 0 where ``mask`` is not.

    Raises:
        ValueError: shapes that disagree, a marked number that is not finite, a probability above 1
            or a q outside [0, 1], or an unknown option.

    Source: Li et al. 2026, the baseline and its logit-gradient proxy.
    """
    if singleton not in ("zero", "reward"):
        raise ValueError(f"otb: singleton is {singleton!r}, not one of zero, reward")
    if keep is not None:
        flags("otb", "keep", keep, len(mask), "rows of rewards")
    rows = mask.new_ones(len(mask)) if keep is None else keep
    if len(group) != len(mask):
        raise ValueError(f"otb: {len(mask)} rows of rewards, group has {len(group)}")
    mask = mask & rows[:, None]
    paid = _checked("step_rewards", step_rewards, mask, outside=0.0)
    returns = paid.flip(1).cumsum(dim=1, dtype=torch.float64).flip(1)
    p = _checked("logprob", logprob, mask, outside=0.0, most=_SLACK).exp()
    q = _checked("sum_pi_squared", sum_pi_squared, mask, outside=1.0, least=0.0, most=1.0 + _SLACK)
    # Below 0 is what rounding leaves of a token that was certain.
    squared = (1.0 - 2.0 * p + q).clamp(min=0.0)
    weight = squared.cumsum(dim=1, dtype=torch.float64) * mask
    groups = Groups(group, "otb")
    index = torch.from_numpy(groups.index).to(returns.device)

    def sums(values: Tensor) -> Tensor:
        """[K, T] each group's sum at each place."""
        return values.new_zeros(len(groups), values.shape[1]).index_add(0, index, values)

    here = mask.double()
    count, total = sums(here), sums(weight)
    flat = (total <= _RESIDUE * sums(here.cumsum(dim=1))) & (count > 0.0)
    if bool(flat.any()):
        weight = torch.where(flat[index], here, weight)
        total = sums(weight)
    # Counted from the greatest, returns that are the same are 0, and so is their mean.
    marked = torch.where(mask, returns, -torch.inf)
    top = torch.full_like(total, -torch.inf).scatter_reduce(
        0, index[:, None].expand_as(marked), marked, "amax"
    )
    away = torch.where(mask, returns - top[index], 0.0)
    baseline = sums(weight * away) / torch.where(count > 0.0, total, 1.0)
    alone = count == 1.0
    if singleton == "reward":
        baseline = torch.where(alone, -top, baseline)
    values = torch.where(mask, away - baseline[index], 0.0)
    told = {"alone_tokens": float(alone.sum() / count.sum().clamp(min=1.0))}
    return Advantages(values.to(paid.dtype), rows, metrics=told)


def _checked(
    name: str,
    numbers: Tensor,
    mask: Bool[Tensor, "n t"],
    *,
    outside: float,
    least: float = -torch.inf,
    most: float = torch.inf,
) -> Float[Tensor, "n t"]:
    """In float32 or wider, with a number of our own where the mask is not."""
    if numbers.shape != mask.shape:
        raise ValueError(f"otb: the mask has the shape {[*mask.shape]}, {name} {[*numbers.shape]}")
    wide = numbers.detach().to(torch.promote_types(numbers.dtype, torch.float32))
    wide = torch.where(mask, wide, outside)
    broken = ~(wide.isfinite() & (wide >= least) & (wide <= most))
    if bool(broken.any()):
        row, step = broken.nonzero()[0].tolist()
        what = "leave rows without a score out: keep=scores.scored"
        if name != "step_rewards":
            what = "give log p of the sampled token, and the sum of p^2 over the vocabulary"
        raise ValueError(
            f"otb: row {row} has {float(wide[row, step])} in {name} at step {step}; {what}"
        )
    return wide
