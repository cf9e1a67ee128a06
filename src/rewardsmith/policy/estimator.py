"""An ``Estimator`` of a pure advantage function: what it needs, taken from rollouts and scores.

An advantage function names what it needs: its positional parameters are what a batch gives, its
keywords are options. So one function serves a tree, a trainer's own tensors, and a test.
"""

import inspect
from collections.abc import Callable
from typing import Any

from ..core.advantages import Advantages
from ..core.bases import Estimator
from ..core.catalog import find, methods, nearest
from ..core.combination import dense_view
from ..core.rollouts import Rollouts
from ..core.scores import Scores

AdvantageFunction = Callable[..., Advantages]

_GIVEN: dict[str, Callable[[Rollouts, Scores], Any]] = {
    "rewards": lambda rollouts, scores: scores.total(),
    "step_rewards": lambda rollouts, scores: dense_view(scores, rollouts)[0],
    "parts": lambda rollouts, scores: {name: part.total() for name, part in scores.parts.items()},
    "group": lambda rollouts, scores: rollouts.group,
    "mask": lambda rollouts, scores: rollouts.action_mask,
    "lengths": lambda rollouts, scores: rollouts.action_mask.sum(dim=1),
}
"""What a positional parameter of an advantage function is given; any other name is a column."""


class Estimated(Estimator):
    """Advantages by a pure function.

    Its parameters are given what they are called after: ``rewards`` [N] (a dense score is summed
    over the rollout), ``step_rewards`` [N, T] (an outcome stands at the last action step),
    ``parts`` (name -> [N]), ``group``, ``mask`` (the action mask), ``lengths``; another name is a
    column. Rows without a score are left out of moments and do not train.

    Args:
        function: an advantage function.
        options: its keywords.

    Raises:
        ValueError: an option that the function does not have; in ``forward``, what the function
            raises. MissingColumn: a column that it needs is not there.
    """

    def __init__(self, function: AdvantageFunction, **options: Any) -> None:
        super().__init__()
        name = getattr(function, "method_name", function.__name__)
        parameters = inspect.signature(function).parameters.values()
        self.inputs = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        for option in options:
            if option not in known or option == "keep":
                valid = [option for option in known if option != "keep"]
                raise ValueError(f"{name} has no option {option!r}{nearest(option, valid)}")
        self.function, self.options, self.name = function, options, name
        self._keeps = "keep" in known

    def forward(self, rollouts: Rollouts, scores: Scores) -> Advantages:
        given = [self._input(name, rollouts, scores) for name in self.inputs]
        keep: Any = scores.scored
        if "parts" in self.inputs:
            keep = {name: part.scored & scores.scored for name, part in scores.parts.items()}
        options = {**self.options, "keep": keep} if self._keeps else self.options
        return self.function(*given, **options)

    def _input(self, name: str, rollouts: Rollouts, scores: Scores) -> Any:
        if name in _GIVEN:
            return _GIVEN[name](rollouts, scores)
        return rollouts.column(name, needed_by=self.name)


def estimator(name: str, **options: Any) -> Estimator:
    """The estimator of that name, such as ``estimator("grpo", scale="batch")``.

    Raises:
        ValueError: there is no such estimator, or it has no such option; the nearest is named.
    """
    known = [entry.name for entry in methods() if entry.kind == "advantage"]
    if name not in known:
        raise ValueError(f"unknown estimator {name!r}{nearest(name, known)}")
    found = find(name)
    made: Estimator = found(**options) if isinstance(found, type) else Estimated(found, **options)
    return made
