"""Rewards while acting: one environment step for n environments at a time, in numpy.

The law, which every acting reward is tested for: scanning ``step`` over T equals ``forward`` on
[N, T]. :func:`scan` is that left-hand side.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from .errors import MissingColumn, ScoreError
from .rollouts import Rollouts
from .scores import Scores

if TYPE_CHECKING:
    from .reward import Reward

Floats: TypeAlias = NDArray[np.float64]
FIELDS = ("obs", "action", "next_obs", "env_reward", "terminated", "truncated", "first")
"""A step's own columns; any other is a key of ``info``."""
_NOT_INFO = frozenset({*FIELDS, "info", "prev_info"})
_TYPES = {"env_reward": np.float64, "terminated": np.bool_, "truncated": np.bool_}


@dataclass(slots=True)
class Step:
    """One step of n environments; every array is [n, ...], observations may be dicts of such.

    None stands for what the rollouts do not have; environments give every field.
    """

    obs: Any
    action: Any
    next_obs: Any
    """The true next observation: at an episode's end the last one, never the reset's."""
    env_reward: Floats | None
    terminated: NDArray[np.bool_] | None
    truncated: NDArray[np.bool_] | None
    first: NDArray[np.bool_]
    """The step begins an episode: its row of the carry starts afresh."""
    live: NDArray[np.bool_]
    """False on the dummy steps of next-step autoreset, whose values nobody reads."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """What came with ``next_obs``: key -> array [n, ...]."""
    prev_info: Mapping[str, Any] = field(default_factory=dict)
    """What came with ``obs``, from the reset or the step before."""

    def column(self, name: str, *, needed_by: str = "") -> Any:
        """A field by name, else the key ``name`` of ``info``.

        Raises:
            MissingColumn: there is neither; as for :meth:`before` and :meth:`after`.
        """
        if name in FIELDS:
            return self._known(getattr(self, name), name, needed_by)
        return self._key(self.info, name, needed_by)

    def before(self, name: str, *, needed_by: str = "") -> Any:
        """What the state that was acted in says of ``name``: ``obs`` or a key of ``prev_info``."""
        if name == "obs":
            return self._known(self.obs, "obs", needed_by)
        return self._key(self.prev_info, name, needed_by)

    def after(self, name: str, *, needed_by: str = "") -> Any:
        """What the state that was reached says of ``name``: ``next_obs`` or a key of ``info``."""
        if name == "obs":
            return self._known(self.next_obs, "next_obs", needed_by)
        return self._key(self.info, name, needed_by)

    def _known(self, value: Any, name: str, needed_by: str) -> Any:
        if value is None:
            raise MissingColumn(name, needed_by=needed_by, present=self._present(self.info))
        return value

    def _key(self, info: Mapping[str, Any], name: str, needed_by: str) -> Any:
        try:
            return info[name]
        except KeyError:
            present = self._present(info)
            raise MissingColumn(name, needed_by=needed_by, present=present) from None

    def _present(self, info: Mapping[str, Any]) -> list[str]:
        return [*(name for name in FIELDS if getattr(self, name) is not None), *info]


class Terms:
    """Where ``step`` writes each part's values: path -> array [n]."""

    __slots__ = ("_below", "path", "values")

    def __init__(self, path: str = "", values: dict[str, Floats] | None = None) -> None:
        self.path = path
        self.values: dict[str, Floats] = {} if values is None else values
        self._below: dict[str, Terms] = {}

    def below(self, name: str) -> "Terms":
        """The same dictionary, seen from the child ``name``."""
        child = self._below.get(name)
        if child is None:
            path = f"{self.path}/{name}" if self.path else name
            child = self._below[name] = Terms(path, self.values)
        return child

    def __setitem__(self, name: str, values: Floats) -> None:
        self.values[self.below(name).path] = values


def read_only(column: Any) -> Any:
    """Arrays as views that nobody can write to: a reward only looks at what others own."""
    if type(column) is np.ndarray:
        column = column.view()
        column.flags.writeable = False
    elif isinstance(column, Mapping):
        return {name: read_only(value) for name, value in column.items()}
    return column


def step_of(rollouts: Rollouts, t: int) -> Step:
    """Step ``t`` of every rollout, as the environments would have shown it.

    A column that the rollouts do not have is None, which :meth:`Step.column` tells by its name.
    Columns that are no field of a step are found in ``info``.
    """

    def at(column: Any) -> Any:
        if isinstance(column, Mapping):
            return {name: at(value) for name, value in column.items()}
        return read_only(column[:, t].numpy())

    steps = rollouts.steps
    fields: dict[str, Any] = {name: at(steps[name]) if name in steps else None for name in FIELDS}
    for name, kind in _TYPES.items():
        if name in steps:
            fields[name] = fields[name].astype(kind)
    others = {name: at(steps[name]) for name in steps.keys() - _NOT_INFO}
    return Step(
        **(fields | {"first": rollouts.first()[:, t].numpy()}),
        live=rollouts.action_mask[:, t].numpy(),
        info=at(steps.get("info", {})) | others,
        prev_info=at(steps.get("prev_info", {})),
    )


def scan(reward: "Reward", rollouts: Rollouts) -> Scores:
    """Score rollouts by stepping through them, as an environment wrapper does.

    Raises:
        ValueError: the reward cannot be computed while acting.
        ScoreError: a step gave something that is no finite number.
    """
    if not reward.acts:
        raise ValueError(f"{reward.label()} cannot be computed while acting")
    n, horizon = len(rollouts), rollouts.n_steps
    values = np.zeros((n, horizon))
    terms: dict[str, Floats] = {}
    carry = reward.start(n)
    for t in range(horizon):
        out = Terms()
        step = step_of(rollouts, t)
        values[:, t], carry = reward.step(step, carry, out)
        check_finite(values[:, t], out, step.live)
        for path, part in out.values.items():
            terms.setdefault(path, np.zeros((n, horizon)))[:, t] = part
    at = rollouts.action_mask
    scores = Scores.dense(torch.from_numpy(values), at)
    for path, part in sorted(terms.items()):
        above, _, name = path.rpartition("/")
        scores.part(above).parts[name] = Scores.dense(torch.from_numpy(part), at)
    return scores


def void(values: Floats, *read: Floats) -> Floats:
    """NaN where something that was read is no finite number: what hides it must not replace it."""
    for part in read:
        values = np.where(np.isfinite(part), values, np.nan)
    return values


def check_finite(values: Floats, out: Terms, live: NDArray[np.bool_]) -> None:
    """Raise at the deepest part that gave a live row something that is no finite number.

    Only the root is looked at; the parts are read when it is not finite.

    Raises:
        ScoreError: with the row, the part's path and the value.
    """
    if np.isfinite(values).all() or np.isfinite(values[live]).all():
        return
    deepest_first = sorted(out.values.items(), key=lambda item: -item[0].count("/"))
    for path, part in [*deepest_first, ("", values)]:
        bad = ~np.isfinite(part) & live
        if bad.any():
            row = int(bad.argmax())
            raise ScoreError(f"bad_value: {part[row]} is not a finite number", row=row, part=path)
