"""Weights that move: of objectives, of domains, of imitation beside reinforcement.

A trainer tells :meth:`Weights.observe` what it measured and asks :meth:`Weights.weights`.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from jaxtyping import Float64

from ..core.catalog import nearest

ROUNDING = 1e-6
"""A mean in float32 may pass its bound by so much."""


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
        return copy.deepcopy({"kind": self._who, "names": self.names, **kept})

    def load(self, state: Mapping[str, Any]) -> None:
        """What :meth:`state` saved.

        Raises:
            ValueError: it is of other names or of another kind of weights, or a number in it is out
                of its range. Nothing is loaded then.
        """
        for what, own in {"kind": self._who, "names": self.names}.items():
            if state.get(what) != own:
                raise ValueError(f"{self._who}: the state is of {state.get(what)}, not of {own}")
        missing = [name for name in self._saved if name.lstrip("_") not in state]
        if missing:
            raise ValueError(f"{self._who}: the state has no {missing[0].lstrip('_')!r}")
        self._check_state(state)
        for name in self._saved:
            setattr(self, name, copy.deepcopy(state[name.lstrip("_")]))

    def _check_state(self, state: Mapping[str, Any]) -> None:
        """ValueError for a weight that is missing or negative, or a number that is not finite."""
        weights = state["weights"]
        if set(weights) != set(self.names) or not all(of >= 0.0 for of in weights.values()):
            raise ValueError(f"{self._who}: the state has the weights {weights}")
        for name in self._saved:
            if not all(math.isfinite(of) for of in _numbers(state[name.lstrip("_")])):
                raise ValueError(
                    f"{self._who}: {name.lstrip('_')!r} of the state has a number that is not "
                    "finite"
                )

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

    def _check_count(self, **options: object) -> None:
        for name, value in options.items():
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(
                    f"{self._who}: {name} is {value}, it must be a whole number from 1"
                )


def softmax(scores: Sequence[float], temperature: float) -> Float64[np.ndarray, " k"]:
    """``exp(s / temperature)``, as shares of their sum."""
    # The difference first: far apart at a tiny temperature is minus infinity, and a power of 0.
    with np.errstate(over="ignore"):
        powers = np.exp((np.asarray(scores, dtype=np.float64) - max(scores)) / temperature)
    return np.asarray(powers / powers.sum())


def _numbers(of: Any) -> Iterator[float]:
    """Those in lists and dictionaries, however deep."""
    if isinstance(of, Mapping):
        of = list(of.values())
    if isinstance(of, list):
        for each in of:
            yield from _numbers(each)
    else:
        yield of
