"""Which environment, and which part, broke a step."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ..core.acting import Step, Terms
from ..core.errors import RewardsmithError, ScoreError
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
    episode began here; the blame is certain only where some break and others do not.
    """
    n = len(step.first)
    if error.row is not None:
        return error
    guilty = [i for i in np.flatnonzero(step.live).tolist() if _breaks(reward, step, i)]
    if not guilty or (len(guilty) == n > 1):
        return error
    return ScoreError(error.message, row=guilty[0], part=error.part)


def _breaks(reward: Reward, step: Step, i: int) -> bool:
    try:
        reward.step(_only(step, read_by(reward), i), reward.start(1), Terms())
    except RewardsmithError:
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
