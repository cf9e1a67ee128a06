"""Scans over time as loops that numba compiles, row by row, on the host."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from .series import Series


class CompiledScan(Series):
    """What the kernel works out, anew each time it is asked for: that is quicker than storing it.

    Float32 and float64 are read where they are, other types are copied.

    Args:
        x: [N, T].
        values: [N, T] of a critic, or None: then x is what is summed.
        mask: [N, T] marked steps.
        end: [N] the critic's value after the last marked step, or what is carried from there.
        gamma: discount of the critic's next value.
        decay: of what is carried.
    """

    def __init__(
        self,
        x: Tensor,
        values: Tensor | None,
        mask: Tensor,
        end: Tensor | None,
        gamma: float,
        decay: float,
    ) -> None:
        super().__init__(mask, None)
        last = np.zeros(len(mask)) if end is None else end.detach().double().numpy()
        self._given = (
            _array(x),
            _array(values),
            values is not None,
            mask.contiguous().numpy(),
            last,
            float(gamma),
            float(decay),
        )

    def tensor(
        self,
        dtype: torch.dtype = torch.float64,
        *,
        plus: Float[Tensor, "n t"] | None = None,
        shift: float = 0.0,
        scale: float = 1.0,
    ) -> Float[Tensor, "n t"]:
        kind = dtype if dtype == torch.float32 else torch.float64
        out = torch.empty(self.mask.shape, dtype=kind, device=self.mask.device)
        added = (_array(plus), plus is not None)
        _kernels().write(*self._given, *added, float(shift), float(scale), out.numpy())
        return out.to(dtype)

    def moments(self) -> Float64[Tensor, "n 3"]:
        rows = torch.empty((len(self.mask), 3), dtype=torch.float64, device=self.mask.device)
        _kernels().measure(*self._given, rows.numpy())
        return rows


def _array(tensor: Tensor | None) -> Any:
    if tensor is None:
        return np.empty((0, 0), dtype=np.float32)
    wide = tensor.dtype if tensor.dtype in (torch.float32, torch.float64) else torch.float64
    return tensor.detach().to(wide).contiguous().numpy()


# numba compiles what is written here, and not a function around it that checks types.
@no_type_check
def _write(x, values, critic, mask, end, gamma, decay, plus, adds, shift, scale, out):
    n, steps = x.shape
    for i in range(n):
        carry, following = (0.0, end[i]) if critic else (end[i], 0.0)
        for t in range(steps - 1, -1, -1):
            if not mask[i, t]:
                out[i, t] = 0.0
                continue
            if critic:
                value = np.float64(values[i, t])
                carry = x[i, t] - value + gamma * following + decay * carry
                following = value
            else:
                carry = x[i, t] + decay * carry
            added = np.float64(plus[i, t]) if adds else 0.0
            out[i, t] = (carry + added - shift) * scale


@no_type_check
def _measure(x, values, critic, mask, end, gamma, decay, moments):
    n, steps = x.shape
    for i in range(n):
        carry, following = (0.0, end[i]) if critic else (end[i], 0.0)
        count, last, total, squares = 0, 0.0, 0.0, 0.0
        for t in range(steps - 1, -1, -1):
            if not mask[i, t]:
                continue
            if critic:
                value = np.float64(values[i, t])
                carry = x[i, t] - value + gamma * following + decay * carry
                following = value
            else:
                carry = x[i, t] + decay * carry
            last = carry if count == 0 else last
            away = carry - last
            count += 1
            total += away
            squares += away * away
        most = max(count, 1)
        moments[i, 0] = count
        moments[i, 1] = last + total / most
        # Rounding may leave less than nothing; NaN stays.
        moments[i, 2] = 0.0 if squares < total * total / most else squares - total * total / most


class _Kernels(NamedTuple):
    write: Callable[..., None]
    measure: Callable[..., None]


@cache
def _kernels() -> _Kernels:
    import numba

    compiled = numba.njit(cache=True, nogil=True)
    return _Kernels(compiled(_write), compiled(_measure))
