"""Advantages of several rewards, each standardized before they are added: GDPO."""

import math
from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...core.warn import warn_caller
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .length_weighted import Lengths
from .outcomes import Numbers, Outcomes

Whiten: TypeAlias = Literal["rollouts", "tokens", "none"]

_RESIDUE = 1e-6
"""What rounding leaves, in float32, of parts that cancel, as a share of what was added."""


@method(
    "gdpo",
    kind="advantage",
    paper=Paper(
        "2601.05242",
        "GDPO: Group reward-Decoupled Normalization Policy Optimization for Multi-reward RL "
        "Optimization",
        2026,
    ),
)
def gdpo(
    parts: Mapping[str, Float[Tensor, " n"]],
    group: Ids,
    lengths: Lengths | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    keep: Mapping[str, Bool[Tensor, " n"]] | None = None,
    eps: float = 1e-6,
    ddof: int = 1,
    whiten: Whiten = "rollouts",
    ranks: Ranks = None,
) -> Advantages:
    """``A_i = S_i / (std(S) + eps)`` with ``S_i = sum_k w_k (R_ki - mean_gk) / (std_gk + eps)``.

    Each part is standardized within its group, so that none outweighs another by its unit or its
    spread; the weighted sum is divided by the batch's standard deviation. The sum's mean is 0
    already, as each part's is in each group.

    **Biased**, as ``grpo`` is and for each part anew. What it pursues is no fixed weighted sum of
    the parts either: a part weighs ``w_k / std_gk``, the most where it is rare.

    Parts that oppose each other cancel: two whose sum is the same for all rollouts of a group give
    exactly 0 under equal weights. The metric ``cancelled`` is the share of rows whose parts are not
    0 while their sum is, and a warning tells of groups in which nothing else is left.

    A group of one row gets 0 and a warning. A part that is constant in a group adds exactly 0. A
    row that lacks a part (``keep``) counts in none of that part's moments, and gets nothing from
    it; one that lacks all parts gets 0 and does not train.

    Peers: TRL's ``normalize_then_sum`` has ``eps=1e-4``. verl has ``whiten="tokens"``: the batch's
    mean and deviation weigh each rollout by its length, ``(S - mean) / sqrt(var + 1e-8)``. That
    mean is not 0, so groups that say nothing get a small advantage too; a lone rollout gets its
    reward there.

    Args:
        parts: name -> [N] that part's rewards, any unit.
        group: [N] ids of who is compared with whom.
        lengths: [N] tokens that the policy chose, which ``whiten="tokens"`` needs.
        weights: name -> its weight, for every part; 1 for all if there are none.
        keep: name -> [N] rows that have that part, for every part.
        eps: added to standard deviations, in the unit of rewards.
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        whiten: what the batch's moments are over, or ``"none"``.
        ranks: processes that hold parts of the batch.

    Returns:
        Advantages [N], without unit; metric ``cancelled``.

    Raises:
        ValueError: there are no parts, a kept number is not finite, lengths or names disagree, an
            option is unknown, or tokens are to be counted and lengths are missing or negative.

    Source: Liu et al. 2026; cancellation is our addition.
    """
    if whiten == "tokens" and lengths is None:
        raise ValueError('gdpo: whiten="tokens" needs lengths, the tokens of each rollout')
    factors = _weights(parts, weights)
    batch = _gathered(parts, group, keep, lengths if whiten == "tokens" else None, ranks)
    batch.check("whiten", whiten, ("rollouts", "tokens", "none"))
    ids = [batch.groups.ids[i] for i in batch.index]
    total, size = np.zeros(len(batch)), np.zeros(len(batch))
    for name, factor in factors.items():
        values, kept = batch.columns[_value(name)], batch.columns[_flag(name)] > 0.0
        one = Outcomes(
            f"gdpo, part {name!r}", torch.from_numpy(values), ids, torch.from_numpy(kept)
        )
        standard = factor * one.scaled(one.centered(), "group", eps, ddof)
        total, size = total + standard, size + np.abs(standard)
    # Rounding would otherwise be all that is left, and be divided by its own deviation.
    total = np.where(np.abs(total) <= _RESIDUE * size, 0.0, total)
    cancelled = (total == 0.0) & (size > 0.0)
    silent = batch.groups.sum(np.abs(total)) == 0.0
    _tell_cancelled(batch, silent & (batch.groups.sum(size) > 0.0))
    return batch.advantages(
        _whitened(batch, total, whiten, eps, ddof),
        constant_groups=np.count_nonzero(silent) / max(len(silent), 1),
        cancelled=np.count_nonzero(cancelled) / max(int(batch.keep.sum()), 1),
    )


def _weights(
    parts: Mapping[str, Tensor], weights: Mapping[str, float] | None
) -> Mapping[str, float]:
    if not parts:
        raise ValueError("gdpo: there are no parts; give at least one named reward")
    if weights is None:
        return dict.fromkeys(parts, 1.0)
    _same_names("weights", weights, parts)
    for name, weight in weights.items():
        if not math.isfinite(weight):
            raise ValueError(f"gdpo: the weight of part {name!r} is {weight}, not a finite number")
    return {name: weights[name] for name in parts}


def _same_names(what: str, given: Mapping[str, object], parts: Mapping[str, Tensor]) -> None:
    for name in [*parts, *given]:
        if name not in given:
            raise ValueError(f"gdpo: {what} has nothing for the part {name!r}; name every part")
        if name not in parts:
            raise ValueError(f"gdpo: {what} names {name!r}, the parts are {', '.join(parts)}")


def _value(name: str) -> str:
    return f"part {name!r}"


def _flag(name: str) -> str:
    return f"keep of {name!r}"


def _gathered(
    parts: Mapping[str, Float[Tensor, " n"]],
    group: Ids,
    keep: Mapping[str, Bool[Tensor, " n"]] | None,
    lengths: Lengths | None,
    ranks: Ranks,
) -> Outcomes:
    """All parts as columns, 0 where a row lacks them; a row is kept that has any."""
    if keep is not None:
        _same_names("keep", keep, parts)
    n, columns, flags = len(group), {}, []
    for name, part in parts.items():
        flag = torch.ones(n, dtype=torch.bool) if keep is None else keep[name].cpu()
        if part.shape != (n,) or flag.shape != (n,):
            shapes = f"{[*part.shape]}, keep {[*flag.shape]}"
            raise ValueError(f"gdpo: part {name!r} has the shape {shapes}, group has {n} rows")
        columns[_value(name)] = torch.where(flag, part.detach().cpu(), 0.0)
        columns[_flag(name)] = flag
        flags.append(flag)
    if lengths is not None:
        columns["lengths"] = lengths
    like = next(iter(parts.values()))
    kept = torch.stack(flags).any(dim=0)
    return Outcomes("gdpo", torch.zeros_like(like), group, kept, ranks, columns)


def _tell_cancelled(batch: Outcomes, groups: Bool[np.ndarray, " k"]) -> None:
    if groups.any():
        warn_caller(
            f"gdpo: the parts cancel in {np.count_nonzero(groups)} of {len(groups)} groups, such "
            f"as {batch.groups.ids[int(groups.argmax())]!r}: they differ, and their standardized "
            "sum is 0 for every rollout; give them different weights"
        )


def _whitened(batch: Outcomes, total: Numbers, whiten: Whiten, eps: float, ddof: int) -> Numbers:
    if whiten == "none":
        return total
    kept = total[batch.keep]
    if whiten == "rollouts":
        if len(kept) <= ddof or not kept.any():
            return total
        spread = math.sqrt(float((kept * kept).sum()) / (len(kept) - ddof))
        return total / (spread + eps)
    tokens = batch.kept(batch.columns["lengths"])
    if (tokens < 0.0).any():
        row = int((tokens < 0.0).argmax())
        raise ValueError(f"gdpo: {batch.row(row)} has the length {tokens[row]:g}")
    count = float(tokens.sum())
    if count <= ddof or not kept.any():
        return total
    away = total - float((tokens * total).sum()) / count
    return np.asarray(away / math.sqrt((tokens * away * away).sum() / (count - ddof) + 1e-8))
