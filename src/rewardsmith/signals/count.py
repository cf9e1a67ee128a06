"""Count bonus: pay for states that were seen rarely."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.acting import Floats, Step, Terms, step_of
from ..core.boundary import take
from ..core.catalog import Paper, method
from ..core.errors import ScoreError
from ..core.function import argument_names
from ..core.outcome import Status, broken, shown
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores


@method(
    "count_bonus",
    kind="signal",
    paper=Paper(
        "1611.04717",
        "#Exploration: A Study of Count-Based Exploration for Deep Reinforcement Learning",
        2017,
    ),
)
class CountBonus(Reward):
    """``beta / sqrt(1 + n(k(s')))``, where n counts how often a state of that key was reached.

    n is the count at the last update plus, with ``revisits``, the visits since then in the same
    episode: who stays in a new state is paid less and less for it. What other environments reach
    meanwhile shows at the next update, so that the reward does not depend on how many share it.

    Args:
        beta: the bonus of a state that was never reached.
        key: maps the reached state's columns (``obs``, or keys of ``info``, by argument name), as
            arrays [n, ...], to n hashable keys; default: the observation itself.
        revisits: count visits since the last update too. Without it the reward carries no memory
            from step to step, as relabeling replay buffers need.

    Raises:
        ValueError: beta is negative or not finite.
        ScoreError: while acting, a key that raises or does not give n hashable keys (in ``forward``
            the row gets a status).
    """

    forgets = True

    def __init__(
        self,
        beta: float = 0.01,
        key: Callable[..., Any] | None = None,
        revisits: bool = True,
    ) -> None:
        super().__init__()
        if not (np.isfinite(beta) and beta >= 0):
            raise ValueError(f"count_bonus: beta is {beta}, it must be a number >= 0")
        self.beta, self.key, self.revisits = float(beta), key, revisits
        self.counts: dict[Any, int] = {}
        self._updates = 0
        names = ("obs",) if key is None else argument_names(key)[0]
        self._names = names
        self.declare(
            needs={"next_obs" if name == "obs" else name for name in names}, granularity="dense"
        )

    def forward(self, rollouts: Rollouts) -> Scores:
        n, horizon = len(rollouts), rollouts.n_steps
        values = torch.zeros(n, horizon)
        status = torch.zeros(n, dtype=torch.int8)
        errors: dict[int, tuple[str, str]] = {}
        visits: list[dict[Any, int]] = [{} for _ in range(n)]
        first = rollouts.first().tolist()
        for t in range(horizon):
            for row, (key, error) in self._live_keys(rollouts, t):
                if error is None:
                    if first[row][t]:
                        visits[row].clear()
                    values[row, t] = self._bonus(self._seen(key, visits[row]))
                elif error.status > status[row]:
                    status[row] = int(error.status)
                    errors[row] = ("", f"step {t}: {error}")
        return Scores.dense(values, rollouts.action_mask, status, errors=errors)

    def start(self, n: int) -> Any:
        return (
            {"updates": self._updates, "visits": [{} for _ in range(n)]} if self.revisits else None
        )

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        try:
            keys = self._keys(self._columns(s), len(s.first))
        except _NoKeysError as error:
            name = error.status.name.lower()
            raise ScoreError(f"{name}: {error}", part=out.path) from error.__cause__
        if not self.revisits:
            return self._bonus(np.array([self.counts.get(key, 0) for key in keys], float)), carry
        if carry["updates"] != self._updates:
            # Those visits are among the counts by now.
            carry = self.start(len(keys))
        seen = np.zeros(len(keys))
        for i, (key, visits) in enumerate(zip(keys, carry["visits"], strict=True)):
            if s.first[i]:
                visits.clear()
            if s.live[i]:
                seen[i] = self._seen(key, visits)
        return self._bonus(seen), carry

    def _seen(self, key: Any, visits: dict[Any, int]) -> int:
        """How often a state was reached before, and note that it is reached now."""
        before = visits.get(key, 0)
        if self.revisits:
            visits[key] = before + 1
        return self.counts.get(key, 0) + before

    def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
        """Count the states that were reached. Metric: how many different ones there are by now."""
        for t in range(rollouts.n_steps):
            for _, (key, error) in self._live_keys(rollouts, t):
                if error is None:
                    self.counts[key] = self.counts.get(key, 0) + 1
        self._updates += 1
        return {"states": float(len(self.counts))}

    def get_extra_state(self) -> dict[Any, int]:
        return dict(self.counts)

    def set_extra_state(self, state: Mapping[Any, int]) -> None:
        self.counts = dict(state)
        self._updates += 1

    def _bonus(self, seen: Any) -> Any:
        return self.beta / np.sqrt(1.0 + seen)

    def _columns(self, s: Step) -> dict[str, Any]:
        return {name: s.after(name, needed_by=self.method_name) for name in self._names}

    def _live_keys(
        self, rollouts: Rollouts, t: int
    ) -> "list[tuple[int, tuple[Any, _NoKeysError | None]]]":
        """The rows that act at step t, each with its key, or with what went wrong."""
        rows = rollouts.action_mask[:, t].nonzero().flatten().numpy()
        columns = self._columns(step_of(rollouts, t))
        found: list[tuple[Any, _NoKeysError | None]]
        try:
            found = [(key, None) for key in self._keys(take(columns, rows), len(rows))]
        except _NoKeysError:
            # One state that breaks the key must not take the others along.
            found = [self._try_key(take(columns, rows[i : i + 1])) for i in range(len(rows))]
        return list(zip(rows.tolist(), found, strict=True))

    def _try_key(self, columns: Mapping[str, Any]) -> "tuple[Any, _NoKeysError | None]":
        try:
            return self._keys(columns, 1)[0], None
        except _NoKeysError as error:
            return None, error

    def _keys(self, columns: Mapping[str, Any], n: int) -> list[Any]:
        """A plain hashable key per state.

        Raises:
            _NoKeysError: the key function raised, or gave something else than n hashable keys.
        """
        if self.key is None:
            return digests(columns["obs"])
        try:
            returned = self.key(**columns)
            # It may be lazy, and break only when it is read.
            keys = [_frozen(key) for key in returned] if np.iterable(returned) else None
        except Exception as error:
            _, status, text = broken(error)
            raise _NoKeysError(status, f"the key {text}") from error
        if keys is None or len(keys) != n:
            found = shown(returned) if keys is None else f"{len(keys)} keys"
            raise _NoKeysError(Status.BAD_VALUE, f"the key gives {found} for {n} states")
        for key in keys:
            try:
                hash(key)
            except TypeError:
                raise _NoKeysError(
                    Status.BAD_VALUE, f"a key cannot be counted: {shown(key)}"
                ) from None
        return keys


class _NoKeysError(Exception):
    """States without keys: why, as a row's status and in words."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


def _frozen(key: Any) -> Any:
    """A key of plain Python numbers and tuples, which hash alike and can be saved."""
    if isinstance(key, np.ndarray | np.generic | Tensor):
        key = key.tolist()
    return tuple(map(_frozen, key)) if isinstance(key, list | tuple) else key


def digests(obs: Any) -> list[str]:
    """A key per row of an observation [n, ...] or a dict of such: the digest of its bytes."""
    leaves = _leaves(obs)
    flat: list[NDArray[Any]] = [np.ascontiguousarray(leaf) for leaf in leaves]
    return [
        hashlib.blake2b(b"".join(leaf[i].tobytes() for leaf in flat), digest_size=16).hexdigest()
        for i in range(len(flat[0]))
    ]


def _leaves(obs: Any) -> list[Any]:
    if isinstance(obs, Mapping):
        return [leaf for name in sorted(obs) for leaf in _leaves(obs[name])]
    return [obs]
