"""A reward at work in n environments: the part that all environment adapters share.

The meter owns what belongs to the caller of a reward (its carry, the last observation and info,
which rows begin an episode) and keeps the account: every part's value of the step and its sum over
the episode. Rewards themselves stay untouched, so that two meters can share one.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.acting import Floats, Step, Terms, check_finite
from ..core.errors import ScoreError
from ..core.reward import Reward
from .blame import blamed, check_shapes

TOTAL = "total"
"""The key of the whole reward among its parts."""
NO_RELABEL = (
    "relabeled goals (compute_reward, as HER does) would earn the environment's own reward instead "
    "of this one; train without relabeling, or without this wrapper"
)


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
        ValueError: the reward cannot be computed while acting (the message names the nodes), or
            ``missing`` is no finite number.
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
        # The account is one table with a row per part: numpy's cost is per call, not per number.
        self._names: list[str] = []
        self._sums = np.zeros((0, n))

    @property
    def sums(self) -> dict[str, Floats]:
        """Part -> sums [n] over the running episode, the last step included."""
        return dict(zip(self._names, self._sums, strict=True))

    def sums_where(self, rows: NDArray[np.bool_]) -> dict[str, Floats]:
        """The sums of some rows, 0 for the others; they do not change as the episodes go on."""
        sums = np.zeros(self._sums.shape)
        np.copyto(sums, self._sums, where=rows)
        return dict(zip(self._names, sums))  # noqa: B905 - as in `step`

    def reset(self, obs: Any, info: Mapping[str, Any]) -> None:
        """All environments were reset."""
        self._obs, self._info = obs, info
        self._first, self._fresh = self._all, True
        self._carry, self._owed = self.reward.start(self.n), None
        self._sums[:] = 0.0

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

        ``next_obs`` is the true next observation, also where the episode ended.

        Raises:
            ScoreError: with environment and part, unless ``missing`` is a number.
        """
        step = self.last = Step(
            obs=self._obs,
            action=action,
            next_obs=next_obs,
            env_reward=np.asarray(env_reward, dtype=np.float64),
            terminated=terminated,
            truncated=truncated,
            first=self._first if self._owed is None else self._first | self._owed,
            live=self._all if live is None else live,
            info=info,
            prev_info=self._info,
        )
        # With nobody alive the infos are those of resets, and may hold no column of a step.
        alive = live is None or np.count_nonzero(live)
        table = self._compute(step) if alive else np.zeros_like(self._sums)
        if live is not None:
            np.copyto(table, 0.0, where=~live)
        self._account(table)
        self.terms = dict(zip(self._names, table))  # noqa: B905 - strict takes twice as long
        return self.terms[TOTAL]

    def advance(
        self, obs: Any, info: Mapping[str, Any], first: NDArray[np.bool_] | None = None
    ) -> None:
        """Go on to the observation that the next action answers; ``first`` marks new episodes."""
        self._obs, self._info = obs, info
        self._first, self._fresh = (self._none, False) if first is None else (first, True)

    def _compute(self, step: Step) -> Floats:
        """The table [k, n] of one step: a row per name in ``_names``."""
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
            rows = list(out.values.values())
            if list(out.values) == self._names and all(v.shape == values.shape for v in rows):
                return np.array(rows, dtype=np.float64)
            check_shapes(values, out, self.n)
            return self._aligned(out.values)
        except ScoreError as error:
            if self.missing == "raise":
                raise blamed(error, self.reward, step) from error.__cause__
            if values is None:
                # The carry did not see this step: the episodes that began here still have to.
                self._owed = owed
            return self._filled({**out.values, TOTAL: values})

    def _filled(self, said: dict[str, Any]) -> Floats:
        """The table of a step that broke: NaN for what no part said, ``missing`` for the whole."""
        right = {path: values for path, values in said.items() if np.shape(values) == (self.n,)}
        table = self._aligned(right)
        whole = table[self._names.index(TOTAL)]
        whole[~np.isfinite(whole)] = float(self.missing)
        return table

    def _aligned(self, terms: dict[str, Any]) -> Floats:
        """A table with NaN for the names that are not there, after making room for new ones."""
        new = [name for name in [*terms, TOTAL] if name not in self._names]
        self._names += dict.fromkeys(new)
        self._sums = np.concatenate(
            [self._sums, np.zeros((len(self._names) - len(self._sums), self.n))]
        )
        unknown = np.full(self.n, np.nan)
        return np.stack([np.asarray(terms.get(name, unknown), np.float64) for name in self._names])

    def _account(self, table: Floats) -> None:
        if self._fresh:
            np.copyto(self._sums, 0.0, where=self._first)
        self._sums += table if self.missing == "raise" else np.where(np.isfinite(table), table, 0.0)


def _why_not(reward: Reward) -> str:
    unable = {
        path: node for path, node in reward.walk() if isinstance(node, Reward) and not node.acts
    }
    # What holds one that cannot act cannot act either: the innermost are to blame.
    guilty = [
        f"{path or 'the root'}: {node.label()}"
        for path, node in unable.items()
        if not any(
            other.startswith(f"{path}/" if path else "") and other != path for other in unable
        )
    ]
    return (
        "this reward cannot be computed while acting, only on whole rollouts, because of "
        + "; ".join(guilty)
        + ". Outcomes are known too late; use dense parts: functions with @rs.reward(step=True), "
        "in YAML {function: {call: ..., step: true}}"
    )
