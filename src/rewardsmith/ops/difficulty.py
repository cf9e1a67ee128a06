"""How hard each test is for a group of programs, and what passing some of them is worth (VeRPO).

Functions of one group's marks [g, u]: g programs (or the submissions of all their turns), u tests.
A mark is a bool, or a number in [0, 1] for a criterion that is met in part.

That weights fall with the pass rate, that many tests of like difficulty are calibrated by their
density, and that the sum of the weights of passed tests is mixed with the outcome is the paper's
(arXiv 2601.03525). The formulas themselves are our reading of it.
"""

import math
import warnings
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Hardness: TypeAlias = Literal["linear", "exp", "constant"]
Marks: TypeAlias = Bool[Tensor, "*g u"] | Float[Tensor, "*g u"]

# Pass rates are fractions, whose differences are off by a rounding (of float32, maybe).
_SLACK = 1e-6


def pass_rates(marks: Marks) -> Float[Tensor, " u"]:
    """``rho_j``, the mean mark of test j over all programs and turns; float64.

    Of turns that are padded, give ``marks[mask]``. A test without a result is best counted as
    failed where the program is to blame, as by taking too long; a program whose tests could not be
    run at all is best left out.

    Raises:
        ValueError: no test, no program, or a mark that is NaN or outside [0, 1].
    """
    return _checked(marks).flatten(end_dim=-2).mean(dim=0)


def rates_in_group(marks: Marks) -> Float[Tensor, " u"]:
    """:func:`pass_rates`; of one program 1/2 for every test, by which all of them weigh the same.

    One program says nothing about difficulty, and what it passes would be worth nothing.

    Raises:
        ValueError: as :func:`pass_rates` does.
    """
    rates = pass_rates(marks)
    return torch.full_like(rates, 0.5) if marks[..., 0].numel() == 1 else rates


def weights_of_rates(
    rates: Float[Tensor, " u"],
    *,
    hardness: Hardness = "linear",
    tau: float = 0.5,
    bandwidth: float | None = 0.1,
    drop_unsolved: bool = False,
) -> Float[Tensor, " u"]:
    """``w_j = (h_j / c_j) / sum_k (h_k / c_k)`` of tests with pass rates rho_j; float64.

    ``c_j`` is the number of tests whose rate lies within half of ``bandwidth`` of test j's, itself
    included: a box kernel, by which a difficulty weighs the same however many tests have it. So a
    copy of a test that is alone in its box changes nobody's reward.

    Where every ``h_j`` is 0 (all tests that count are passed by all), these tests weigh the same;
    where no test counts, all do.

    Args:
        rates: rho, in [0, 1].
        hardness: h_j is ``1 - rho_j`` (linear), ``exp(-rho_j / tau)`` (exp) or 1 (constant).
        tau: of exp.
        bandwidth: the width of the box: rates that differ by at most half of it are alike. The
            rates of 8 programs are eighths, of which 0.1 takes equal ones only for alike, and 0.25
            neighbors too. None sets every c_j to 1 (no calibration).
        drop_unsolved: tests that nobody passes get the weight 0 and count for nothing. They tell
            nobody of the group from another, and otherwise keep their share of the weight.

    Raises:
        ValueError: no test, a rate outside [0, 1], or options that make no sense.
    """
    check_options(hardness, tau, bandwidth)
    rates = _checked(rates[None])[0]
    kept = rates > 0 if drop_unsolved else torch.ones_like(rates, dtype=torch.bool)
    if hardness == "linear":
        hard = 1.0 - rates
    elif hardness == "exp":
        # Shifted, which the division below undoes: a small tau would make every term 0.
        hard = torch.exp((rates.min() - rates) / tau)
    else:
        hard = torch.ones_like(rates)
    raw = torch.where(kept, hard, 0.0)
    if bandwidth is not None:
        near = (rates[:, None] - rates[None, :]).abs() <= bandwidth / 2 + _SLACK
        raw = raw / (near & kept[None, :]).sum(dim=1).clamp(min=1)
    if not bool(raw.any()):
        raw = (kept if bool(kept.any()) else ~kept).double()
    return raw / raw.sum()


def difficulty_weights(
    marks: Marks,
    *,
    hardness: Hardness = "linear",
    tau: float = 0.5,
    bandwidth: float | None = 0.1,
    drop_unsolved: bool = False,
) -> Float[Tensor, " u"]:
    """:func:`weights_of_rates` of a group's :func:`rates_in_group`; a group of one is warned of.

    Raises:
        ValueError: as those two do.
    """
    weights = weights_of_rates(
        rates_in_group(marks),
        hardness=hardness,
        tau=tau,
        bandwidth=bandwidth,
        drop_unsolved=drop_unsolved,
    )
    if marks[..., 0].numel() == 1:
        warnings.warn("a group of one program: its tests weigh the same", stacklevel=2)
    return weights


def local_reward(marks: Marks, weights: Float[Tensor, " k"]) -> Float[Tensor, "*g"]:
    """``R_local = sum_j w_j P_j``, in [0, 1], and exactly 1 where all tests are passed; float64.

    1 only there, unless the tests that were not passed weigh nothing, or no more than a rounding
    takes away: those that ``drop_unsolved`` leaves out, and those that are so much easier than
    others that ``exp`` with a small tau (below 0.1) has next to nothing left for them.

    Raises:
        ValueError: marks as for :func:`pass_rates`, or a weight for some other number of tests.
    """
    checked = _checked(marks)
    if weights.shape != checked.shape[-1:]:
        raise ValueError(f"{len(weights)} weights for {checked.shape[-1]} tests")
    local = (checked * weights.double()).sum(dim=-1).clamp(0.0, 1.0)
    return torch.where((checked >= 1.0).all(dim=-1), 1.0, local)


def outcome_reward(marks: Marks) -> Float[Tensor, "*g"]:
    """``R_global = 1[all tests passed]``; float64.

    Raises:
        ValueError: as :func:`pass_rates` does.
    """
    return (_checked(marks) >= 1.0).all(dim=-1).double()


def _checked(marks: Tensor) -> Float[Tensor, "*g u"]:
    if marks.ndim < 2 or marks.shape[-1] == 0 or marks[..., 0].numel() == 0:
        raise ValueError(
            f"marks have the shape {[*marks.shape]}: at least one program with one test is needed"
        )
    marks = marks.double()
    low, high = marks.aminmax()
    # Both are NaN where a mark is, and a comparison with NaN is false.
    if not (float(low) >= 0.0 and float(high) <= 1.0):
        raise ValueError(
            "a mark lies outside [0, 1] or is NaN: count what was not tested as failed"
        )
    return marks


def check_options(hardness: str, tau: float, bandwidth: float | None) -> None:
    """Refuse options of :func:`weights_of_rates` that make no sense, with a ValueError."""
    if hardness not in get_args(Hardness):
        raise ValueError(f"hardness is {hardness!r}, not one of {', '.join(get_args(Hardness))}")
    if not (math.isfinite(tau) and tau > 0):
        raise ValueError(f"tau is {tau}, it must be a positive number")
    if bandwidth is not None and not (math.isfinite(bandwidth) and bandwidth >= 0):
        raise ValueError(f"bandwidth is {bandwidth}, it must be a number of at least 0, or None")


def check_beta(beta: float) -> None:
    """Refuse a share of the local reward that makes no sense, with a ValueError."""
    if not (math.isfinite(beta) and beta >= 0):
        raise ValueError(f"beta is {beta}, it must be a number of at least 0")
