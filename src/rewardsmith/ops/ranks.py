"""Numbers of all processes of a data-parallel run; without a process group, of this one alone."""

import pickle
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import torch
from torch import Tensor, distributed

from ..core.errors import ScoreError
from ..core.outcome import told

S = TypeVar("S")
T = TypeVar("T")

Ranks: TypeAlias = distributed.ProcessGroup | None
"""Who trains on the same batch: ``torch.distributed.group.WORLD``, or None for this process."""


def everybody() -> Ranks:
    """All processes of this run; None where it is one, or torch.distributed was not initialized."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    return distributed.group.WORLD if distributed.get_world_size() > 1 else None


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
    things: list[Any] = [None] * count_of(ranks)
    distributed.all_gather_object(things, thing, group=ranks)
    return things


def share(work: Callable[[], T], send: Callable[[T], S], ranks: Ranks) -> tuple[T, list[S]]:
    """What the work gave here, and what each rank sends of it; all of them have to call this.

    Args:
        work: what may fail.
        send: what the other ranks are to know of it, in their order.
        ranks: who takes part.

    Raises:
        ScoreError: it failed on another rank. On the rank itself, its own error.
    """
    if ranks is None:
        alone = work()
        return alone, [send(alone)]
    index, count = rank_of(ranks), count_of(ranks)
    result: T | None = None
    sent, error = b"", None
    try:
        result = work()
        # Here and not in the collective, where what cannot be pickled would leave the others
        # waiting.
        sent = pickle.dumps(send(result))
    except BaseException as caught:  # noqa: BLE001 - raised below, once the others have heard
        caught.add_note(f"on rank {index} of {count}")
        error = caught
    found = gathered((sent, told(error) if error else ""), ranks)
    if error is not None:
        raise error
    for rank, (_, failure) in enumerate(found):
        if failure:
            raise ScoreError(f"rank {rank} of {count} {failure}")
    return cast(T, result), [pickle.loads(sent) for sent, _ in found]


def told_by_first(work: Callable[[], T], ranks: Ranks) -> T:
    """What the work gives on the first rank, where alone it is done; it has to pickle.

    Raises:
        ScoreError: it failed there. On the first rank itself, its own error.
    """
    if ranks is None:
        return work()
    first = rank_of(ranks) == 0
    made, _ = share(lambda: pickle.dumps(work()) if first else b"", lambda _: None, ranks)
    sent: list[Any] = [made]
    # Not gathered, which takes as much room for each rank as the first one sends.
    distributed.broadcast_object_list(sent, distributed.get_global_rank(ranks, 0), group=ranks)
    return cast(T, pickle.loads(sent[0]))


def rank_of(ranks: Ranks) -> int:
    """This process's place among them."""
    return 0 if ranks is None else distributed.get_rank(ranks)


def count_of(ranks: Ranks) -> int:
    """How many they are."""
    return 1 if ranks is None else distributed.get_world_size(ranks)


def _device(ranks: distributed.ProcessGroup, own: torch.device) -> torch.device:
    # NCCL reduces only what lies on a GPU, gloo what lies on the host.
    nccl = distributed.get_backend(ranks) == "nccl"
    if nccl:
        return own if own.type == "cuda" else torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
