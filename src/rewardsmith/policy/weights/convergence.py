"""Weights by how fast objectives converge and how much they swing: RECAP."""

import math
from collections.abc import Collection, Iterable, Mapping

import numpy as np
from jaxtyping import Float64

from ...core.catalog import Paper, method
from ...core.warn import warn_caller
from ...ops.weights import ROUNDING, Weights, softmax


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
      than ``noise``. These are in units of the run's range: v itself grows as x nears 0. One that
      has long been done moves by its noise alone, which only the run's range shows to be little.
      So an outlier counts for the whole run, and what is near its best is done sooner for it:
      leave out steps that are not of the run, such as those of a warm-up.
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
            that is missing or unknown, or a number that is better than the best possible by more
            than float32 rounds.

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
        self._check_count(short=short, long=long)
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
            if costs[name] < best - ROUNDING * abs(best):
                raise ValueError(
                    f"recap: objective {name!r} is {means[name]}, better than its best "
                    f"{self._sign[name] * best}"
                )
            costs[name] = max(costs[name], best)
        for name, cost in costs.items():
            self._recent[name] = [*self._recent[name], cost][-self.long :]
            self._least[name] = min(self._least.get(name, cost), cost)
            self._most[name] = max(self._most.get(name, cost), cost)
        if len(self._recent[self.names[0]]) < self.long:
            return
        scores = [self._score(name) for name in self.names]
        wanted = len(self.names) * softmax(scores, self.temperature)
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


def _slope(values: Float64[np.ndarray, " t"]) -> float:
    """Of the least-squares line, per step."""
    time = np.arange(len(values)) - (len(values) - 1) / 2
    return float(time @ values / (time @ time))
