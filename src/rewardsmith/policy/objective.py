"""A policy loss with its options, for a trainer: what it is given, it takes by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ..core.catalog import find, methods, nearest
from .losses.aggregation import Aggregation, Mode
from .losses.tokens import PolicyLoss
from .options import check_options

LossFunction = Callable[..., PolicyLoss]


class Objective:
    """One of our losses, or your own, and how its tokens become one number.

    The loss's positional parameters are given what they are called after: ``logprob``,
    ``old_logprob``, ``mask``, ``entropy`` [N, T], ``advantage`` (the batch's ``Advantages``), and
    any other column of the rollouts that a trainer has under that name. One with a default may be
    missing.

    Args:
        function: takes the above, the keyword ``aggregation`` and options; returns ``PolicyLoss``.
        options: its other keywords; ``aggregation`` is the name of a mode here, whose denominators
            the trainer counts.

    Raises:
        ValueError: a function without ``aggregation``, an option that it does not have, one that it
            needs and is not given, or one that is none of a choice.
    """

    def __init__(self, function: LossFunction, options: Mapping[str, Any] | None = None) -> None:
        self.function, self.options = function, dict(options or {})
        self.name: str = getattr(function, "method_name", function.__name__)
        given = inspect.signature(function).parameters.values()
        self.inputs = {p.name: p.default for p in given if p.kind is p.POSITIONAL_OR_KEYWORD}
        self.mode: Mode
        self.length: float | None
        keywords = {p.name: p.default for p in given if p.kind is p.KEYWORD_ONLY}
        if "aggregation" not in keywords:
            raise ValueError(f"{self.name} has no keyword `aggregation`; it is no policy loss")
        check_options(self.name, function, self.options, _OF_THE_TRAINER)
        for option, default in keywords.items():
            if default is inspect.Parameter.empty and option not in self.options:
                raise ValueError(f"{self.name} needs the option {option!r}")
        mode = self.options.pop("aggregation", keywords["aggregation"])
        if isinstance(mode, Aggregation):
            if mode != Aggregation(mode.mode, length=mode.length):
                raise ValueError(
                    f"{self.name}: the trainer counts tokens and sequences; give a mode"
                )
            self.mode, self.length = mode.mode, mode.length
        else:
            self.mode, self.length = mode, None
        if self.mode != "seq-mean-token-sum-norm":  # that one needs the trainer's length
            Aggregation(self.mode)

    def __call__(
        self, given: Mapping[str, Any], aggregation: Aggregation, weight: Tensor | None = None
    ) -> PolicyLoss:
        """The loss of a micro-batch.

        Args:
            given: by name, what the loss may take.
            aggregation: the mode, with the denominators of the batch that this is a part of.
            weight: [N, T] or [N, 1] a factor for each token's loss, such as importance weights.

        Raises:
            ValueError: something that the loss needs is not there; and what the loss raises.
        """
        inputs = {}
        for name, default in self.inputs.items():
            if name in given:
                inputs[name] = given[name]
            elif default is inspect.Parameter.empty:
                raise ValueError(
                    f"the loss {self.name} needs {name!r}, which this trainer does not have; "
                    f"there is {', '.join(sorted(given))}"
                )
        weights = {} if weight is None else {"weight": weight}
        return self.function(**inputs, **self.options, **weights, aggregation=aggregation)

    @property
    def takes_weights(self) -> bool:
        """Whether it has the keyword ``weight``."""
        return "weight" in inspect.signature(self.function).parameters

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"objective({self.name!r}, aggregation={self.mode!r}{options})"


def objective(name: str, **options: Any) -> Objective:
    """The policy loss of that name, such as ``objective("dapo", clip=(0.2, 0.28))``.

    For a function of your own, see :class:`Objective`.

    Raises:
        ValueError: there is no such loss, or it has no such option; the nearest is named.
    """
    known = [entry.name for entry in methods() if entry.kind == "loss"]
    if name not in known:
        raise ValueError(
            f"unknown loss {name!r}{nearest(name, known)}; a function of your own becomes one by "
            "Objective(function)"
        )
    return Objective(find(name), options)


_OF_THE_TRAINER = ("weight", "draws")
"""Keywords that are no options: what a batch brings."""
