"""Prompts to generate for: what every sampler of prompts is, and the plain one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from ..core.bases import Sampler
from ..core.catalog import method
from ..core.rollouts import Rollouts
from ..core.scores import Scores


class PromptSampler(Sampler):
    """Which rows of a data set to generate for, and which of what came of it to train on.

    A trainer says once what the pool is (:meth:`over`). Then it does for each batch::

        sampler.begin()
        while fewer than n groups are selected, at most ``rounds`` times:
            rows = sampler.propose(n_still_needed)      # may be more than asked for
            ... generates a group of answers for each, and scores them ...
            sampler.observe(rollouts, scores)
            selected = sampler.select(rollouts, scores)

    ``rollouts`` are whole groups, with the column ``prompt_id`` (int, the row of the pool that they
    are of) and with all columns of the pool. Groups that are selected beyond n are dropped; where
    n are not reached, ``short`` says what happens. No row is proposed twice between two calls of
    ``begin``. All randomness is one NumPy generator, seeded here and saved with
    ``state_dict``; two processes that see the same propose the same.

    A subclass defines ``choose``; and ``observe``, ``select``, ``own_state``, ``load_own_state``
    where it has something to add.

    Args:
        seed: of the generator.
    """

    rounds: int = 1
    """How often a trainer may ask for more within one batch."""
    short: str = "raise"
    """What a trainer does when n groups are not reached: ``"raise"``, or ``"repeat"`` those that
    were selected."""
    temperature: float | None = None
    """The temperature to generate with; None for the trainer's own."""
    generates: bool = False
    """Whether it makes the answers as well, by ``generate``."""
    retries: bool = False
    """Whether it has second attempts made, by ``hints`` and ``improve``."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.size = 0
        """Rows in the pool."""
        self.taken: list[int] = []
        """What was proposed since ``begin``."""
        self._generator = np.random.default_rng(seed)

    def over(self, pool: Sequence[Mapping[str, Any]]) -> None:
        """Say what the pool is: a data set of rows. What was learned of its rows is kept.

        Raises:
            ValueError: it is empty, or not the size of the one that a restored state is of.
        """
        if not len(pool):
            raise ValueError(f"{self.default_name()}: the data set has no rows")
        if self.size not in (0, len(pool)):
            raise ValueError(
                f"{self.default_name()}: the data set has {len(pool)} rows, and what this sampler "
                f"remembers is of {self.size}: give the same data, or a fresh sampler"
            )
        self.size = len(pool)

    def reseed(self, seed: int) -> None:
        """Mix the seed of a training run into the sampler's own, and into those of its children."""
        for _, node in self.walk():
            if isinstance(node, PromptSampler):
                node._generator = np.random.default_rng([node.seed, seed])

    def begin(self) -> None:
        """A new batch begins: every row may be proposed again."""
        self.taken = []

    def propose(self, n: int) -> list[int]:
        """Rows of the pool to generate for, n of them or more; none that this batch has had.

        Raises:
            ValueError: there is no pool, or fewer rows are left in it.
        """
        if not self.size:
            raise ValueError(f"{self.default_name()} has no pool yet; call over(dataset)")
        if n > self.left:
            raise ValueError(
                f"{self.default_name()}: {n} prompts are wanted and {self.left} of the {self.size} "
                "in the data set are left in this batch: give more data, or a smaller batch"
            )
        chosen = [int(row) for row in self.choose(n)]
        self.taken += chosen
        return chosen

    @property
    def left(self) -> int:
        """How many rows of the pool this batch has not had."""
        return self.size - len(self.taken)

    def choose(self, n: int) -> Sequence[int]:
        """At least n different rows that are not in ``taken``."""
        raise NotImplementedError(f"{type(self).__name__} does not define choose")

    def observe(self, rollouts: Rollouts, scores: Scores) -> dict[str, float]:
        """Learn from scored groups; returns metrics. Nothing here."""
        return {}

    def select(self, rollouts: Rollouts, scores: Scores) -> Bool[Tensor, " n"]:
        """The rows that may train [N]; all of a group or none. Here all."""
        return torch.ones(len(rollouts), dtype=torch.bool)

    def why(self) -> str:
        """What a trainer tells a user whose groups were not selected."""
        return "this sampler selects all of them"

    def free(self) -> Bool[np.ndarray, " p"]:
        """The rows of the pool that this batch has not had [P]."""
        free = np.ones(self.size, dtype=np.bool_)
        free[self.taken] = False
        return free

    def own_state(self) -> dict[str, Any]:
        """What a subclass remembers: plain numbers, texts, arrays, and containers of them."""
        return {}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """What :meth:`own_state` gave."""

    def get_extra_state(self) -> dict[str, Any]:
        generator = self._generator.bit_generator.state
        common = {"generator": generator, "size": self.size, "taken": list(self.taken)}
        return {"common": common, "own": self.own_state()}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        common = state["common"]
        if self.size not in (0, common["size"]):
            raise ValueError(
                f"{self.default_name()}: the state is of {common['size']} rows, the data set has "
                f"{self.size}"
            )
        self._generator.bit_generator.state = common["generator"]
        self.size, self.taken = common["size"], list(common["taken"])
        self.load_own_state(state["own"])


def in_passes(
    n: int,
    rows: int | Sequence[int],
    ahead: list[int],
    had: set[int],
    generator: np.random.Generator,
) -> list[int]:
    """The next n rows of passes over a pool, each pass in a new order; none that a batch has had.

    Args:
        n: how many; as many rows have not been had, or it never ends.
        rows: the pool: how many there are, or which.
        ahead: what is left of the pass. It is brought up to date: a row that the batch has had
            comes first in what is left.
        had: the rows that the batch has had; those that are chosen are added.
        generator: of the orders.
    """
    chosen: list[int] = []
    later: list[int] = []
    while len(chosen) < n:
        if not ahead:
            ahead += generator.permutation(rows).tolist()
        row = ahead.pop(0)
        (later if row in had else chosen).append(row)
        had.add(row)
    ahead[:0] = later
    return chosen


@method("shuffled", kind="sampler")
class Shuffled(PromptSampler):
    """Each row once in every pass over the data, each pass in a new order.

    A pass that ends within a batch is followed by the next one, of which rows that the batch has
    had already come later.

    Args:
        seed: of the orders.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._ahead: list[int] = []

    def choose(self, n: int) -> list[int]:
        return in_passes(n, self.size, self._ahead, set(self.taken), self._generator)

    def own_state(self) -> dict[str, Any]:
        return {"ahead": list(self._ahead)}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        self._ahead = list(state["ahead"])
