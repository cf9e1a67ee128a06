"""Keeps what a learning reward will learn from: the steps since its last update, as rollouts."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.acting import FIELDS, Step
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from .columns import read_by

Places: TypeAlias = list[tuple[int, int, int]]
"""Per rollout: its environment, its first step and the step after its last, counted from 0."""


class Reading:
    """What a reward reads of a step, and how episodes begin and end."""

    def __init__(self, reward: Reward) -> None:
        read = read_by(reward) | {"terminated", "truncated", "first"}
        self.fields = tuple(name for name in FIELDS if name in read)
        self.keys = tuple(sorted(read.difference(FIELDS)))

    def of(self, step: Step) -> dict[str, Any]:
        """The columns of one step; those of infos under ``info`` and ``prev_info``."""
        read: dict[str, Any] = {name: getattr(step, name) for name in self.fields}
        for field in ("info", "prev_info"):
            infos = getattr(step, field)
            # Which moment a key is read at, before the step or after it, only its reader knows.
            read[field] = {key: infos[key] for key in self.keys if key in infos}
        return read


class Recorder:
    """Collects steps of n environments; :meth:`take` hands them out, cut at the ends of episodes.

    Only the columns that the reward needs are kept.
    """

    def __init__(self, reward: Reward) -> None:
        self.reading = Reading(reward)
        self.steps: list[dict[str, Any]] = []
        self.seen = 0
        """How many steps were added in all."""
        self.places: Places = []
        """Where the rollouts came from that :meth:`take` handed out last."""
        self._given: NDArray[np.int64] | int = 0

    def add(self, step: Step) -> None:
        """Keep one step."""
        self.steps.append(self.reading.of(step))
        self.seen += 1

    def cut(self) -> None:
        """Forget the steps since the last :meth:`take`: the environments were reset outside."""
        self.steps.clear()

    def take(self, *, finished: bool = False) -> Rollouts | None:
        """The steps since the last call, one rollout per episode or piece of one.

        An episode that goes on across the call becomes two rollouts, of which the second does not
        begin with ``first``; with ``finished`` it stays here until it ends, and comes out whole.

        Raises:
            ValueError: a column that the reward needs does not hold numbers.
        """
        self.places = []
        if not self.steps:
            return None
        stacked = _stack(self.steps)
        first: NDArray[np.bool_] = stacked["first"]
        ends = stacked["terminated"] | stacked["truncated"]
        horizon, n = first.shape
        begin = self.seen - horizon
        given = np.maximum(self._given - begin, 0) * np.ones(n, dtype=np.int64)
        pieces = []
        for i in range(n):
            starts = [0, *(np.flatnonzero(first[1:, i]) + 1), horizon]
            for start, end in pairwise(starts):
                if start >= given[i] and (ends[end - 1, i] or not finished):
                    pieces.append(_piece(stacked, slice(start, end), i))
                    self.places.append((i, begin + int(start), begin + int(end)))
                    given[i] = end
        self.steps = self.steps[given.min() :]
        self._given = begin + given
        return Rollouts.from_episodes(pieces) if pieces else None


def _stack(steps: list[Any], name: str = "") -> Any:
    if isinstance(steps[0], Mapping):
        shared = set.intersection(*(set(step) for step in steps))
        return {
            key: _stack([step[key] for step in steps], key) for key in steps[0] if key in shared
        }
    column = np.stack(steps)
    if column.dtype.kind not in "biuf":
        raise ValueError(
            f"a learning reward reads column {name!r}, which holds {column.dtype.name}; what is "
            "learned from is kept as numbers: let the environment report a number"
        )
    return column


def _piece(columns: Any, when: slice, i: int) -> Any:
    if isinstance(columns, Mapping):
        return {name: _piece(column, when, i) for name, column in columns.items()}
    return columns[when, i]
