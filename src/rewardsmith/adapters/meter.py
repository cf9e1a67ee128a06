"""A reward at work in n environments: the part that all environment adapters share.

The meter owns what belongs to the caller of a reward (its carry, the last observation and info,
which rows begin an episode) and keeps the account: every part's value of the step and its sum over
the episode. Rewards themselves stay untouched, so that two meters can share one.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.acting import Floats, Step, Terms, check_finite, read_only
from ..core.errors import ScoreError
from ..core.reward import Reward
from .blame import blamed, check_shapes
from .columns import patched

TOTAL = "total"
"""The key of the whole reward among its parts."""


class Meter:
    """Computes a reward step by step for n environments and keeps its account.

    Args:
        reward: a reward that can be computed while acting.
        n: how many environments.
        gamma: the learner's discount factor, where the adapter knows it.
        missing: what a step does whose reward is no finite number: ``"raise"``, or count as this
            number. A part that is none either is NaN among the terms and adds nothing to its sum.

    Raises:
        TypeError: it is no reward.
        ValueError: the reward cannot be computed while acting, or compares rollouts with each other
            (the message names the nodes), or ``missing`` is no finite number.
        SpecError: a node was given another gamma.
    """

    def __init__(
        self,
        reward: Reward,
        n: int,
        *,
        gamma: float | None = None,
        missing: Literal["raise"] | float = "raise",
    ) -> None:
        if not isinstance(reward, Reward):
            raise TypeError(
                f"expected a Reward, got {type(reward).__name__}; "
                "a plain function becomes one with rs.reward(step=True)(function)"
            )
        if reward.scope != "row":
            raise ValueError(_too_wide(reward))
        if not reward.acts:
            raise ValueError(_why_not(reward))
        if missing != "raise" and not np.isfinite(missing):
            raise ValueError(f"missing is {missing}; it must be a finite number or 'raise'")
        if gamma is not None:
            reward.bind(gamma=gamma)
        self.reward, self.n, self.gamma, self.missing = reward, n, gamma, missing
        self.terms: dict[str, Floats] = {}
        """Part -> values [n] of the last step, 0 on dummy rows; ``total`` is the whole."""
        self.last: Step | None = None
        """The last step that was computed."""
        self._obs: Any = None
        self._info: Mapping[str, Any] = {}
        self._all, self._none = np.ones(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
        self._first, self._fresh = self._all, True
        self._carry: Any = None
        self._owed: NDArray[np.bool_] | None = None
        self._out = Terms()
        # The account is one table, a row per part and then one per objective that the environments
        # pay: numpy's cost is per call, not per number.
        self._names: list[str] = []
        self._sums = np.zeros((1, n))
        self._paid_shape: tuple[int, ...] = (n,)

    @property
    def sums(self) -> dict[str, Floats]:
        """Part -> sums [n] over the running episode, the last step included."""
        return dict(zip(self._names, self._sums))  # noqa: B905 - what was paid comes after the parts

    @property
    def paid(self) -> Floats:
        """What the environments paid over the running episode: [n], or [n, k] for k objectives."""
        return self._paid_of(self._sums)

    def sums_where(self, rows: NDArray[np.bool_]) -> tuple[dict[str, Floats], Floats]:
        """``sums`` and ``paid`` of some rows, 0 for the others; they stay as episodes go on."""
        sums = np.zeros(self._sums.shape)
        np.copyto(sums, self._sums, where=rows)
        return dict(zip(self._names, sums)), self._paid_of(sums)  # noqa: B905 - as in `sums`

    def reset(
        self, obs: Any, info: Mapping[str, Any], rows: NDArray[np.bool_] | None = None
    ) -> None:
        """All environments were reset, or those that ``rows`` marks."""
        if rows is None:
            rows = self._all
            self._carry, self._owed = self.reward.start(self.n), None
        self._obs, self._info = read_only(obs), patched(self._info, info, rows)
        # A row of the carry starts afresh by itself where an episode begins.
        self._first, self._fresh = self._first | rows, True
        self._sums[:, rows] = 0.0

    def step(
        self,
        *,
        action: Any,
        next_obs: Any,
        env_reward: Any,
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        info: Mapping[str, Any],
        live: NDArray[np.bool_] | None = None,
    ) -> Floats:
        """The reward [n] of one step; rows that are not live get 0 and enter no account.

        ``next_obs`` is the true next observation, also where the episode ended. ``env_reward`` is
        [n], or [n, k] where the environment has k objectives.

        Raises:
            ScoreError: with environment and part, unless ``missing`` is a number.
        """
        paid = np.asarray(env_reward, dtype=np.float64)
        if paid.shape != self._paid_shape:
            self._make_room(paid)
        step = self.last = Step(
            obs=self._obs,
            action=read_only(action),
            next_obs=read_only(next_obs),
            env_reward=read_only(paid),
            terminated=terminated,
            truncated=truncated,
            first=self._first if self._owed is None else self._first | self._owed,
            live=self._all if live is None else live,
            info=info,
            prev_info=self._info,
        )
        # With nobody alive the infos are those of resets, and may hold no column of a step.
        alive = live is None or np.count_nonzero(live)
        table = self._compute(step, paid) if alive else np.zeros_like(self._sums)
        if live is not None:
            np.copyto(table, 0.0, where=~live)
        self._account(table)
        self.terms = dict(zip(self._names, table))  # noqa: B905 - as in `sums`
        return self.terms[TOTAL]

    def advance(
        self, obs: Any, info: Mapping[str, Any], first: NDArray[np.bool_] | None = None
    ) -> None:
        """Go on to the observation that the next action answers; ``first`` marks new episodes."""
        self._obs, self._info = read_only(obs), info
        self._first, self._fresh = (self._none, False) if first is None else (first, True)

    def _compute(self, step: Step, paid: Floats) -> Floats:
        """The table of one step: a row per name in ``_names``, then what was paid."""
        out = self._out
        out.values.clear()
        values: Floats | None = None
        owed, self._owed = step.first, None
        try:
            values, self._carry = self.reward.step(step, self._carry, out)
            if getattr(values, "shape", None) != self._all.shape:
                check_shapes(values, out, self.n)
            # A sum shows whatever is not finite; for few environments Python's is the fastest.
            if not math.isfinite(sum(values.tolist())):
                check_finite(values, out, step.live)
            out.values[TOTAL] = values
            if list(out.values) == self._names:
                rows = list(out.values.values())
                rows.extend([paid] if paid.ndim == 1 else paid.T)
                table = _table(rows)
                if table.shape == self._sums.shape:
                    return table
            check_shapes(values, out, self.n)
            return self._aligned(out.values, paid)
        except ScoreError as error:
            if self.missing == "raise":
                raise blamed(error, self.reward, step) from error.__cause__
            if values is None:
                # The carry did not see this step: the episodes that began here still have to.
                self._owed = owed
            return self._filled({**out.values, TOTAL: values}, paid)

    def _filled(self, said: dict[str, Any], paid: Floats) -> Floats:
        """The table of a step that broke: NaN for what no part said, ``missing`` for the whole."""
        right = {path: values for path, values in said.items() if np.shape(values) == (self.n,)}
        table = self._aligned(right, paid)
        whole = table[self._names.index(TOTAL)]
        whole[~np.isfinite(whole)] = float(self.missing)
        return table

    def _aligned(self, terms: dict[str, Any], paid: Floats) -> Floats:
        """A table with NaN for the names that are not there, after making room for new ones."""
        known = len(self._names)
        self._names += dict.fromkeys(name for name in [*terms, TOTAL] if name not in self._names)
        new = np.zeros((len(self._names) - known, self.n))
        self._sums = np.concatenate([self._sums[:known], new, self._sums[known:]])
        unknown = np.full(self.n, np.nan)
        rows = [np.asarray(terms.get(name, unknown), np.float64) for name in self._names]
        return np.stack([*rows, *np.atleast_2d(paid.T)])

    def _make_room(self, paid: Floats) -> None:
        """Have a row for each number that an environment pays per step.

        Raises:
            ValueError: what was paid is neither a number per environment nor some per environment.
        """
        if paid.ndim not in (1, 2) or len(paid) != self.n:
            raise ValueError(
                f"the environment pays an array of shape {list(paid.shape)}, expected [{self.n}], "
                f"or [{self.n}, k] of one with k objectives"
            )
        empty = np.zeros((1 if paid.ndim == 1 else paid.shape[1], self.n))
        self._sums = np.concatenate([self._sums[: len(self._names)], empty])
        self._paid_shape = paid.shape

    def _paid_of(self, sums: Floats) -> Floats:
        return sums[-1] if len(self._paid_shape) == 1 else sums[len(self._names) :].T

    def _account(self, table: Floats) -> None:
        if self._fresh:
            np.copyto(self._sums, 0.0, where=self._first)
        self._sums += table if self.missing == "raise" else np.where(np.isfinite(table), table, 0.0)


def _table(rows: list[Floats]) -> Floats:
    """The rows as one array; an empty one if they differ in shape."""
    try:
        return np.array(rows, dtype=np.float64)
    except ValueError:
        return np.empty(0)


def _too_wide(reward: Reward) -> str:
    guilty = _innermost(reward, lambda node: node.scope != "row")
    named = "; ".join(f"{_at(path)}: {node.label()}, scope {node.scope}" for path, node in guilty)
    return (
        "this reward compares rollouts with each other, which a step of an environment does not "
        f"have, because of {named}. Score whole rollouts with it, or leave that part out here"
    )


def _why_not(reward: Reward) -> str:
    guilty = _innermost(reward, lambda node: not node.acts)
    named = "; ".join(f"{_at(path)}: {node.label()}" for path, node in guilty)
    return (
        f"this reward cannot be computed while acting, only on whole rollouts, because of {named}"
        ". Outcomes are known too late; use dense parts: functions with @rs.reward(step=True), "
        "in YAML {function: {call: ..., step: true}}"
    )


def _innermost(reward: Reward, unfit: Callable[[Reward], bool]) -> list[tuple[str, Reward]]:
    """The unfit nodes by path, without those that hold another: these are unfit because of it."""
    found = {path: node for path, node in reward.walk() if isinstance(node, Reward) and unfit(node)}

    def holds(path: str) -> bool:
        below = f"{path}/" if path else ""
        return any(other.startswith(below) and other != path for other in found)

    return [(path, node) for path, node in found.items() if not holds(path)]


def _at(path: str) -> str:
    return path or "the root"
