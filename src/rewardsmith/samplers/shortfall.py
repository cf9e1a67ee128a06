"""Shares by how far domains are from a target."""

import math
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from ..ops.weights import ROUNDING, Weights, softmax

Decay: TypeAlias = Literal["harmonic", "geometric"]


class SoftmaxWeights(Weights):
    """Shares of domains: a softmax of how far each one's recent rewards fall short of a target.

    ``w_d`` is proportional to ``exp(max(0, target - mean_d) / temperature)``. ``mean_d`` is over
    the last ``memory`` observations, which weigh 1, 1/2, 1/3, ... (harmonic) or 1, 1/2, 1/4, ...
    (geometric), the last one first.

    It differs from the authors' code in three things. A mean is divided by the weights of the
    observations that have the domain; there by those of all, so that a domain which was not drawn
    in some looks solved. A domain that is in none of them keeps its share; there it is dropped.
    ``floor`` is a least share; the constant that the code adds to every shortfall cancels in its
    softmax.

    Args:
        names: the domains.
        target: the reward to reach, from 0 to 1.
        temperature: in units of reward: near 0 the furthest behind gets all, and the greater it is
            the more each gets the same.
        floor: the least share of a domain, below ``1 / D``.
        memory: how many observations are remembered.
        decay: how they weigh.
        initial: domain -> a positive number: the shares before anything was observed, up to a
            factor and above the floor; default the same for each.

    Raises:
        ValueError: a number outside its range, or ``initial`` is of other domains; in ``observe``,
            an unknown domain or a reward outside [0, 1] by more than float32 rounds, where a target
            means nothing.

    Source: Liu et al. 2025; the authors' code, ``bigai-nlco/RuleReasoner``, ``compute_weights``.
    """

    method_name = "rulereasoner"
    """The method that it is a part of; errors begin with it."""
    _saved = ("_weights", "_recent")

    def __init__(
        self,
        names: Iterable[str],
        *,
        target: float = 1.0,
        temperature: float = 0.3,
        floor: float = 0.0,
        memory: int = 4,
        decay: Decay = "harmonic",
        initial: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(names)
        self._check_positive(temperature=temperature)
        self._check_count(memory=memory)
        if not 0.0 <= target <= 1.0:
            raise ValueError(f"rulereasoner: target is {target}, it must be from 0 to 1")
        if not 0.0 <= floor * len(self.names) < 1.0:
            raise ValueError(
                f"rulereasoner: floor is {floor}; {len(self.names)} domains leave room for less "
                f"than {1 / len(self.names):g}"
            )
        if decay not in ("harmonic", "geometric"):
            raise ValueError(f"rulereasoner: decay is {decay!r}, not harmonic or geometric")
        initial = dict.fromkeys(self.names, 1.0) if initial is None else initial
        if set(initial) != set(self.names) or not all(0 < of < math.inf for of in initial.values()):
            raise ValueError(
                f"rulereasoner: initial is {dict(initial)}; give each of "
                f"{', '.join(self.names)} a positive number"
            )
        self.target, self.temperature, self.floor = target, temperature, floor
        self.memory, self.decay = memory, decay
        whole, room = sum(initial.values()), 1.0 - floor * len(self.names)
        self._weights = {name: floor + room * initial[name] / whole for name in self.names}
        self._recent: list[dict[str, float]] = []

    def observe(self, means: Mapping[str, float]) -> None:
        """Take in the mean reward of each domain that was met."""
        self._check_known(means)
        for name, mean in means.items():
            if not -ROUNDING <= mean <= 1.0 + ROUNDING:
                raise ValueError(
                    f"rulereasoner: domain {name!r} has the mean reward {mean}, outside [0, 1]; "
                    "scale rewards first, and leave out a domain that has none"
                )
        if not means:
            return
        held = {name: min(max(float(mean), 0.0), 1.0) for name, mean in means.items()}
        self._recent = [held, *self._recent]
        del self._recent[self.memory :]
        seen = [name for name in self.names if any(name in step for step in self._recent)]
        short = [max(0.0, self.target - self._mean(name)) for name in seen]
        room = sum(self._weights[name] for name in seen)
        for name, share in zip(seen, softmax(short, self.temperature), strict=True):
            self._weights[name] = self.floor + (room - len(seen) * self.floor) * float(share)

    def weights(self) -> dict[str, float]:
        """A share for each domain, 1 in all."""
        whole = sum(self._weights.values())
        return {name: weight / whole for name, weight in self._weights.items()}

    def _mean(self, name: str) -> float:
        total = whole = 0.0
        for age, step in enumerate(self._recent):
            if name in step:
                weight = 1.0 / (1 + age) if self.decay == "harmonic" else 0.5**age
                total += weight * step[name]
                whole += weight
        return total / whole
