"""Batches to compare estimators and losses on: ragged masks with holes, groups of several sizes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

DTYPES = [torch.float64, torch.float32]
UNEQUAL = "paqpaqpapqrrrp"
"""Ids of rows, of which those of a group lie apart: five p, three a, three q, three r."""


class Case(NamedTuple):
    """A batch of N rows and T tokens."""

    rewards: Tensor
    group: list[str]
    mask: Tensor
    old: Tensor
    logprob: Tensor
    advantage: Tensor
    """[N, T], the same along a row."""
    values: Tensor
    steps: Tensor
    """[N, T] rewards of steps, 0 where the mask is."""
    lengths: Tensor


def case(dtype: torch.dtype, group: str = UNEQUAL, seed: int = 0, width: int = 9) -> Case:
    """A batch, with ratios far enough from 1 that every bound is met on both sides."""
    g = torch.Generator().manual_seed(seed)
    n = len(group)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    mask = torch.rand(n, width, generator=g) < 0.7
    ends = torch.randint(2, width + 1, (n, 1), generator=g)
    mask &= torch.arange(width) < ends
    mask[:, 0] = True
    mask[0] = torch.arange(width) == 0
    old = -torch.rand(n, width, generator=g, dtype=torch.float64).to(dtype) * 2 - 0.05
    logprob = (old + 0.4 * normal(n, width)).clamp(max=-1e-3)
    advantage = normal(n, 1).expand(n, width).contiguous()
    return Case(
        rewards=normal(n),
        group=list(group),
        mask=mask,
        old=old,
        logprob=logprob,
        advantage=advantage,
        values=normal(n, width),
        steps=normal(n, width) * mask,
        lengths=mask.sum(dim=1),
    )


def close(ours: Tensor, theirs: Tensor, unit: float = 0.0) -> None:
    """Equal to rounding: 1e-9 in float64 and 1e-5 in float32.

    Args:
        ours: what we make.
        theirs: what a peer makes, in the same type.
        unit: what rounding is relative to; at least the largest number.
    """
    rtol = 1e-9 if theirs.dtype == torch.float64 else 1e-5
    unit = max(unit, float(theirs.detach().abs().max()))
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=rtol, atol=rtol * unit)


def same(ours: Callable[[Tensor], Any], theirs: Callable[[Tensor], Any], at: Tensor) -> None:
    """Two losses agree at a point, and so do their gradients, of which some are not 0."""
    results = []
    for loss in (ours, theirs):
        x = at.detach().clone().requires_grad_()
        value = loss(x)
        value.backward()
        assert x.grad is not None
        results.append((value, x.grad))
    (mine, my_gradient), (their, their_gradient) = results
    # A mean of tokens' losses, which are of the order of 1 and cancel.
    close(mine, their, unit=1.0)
    close(my_gradient, their_gradient)
    assert bool(their_gradient.any())


def spread(advantages: Tensor, mask: Tensor) -> Tensor:
    """[N] at the tokens of the mask."""
    return advantages[:, None] * mask.to(advantages.dtype)


dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])
