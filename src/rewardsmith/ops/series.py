"""Numbers at the marked steps of rows [N, T], and their moments.

The host works on a few rows at a time, so that what lies between two operations stays in its cache.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

_AT_ONCE = 2**17
"""How many numbers the host works on at once: 1 MB of float64, what a core's cache holds."""


class Series:
    """Numbers at marked steps, in float64; what stands at the others is not read.

    Args:
        mask: [N, T] marked steps.
        numbers: [N, T].
    """

    def __init__(self, mask: Bool[Tensor, "n t"], numbers: Float[Tensor, "n t"] | None) -> None:
        self.mask = mask
        self._numbers = numbers

    def tensor(
        self,
        dtype: torch.dtype = torch.float64,
        *,
        plus: Float[Tensor, "n t"] | None = None,
        shift: float = 0.0,
        scale: float = 1.0,
    ) -> Float[Tensor, "n t"]:
        """``(x + plus - shift) scale`` at marked steps, 0 at the others."""

        def rows(mask: Tensor, x: Tensor, plus: Tensor | None) -> Tensor:
            x = x.double() if plus is None else x.double() + plus
            x = x if shift == 0.0 and scale == 1.0 else (x - shift) * scale
            return torch.where(mask, x, 0.0)

        return by_rows(rows, self.mask, self._numbers, plus, dtype=dtype)

    def moments(self) -> Float64[Tensor, "n 3"]:
        """Of each row how many steps are marked, their mean, and their sum of squares about it.

        Numbers are counted from the row's last one: those that are all the same have a sum of
        exactly 0, and no digits are lost, as a member of n numbers lies at most ``sqrt(n - 1)``
        standard deviations from their mean.
        """

        def rows(mask: Tensor, x: Tensor) -> Tensor:
            count = mask.sum(dim=1, keepdim=True)
            if not mask.shape[1]:
                return x.new_zeros((len(x), 3), dtype=torch.float64)
            place = torch.arange(mask.shape[1], device=mask.device)
            last = torch.where(mask, place, 0).amax(dim=1, keepdim=True)
            first = torch.where(count > 0, x.gather(1, last).double(), 0.0)
            away = torch.where(mask, x.double() - first, 0.0)
            most = count.clamp(min=1)
            total, squares = away.sum(dim=1, keepdim=True), (away * away).sum(dim=1, keepdim=True)
            spread = (squares - total * total / most).clamp(min=0.0)
            return torch.cat([count, first + total / most, spread], dim=1)

        assert self._numbers is not None
        some = [rows(self.mask[own], self._numbers[own]) for own in chunks(self.mask)]
        blank = torch.zeros((0, 3), dtype=torch.float64, device=self.mask.device)
        return torch.cat([*some, blank])


def chunks(first: Tensor, *others: Tensor | None) -> Iterator[slice]:
    """Slices of the rows of [N, T]; on a device, or where a gradient flows, all in one."""
    n, steps = first.shape
    size = n if _whole(first, *others) else _AT_ONCE // max(steps, 1)
    for start in range(0, n, max(size, 1)):
        yield slice(start, start + size)


def by_rows(
    function: Callable[..., Tensor], first: Tensor, *others: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """A function of tensors that treats each row for itself.

    Args:
        function: of some rows of all tensors, and None where None is given.
        first: [N, T] the shape of the result.
        others: [N, T] or [N].
        dtype: of the result.
    """
    if _whole(first, *others):
        return function(first, *others).to(dtype)
    out = torch.empty(first.shape, dtype=dtype, device=first.device)
    for rows in chunks(first):
        own = (None if tensor is None else tensor[rows] for tensor in others)
        out[rows] = function(first[rows], *own)
    return out


def traced(*tensors: Tensor | None) -> bool:
    """Whether a gradient flows through one of them."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _whole(*tensors: Tensor | None) -> bool:
    device = any(tensor is not None and tensor.device.type != "cpu" for tensor in tensors)
    return device or traced(*tensors)
