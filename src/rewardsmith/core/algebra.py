"""The algebra of rewards: sums, means, products, minima, scale and shift; gates are next door.

How a row's status follows from its children's (any row, any depth):

=============  ============================  =====================================
node           a child abstained             a child timed out, failed or was bad
=============  ============================  =====================================
sum            contributes nothing           the row is void
mean           weights are renormalized      the row is void
product, min   the row abstains              the row is void
gate           the row abstains              void, unless behind a closed gate
=============  ============================  =====================================

A row whose children all abstained abstains.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from . import combination
from .acting import Floats, Step, Terms, void
from .catalog import method
from .reward import Reward
from .rollouts import Rollouts
from .scores import Scores


class _Parts(Reward):
    """A combination of named parts, fixed before the first row."""

    def __init__(self, parts: Mapping[str, Reward]) -> None:
        super().__init__()
        check_parts(parts)
        self.parts = nn.ModuleDict(dict(parts))

    def scores_of(self, rollouts: Rollouts) -> dict[str, Scores]:
        return {name: part(rollouts) for name, part in self.parts.items()}


class _Weighted(_Parts):
    def __init__(
        self, parts: Mapping[str, Reward], weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(parts)
        given = dict.fromkeys(parts, 1.0) if weights is None else dict(weights)
        if given.keys() != parts.keys():
            raise ValueError(
                f"weights are for {sorted(given)}, parts are {sorted(parts)}: give each part one"
            )
        self.weights = {name: float(given[name]) for name in parts}
        for name, weight in self.weights.items():
            if not np.isfinite(weight):
                raise ValueError(f"the weight of part {name!r} is {weight}")


@method("weighted_sum", kind="combine")
class WeightedSum(_Weighted):
    """``sum_k w_k r_k``. Abstained parts contribute nothing.

    Args:
        parts: the rewards by name.
        weights: a factor per part; default 1 each. They need not sum to 1.

    Raises:
        ValueError: names that differ, a weight that is not finite, no part.
    """

    def forward(self, rollouts: Rollouts) -> Scores:
        return combination.weighted_sum(self.scores_of(rollouts), self.weights, rollouts)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        values, carry = self.step_children(s, carry, out)
        total = np.zeros(len(s.first))
        for name, value in values.items():
            total += self.weights[name] * value
        return total, carry

    def coefficients(self) -> dict[str, float]:
        return dict(self.weights)


@method("weighted_mean", kind="combine")
class WeightedMean(_Weighted):
    """``sum_k w_k r_k / sum_k w_k`` over the parts that did not abstain.

    Args:
        parts: the rewards by name.
        weights: a positive factor per part; default 1 each.

    Raises:
        ValueError: as for :class:`WeightedSum`, or a weight that is not positive.
    """

    def __init__(
        self, parts: Mapping[str, Reward], weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(parts, weights)
        for name, weight in self.weights.items():
            if weight <= 0:
                raise ValueError(f"a mean needs positive weights; that of {name!r} is {weight}")

    def forward(self, rollouts: Rollouts) -> Scores:
        return combination.weighted_mean(self.scores_of(rollouts), self.weights, rollouts)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        values, carry = self.step_children(s, carry, out)
        total = np.zeros(len(s.first))
        for name, factor in self.coefficients().items():
            total += factor * values[name]
        return total, carry

    def coefficients(self) -> dict[str, float]:
        whole = sum(self.weights.values())
        return {name: weight / whole for name, weight in self.weights.items()}


@method("product", kind="combine")
class Product(_Parts):
    """``prod_k r_k``; an outcome multiplies every step. An abstained part abstains the row."""

    def forward(self, rollouts: Rollouts) -> Scores:
        return combination.product(self.scores_of(rollouts), rollouts)

    @property
    def acts(self) -> bool:
        return super().acts and all_dense(self)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        values, carry = self.step_children(s, carry, out)
        return np.prod(list(values.values()), axis=0), carry


@method("min", kind="combine")
class Min(_Parts):
    """``min_k r_k``; an outcome takes part on the last action step. An abstained part abstains."""

    def forward(self, rollouts: Rollouts) -> Scores:
        return combination.minimum(self.scores_of(rollouts), rollouts)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        values, carry = self.step_children(s, carry, out)
        table = np.stack(list(values.values()))
        return void(np.min(table, axis=0), *table), carry


@method("scale", kind="transform")
class Scale(Reward):
    """``by * r``."""

    def __init__(self, of: Reward, by: float) -> None:
        super().__init__()
        self.of, self.by = of, float(by)
        if not np.isfinite(self.by):
            raise ValueError(f"{self.method_name}: by is {by}")

    def forward(self, rollouts: Rollouts) -> Scores:
        return combination.mapped(self.of(rollouts), lambda values: self.by * values)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        values, carry = self.step_children(s, carry, out)
        return self.by * values["of"], carry

    def coefficients(self) -> dict[str, float]:
        return {"of": self.by}


@method("shift", kind="transform")
class Shift(Reward):
    """``r + by``, at every scored step of a dense reward.

    On an episodic task a constant per step pays for living (or dying): it changes what is optimal.
    """

    def __init__(self, of: Reward, by: float) -> None:
        super().__init__()
        self.of, self.by = of, float(by)
        if not np.isfinite(self.by):
            raise ValueError(f"{self.method_name}: by is {by}")

    def forward(self, rollouts: Rollouts) -> Scores:
        return combination.mapped(self.of(rollouts), lambda values: values + self.by)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        values, carry = self.step_children(s, carry, out)
        return values["of"] + self.by, carry


def add(left: Reward, right: Reward) -> WeightedSum:
    """``left + right`` as one flat sum; ``k * r`` gives r the weight k.

    Parts keep the names that a sum gave them; others are named after their methods.
    """
    terms = [*_terms(left), *_terms(right)]
    parts = _named([(name, part) for name, part, _ in terms])
    return WeightedSum(parts, dict(zip(parts, (weight for *_, weight in terms), strict=True)))


def multiply(left: Reward, right: Reward) -> Product:
    """``left * right``."""
    return Product(_named([(part.default_name(), part) for part in (left, right)]))


def _terms(reward: Reward) -> list[tuple[str, Reward, float]]:
    """Name, part and weight of what a sum of it would hold."""
    # Exactly these classes: one derived from them may do more than sum.
    if type(reward) is Scale:
        return [(name, part, reward.by * weight) for name, part, weight in _terms(reward.of)]
    if type(reward) is WeightedSum:
        return [(name, part, reward.weights[name]) for name, part in reward.children_by_name()]
    return [(reward.default_name(), reward, 1.0)]


def check_parts(parts: Mapping[str, Reward]) -> None:
    """Refuse part names that would not survive as paths.

    Raises:
        ValueError: no part, or a name that is not letters, digits, ``_`` and ``-``.
    """
    if not parts:
        raise ValueError("a combination needs at least one part")
    for name, part in parts.items():
        if not isinstance(part, Reward):
            raise TypeError(f"part {name!r} is a {type(part).__name__}, not a Reward")
        if not name.replace("-", "_").isidentifier():
            raise ValueError(
                f"part name {name!r}: use letters, digits, '_' and '-', beginning with a letter"
            )
        if name in RESERVED:
            raise ValueError(f"part name {name!r} is taken by logs and modules; use another")


RESERVED = frozenset({"total"}) | frozenset(dir(nn.ModuleDict()))
"""Names that part paths cannot take: the root's key in logs, and what ModuleDict itself defines."""


def all_dense(node: Reward) -> bool:
    """No child is an outcome: where one multiplies every step, it is known too late to act."""
    return all(child.granularity == "dense" for _, child in node.children_by_name())


def _named(rewards: list[tuple[str, Reward]]) -> dict[str, Reward]:
    """Parts by name; a name that is repeated or taken gets a number."""
    parts: dict[str, Reward] = {}
    for base, reward in rewards:
        names = [base, *(f"{base}_{i}" for i in range(2, len(rewards) + 2))]
        parts[next(name for name in names if name not in RESERVED.union(parts))] = reward
    return parts
