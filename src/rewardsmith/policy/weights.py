"""Weights that move: of objectives, of domains, of imitation beside reinforcement.

A trainer tells :meth:`Weights.observe` what it measured and asks :meth:`Weights.weights`.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float64

from ..core.catalog import Paper, method, nearest
from ..core.warn import warn_caller

Decay: TypeAlias = Literal["harmonic", "geometric"]


class Weights(ABC):
    """Weights by name, which what is observed moves.

    A subclass names in ``_saved`` the attributes that make its state: plain numbers, lists and
    dictionaries of them, so that JSON keeps every digit.

    Args:
        names: what has a weight.

    Raises:
        ValueError: no name, or one that is there twice.
    """

    _saved: tuple[str, ...] = ()

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"{self._who}: names are {self.names}; give each thing one name")

    @abstractmethod
    def observe(self, means: Mapping[str, float]) -> None:
        """Take in what a step measured, by name."""

    @abstractmethod
    def weights(self) -> dict[str, float]:
        """The weights as they stand."""

    def state(self) -> dict[str, Any]:
        """What :meth:`load` needs to go on from here, to the last digit."""
        kept = {name.lstrip("_"): getattr(self, name) for name in self._saved}
        return copy.deepcopy({"names": self.names, **kept})

    def load(self, state: Mapping[str, Any]) -> None:
        """What :meth:`state` saved.

        Raises:
            ValueError: it is of other names, or of another kind of weights.
        """
        if state.get("names") != self.names:
            raise ValueError(
                f"{self._who}: the state is of {state.get('names')}, not of {self.names}"
            )
        missing = [name for name in self._saved if name.lstrip("_") not in state]
        if missing:
            raise ValueError(f"{self._who}: the state has no {missing[0].lstrip('_')!r}")
        for name in self._saved:
            setattr(self, name, copy.deepcopy(state[name.lstrip("_")]))

    @property
    def _who(self) -> str:
        return str(getattr(self, "method_name", type(self).__name__))

    def _check_known(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.names:
                raise ValueError(f"{self._who}: unknown name {name!r}{nearest(name, self.names)}")

    def _check_positive(self, **options: float) -> None:
        for name, value in options.items():
            if not 0.0 < value < math.inf:
                raise ValueError(f"{self._who}: {name} is {value}, it must be positive and finite")


@method(
    "recap",
    kind="combine",
    seed=144,
    paper=Paper(
        "2510.21978",
        "Beyond Reasoning Gains: Mitigating General Capabilities Forgetting in Large "
        "Reasoning Models",
        2025,
    ),
)
class ConvergenceWeights(Weights):
    """Weights that leave objectives which are done for those that are slow or volatile.

    The abstract has the two signals, convergence and instability over a short horizon, and uniform
    weights at first; the formulas are **our reading**. Of each objective k:

    - ``x`` is what is still to gain: the loss (or minus the reward), from 0 at its best to 1 at the
      worst of the run. Its best is ``best``, or the best of the run.
    - convergence ``c = mean(x, short) / mean(x, long)``: below 1 where it improves;
    - instability ``v = std(x, short) / mean(x, short)``;
    - it is *saturated* where x is below ``near``, moves less than ``slope`` a step and varies less
      than ``noise``. These are in units of the run's range: v itself grows as x nears 0.
    - the score is 0 where it is saturated, else ``c + instability v``, and the weights go by an
      exponential average of ``K softmax(score / temperature)``.

    An objective that never changes has the score 0, unless its ``best`` says that there is more to
    gain. Weights sum to K. They are for losses or advantages of objectives: a factor on raw rewards
    cancels where a group's standard deviation divides them.

    Args:
        names: the objectives.
        losses: those whose observed number is better when it is smaller, such as the loss of
            replayed data; the others are rewards.
        best: the best possible number of objectives that have one, such as 1 of an accuracy.
        short: how many steps the signals are of.
        long: how many they are compared with, and how many pass before weights move.
        temperature: of the softmax, in the unit of scores.
        instability: the factor of v.
        inertia: how much of the old weights stays in a step, below 1.
        near: see above.
        slope: see above.
        noise: see above.

    Raises:
        ValueError: an unknown name, or a number outside its range; in ``observe``, an objective
            that is missing or unknown, or a number that is better than the best possible.

    Source: Phan et al. 2025, abstract.
    """

    _saved = ("_weights", "_recent", "_least", "_most")

    def __init__(
        self,
        names: Iterable[str],
        *,
        losses: Collection[str] = (),
        best: Mapping[str, float] | None = None,
        short: int = 10,
        long: int = 50,
        temperature: float = 1.0,
        instability: float = 1.0,
        inertia: float = 0.9,
        near: float = 0.05,
        slope: float = 1e-3,
        noise: float = 0.02,
    ) -> None:
        super().__init__(names)
        self._check_known([*losses, *(best or {})])
        self._check_positive(temperature=temperature, near=near, slope=slope, noise=noise)
        if not 2 <= short <= long:
            raise ValueError(f"recap: short is {short} and long {long}, with 2 <= short <= long")
        if not 0.0 <= inertia < 1.0 or not 0.0 <= instability < math.inf:
            raise ValueError(
                f"recap: inertia is {inertia}, from 0 to below 1, and instability {instability}, "
                "at least 0"
            )
        self.short, self.long, self.temperature = short, long, temperature
        self.instability, self.inertia = instability, inertia
        self.near, self.slope, self.noise = near, slope, noise
        self._sign = {name: 1.0 if name in losses else -1.0 for name in self.names}
        self._best = {name: self._sign[name] * float(of) for name, of in (best or {}).items()}
        self._weights = dict.fromkeys(self.names, 1.0)
        self._recent: dict[str, list[float]] = {name: [] for name in self.names}
        self._least: dict[str, float] = dict(self._best)
        self._most: dict[str, float] = {}

    def observe(self, means: Mapping[str, float]) -> None:
        """Take in a step's mean of every objective.

        A step in which one of them is NaN or infinite is left out, and a warning tells of it.
        """
        self._check_known(means)
        for name in self.names:
            if name not in means:
                raise ValueError(f"recap: objective {name!r} was not observed")
        if not all(math.isfinite(number) for number in means.values()):
            broken = next(name for name in self.names if not math.isfinite(means[name]))
            warn_caller(f"recap: a step is left out, objective {broken!r} is {means[broken]}")
            return
        costs = {name: self._sign[name] * float(means[name]) for name in self.names}
        for name, best in self._best.items():
            if costs[name] < best:
                raise ValueError(
                    f"recap: objective {name!r} is {means[name]}, better than its best "
                    f"{self._sign[name] * best}"
                )
        for name, cost in costs.items():
            self._recent[name] = [*self._recent[name], cost][-self.long :]
            self._least[name] = min(self._least.get(name, cost), cost)
            self._most[name] = max(self._most.get(name, cost), cost)
        if len(self._recent[self.names[0]]) < self.long:
            return
        wanted = len(self.names) * _softmax([self._score(n) / self.temperature for n in self.names])
        for name, weight in zip(self.names, wanted, strict=True):
            self._weights[name] += (1.0 - self.inertia) * (float(weight) - self._weights[name])

    def weights(self) -> dict[str, float]:
        """A factor for each objective, K in all; 1 each until ``long`` steps were observed."""
        return dict(self._weights)

    def _score(self, name: str) -> float:
        span = self._most[name] - self._least[name]
        if span == 0.0:
            return 0.0
        to_gain = (np.array(self._recent[name]) - self._least[name]) / span
        recent = to_gain[-self.short :]
        here, spread = float(recent.mean()), float(recent.std())
        still = spread < self.noise and abs(_slope(recent)) < self.slope
        if here == 0.0 or (here < self.near and still):
            return 0.0
        return here / float(to_gain.mean()) + self.instability * spread / here


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
class SoftmaxWeights(Weights):
    """Shares of domains: a softmax of how far each one's recent rewards fall short of a target.

    ``w_d`` is proportional to ``exp(max(0, target - mean_d) / temperature)``. ``mean_d`` is over
    the last ``memory`` steps in which domains were observed, which weigh 1, 1/2, 1/3, ...
    (harmonic) or 1, 1/2, 1/4, ... (geometric), the last one first.

    It differs from the authors' code in three things. A mean is divided by the weights of the steps
    that have the domain; there by those of all, so that a domain which was not drawn in some looks
    solved. A domain that is in none of them keeps its share; there it is dropped. ``floor`` is a
    least share; the constant that the code adds to every shortfall cancels in its softmax.

    Args:
        names: the domains.
        target: the reward to reach, from 0 to 1.
        temperature: in units of reward: near 0 the furthest behind gets all, and the greater it is
            the more each gets the same.
        floor: the least share of a domain, below ``1 / D``.
        memory: how many steps are remembered.
        decay: how they weigh.

    Raises:
        ValueError: a number outside its range; in ``observe``, an unknown domain or a reward
            outside [0, 1], where a target means nothing.

    Source: Liu et al. 2025; the authors' code, ``bigai-nlco/RuleReasoner``, ``compute_weights``.
    """

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
    ) -> None:
        super().__init__(names)
        self._check_positive(temperature=temperature, memory=memory)
        if not 0.0 <= target <= 1.0:
            raise ValueError(f"rulereasoner: target is {target}, it must be from 0 to 1")
        if not 0.0 <= floor * len(self.names) < 1.0:
            raise ValueError(
                f"rulereasoner: floor is {floor}; {len(self.names)} domains leave room for less "
                f"than {1 / len(self.names):g}"
            )
        if decay not in ("harmonic", "geometric"):
            raise ValueError(f"rulereasoner: decay is {decay!r}, not harmonic or geometric")
        self.target, self.temperature, self.floor = target, temperature, floor
        self.memory, self.decay = memory, decay
        self._weights = dict.fromkeys(self.names, 1.0 / len(self.names))
        self._recent: list[dict[str, float]] = []

    def observe(self, means: Mapping[str, float]) -> None:
        """Take in a step's mean reward of each domain that was in it."""
        self._check_known(means)
        for name, mean in means.items():
            if not 0.0 <= mean <= 1.0:
                raise ValueError(
                    f"rulereasoner: domain {name!r} has the mean reward {mean}, outside [0, 1]; "
                    "scale rewards first, and leave out a domain that has none"
                )
        if not means:
            return
        self._recent = [{name: float(mean) for name, mean in means.items()}, *self._recent]
        del self._recent[self.memory :]
        seen = [name for name in self.names if any(name in step for step in self._recent)]
        short = [max(0.0, self.target - self._mean(name)) / self.temperature for name in seen]
        room = sum(self._weights[name] for name in seen)
        for name, share in zip(seen, _softmax(short), strict=True):
            self._weights[name] = self.floor + (room - len(seen) * self.floor) * float(share)

    def weights(self) -> dict[str, float]:
        """A share for each domain, 1 in all; the same for each before anything was observed."""
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


def _softmax(scores: Sequence[float]) -> Float64[np.ndarray, " k"]:
    powers = np.exp(np.asarray(scores, dtype=np.float64) - max(scores))
    return np.asarray(powers / powers.sum())


def _slope(values: Float64[np.ndarray, " t"]) -> float:
    """Of the least-squares line, per step."""
    time = np.arange(len(values)) - (len(values) - 1) / 2
    return float(time @ values / (time @ time))
