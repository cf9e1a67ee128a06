"""Advantages from comparisons with one of the group, or with all of it: BRPO."""

import reprlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...core.outcome import Status
from ...core.preferences import Preferences
from ...ops.groups import Groups, Ids
from .outcomes import Numbers, flags

Refs: TypeAlias = Literal["one", "all"]


def reference_pairs(
    group: Ids,
    *,
    rng: np.random.Generator,
    refs: Refs = "one",
    both_orders: bool = True,
    keep: Bool[Tensor, " n"] | None = None,
) -> tuple[Int64[Tensor, " p"], Int64[Tensor, " p"], Bool[Tensor, " n"] | None]:
    """The comparisons that :func:`brpo` needs.

    ``refs="one"`` draws a reference from each group and compares every other row with it: n - 1
    questions for a group of n. ``refs="all"`` compares every pair, n (n - 1) / 2 questions. Both
    orders ask each question twice, which takes the judge's liking for a side out.

    Args:
        group: [N] ids of who is compared with whom.
        rng: draws the references; the same seed draws the same.
        refs: one reference in each group, or all of them.
        both_orders: ask (a, b) and (b, a).
        keep: [N] rows that can be compared; the others are in no question.

    Returns:
        Rows ``a`` and ``b`` [P] of the questions, and ``reference`` [N], which rows are one; None
        for ``refs="all"``. A group with fewer than two rows that can be compared has no question.

    Raises:
        ValueError: a group has one row, or an unknown option.
    """
    if refs not in ("one", "all"):
        raise ValueError(f"reference_pairs: refs is {refs!r}, not one of one, all")
    groups = _groups("reference_pairs", group)
    kept = _flags("reference_pairs", "keep", keep, len(groups.index), True)
    order = np.flatnonzero(kept)[np.argsort(groups.index[kept], kind="stable")]
    ends = np.cumsum(groups.count(kept)).astype(np.int64)
    reference = np.zeros(len(kept), dtype=bool)
    first, second = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for rows in np.split(order, ends[:-1]):
        if refs == "all":
            one, other = np.triu_indices(len(rows), 1)
            first.append(rows[one])
            second.append(rows[other])
        elif len(rows):
            chosen = rows[rng.integers(len(rows))]
            reference[chosen] = True
            others = rows[rows != chosen]
            first.append(others)
            second.append(np.full(len(others), chosen))
    if both_orders:
        first, second = [*first, *second], [*second, *first]
    a, b = torch.from_numpy(np.concatenate(first)), torch.from_numpy(np.concatenate(second))
    return a, b, torch.from_numpy(reference) if refs == "one" else None


@method(
    "brpo",
    kind="advantage",
    seed=131,
    paper=Paper(
        "2506.00103",
        "Writing-Zero: Bridge the Gap Between Non-verifiable Tasks and Verifiable Rewards",
        2025,
    ),
)
def brpo(
    preferences: Preferences,
    group: Ids,
    reference: Bool[Tensor, " n"] | None = None,
    *,
    keep: Bool[Tensor, " n"] | None = None,
    skew: float = 0.6,
) -> Advantages:
    """``A_i`` = 1 if i beats its group's reference, -1 if it loses, 0 if neither: a verdict's sign.

    The reference is a row of the same group, drawn uniformly (:func:`reference_pairs`); its own
    advantage is 0, which is our reading. No mean is taken and nothing divides, so any judge will
    do whose order is right. Of several verdicts on one pair, in both orders or by vote, all have
    to agree: else it is 0, our reading as well. A group is skipped, which does not train at all, if
    ``|sum A| / n > skew`` (its reference is an outlier) or if all its advantages are 0.

    Without ``reference`` every row is one: ``A_i = (wins - losses) / n``, the mean over the
    references that a row was compared with and itself, whose sum over a group is 0 if all were.

    **Unbiased**, up to the factor ``(n - 1) / n``, for the chance to win less the chance to lose,
    against an answer of the present policy, as long as no group is skipped; all references have
    less variance than one. Skipping depends on the verdicts and **biases** it: the metric tells how
    many.

    A group of one row is an error, unlike in other estimators. A comparison without a verdict (its
    status is not scored) is no tie: nothing is known of the pair, however often it was asked. A row
    of which nothing is known does not train, as one that is not kept, and counts in no n.

    Args:
        preferences: comparisons of rows of a group; ``p = 0.5`` is a tie. A verdict is the sign
            of ``p - 0.5``, so neither how far p is off, nor ``margin``, nor ``weight`` counts.
        group: [N] ids of who is compared with whom.
        reference: [N] which rows are the reference, one in each group that has comparisons.
        keep: [N] rows that can train.
        skew: in (0, 1]; 1 skips no group for it.

    Returns:
        Advantages [N] in [-1, 1]; metrics ``skewed_groups`` and ``tied_groups``, shares of groups
        that are skipped, ``unjudged``, the share of rows of which nothing is known,
        ``inconsistent``, the share of judged pairs whose verdicts disagree, and
        ``position_bias`` in [-1, 1], what the side named first wins more often than it loses over
        pairs asked in both orders (NaN if none was).

    Raises:
        ValueError: a group of one row, a pair across groups or without the reference, rows that do
            not exist, two references in a group, a reference that is not kept, or a skew outside
            (0, 1].

    Source: Jia et al. 2025; all references: our addition.
    """
    if not 0.0 < skew <= 1.0:
        raise ValueError(f"brpo: skew is {skew}, it must lie in (0, 1]")
    groups = _groups("brpo", group)
    n = len(groups.index)
    kept = _flags("brpo", "keep", keep, n, True)
    chosen = _flags("brpo", "reference", reference, n, False)
    pairs = _Pairs.of(preferences, n)
    _check_pairs(pairs, groups, kept, None if reference is None else chosen)
    known = pairs.judged & kept[pairs.low] & kept[pairs.high]
    # Each verdict counts for one row and against the other; a reference takes none.
    rows = np.concatenate([pairs.low[known], pairs.high[known]])
    won = np.concatenate([pairs.verdict[known], -pairs.verdict[known]])
    rows, won = rows[~chosen[rows]], won[~chosen[rows]]
    times = np.bincount(rows, None, n).astype(np.float64)
    values: Numbers = np.bincount(rows, won, n).astype(np.float64)
    heard = times > 0.0
    skewed = np.zeros(len(groups), dtype=bool)
    if reference is None:
        values = values / (times + 1.0)
    else:
        heard = heard | chosen & (groups.sum(times) > 0.0)[groups.index]
        skewed = np.abs(groups.sum(values)) / np.maximum(groups.count(heard), 1.0) > skew
    tied = (groups.count(heard) > 0.0) & (groups.sum(np.abs(values)) == 0.0)
    trains = heard & ~(skewed | tied)[groups.index]
    like = preferences.p
    column = torch.from_numpy(np.where(trains, values, 0.0)).to(like.device, like.dtype)
    metrics = {
        "skewed_groups": np.count_nonzero(skewed) / max(len(groups), 1),
        "tied_groups": np.count_nonzero(tied) / max(len(groups), 1),
        "unjudged": np.count_nonzero(kept & ~heard) / max(n, 1),
        "inconsistent": np.count_nonzero(pairs.split & known) / max(int(known.sum()), 1),
        "position_bias": pairs.position_bias,
    }
    return Advantages(column, torch.from_numpy(trains).to(like.device), metrics=metrics)


@dataclass
class _Pairs:
    """Comparisons, of which all of the same two rows are one."""

    low: Int64[np.ndarray, " q"]
    high: Int64[np.ndarray, " q"]
    verdict: Float64[np.ndarray, " q"]
    """1 if all say that the lower row is better, -1 if all say the higher, else 0."""
    judged: Bool[np.ndarray, " q"]
    """Whether every comparison of the two has a verdict."""
    split: Bool[np.ndarray, " q"]
    """Whether verdicts disagree."""
    position_bias: float

    @classmethod
    def of(cls, preferences: Preferences, n: int) -> "_Pairs":
        a, b = preferences.a.cpu().numpy(), preferences.b.cpu().numpy()
        outside = (np.minimum(a, b) < 0) | (np.maximum(a, b) >= n)
        if outside.any():
            at = int(outside.argmax())
            raise ValueError(
                f"brpo: comparison {at} is of rows {a[at]} and {b[at]}, group has {n} rows"
            )
        first_won = np.sign(preferences.p.detach().cpu().double().numpy() - 0.5)
        low, high = np.minimum(a, b), np.maximum(a, b)
        keys, index = np.unique(low * n + high, return_inverse=True)
        forward = a == low
        won = np.where(forward, first_won, -first_won)
        most, least = np.full(len(keys), -1.0), np.full(len(keys), 1.0)
        np.maximum.at(most, index, won)
        np.minimum.at(least, index, won)
        judged = np.ones(len(keys), dtype=bool)
        if preferences.status is not None:
            scored = preferences.status.cpu().numpy() == Status.SCORED
            np.logical_and.at(judged, index, scored)
        verdict = np.where(most == least, most, 0.0)
        bias = _position_bias(index, forward, first_won, judged)
        return cls(keys // n, keys % n, verdict, judged, most != least, bias)


def _position_bias(
    index: Int64[np.ndarray, " p"],
    forward: Bool[np.ndarray, " p"],
    first_won: Numbers,
    judged: Bool[np.ndarray, " q"],
) -> float:
    """By how much the side named first wins more often, over pairs asked in both orders."""
    both, lead = judged, np.zeros(len(judged))
    for asked in (forward, ~forward):
        times = np.bincount(index[asked], None, len(judged))
        both = both & (times > 0)
        total = np.bincount(index[asked], first_won[asked], len(judged))
        lead = lead + total / np.maximum(times, 1) / 2.0
    return float(lead[both].mean()) if both.any() else float("nan")


def _groups(method: str, group: Ids) -> Groups:
    groups = Groups(group, method)
    alone = groups.count() < 2.0
    if alone.any():
        which = int(alone.argmax())
        raise ValueError(
            f"{method}: row {int((groups.index == which).argmax())} is alone in its group "
            f"({reprlib.repr(groups.ids[which])}), where there is nobody to compare it with; "
            "sample several for each prompt and give them one group"
        )
    return groups


def _flags(
    method: str, name: str, given: Bool[Tensor, " n"] | None, n: int, default: bool
) -> Bool[np.ndarray, " n"]:
    return np.full(n, default) if given is None else flags(method, name, given, n, "ids in group")


def _check_pairs(
    pairs: _Pairs,
    groups: Groups,
    kept: Bool[np.ndarray, " n"],
    chosen: Bool[np.ndarray, " n"] | None,
) -> None:
    across = groups.index[pairs.low] != groups.index[pairs.high]
    if across.any():
        at = int(across.argmax())
        a, b = pairs.low[at], pairs.high[at]
        ids = [reprlib.repr(groups.ids[groups.index[row]]) for row in (a, b)]
        raise ValueError(
            f"brpo: rows {a} and {b} are compared, of groups {ids[0]} and {ids[1]}; only rows "
            "of one group can be"
        )
    if chosen is None:
        return
    many = groups.sum(chosen.astype(np.float64)) > 1.0
    if many.any():
        name = reprlib.repr(groups.ids[int(many.argmax())])
        raise ValueError(f"brpo: group {name} has several references, it needs one")
    lost = chosen & ~kept
    if lost.any():
        raise ValueError(
            f"brpo: row {int(lost.argmax())} is a reference and is not kept; draw references "
            "among rows that are: reference_pairs(group, keep=keep, rng=rng)"
        )
    beside = ~(chosen[pairs.low] | chosen[pairs.high])
    if beside.any():
        at = int(beside.argmax())
        a, b = pairs.low[at], pairs.high[at]
        raise ValueError(
            f"brpo: rows {a} and {b} are compared, neither is the reference of group "
            f"{reprlib.repr(groups.ids[groups.index[a]])}; without reference=, all pairs count"
        )
