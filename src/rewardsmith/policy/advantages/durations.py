"""Weights for actions that take unequal time (102).

How much a slow action is missing among the completed ones depends on how actors work:

- Where an action is completed in proportion to ``pi / dt``, as the paper has it (actors that do the
  same action again and again in a given time), weights by duration restore the policy's gradient.
- Where actors run action after action and those under way at the end of a window are lost, slow
  actions are missing, but fewer than that, and weights by duration lean too far. Weights by the
  inverse of the probability to be completed are exact.
- Actors that lose nothing complete actions in proportion to the policy. There is nothing to
  correct; without a baseline, a weight then favors whatever is slow.

So the mode has to be said, and none is the default.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method

DurationMode: TypeAlias = Literal["cutoff", "steady"]
Centering: TypeAlias = Literal["centered", "learned"]
_TOLERANCE = 1e-3
"""The mean of centered advantages, as a part of their mean absolute value."""
_ROUNDING = 1e-6
"""What a start plus a duration may exceed the window by, as a part of it."""


def duration_weights(
    durations: Float[Tensor, " n"],
    mode: DurationMode,
    cap: float | None = None,
) -> Float[Tensor, " n"]:
    """``w_k = dt_k / mean(dt)`` where actors are cut off, 1 where none is.

    Their mean is 1, and the unit of time does not matter. They are right where actions are
    completed in proportion to ``pi / dt``; where a window cuts off actors that run action after
    action, use :func:`completion_weights`.

    Args:
        durations: of the completed actions, in any unit.
        mode: ``"cutoff"``, unfinished actions are lost; or ``"steady"``, none is.
        cap: durations count for at most this many times their median (of an even number, the lower
            of the two in the middle), so that one extreme action does not take the weight of all
            others; None for no cap.

    Raises:
        ValueError: a duration that is not positive and finite, no durations, an unknown mode, or a
            cap below 1.
    """
    if mode not in get_args(DurationMode):
        raise ValueError(f"duration_weights: mode is {mode!r}, not one of {get_args(DurationMode)}")
    if cap is not None and not cap >= 1.0:
        raise ValueError(f"duration_weights: cap is {cap}, it must be 1 or more")
    counted = _capped(_checked("duration", durations), cap)
    return torch.ones_like(counted) if mode == "steady" else counted / counted.mean()


def completion_probabilities(
    durations: Float[Tensor, " n"], starts: Float[Tensor, " m"], window: float
) -> Float[Tensor, " n"]:
    """``p(dt) = #{starts <= window - dt} / #{starts}``: how often an action that long is completed.

    An action is chosen when it starts, without regard to how much time is left, so that the starts
    of *all* actions, lost ones too, tell how much time an action of any length would have had.

    Args:
        durations: of the completed actions.
        starts: when each action started, the lost ones too, counted from the window's beginning.
        window: when unfinished actions are lost; in the same unit.

    Returns:
        Numbers in (0, 1], float64. What differs by rounding in float32 is taken for equal.

    Raises:
        ValueError: a duration that is not positive, a start outside [0, window], fewer starts than
            durations, or a completed action that none of the starts left the time for.
    """
    durations = _checked("duration", durations)
    starts = torch.as_tensor(starts, dtype=torch.float64)
    if len(starts) < len(durations):
        raise ValueError(
            f"{len(starts)} starts and {len(durations)} completed actions: every action has a start"
        )
    slack = _ROUNDING * window
    if not bool(((starts >= -slack) & (starts <= window + slack)).all()):
        raise ValueError(f"a start lies outside the window [0, {window:g}]")
    enough = torch.searchsorted(starts.sort().values, window - durations + slack, right=True)
    if bool((enough == 0).any()):
        row = int((enough == 0).nonzero()[0])
        raise ValueError(
            f"action {row} took {float(durations[row]):g}, and no start left as much of {window:g}"
        )
    return enough.double() / len(starts)


def completion_weights(
    probability: Float[Tensor, " n"], rescale: bool = True
) -> Float[Tensor, " n"]:
    """``w_k = 1 / p_k``: the exact correction of what a window cuts off.

    ``E[sum over completed of f(a) / p(dt_a)] = E[number started] E_pi[f(a)]``: unbiased, where
    every action has some chance to be completed. One that has none is never seen, and no weight
    brings it back.

    Args:
        probability: that an action as long as each completed one is completed, in (0, 1].
        rescale: divide by the mean, as :func:`duration_weights` does (then a ratio of unbiased
            sums, which is biased by about one over their number).

    Raises:
        ValueError: a probability outside (0, 1], or none at all.
    """
    weights = 1.0 / _checked("probability", probability)
    if bool((weights < 1.0).any()):
        raise ValueError("a probability is above 1")
    return weights / weights.mean() if rescale else weights


class Share(NamedTuple):
    """How often a kind of action was chosen, and how often it is among the completed ones."""

    started: float
    completed: float


def completion_shares(
    kinds: Sequence[Hashable], completed: Sequence[bool] | Bool[Tensor, " n"]
) -> dict[Hashable, Share]:
    """The share of each kind among the actions that were started, and among those completed.

    A kind that is rarer among the completed ones is being cut off, which is what
    :func:`completion_weights` correct. Equal shares that are not the policy's own probabilities
    tell of actors that start fast actions more often, which is what durations correct; equal ones
    that are, that there is nothing to correct.

    Args:
        kinds: of every action that was started, such as a bin of its expected duration.
        completed: whether each was.

    Raises:
        ValueError: unequal lengths, or nothing was completed.
    """
    done = torch.as_tensor(completed, dtype=torch.bool).tolist()
    if len(done) != len(kinds):
        raise ValueError(f"{len(kinds)} kinds of actions, {len(done)} flags whether completed")
    if not any(done):
        raise ValueError("no action was completed: there are no shares")
    counts: dict[Hashable, list[int]] = {}
    for kind, finished in zip(kinds, done, strict=True):
        count = counts.setdefault(kind, [0, 0])
        count[0] += 1
        count[1] += finished
    return {k: Share(a / len(done), b / sum(done)) for k, (a, b) in counts.items()}


@method(
    "duration_weight",
    kind="credit",
    seed=102,
    paper=Paper(
        "2509.01684", "Reinforcement Learning for Machine Learning Engineering Agents", 2025
    ),
)
def duration_weight(
    advantages: Advantages,
    weights: Float[Tensor, " n"],
    *,
    baseline: Centering,
) -> Advantages:
    """Advantages times the duration of their action: ``grad J = E[sum_k dt_k grad log pi_k A_k]``.

    The weights are :func:`duration_weights` or :func:`completion_weights` (which say when they are
    right), or any positive numbers.

    They are for advantages, which have a baseline. Multiplied by raw returns, a weight makes what
    is slow likelier whenever returns are positive, whether it is better or not (measured: a slow
    arm that is worse ends with probability 1). So the caller says where the baseline is from, and
    what can be checked is: advantages that were centered in the batch or in its groups have a mean
    of 0. It is taken of *all* rows that have a finite advantage, also of those that ``keep`` leaves
    out: they were there when the baseline was subtracted. Advantages by step may have either mean
    at 0: over rows (of a row, the mean of its steps that are not 0, as padding is) or over steps.

    A learned baseline (a critic, a running mean) leaves no such trace in one batch, so it is
    believed; the metric ``duration/off_center`` is what to watch there.

    Args:
        advantages: one per row, or per step [N, T]: then an action is a row and all its steps get
            its weight.
        weights: one per row; not read of rows that do not train.
        baseline: ``"centered"`` (batch or group mean) or ``"learned"``.

    Returns:
        The advantages, weighted; with the metrics ``duration/`` ``largest`` (weight, in means),
        ``effective`` (``(sum w)^2 / sum w^2``, as a share of the rows), both 1 where no row trains,
        and ``off_center`` (the mean advantage, as a part of the mean size).

    Raises:
        ValueError: weights that are not positive or not as many as rows, an unknown baseline, or
            advantages that are said to be centered and are not.
    """
    if baseline not in get_args(Centering):
        raise ValueError(
            f"duration_weight: baseline is {baseline!r}, not one of {get_args(Centering)}; without "
            "one, the weight makes whatever is slow likelier"
        )
    values, keep = advantages.values, advantages.keep
    if weights.shape != keep.shape:
        raise ValueError(f"weights have the shape {[*weights.shape]}, rows {[*keep.shape]}")
    off = _off_center(values)
    if baseline == "centered" and off > _TOLERANCE:
        raise ValueError(
            "duration_weight: the advantages of all rows are not centered (their mean is "
            f"{100 * off:.2g} % of their mean size); subtract the batch's or the group's mean, or "
            "say baseline='learned' where a critic or a running mean was subtracted"
        )
    kept = torch.ones(1, dtype=torch.float64)
    if bool(keep.any()):
        kept = _checked("weight", weights[keep])
    whole = torch.ones(len(keep), dtype=torch.float64)
    whole[keep.cpu()] = kept.cpu()
    factor = whole.to(values)
    metrics = {
        "duration/largest": float(kept.max() / kept.mean()),
        "duration/effective": float(kept.sum() ** 2 / (kept**2).sum() / len(kept)),
        "duration/off_center": off,
    }
    return replace(
        advantages,
        values=values * (factor[:, None] if values.ndim == 2 else factor),
        metrics={**advantages.metrics, **metrics},
    )


def _off_center(values: Tensor) -> float:
    """The mean advantage as a part of the mean size, over rows or steps; 0 where all are 0."""
    numbers = values.detach().double()
    if numbers.ndim == 1:
        return _tilt(numbers)
    numbers = numbers[numbers.isfinite().all(dim=1)]
    rows = numbers.sum(dim=1) / (numbers != 0).sum(dim=1).clamp(min=1)
    return min(_tilt(rows), _tilt(numbers.flatten()))


def _tilt(numbers: Tensor) -> float:
    numbers = numbers[numbers.isfinite()]
    size = float(numbers.abs().sum())
    return abs(float(numbers.sum())) / size if size else 0.0


def _capped(durations: Tensor, cap: float | None) -> Tensor:
    return durations if cap is None else durations.clamp(max=cap * float(durations.median()))


def _checked(what: str, numbers: Tensor) -> Tensor:
    numbers = torch.as_tensor(numbers, dtype=torch.float64).detach()
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(f"a {what} for each action is [n], n > 0, this is {[*numbers.shape]}")
    good = numbers.isfinite() & (numbers > 0)
    if not bool(good.all()):
        row = int((~good).nonzero()[0])
        raise ValueError(
            f"the {what} of action {row} is {float(numbers[row]):g}; it is positive and finite"
        )
    return numbers
