"""The status and combination rules, as functions on scores.

An outcome meets a dense score on the rollout's last action step and is never broadcast, except as a
factor: in a product or a gate it multiplies every step. Abstaining rows and broken rows follow the
table in :mod:`rewardsmith.core.algebra`.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Bool, Float32, Int8
from torch import Tensor

from .outcome import Status
from .rollouts import Rollouts
from .scores import Scores, first_errors, worst


def dense_view(scores: Scores, rollouts: Rollouts) -> tuple[Tensor, Tensor]:
    """Values and ``at`` [N, T]: an outcome sits on its rollout's last action step."""
    if scores.at is not None:
        return scores.values, scores.at
    last = rollouts.last_action()
    here = torch.arange(rollouts.n_steps)[None, :] == last[:, None]
    at = here & scores.scored[:, None]
    return torch.where(at, scores.values[:, None], 0.0), at


def factor_view(scores: Scores, rollouts: Rollouts) -> tuple[Tensor, Tensor]:
    """Values and ``at`` [N, T]: an outcome stands at every action step."""
    if scores.at is not None:
        return scores.values, scores.at
    at = rollouts.action_mask & scores.scored[:, None]
    return torch.where(at, scores.values[:, None], 0.0), at


def any_scored(parts: Mapping[str, Scores]) -> Int8[Tensor, " n"]:
    """A row's status in a sum or a mean: abstained parts are left out; any worse one voids it."""
    statuses = torch.stack([part.status for part in parts.values()])
    abstained = (statuses == Status.ABSTAINED).all(dim=0)
    heard = torch.where(statuses == Status.ABSTAINED, int(Status.SCORED), statuses).amax(dim=0)
    return torch.where(abstained, int(Status.ABSTAINED), heard).to(torch.int8)


def all_scored(parts: Mapping[str, Scores]) -> Int8[Tensor, " n"]:
    """A row's status in a product, a minimum or an open gate: the worst of its parts."""
    return worst(part.status for part in parts.values())


def weighted_sum(
    parts: Mapping[str, Scores], weights: Mapping[str, float], rollouts: Rollouts
) -> Scores:
    """``sum_k w_k r_k`` over the parts that did not abstain."""
    status = any_scored(parts)
    if all(part.at is None for part in parts.values()):
        values = sum_of(weights[name] * part.values for name, part in parts.items())
        return Scores.outcome(values, status, errors=first_errors(parts, status), parts=dict(parts))
    views = {name: dense_view(part, rollouts) for name, part in parts.items()}
    values = sum_of(weights[name] * value for name, (value, _) in views.items())
    at = torch.stack([at for _, at in views.values()]).any(dim=0)
    return _dense(values, at, status, parts)


def weighted_mean(
    parts: Mapping[str, Scores], weights: Mapping[str, float], rollouts: Rollouts
) -> Scores:
    """``sum_k w_k r_k / sum_k w_k``, both over the parts that did not abstain.

    Among dense parts the weights are renormalized at each step. An outcome keeps its weight in the
    denominator of every step and its value on the last: the mean's return is then the mean of the
    returns.
    """
    status = any_scored(parts)
    if all(part.at is None for part in parts.values()):
        total = sum_of(weights[name] * part.values for name, part in parts.items())
        weight = sum_of(weights[name] * part.scored.float() for name, part in parts.items())
        values = total / torch.where(weight > 0, weight, 1.0)
        return Scores.outcome(values, status, errors=first_errors(parts, status), parts=dict(parts))
    views = {name: dense_view(part, rollouts) for name, part in parts.items()}
    counted = {name: factor_view(part, rollouts)[1] for name, part in parts.items()}
    total = sum_of(weights[name] * value for name, (value, _) in views.items())
    weight = sum_of(weights[name] * at.float() for name, at in counted.items())
    at = torch.stack([at for _, at in views.values()]).any(dim=0)
    return _dense(total / torch.where(weight > 0, weight, 1.0), at, status, parts)


def product(parts: Mapping[str, Scores], rollouts: Rollouts) -> Scores:
    """``prod_k r_k``; an outcome multiplies every step."""
    status = all_scored(parts)
    if all(part.at is None for part in parts.values()):
        values = product_of([part.values for part in parts.values()])
        return Scores.outcome(values, status, errors=first_errors(parts, status), parts=dict(parts))
    views = [factor_view(part, rollouts) for part in parts.values()]
    at = torch.stack([at for _, at in views]).all(dim=0)
    return _dense(product_of([value for value, _ in views]), at, status, parts)


def minimum(parts: Mapping[str, Scores], rollouts: Rollouts) -> Scores:
    """``min_k r_k``; an outcome takes part on the last action step only."""
    status = all_scored(parts)
    if all(part.at is None for part in parts.values()):
        values = minimum_of([part.values for part in parts.values()])
        return Scores.outcome(values, status, errors=first_errors(parts, status), parts=dict(parts))
    dense = {name: part for name, part in parts.items() if part.at is not None}
    values = minimum_of([part.values for part in dense.values()])
    at = torch.stack([part.at for part in dense.values() if part.at is not None]).all(dim=0)
    for part in parts.values():
        if part.at is None:
            value, here = dense_view(part, rollouts)
            values = torch.where(here & at, torch.minimum(values, value), values)
    return _dense(values, at, status, parts)


def mapped(scores: Scores, function: Callable[[Tensor], Tensor]) -> Scores:
    """A transform of one reward, value by value; statuses and steps stay as they are."""
    errors = first_errors({"of": scores}, scores.status)
    parts = {"of": scores}
    if scores.at is None:
        return Scores.outcome(function(scores.values), scores.status, errors=errors, parts=parts)
    return Scores.dense(
        function(scores.values),
        scores.at,
        scores.status,
        failed_at=scores.failed_at,
        errors=errors,
        parts=parts,
    )


def failed_anywhere(parts: Mapping[str, Scores]) -> Bool[Tensor, "n t"] | None:
    """The steps at which some part's scorer broke; None where no part is dense."""
    failed = [part.failed_at for part in parts.values() if part.failed_at is not None]
    return torch.stack(failed).any(dim=0) if failed else None


def sum_of(values: Iterable[Tensor]) -> Tensor:
    """The elementwise sum of some tensors."""
    return torch.stack(list(values)).sum(dim=0)


def product_of(values: list[Tensor]) -> Tensor:
    """The elementwise product of some tensors."""
    return torch.stack(values).prod(dim=0)


def minimum_of(values: list[Tensor]) -> Tensor:
    """The elementwise minimum of some tensors."""
    return torch.stack(values).amin(dim=0)


def _dense(
    values: Float32[Tensor, "n t"],
    at: Bool[Tensor, "n t"],
    status: Int8[Tensor, " n"],
    parts: Mapping[str, Scores],
) -> Scores:
    return Scores.dense(
        values,
        at,
        status,
        failed_at=failed_anywhere(parts),
        errors=first_errors(parts, status),
        parts=dict(parts),
    )
