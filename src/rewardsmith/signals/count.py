"""Count bonus: pay for states that were seen rarely."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.acting import Floats, Step, Terms, step_of
from ..core.catalog import Paper, method
from ..core.function import argument_names
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

    The counts are those of the last update: within one rollout of the learner every visit to a
    state pays the same, which keeps the reward Markov, and independent of how many environments
    share it. The next update pays it less.

    Args:
        beta: the bonus of a state that was never reached.
        key: maps the reached state's columns (``obs``, or keys of ``info``, by argument name), as
            arrays [n, ...], to n hashable keys; default: the observation itself.

    Raises:
        ValueError: beta is negative or not finite; while scoring, a key that does not give n keys.
    """

    def __init__(self, beta: float = 0.01, key: Callable[..., Any] | None = None) -> None:
        super().__init__()
        if not (np.isfinite(beta) and beta >= 0):
            raise ValueError(f"count_bonus: beta is {beta}, it must be a number >= 0")
        self.beta, self.key = float(beta), key
        self.counts: dict[Any, int] = {}
        names = ("obs",) if key is None else argument_names(key)[0]
        self._names = names
        self.declare(
            needs={"next_obs" if name == "obs" else name for name in names}, granularity="dense"
        )

    def forward(self, rollouts: Rollouts) -> Scores:
        values = [self._bonus(step_of(rollouts, t)) for t in range(rollouts.n_steps)]
        return Scores.dense(torch.from_numpy(np.stack(values, axis=1)), rollouts.action_mask)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        return self._bonus(s), carry

    def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
        """Count the states that were reached. Metric: how many different ones there are by now."""
        for t in range(rollouts.n_steps):
            live = rollouts.action_mask[:, t].tolist()
            for key, real in zip(self._keys(step_of(rollouts, t)), live, strict=True):
                if real:
                    self.counts[key] = self.counts.get(key, 0) + 1
        return {"states": float(len(self.counts))}

    def get_extra_state(self) -> dict[Any, int]:
        return dict(self.counts)

    def set_extra_state(self, state: Mapping[Any, int]) -> None:
        self.counts = dict(state)

    def _bonus(self, s: Step) -> Floats:
        seen = [self.counts.get(key, 0) for key in self._keys(s)]
        bonus: Floats = self.beta / np.sqrt(1.0 + np.asarray(seen))
        return bonus

    def _keys(self, s: Step) -> list[Any]:
        columns = {name: s.after(name, needed_by=self.method_name) for name in self._names}
        if self.key is None:
            return digests(columns["obs"])
        keys = self.key(**columns)
        if isinstance(keys, np.ndarray):
            keys = keys.tolist() if keys.ndim == 1 else map(_frozen, keys.tolist())
        keys = list(keys)
        if len(keys) != len(s.first):
            raise ValueError(
                f"count_bonus: the key gives {len(keys)} keys for {len(s.first)} states"
            )
        return keys


def _frozen(key: Any) -> Any:
    """Nested lists, which an array of several numbers per state gives, as tuples."""
    return tuple(map(_frozen, key)) if isinstance(key, list) else key


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
