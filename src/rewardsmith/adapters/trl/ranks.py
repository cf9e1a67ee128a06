"""The processes that train together: what one of them knows or fails at, all of them hear."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch.distributed as dist

from ...core.errors import ScoreError
from ...core.outcome import told

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """Which process this is, and of how many."""

    index: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> "Ranks":
        """As torch.distributed says it; one process alone where that was not initialized."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def share(self, work: Callable[[], T], send: Callable[[T], S]) -> tuple[T, list[S]]:
        """What the work gave here, and what each rank sends of it; all of them have to call this.

        Args:
            work: what may fail.
            send: what the other ranks are to know of it, in their order.

        Raises:
            ScoreError: it failed on another rank. On the rank itself, its own error.
        """
        if self.count == 1:
            alone = work()
            return alone, [send(alone)]
        result: T | None = None
        sent, error = b"", None
        try:
            result = work()
            # Here and not in the collective, where what cannot be pickled would leave the others
            # waiting.
            sent = pickle.dumps(send(result))
        except BaseException as caught:  # noqa: BLE001 - raised below, once the others have heard
            caught.add_note(f"on rank {self.index} of {self.count}")
            error = caught
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, (sent, told(error) if error else ""))
        if error is not None:
            raise error
        for rank, (_, failure) in enumerate(found):
            if failure:
                raise ScoreError(f"rank {rank} of {self.count} {failure}")
        return cast(T, result), [pickle.loads(sent) for sent, _ in found]
