"""An ``Estimator`` of a pure advantage function: what it needs, taken from rollouts and scores.

An advantage function names what it needs: its positional parameters are what a batch gives, its
keywords are options. So one function serves a tree, a trainer's own tensors, and a test.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core.advantages import Advantages
from ..core.bases import Estimator
from ..core.catalog import find, methods, nearest
from ..core.combination import dense_view
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from .options import check_options

AdvantageFunction = Callable[..., Advantages]


class Estimated(Estimator):
    """Advantages by a pure function, one of ours or your own.

    Its positional parameters are given what they are called after:

    - ``rewards`` [N]: the scores; a dense one is summed over its rollout.
    - ``step_rewards`` [N, T]: dense scores; an outcome stands at the last action step. What is
      earned at a step that the policy did not choose, such as a tool's answer, goes to the action
      before it.
    - ``parts``: name -> [N], of each part of the scores.
    - ``group``; with the option ``ranks`` the column ``task``, for groups are numbered anew on each
      rank.
    - ``mask``: the action mask.
    - ``lengths``: a column, or the sums of the action mask. Rollouts of one step each, as texts
      are, need the column.
    - any other name: the column of that name. One that has a default may be missing.

    Rows without a score are left out of moments (the function's ``keep``) and do not train.

    Args:
        function: takes the above, the keyword ``keep`` and options; returns ``Advantages``.
        options: its other keywords.

    Raises:
        ValueError: a function without ``keep``, or an option that it does not have or that is none
            of a choice. In ``forward``: rollouts without groups although the function compares,
            no lengths, or what the function raises. MissingColumn: a column that it needs is not
            there. TypeError: it returns something else than ``Advantages``.
    """

    def __init__(
        self, function: AdvantageFunction, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.function, self.options = function, dict(options or {})
        self.name: str = getattr(function, "method_name", function.__name__)
        given = inspect.signature(function).parameters.values()
        self.inputs = {p.name: p.default for p in given if p.kind is p.POSITIONAL_OR_KEYWORD}
        if not any(p.name == "keep" and p.kind is p.KEYWORD_ONLY for p in given):
            raise ValueError(
                f"{self.name} has no keyword `keep`, and so cannot leave rows without a score out"
            )
        check_options(self.name, function, self.options, ("keep",))

    def default_name(self) -> str:
        return self.name

    def forward(self, rollouts: Rollouts, scores: Scores) -> Advantages:
        given = [self._input(name, rollouts, scores) for name in self.inputs]
        keep: Any = scores.scored
        if "parts" in self.inputs:
            keep = {name: part.scored & scores.scored for name, part in scores.parts.items()}
        made = self.function(*given, **self.options, keep=keep)
        if not isinstance(made, Advantages):
            raise TypeError(f"{self.name} returns a {type(made).__name__}, not Advantages")
        return replace(made, keep=made.keep & scores.scored.to(made.keep.device))

    def _input(self, name: str, rollouts: Rollouts, scores: Scores) -> Any:
        if name == "rewards":
            return scores.total()
        if name == "step_rewards":
            return _at_actions(dense_view(scores, rollouts)[0], rollouts)
        if name == "parts":
            return {part: of.total() for part, of in scores.parts.items()}
        if name == "mask":
            return rollouts.action_mask
        if name == "group":
            return self._group(rollouts)
        if name == "lengths":
            return self._lengths(rollouts)
        default = self.inputs[name]
        if default is not inspect.Parameter.empty and name not in rollouts:
            return default
        return _tensor(rollouts.column(name, needed_by=self.name))

    def _group(self, rollouts: Rollouts) -> Any:
        if self.options.get("ranks") is not None:
            # Groups are numbered anew on each rank.
            return rollouts.column("task", needed_by=f"{self.name} over ranks")
        if len(rollouts) > 1 and not rollouts.grouped:
            raise ValueError(
                f"{self.name} compares rollouts of a group, and these {len(rollouts)} have none; "
                "give the rollouts `group`, such as the ids of their prompts"
            )
        return rollouts.group

    def _lengths(self, rollouts: Rollouts) -> Any:
        if "lengths" in rollouts.rows:
            return _tensor(rollouts.rows["lengths"])
        if rollouts.n_steps == 1:
            if self.inputs["lengths"] is None:
                return None
            raise ValueError(
                f"{self.name} needs the lengths of answers, and these rollouts have one step each; "
                "give them a column `lengths`, in tokens"
            )
        return rollouts.action_mask.sum(dim=1)


def estimator(name: str, **options: Any) -> Estimator:
    """The estimator of that name, such as ``estimator("grpo", scale="batch")``.

    For a function of your own, see :class:`Estimated`.

    Raises:
        ValueError: there is no such estimator, or it has no such option; the nearest is named.
    """
    known = [entry.name for entry in methods() if entry.kind == "advantage"]
    if name not in known:
        raise ValueError(
            f"unknown estimator {name!r}{nearest(name, known)}; a function of your own becomes one "
            "by Estimated(function)"
        )
    found = find(name)
    made: Estimator = found(**options) if isinstance(found, type) else Estimated(found, options)
    return made


def _tensor(column: Any) -> Any:
    """A column of numbers as a tensor; anything else as it is."""
    plain = isinstance(column, list | tuple) and all(isinstance(x, int | float) for x in column)
    return torch.tensor(column) if plain else column


def _at_actions(values: Tensor, rollouts: Rollouts) -> Tensor:
    """Rewards of steps that the policy did not choose, moved to the action before them."""
    action = rollouts.action_mask
    if bool((values[~action] == 0.0).all()):
        return values
    place = torch.arange(values.shape[1], device=values.device).expand(values.shape)
    before = torch.where(action, place, -1).cummax(dim=1).values
    # What comes before the first action is earned by none of them.
    moved = torch.zeros_like(values).scatter_add(
        1, before.clamp(min=0), torch.where(before >= 0, values, 0.0)
    )
    return torch.where(action, moved, 0.0)
