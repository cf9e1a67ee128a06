"""Advantages of several rewards, each standardized before they are added: GDPO."""

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...core.warn import warn_caller
from ...ops.groups import Ids, listed
from ...ops.ranks import Ranks
from .length_weighted import Lengths
from .outcomes import Numbers, Outcomes, agreed, flags

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
    keep: Mapping[str, Bool[Tensor, " n"]] | Bool[Tensor, " n"] | None = None,
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
    exactly 0 under equal weights, whatever ``eps`` is: that parts of unequal spread are divided by
    unequal ``std + eps`` leaves a residue, which the batch's deviation would blow up. (A part whose
    spread ``eps`` all but silences cancels nothing.) The metric ``cancelled`` is the share of rows
    whose parts are not 0 while their sum is, and a warning tells of groups in which nothing else is
    left; ``constant_groups`` counts these as well.

    A group of one row gets 0 and a warning, as does a row that alone has a part, of that part; the
    metric ``alone`` counts both. A part that is constant in a group adds exactly 0. A
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
        keep: name -> [N] rows that have that part, for every part; or one [N] for all parts.
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
    by_token = whiten == "tokens"
    factors, batch = _gathered(parts, group, weights, keep, by_token, lengths, ranks)
    batch.check("whiten", whiten, ("rollouts", "tokens", "none"))
    total, size, free, full = np.zeros((4, len(batch)))
    alone = np.zeros(len(batch), dtype=bool)
    for name, factor in factors.items():
        values, kept = batch.columns[_value(name)], batch.columns[_flag(name)] > 0.0
        one = Outcomes("gdpo", torch.from_numpy(values), batch.index, torch.from_numpy(kept))
        standard = factor * one.scaled(one.deviations, "group", eps, ddof)
        total, size = total + standard, size + np.abs(standard)
        standard = factor * one.scaled(one.deviations, "group", 0.0, ddof)
        free, full = free + standard, full + np.abs(standard)
        alone |= one.alone()
    # Rounding and eps would otherwise be all that is left, and be divided by their own deviation.
    opposed = (np.abs(free) <= _RESIDUE * full) & (np.abs(total) <= 0.5 * size)
    total = np.where(opposed, 0.0, total)
    cancelled = (total == 0.0) & (size > 0.0)
    if alone.any():
        warn_caller(
            "gdpo: rollouts that are alone in their group, or in it alone have a part, get 0 of "
            "it; sample several for each prompt and give them one group (the metric `alone` "
            "counts them)"
        )
    silent, scored = batch.groups.sum(np.abs(total)) == 0.0, batch.count > 0.0
    _tell_cancelled(silent & (batch.groups.sum(size) > 0.0))
    return batch.advantages(
        _whitened(batch, total, whiten, eps, ddof),
        constant_groups=np.count_nonzero(silent & scored) / max(int(scored.sum()), 1),
        alone=float(np.count_nonzero(alone)),
        cancelled=np.count_nonzero(cancelled) / max(int(batch.keep.sum()), 1),
    )


def _weights(
    parts: Mapping[str, Tensor], weights: Mapping[str, float] | None
) -> Mapping[str, float]:
    if not isinstance(parts, Mapping):
        raise ValueError(
            "gdpo: parts must be a mapping of a name to a tensor [N], such as "
            f'{{"correct": rewards}}, this is a {type(parts).__name__}'
        )
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
    for name in given:
        if name not in parts:
            known = ", ".join(map(str, parts))
            raise ValueError(f"gdpo: {what} names {name!r}, which is no part; they are {known}")
    for name in parts:
        if name not in given:
            raise ValueError(f"gdpo: {what} has nothing for the part {name!r}; name every part")


def _value(name: str) -> str:
    return f"part {name!r}"


def _flag(name: str) -> str:
    return f"keep of {name!r}"


def _gathered(
    parts: Mapping[str, Float[Tensor, " n"]],
    group: Ids,
    weights: Mapping[str, float] | None,
    keep: Mapping[str, Bool[Tensor, " n"]] | Bool[Tensor, " n"] | None,
    by_token: bool,
    lengths: Lengths | None,
    ranks: Ranks,
) -> tuple[Mapping[str, float], Outcomes]:
    """Weights; and all parts as columns, 0 where a row lacks them. A row is kept that has any."""

    def local() -> tuple[Mapping[str, float], Tensor, Tensor, dict[str, Tensor]]:
        factors = _weights(parts, weights)
        if by_token and lengths is None:
            raise ValueError('gdpo: whiten="tokens" needs lengths, the tokens of each rollout')
        n, columns = len(listed(group, "gdpo")), dict[str, Tensor]()
        of = dict.fromkeys(parts, keep) if not isinstance(keep, Mapping) else keep
        _same_names("keep", of, parts)
        some = np.zeros(n, dtype=bool)
        part: Any
        for name, part in parts.items():
            if not isinstance(part, Tensor) or part.shape != (n,):
                shape = [*part.shape] if isinstance(part, Tensor) else type(part).__name__
                raise ValueError(
                    f"gdpo: part {name!r} must be a tensor [N], this is {shape}, group has {n} rows"
                )
            given = of[name]
            flag = torch.ones(n, dtype=torch.bool)
            if given is not None:
                flag = torch.from_numpy(flags("gdpo", f"keep of {name!r}", given, n))
            columns[_value(name)] = torch.where(flag, part.detach().cpu().double(), 0.0)
            columns[_flag(name)] = flag
            some |= flag.numpy()
        if by_token and lengths is not None:
            columns["lengths"] = lengths
        like = torch.zeros_like(next(iter(parts.values())))
        return factors, like, torch.from_numpy(some), columns

    factors, like, kept, columns = agreed(local, ranks)
    return factors, Outcomes("gdpo", like, group, kept, ranks, columns)


def _tell_cancelled(groups: Bool[np.ndarray, " k"]) -> None:
    if groups.any():
        warn_caller(
            "gdpo: the parts cancel in groups: they differ there, and their standardized sum is 0 "
            "for every rollout; give them different weights (the metric `cancelled` is the share "
            "of rows)"
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
