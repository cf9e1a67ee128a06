"""Episodes as files keep them, and the rollouts that they make.

In a file, an episode of T steps has T actions and T + 1 observations: entry t came before step t,
entry t + 1 after it; so have infos that begin with the reset's. In rollouts the two sides of a step
are columns of their own: ``obs`` and ``next_obs``, ``prev_info`` and ``info``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..core.rollouts import Rollouts

Array: TypeAlias = NDArray[Any]
OF_A_STEP = ("action", "env_reward", "terminated", "truncated")
"""What has T entries, always."""
_FLAGS = ("terminated", "truncated", "first")
_SIDES = {"obs": ("next_obs", "obs"), "prev_info": ("info", "info")}
"""Known before a step -> the same after it, and both together in a file."""


@dataclass
class Episode:
    """One episode."""

    name: str
    """What the file calls it, for messages."""
    steps: dict[str, Array]
    """Path, such as ``obs/position``, -> array [T, ...] or [T + 1, ...]."""
    rows: dict[str, Any] = field(default_factory=dict)
    """What is said once of the episode: its seed, ..."""


def sides(episode: Episode, called: Mapping[str, str] | None = None) -> dict[str, Array]:
    """The columns [T, ...] by path: what has T + 1 entries comes apart into before and after.

    Args:
        episode: the episode.
        called: path -> what the file calls it, for messages.

    Raises:
        ValueError: lengths that do not agree, or no column that tells T.
    """
    called = called or {}
    t = n_steps(episode, called)
    columns = {}
    for path, array in episode.steps.items():
        name, slash, below = path.partition("/")
        if len(array) == t:
            columns[path] = array.astype(np.bool_) if name in _FLAGS else array
        elif len(array) == t + 1 and name == "obs":
            columns |= {path: array[:-1], f"next_obs{slash}{below}": array[1:]}
        elif len(array) == t + 1:
            # Whatever else is known before the first step too describes states, as infos do.
            key = below if name == "info" else path
            columns |= {f"prev_info/{key}": array[:-1], f"info/{key}": array[1:]}
        else:
            raise ValueError(
                f"{called.get(path, path)!r} has {len(array)} entries, expected {t} or {t + 1}: "
                f"the episode has {t} steps"
            )
    return columns


def n_steps(episode: Episode, called: Mapping[str, str] | None = None) -> int:
    """T, which every column of what happens in a step has to agree on; as :func:`sides`."""
    called = called or {}
    lengths = {
        path: len(array)
        for path, array in episode.steps.items()
        if path.partition("/")[0] in OF_A_STEP
    }
    if not lengths:
        raise ValueError(
            f"no column tells its steps: none of {', '.join(OF_A_STEP)} is there; columns present: "
            f"{', '.join(sorted([*episode.steps, *episode.rows])) or 'none'}"
        )
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{called.get(path, path)!r} {n}" for path, n in lengths.items())
        raise ValueError(f"its columns differ in length: {told}")
    t = next(iter(lengths.values()))
    if t == 0:
        raise ValueError("it has no steps")
    return t


def stack(episodes: Sequence[Episode]) -> Rollouts:
    """Episodes whose columns have T entries each (see :func:`sides`), padded to the longest.

    What an episode does not say of itself, where another one does, is None. A row column ``group``
    becomes the rollouts' groups.

    Raises:
        ValueError: columns that differ between episodes, or a name that is two things.
    """
    names = dict.fromkeys(name for episode in episodes for name in episode.rows)
    rollouts = Rollouts.from_episodes(
        [
            {**nested(episode.steps), **{name: episode.rows.get(name) for name in names}}
            for episode in episodes
        ],
        rows=names,
    )
    if "group" not in names:
        return rollouts
    group = rollouts.rows["group"]
    return Rollouts(rollouts.rows, rollouts.steps, mask=rollouts.mask, group=group)


def nested(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns by path as dicts of dicts.

    Raises:
        ValueError: one path leads through another's end.
    """
    tree: dict[str, Any] = {}
    for path, column in columns.items():
        *above, name = path.split("/")
        place = tree
        for key in above:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise ValueError(f"column {path!r} lies inside another column")
        if name in place:
            raise ValueError(f"column {path!r} holds other columns")
        place[name] = column
    return tree


def flat(columns: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dicts of dicts as columns by path.

    Raises:
        ValueError: a name holds the sign that paths are made with.
    """
    for name, column in columns.items():
        if "/" in name:
            raise ValueError(f"column {name!r}: a name that is written to a file has no '/'")
        path = f"{above}/{name}" if above else name
        if isinstance(column, Mapping):
            yield from flat(column, path)
        else:
            yield path, column


def split(rollouts: Rollouts) -> Iterator[Episode]:
    """Each episode by itself, as files keep it.

    Rows are cut where ``first`` says; padding and dummy steps are left out. What is known on both
    sides of a step becomes one column of T + 1 entries.

    Raises:
        ValueError: rows whose steps do not follow each other, such as a replay buffer's samples.
    """
    columns = {
        path: column.detach().cpu().numpy()
        for path, column in flat(rollouts.steps)
        if path != "first"
    }
    number = rollouts.first().cumsum(dim=1).cpu().numpy()
    live = rollouts.action_mask.cpu().numpy()
    for i in range(len(rollouts)):
        said = {name: _plain(column[i]) for name, column in rollouts.rows.items()}
        for episode in np.unique(number[i][live[i]]):
            when = live[i] & (number[i] == episode)
            taken = {path: column[i][when] for path, column in columns.items()}
            try:
                yield Episode(f"row {i}", _joined(taken), said)
            except ValueError as error:
                raise ValueError(f"row {i}: {error}") from None


def _joined(columns: dict[str, Array]) -> dict[str, Array]:
    """The opposite of :func:`sides`."""
    joined = dict(columns)
    for path, before in columns.items():
        name, slash, below = path.partition("/")
        if name not in _SIDES:
            continue
        after, together = (f"{side}{slash}{below}" for side in _SIDES[name])
        if after not in columns:
            continue
        if not _same(before[1:], columns[after][:-1]):
            raise ValueError(
                f"{after!r} of a step is not {path!r} of the next one: only whole episodes, step "
                "after step, can be written as trajectories"
            )
        del joined[path], joined[after]
        joined[together] = np.concatenate([before[:1], columns[after]])
    return joined


def _same(one: Array, other: Array) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == other.dtype.kind == "f")


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return value.item() if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 else value
