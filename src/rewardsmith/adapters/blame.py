"""Which environment, which part, and which of the numbers that it was given, broke a step."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ..core.acting import Step, Terms
from ..core.errors import ScoreError
from ..core.reward import Reward
from .columns import read_by


def check_shapes(values: Any, out: Terms, n: int) -> None:
    """Raise at the deepest part whose values are not one number per environment.

    Raises:
        ScoreError: with the part's path and the shape.
    """
    deepest_first = sorted(out.values.items(), key=lambda item: -item[0].count("/"))
    for path, part in [*deepest_first, ("", values)]:
        if np.shape(part) != (n,):
            found = list(np.shape(part))
            raise ScoreError(f"bad_value: values of shape {found}, expected [{n}]", part=path)


def blamed(error: ScoreError, reward: Reward, step: Step) -> ScoreError:
    """The same error with the environment that caused it, where computing each alone shows it.

    A part that raises does so for all environments together. Each is computed alone, as if its
    episode began here; the blame is certain only where some break and others do not. If that
    environment gave something that is no finite number, the message says what and where.
    """
    row = error.row if error.row is not None else _guilty(reward, step)
    rows = np.flatnonzero(step.live).tolist() if row is None else [row]
    spoiled = next((found for i in rows for found in _spoiled(reward, step, i)), "")
    return ScoreError(error.message + spoiled, row=row, part=error.part)


def _guilty(reward: Reward, step: Step) -> int | None:
    n = len(step.first)
    guilty = [i for i in np.flatnonzero(step.live).tolist() if _breaks(reward, step, i)]
    return None if not guilty or (len(guilty) == n > 1) else guilty[0]


def _breaks(reward: Reward, step: Step, i: int) -> bool:
    try:
        reward.step(_only(step, read_by(reward), i), reward.start(1), Terms())
    except Exception:  # noqa: BLE001 - a part may raise anything, and only whether it does counts
        return True
    return False


def _only(step: Step, names: frozenset[str], i: int) -> Step:
    """Environment ``i`` of a step, with the columns of infos that are read."""
    infos = {
        field: {name: getattr(step, field)[name] for name in names if name in getattr(step, field)}
        for field in ("info", "prev_info")
    }
    plain = {f.name: getattr(step, f.name) for f in fields(step)}
    return Step(**{name: _row(value, i) for name, value in (plain | infos).items()})


def _row(value: Any, i: int) -> Any:
    if isinstance(value, Mapping):
        return {name: _row(item, i) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_row(item, i) for item in value)
    return value[i : i + 1]


def _spoiled(reward: Reward, step: Step, i: int) -> Iterator[str]:
    """What environment ``i`` gave that is no finite number, in the order in which it came."""
    alone = _only(step, read_by(reward), i)
    for name in ("prev_info", "obs", "action", "next_obs", "info", "env_reward"):
        for path, leaf in _leaves(getattr(alone, name), name):
            bad = ~np.isfinite(leaf[0])
            if bad.any():
                index = tuple(int(k) for k in np.argwhere(bad)[0])
                at = f" at {list(index)}" if index else ""
                yield f"; {path} of environment {i} is {leaf[0][index]}{at}"


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The arrays of floats in a column, each under its name."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{path}[{name!r}]")
    elif isinstance(value, tuple):
        for k, item in enumerate(value):
            yield from _leaves(item, f"{path}[{k}]")
    elif getattr(getattr(value, "dtype", None), "kind", "") == "f" and len(value):
        yield path, value
