"""Scans over time: a reverse linear recurrence over the marked steps of rows [N, T].

Steps that are not marked are skipped: what is carried passes over them unchanged, what stands there
is not read, and the result is 0 there. So a hole (an answer of a tool between two turns) changes
nothing at the steps around it. All is worked out in float64.

There are two ways with the same results; :func:`how` forces one. The torch way runs on every
device and has no Python loop over T. The compiled way needs numba (the extra ``fast``), runs on
the host row by row, and lets no gradient through. Its first call in a process takes about 0.7
seconds (1.2 the first time after installation: what is compiled is kept on disk), so ``"auto"``
takes it only from 2^20 numbers on, where it saves tens of milliseconds a call.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from math import floor, log
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float64, Shaped
from torch import Tensor
from torch.nn.functional import pad

from .compiled_scan import CompiledScan
from .series import Series, by_rows, traced

How: TypeAlias = Literal["auto", "torch", "compiled"]
"""``"auto"`` compiles large batches on the host where numba is installed and no gradient flows."""

_WORTH = 2**20
"""From how many numbers on ``"auto"`` compiles."""

_DEEPEST = 460.0
"""``-log(c^B)``, and no more, of a block of B steps: its powers stay above 1e-200."""


_how: ContextVar[How] = ContextVar("how", default="auto")


@contextmanager
def how(way: How) -> Iterator[None]:
    """Within, scans go that way.

    Raises:
        ValueError: there is no such way. ImportError: the compiled one, and numba is not there.
    """
    if way not in ("auto", "torch", "compiled"):
        raise ValueError(f"scans go {way!r}, which is not one of auto, torch, compiled")
    if way == "compiled" and not _numba():
        raise ImportError("compiled scans need numba: pip install 'rewardsmith[fast]'")
    before = _how.set(way)
    try:
        yield
    finally:
        _how.reset(before)


def reverse_scan(
    x: Shaped[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    decay: float,
    *,
    end: Shaped[Tensor, " n"] | None = None,
) -> Series:
    """``y_t = x_t + c y_{t'}`` at marked steps, t' the next one that is marked; 0 at the others.

    Gradients flow through ``x`` and ``end``.

    Args:
        x: [N, T]; read only where ``mask`` is.
        mask: [N, T] marked steps.
        decay: c, in [0, 1].
        end: [N] what y is after the last marked step; 0 if it is not given.

    Raises:
        ValueError: shapes that disagree, a decay outside [0, 1], or the compiled way is forced
            where it cannot run.
    """
    _check(mask, {"x": x}, {"decay": decay}, end)
    if _compiles(x, end):
        return CompiledScan(x, None, mask, end, 0.0, decay)

    def rows(mask: Tensor, x: Tensor, end: Tensor | None) -> Tensor:
        steps = _Marked(mask)
        closed = steps.close(x)
        if end is not None:
            closed = steps.add_at_last(closed, decay * end.double())
        return steps.open(_blocks(closed, decay))

    return Series(mask, by_rows(rows, mask, x, end, dtype=torch.float64))


def gae_scan(
    rewards: Shaped[Tensor, "n t"],
    values: Shaped[Tensor, "n t"],
    mask: Bool[Tensor, "n t"],
    gamma: float,
    lam: float,
    *,
    end: Shaped[Tensor, " n"] | None = None,
) -> Series:
    """``A_t = R_t + gamma V_{t'} - V_t + gamma lam A_{t'}``, t' the next marked step; 0 elsewhere.

    Args:
        rewards: R [N, T]; read only where ``mask`` is.
        values: V [N, T]; likewise.
        mask: [N, T] marked steps.
        gamma: discount, in [0, 1].
        lam: in [0, 1].
        end: [N] what V is after the last marked step; 0 if it is not given. A is 0 there.

    Raises:
        ValueError: as :func:`reverse_scan`.
    """
    _check(mask, {"rewards": rewards, "values": values}, {"gamma": gamma, "lam": lam}, end)
    if _compiles(rewards, values, end):
        return CompiledScan(rewards, values, mask, end, gamma, gamma * lam)

    def rows(mask: Tensor, rewards: Tensor, values: Tensor, end: Tensor | None) -> Tensor:
        steps = _Marked(mask)
        value = steps.close(values)
        following = pad(value[:, 1:], (0, 1))
        if end is not None:
            following = steps.add_at_last(following, end.double())
        delta = steps.close(rewards) - value + gamma * following
        return steps.open(_blocks(delta, gamma * lam))

    return Series(mask, by_rows(rows, mask, rewards, values, end, dtype=torch.float64))


def _check(
    mask: Tensor, given: dict[str, Tensor], numbers: dict[str, float], end: Tensor | None
) -> None:
    for name, tensor in given.items():
        if tensor.shape != mask.shape:
            raise ValueError(f"mask has the shape {[*mask.shape]}, {name} {[*tensor.shape]}")
    if end is not None and end.shape != mask.shape[:1]:
        raise ValueError(f"{len(mask)} rows of steps, the end has the shape {[*end.shape]}")
    for name, number in numbers.items():
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"{name} is {number}, it must lie in [0, 1]")


# --- the torch way --------------------------------------------------------------------------------


class _Marked:
    """Marked steps moved to the front of their rows, in their order, and back."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self.count = mask.sum(dim=1)
        self.width = int(self.count.max()) if len(mask) else 0
        front = torch.arange(mask.shape[1], device=mask.device) < self.count[:, None]
        self.holes = not torch.equal(front, mask)
        self.front = front[:, : self.width]

    def close(self, x: Tensor) -> Tensor:
        """[N, longest] without the holes, in float64; 0 after a row's last step."""
        if not self.holes:
            return torch.where(self.front, x[:, : self.width].double(), 0.0)
        blank = torch.zeros(self.front.shape, dtype=torch.float64, device=x.device)
        return blank.masked_scatter(self.front, x.masked_select(self.mask).double())

    def add_at_last(self, x: Tensor, numbers: Tensor) -> Tensor:
        """The same with a number added at each row's last step (in a row without one, unread)."""
        if not self.width:
            return x
        last = (self.count - 1).clamp(min=0)[:, None]
        return x.scatter_add(1, last, numbers[:, None])

    def open(self, y: Tensor) -> Tensor:
        """[N, T], each number where it was; 0 where nothing is marked."""
        if not self.holes:
            return pad(y, (0, self.mask.shape[1] - self.width))
        blank = torch.zeros(self.mask.shape, dtype=torch.float64, device=y.device)
        return blank.masked_scatter(self.mask, y.masked_select(self.front))


def _blocks(x: Float64[Tensor, "n t"], c: float) -> Float64[Tensor, "n t"]:
    """``y_t = x_t + c y_{t+1}`` of whole rows.

    In a block of B steps ``c^j y_j = sum_{s >= j} c^s x_s + c^B carry``: a cumulative sum from the
    end, which adds small terms first and so loses nothing. B is as large as c^B allows; a decay of
    0.95 makes blocks of 8968 steps.
    """
    if c == 0.0 or not x.shape[1]:
        return x
    if c == 1.0:
        return x.flip(1).cumsum(dim=1).flip(1)
    steps = x.shape[1]
    size = min(max(floor(-_DEEPEST / log(c)), 1), max(steps, 1))
    powers = c ** torch.arange(size + 1, dtype=torch.float64, device=x.device)
    carry: Tensor | float = 0.0
    blocks: list[Tensor] = []
    for start in reversed(range(0, steps, size)):
        block = x[:, start : start + size]
        wide = block.shape[1]
        sums = (block * powers[:wide]).flip(1).cumsum(dim=1).flip(1)
        blocks.append((sums + carry * powers[wide]) / powers[:wide])
        carry = blocks[-1][:, :1]
    return torch.cat(blocks[::-1], dim=1) if len(blocks) != 1 else blocks[0]


# --- which way ------------------------------------------------------------------------------------


@cache
def _numba() -> bool:
    return find_spec("numba") is not None


def _compiles(*tensors: Tensor | None) -> bool:
    """Whether to take the compiled way."""
    way = _how.get()
    if way == "torch":
        return False
    given = [tensor for tensor in tensors if tensor is not None]
    free = all(tensor.device.type == "cpu" for tensor in given) and not traced(*given)
    if way == "auto":
        return free and given[0].numel() >= _WORTH and _numba()
    if not free:
        raise ValueError(
            "compiled scans work on the host and let no gradient through; "
            'leave the choice to how("auto")'
        )
    return True
