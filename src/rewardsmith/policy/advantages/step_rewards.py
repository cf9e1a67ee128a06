"""Rewards per step, checked: what estimators share that look back over time."""

import math

import torch
from torch import Tensor

from ...ops.ranks import Ranks, summed
from ...ops.scan import gae_scan, reverse_scan
from ...ops.series import Series


class StepRewards:
    """Rewards per step, checked, with the values of a critic if there is one.

    Args:
        method: who asks; errors begin with it.
        rewards: [N, T] read only at marked steps.
        mask: [N, T] marked steps.
        keep: [N] the rows that have a score; nothing is marked in the others.
        ranks: processes that hold parts of the batch: if one finds a number that is not finite,
            all raise, so that none waits for it.
        values: [N, T] of a critic.
        bootstrap: [N] its value after a row's last marked step.
        factors: discounts, which lie in [0, 1].

    Raises:
        ValueError: shapes that disagree or a factor out of its range; in ``check``, a marked
            number that is not finite: row and step are named.
    """

    def __init__(
        self,
        method: str,
        rewards: Tensor,
        mask: Tensor,
        keep: Tensor | None,
        ranks: Ranks = None,
        values: Tensor | None = None,
        bootstrap: Tensor | None = None,
        **factors: float,
    ) -> None:
        shape = rewards.shape
        if rewards.ndim != 2:
            raise ValueError(
                f"{method}: step_rewards have the shape {[*shape]}; one number per step is needed"
            )
        rows = {"keep": keep, "bootstrap": bootstrap}
        for name, given in {"mask": mask, "values": values, **rows}.items():
            expected = shape[:1] if name in rows else shape
            if given is not None and given.shape != expected:
                raise ValueError(
                    f"{method}: step_rewards have the shape {[*shape]}, {name} {[*given.shape]}"
                )
        for name, factor in factors.items():
            if not 0.0 <= factor <= 1.0:
                raise ValueError(f"{method}: {name} is {factor}, it must lie in [0, 1]")
        device = rewards.device
        everything = torch.ones(shape[0], dtype=torch.bool, device=device)
        self.keep = everything if keep is None else keep.to(device).bool()
        self.mask = mask.bool() if keep is None else mask.bool() & self.keep[:, None]
        self.rewards = rewards.detach()
        self.values = None if values is None else values.detach()
        self.bootstrap = None if bootstrap is None else bootstrap.detach().to(device)
        wide = rewards.dtype if values is None else torch.promote_types(rewards.dtype, values.dtype)
        self.kind = torch.promote_types(wide, torch.float32)
        """The type of results."""
        self.method, self.ranks = method, ranks

    def returns(self, gamma: float, *, end: Tensor | None = None) -> Series:
        """``G_t = R_t + gamma G_{t'}`` at marked steps; G is 0, or ``end`` [N], after the last."""
        return reverse_scan(self.rewards, self.mask, gamma, end=end)

    def gae(self, gamma: float, lam: float) -> Series:
        """``A_t = R_t + gamma V_{t'} - V_t + gamma lam A_{t'}`` at marked steps."""
        assert self.values is not None
        return gae_scan(self.rewards, self.values, self.mask, gamma, lam, end=self.bootstrap)

    def check(self, result: Tensor) -> None:
        """ValueError unless what comes of all marked steps is finite, on all ranks."""
        given = {"step_rewards": (self.rewards, self.mask)}
        if self.values is not None:
            given["values"] = (self.values, self.mask)
        if self.bootstrap is not None:
            given["bootstrap"] = (self.bootstrap, self.mask.any(dim=1))
        check_finite(self.method, result, self.ranks, **given)


def check_finite(method: str, result: Tensor, ranks: Ranks, **given: tuple[Tensor, Tensor]) -> None:
    """ValueError if a result, or that of another rank, is not finite: all ranks raise together.

    Args:
        method: who asks.
        result: what comes of all that is given; a number that is not finite leaves one in it.
        ranks: processes that hold parts of the batch.
        given: name -> numbers and which of them are read; the first that is broken is named.
    """
    # A sum is finite if all of it is, unless it overflows; that is found out below.
    if math.isfinite(float(summed(result.sum().double(), ranks))):
        return
    lost = ~result.isfinite()
    # Before any rank raises: one that is not there to be summed would keep the others waiting.
    if not float(summed(lost.any().double(), ranks)):
        return
    if not bool(lost.any()):
        raise ValueError(f"{method}: numbers of another rank are not finite")
    for name, (numbers, read) in given.items():
        broken = read & ~numbers.isfinite()
        if bool(broken.any()):
            place = broken.nonzero()[0].tolist()
            number = float(numbers[tuple(place)])
            step = f" at step {place[1]}" if len(place) > 1 else ""
            raise ValueError(
                f"{method}: row {place[0]} has {number} in {name}{step}; "
                "leave rows without a score out: keep=scores.scored"
            )
    row = int(lost.nonzero()[0, 0])
    raise ValueError(f"{method}: row {row} holds finite numbers, what they add up to overflows")
