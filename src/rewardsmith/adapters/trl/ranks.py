"""The processes that train together: what one of them knows or fails at, all of them hear."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist

from ...ops.ranks import share

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
        return share(work, send, dist.group.WORLD if self.count > 1 else None)
