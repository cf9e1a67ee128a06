"""Numbers of all processes of a data-parallel run; without a process group, of this one alone."""

from typing import Any, TypeAlias

import torch
from torch import Tensor, distributed

Ranks: TypeAlias = distributed.ProcessGroup | None
"""Who trains on the same batch: ``torch.distributed.group.WORLD``, or None for this process."""


def summed(values: Tensor, ranks: Ranks) -> Tensor:
    """The sum over ranks, on every rank. ``values`` has one shape everywhere; it is not changed.

    Gloo and NCCL reduce in the order of their own; for float64 that is the last digit.
    """
    if ranks is None:
        return values
    total = values.to(_device(ranks, values.device), copy=True)
    distributed.all_reduce(total, group=ranks)
    return total.to(values.device)


def gathered(thing: Any, ranks: Ranks) -> list[Any]:
    """What each rank holds, in the order of ranks: any object that pickles."""
    if ranks is None:
        return [thing]
    things: list[Any] = [None] * distributed.get_world_size(ranks)
    distributed.all_gather_object(things, thing, group=ranks)
    return things


def rank_of(ranks: Ranks) -> int:
    """This process's place among them."""
    return 0 if ranks is None else distributed.get_rank(ranks)


def _device(ranks: distributed.ProcessGroup, own: torch.device) -> torch.device:
    # NCCL reduces only what lies on a GPU, gloo what lies on the host.
    nccl = distributed.get_backend(ranks) == "nccl"
    if nccl:
        return own if own.type == "cuda" else torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
