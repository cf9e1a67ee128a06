"""Prompts by domain, in shares that follow what each one still lacks: RuleReasoner."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64
from torch import Tensor

from ..core.catalog import Paper, method, nearest
from ..core.columns import value_at
from ..core.rollouts import Rollouts
from ..core.rowcall import MISSING
from ..core.scores import Scores
from .prompts import PromptSampler, in_passes
from .rates import rates_of
from .shortfall import Decay, SoftmaxWeights

Initial: TypeAlias = Literal["uniform", "inverse_root"]
SLACK = 1e-9
"""A product of n and a share may miss a whole number by so much."""


def domain_counts(
    n: int, shares: Float64[np.ndarray, " d"], free: Int64[np.ndarray, " d"]
) -> Int64[np.ndarray, " d"]:
    """How many prompts of each domain make a batch of n.

    ``floor(n w_d)``, and what is left one each to the largest weights, the earlier first among
    equals. A domain that has fewer gives what it has; the rest goes to the others by weight, in the
    same way.

    Args:
        n: prompts in all.
        shares: [D] w, 0 or more; their sum does not matter.
        free: [D] how many each domain can give.

    Returns:
        Counts [D]; their sum is n, and none is above ``free``.

    Raises:
        ValueError: the domains have fewer than n in all, or a share is not a number from 0.
    """
    if n > free.sum() or not ((shares >= 0.0) & (shares < math.inf)).all():
        raise ValueError(
            f"rulereasoner: {n} prompts by the shares {shares.tolist()} from domains that have "
            f"{free.tolist()}: fewer prompts, or shares from 0, are needed"
        )
    counts = np.zeros(len(shares), dtype=np.int64)
    while left := int(n - counts.sum()):
        room = counts < free
        weights = np.where(room, shares, 0.0)
        if not weights.any():  # those that have room have no share
            weights = room.astype(np.float64)
        exact = left * (weights / weights.sum())
        given = np.floor(exact + SLACK).astype(np.int64)
        given[np.argsort(-weights, kind="stable")[: left - given.sum()]] += 1
        counts = np.minimum(counts + given, free)
    return counts


@method(
    "rulereasoner",
    kind="sampler",
    seed=134,
    paper=Paper(
        "2506.08672",
        "RuleReasoner: Reinforced Rule-based Reasoning via Domain-aware Dynamic Sampling",
        2025,
    ),
)
class DomainSampling(PromptSampler):
    """Prompts by domain: shares are a softmax of how far each one's rewards fall short of a target.

    Each row of the pool names its domain in a column. The shares are those of
    :class:`~rewardsmith.samplers.shortfall.SoftmaxWeights`, and the counts of a batch those of
    :func:`domain_counts`. Within a domain each row comes once in every pass, each pass in a new
    order, and no row comes twice in a batch.

    ``observe`` gathers rewards, numbers between 0 and 1; rows without a score are left out. Every
    ``every`` batches, when the next one begins, the mean of each domain over those batches is one
    observation of the weights. A domain that was in none of the last ``memory`` observations keeps
    its share.

    The authors' code takes of every eighth batch alone what it then remembers, four such batches by
    default; here all batches count, so that a domain with a small share is missing less often.

    Args:
        column: names a row's domain, by a text or a whole number.
        every: how many batches make one observation.
        target: the mean reward to reach, from 0 to 1.
        share_temperature: of the softmax, in units of reward: near 0 the furthest behind gets all,
            and the greater it is the more each gets the same.
        floor: the least share of a domain, below ``1 / D``.
        memory: how many observations are remembered.
        decay: how they weigh: ``"harmonic"`` 1, 1/2, 1/3, ... or ``"geometric"`` 1, 1/2, 1/4, ...,
            the last one first.
        initial: shares at first: ``"uniform"``, or ``"inverse_root"``, proportional to one over the
            root of how many rows a domain has.
        seed: of the orders.

    Raises:
        ValueError: an option out of range; in ``over``, rows without the column, or other domains
            than those of a restored state; in ``observe``, a domain that the pool does not have, or
            a reward outside [0, 1]. MissingColumn: rollouts without the column.

    Source: Liu et al. 2025; the authors' code, ``bigai-nlco/RuleReasoner``, ``ray_trainer.py``.
    """

    def __init__(
        self,
        column: str = "domain",
        every: int = 8,
        target: float = 1.0,
        share_temperature: float = 0.3,
        floor: float = 0.0,
        memory: int = 4,
        decay: Decay = "harmonic",
        initial: Initial = "uniform",
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if every < 1 or every != int(every):
            raise ValueError(f"rulereasoner: every is {every}, it must be a whole number from 1")
        if initial not in ("uniform", "inverse_root"):
            raise ValueError(f"rulereasoner: initial is {initial!r}, not uniform or inverse_root")
        self.column, self.every, self.initial = column, every, initial
        self.target, self.share_temperature, self.floor = target, share_temperature, floor
        self.memory, self.decay = memory, decay
        self._weights: SoftmaxWeights | None = None
        self._made(["one"])  # what is wrong with an option is told here already
        self._rows: dict[str, list[int]] = {}
        self._ahead: dict[str, list[int]] = {}
        self._batches = 0
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    @property
    def shares(self) -> dict[str, float]:
        """The share of each domain, 1 in all; none before there is a pool."""
        return {} if self._weights is None else self._weights.weights()

    def over(self, pool: Sequence[Mapping[str, Any]]) -> None:
        rows: dict[str, list[int]] = {}
        for i in range(len(pool)):
            value = value_at(pool[i], self.column)
            if value is MISSING:
                raise ValueError(
                    f"rulereasoner: row {i} of the data set has no column {self.column!r}, it has "
                    f"{', '.join(map(str, pool[i])) or 'none'}; name the one that holds its "
                    "domain, column=..."
                )
            rows.setdefault(self._name(value, i), []).append(i)
        if rows and self._weights is not None:
            check_fit(rows, self._weights.names, self._ahead)
        super().over(pool)
        self._rows = rows
        if self._weights is None:
            roots = {name: 1.0 / math.sqrt(len(of)) for name, of in rows.items()}
            self._weights = self._made(rows, roots if self.initial == "inverse_root" else None)

    def begin(self) -> None:
        super().begin()
        if self._batches == self.every and self._weights is not None:
            self._weights.observe({name: self._sums[name] / n for name, n in self._counts.items()})
            self._batches, self._sums, self._counts = 0, {}, {}
        self._batches += 1

    def choose(self, n: int) -> list[int]:
        shares, free = self.shares, self.free()
        room = [int(free[self._rows[name]].sum()) for name in shares]
        counts = domain_counts(n, np.array(list(shares.values())), np.array(room, dtype=np.int64))
        chosen: list[int] = []
        had = set(self.taken)
        for name, count in zip(shares, counts.tolist(), strict=True):
            ahead = self._ahead.setdefault(name, [])
            chosen += in_passes(count, self._rows[name], ahead, had, self._generator)
        # A batch is cut into smaller ones, each of which is to hold all domains.
        return [int(row) for row in self._generator.permutation(chosen)]

    def observe(self, rollouts: Rollouts, scores: Scores) -> dict[str, float]:
        """Gather the rewards of a batch.

        Returns:
            ``share/NAME`` of each domain, as it stands, and ``reward/NAME`` of each that is in this
            batch: the mean over rows with a score.
        """
        if self._weights is None:
            raise ValueError("rulereasoner has no pool yet; call over(dataset)")
        column = rollouts.column(self.column, needed_by="rulereasoner")
        values = column.tolist() if isinstance(column, Tensor | np.ndarray) else column
        names = [self._name(value, row) for row, value in enumerate(values)]
        for row, name in enumerate(names):
            if name not in self._rows:
                raise ValueError(
                    f"rulereasoner: row {row} is of the domain {name!r}, which the data set does "
                    f"not have{nearest(name, list(self._rows))}"
                )
        rewards, scored = rates_of("rulereasoner", scores, lambda row: f"domain {names[row]!r}")
        told = {f"share/{name}": share for name, share in self.shares.items()}
        for name in dict.fromkeys(names):
            own = scored & (np.array(names) == name)
            if own.any():
                total, count = float(rewards[own].sum()), int(own.sum())
                self._sums[name] = self._sums.get(name, 0.0) + total
                self._counts[name] = self._counts.get(name, 0) + count
                told[f"reward/{name}"] = total / count
        return told

    def own_state(self) -> dict[str, Any]:
        return {
            "weights": None if self._weights is None else self._weights.state(),
            "ahead": {name: list(rows) for name, rows in self._ahead.items()},
            "batches": self._batches,
            "sums": dict(self._sums),
            "counts": dict(self._counts),
        }

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        weights = None
        if state["weights"] is not None:
            weights = self._made(state["weights"]["names"])
            weights.load(state["weights"])
            if self._rows:
                check_fit(self._rows, weights.names, state["ahead"])
        self._weights = weights
        self._ahead = {name: list(rows) for name, rows in state["ahead"].items()}
        self._batches = state["batches"]
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])

    def _made(
        self, names: Iterable[str], initial: Mapping[str, float] | None = None
    ) -> SoftmaxWeights:
        return SoftmaxWeights(
            names,
            target=self.target,
            temperature=self.share_temperature,
            floor=self.floor,
            memory=self.memory,
            decay=self.decay,
            initial=initial,
        )

    def _name(self, value: Any, row: int) -> str:
        # True and False are whole numbers too; as domains they are a mistake.
        if type(value) is not bool and isinstance(value, str | Integral):
            return str(value)
        raise ValueError(
            f"rulereasoner: row {row} has {value!r} in the column {self.column!r}; a domain is a "
            "text or a whole number"
        )


def check_fit(
    rows: Mapping[str, Sequence[int]], names: Sequence[str], ahead: Mapping[str, Sequence[int]]
) -> None:
    """ValueError where a state is of other domains than the pool, or of other rows of them."""
    if list(rows) != list(names) or any(not {*ahead[name]} <= {*rows[name]} for name in ahead):
        raise ValueError(
            f"rulereasoner: the data set has the domains {', '.join(rows)}, and what this sampler "
            f"remembers is of {', '.join(names)}, or of other rows of them: give the same data, or "
            "a fresh sampler"
        )
