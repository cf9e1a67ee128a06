"""Keeps what a learning reward will learn from: the steps since its last update, as rollouts."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.acting import Step
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from .columns import read_by

_FIELDS = ("obs", "action", "next_obs", "env_reward", "terminated", "truncated", "first")


class Recorder:
    """Collects steps of n environments; :meth:`take` hands them out, cut at the ends of episodes.

    Only the columns that the reward needs are kept. An episode that goes on across :meth:`take`
    becomes two rollouts, of which the second does not begin with ``first``.
    """

    def __init__(self, reward: Reward) -> None:
        read = read_by(reward) | {"terminated", "truncated", "first"}
        self.fields = tuple(name for name in _FIELDS if name in read)
        self.keys = tuple(sorted(read.difference(_FIELDS)))
        self.steps: list[dict[str, Any]] = []

    def add(self, step: Step) -> None:
        """Keep one step."""
        kept: dict[str, Any] = {name: getattr(step, name) for name in self.fields}
        for field in ("info", "prev_info"):
            infos = getattr(step, field)
            # Which moment a key is read at, before the step or after it, only its reader knows.
            kept[field] = {key: infos[key] for key in self.keys if key in infos}
        self.steps.append(kept)

    def cut(self) -> None:
        """Forget the steps since the last :meth:`take`: the environments were reset outside."""
        self.steps.clear()

    def take(self) -> Rollouts | None:
        """The steps since the last call, one rollout per episode or piece of one.

        Raises:
            ValueError: a column that the reward needs does not hold numbers.
        """
        if not self.steps:
            return None
        stacked = _stack(self.steps)
        self.steps = []
        first: NDArray[np.bool_] = stacked["first"]
        pieces = []
        for i in range(first.shape[1]):
            starts = [0, *(np.flatnonzero(first[1:, i]) + 1), len(first)]
            for start, end in pairwise(starts):
                pieces.append(_piece(stacked, slice(start, end), i))
        return Rollouts.from_episodes(pieces)


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
