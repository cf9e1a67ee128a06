"""What environments show (observations, actions, rewards) as columns of a step."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .columns import column_of, put


def one(value: Any) -> Any:
    """A batch of one, copied."""
    if isinstance(value, dict):
        return {name: one(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(one(item) for item in value)
    return np.array(value)[None]


def number(paid: Any) -> Any:
    """What was paid as a float, or an array of such where the environment has several objectives.

    Gymnasium takes the type of an info from the first environment: an int there would round others.
    """
    return float(paid) if np.ndim(paid) == 0 else np.array(paid, dtype=np.float64)


def arrays(value: Any, space: spaces.Space[Any]) -> Any:
    """Columns [n, ...] of what n environments of a space show: text comes as a tuple of n."""
    if hasattr(value, "shape"):
        return value
    if isinstance(value, Mapping) and isinstance(space, spaces.Dict):
        return {name: arrays(item, space[name]) for name, item in value.items()}
    if isinstance(value, tuple) and isinstance(space, spaces.Tuple):
        return tuple(arrays(item, inner) for item, inner in zip(value, space, strict=True))
    return column_of(value)


def check_rows(obs: Any, n: int) -> None:
    """Raise if a column of an observation does not have a row per environment.

    Raises:
        ValueError: with the column and its length.
    """
    for path, rows in _lengths(obs, "obs"):
        if rows != n:
            raise ValueError(
                f"{path} of the reset has {rows} rows for {n} environments; a vector environment "
                "gives one row each"
            )


def check_space(obs: Any, space: Any, path: str = "obs") -> None:
    """Raise if what n environments show, [n, ...], is not what their space says.

    Raises:
        ValueError: with the column, what it is, and what the space says.
    """
    shown: Any
    if isinstance(space, spaces.Dict):
        said: Any = sorted(space.spaces)
        shown = sorted(obs) if isinstance(obs, Mapping) else f"a {type(obs).__name__}"
        _compare(path, "the keys ", shown, said)
        for name, inner in space.spaces.items():
            check_space(obs[name], inner, f"{path}[{name!r}]")
    elif isinstance(space, spaces.Tuple):
        shown = len(obs) if isinstance(obs, tuple) else f"a {type(obs).__name__}"
        _compare(path, "so many members: ", shown, len(space.spaces))
        for i, inner in enumerate(space.spaces):
            check_space(obs[i], inner, f"{path}[{i}]")
    elif isinstance(
        space, spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete
    ):
        shown = "a dict" if isinstance(obs, Mapping) else list(np.shape(obs)[1:])
        _compare(path, "the shape ", shown, list(space.shape or ()))


def _compare(path: str, what: str, shown: Any, said: Any) -> None:
    if shown != said:
        raise ValueError(
            f"{path} of the reset is not what observation_space says: it has {what}{shown}, the "
            f"space {said}; let the environment declare what it shows"
        )


def final_obs(obs: Any, info: Mapping[str, Any], done: NDArray[np.bool_]) -> Any:
    """The observations with the last ones of the episodes that ended, of same-step autoreset.

    Raises:
        ValueError: the infos do not have them.
    """
    if "final_obs" not in info:
        raise ValueError(
            "the vector environment says AutoresetMode.SAME_STEP, but an episode ended without "
            f"infos['final_obs'], its last observation; the infos hold {sorted(info)}"
        )
    return put(obs, done, [_of(info["final_obs"], i) for i in np.flatnonzero(done).tolist()])


def _of(obs: Any, i: int) -> Any:
    """Environment ``i``'s own, from an array of objects as Gymnasium has it, or from columns."""
    if isinstance(obs, Mapping):
        return {name: _of(item, i) for name, item in obs.items()}
    return tuple(_of(item, i) for item in obs) if isinstance(obs, tuple) else obs[i]


def _lengths(value: Any, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _lengths(item, f"{path}[{name!r}]")
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _lengths(item, f"{path}[{i}]")
    else:
        yield path, len(value)
