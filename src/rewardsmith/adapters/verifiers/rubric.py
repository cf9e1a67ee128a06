"""Our reward as a ``Rubric`` of ``verifiers.legacy`` (verifiers 0.3.1)."""

import inspect
from collections.abc import Callable
from functools import partial
from os import PathLike
from typing import Any, TypeAlias, Unpack

from verifiers.rubrics.rubric import Rubric

from ...core.errors import SpecError
from ...core.reward import Reward
from ...core.scores import Missing
from ..scorer import Options, Scored, Scorer, decided
from .groups import GroupScorer
from .hooks import contributions
from .once import Once
from .rows import row_of_state

Pick: TypeAlias = Callable[[Scored], float]
_Asked: TypeAlias = Once[list[Scored]]


class RowFunction:
    """One number of a rollout, as a reward function of a rubric."""

    def __init__(self, name: str, pick: Pick, once: _Asked) -> None:
        self.__name__ = name
        self._pick, self._once = pick, once

    async def __call__(self, state: Any) -> float:
        """What was picked.

        Raises:
            ScoreError: the reward was picked, there is none, and ``missing`` is no number.
            MissingColumn: the reward needs a column that no row has had so far.
            TypeError: the completion is token ids.
        """
        row = row_of_state(state)
        found = await self._once.ask(state, self.__name__, [row], _seen(row))
        return self._pick(found[0])


class GroupFunction(RowFunction):
    """The same of a group; verifiers knows it by the name of its argument."""

    async def __call__(self, states: Any) -> list[float]:  # type: ignore[override]
        """What was picked, of each; errors as for one."""
        rows = [row_of_state(state) for state in states]
        seen = [_seen(row) for row in rows]
        found = await self._once.ask(states[0], self.__name__, rows, seen)
        return [self._pick(scored) for scored in found]


class LegacyRubric(Rubric):  # type: ignore[misc]  # its package need not be there
    """A rubric whose own functions may fail: verifiers' makes 0.0 of every exception.

    A column that does not exist would be a reward of zeros, and nobody would see it. It pickles as
    its functions and their weights; theirs does not, for its parser.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return LegacyRubric, (self.funcs, self.weights)

    async def _call_individual_reward_func(self, func: Any, state: Any) -> Any:
        if isinstance(func, RowFunction):
            return await func(state)
        return await super()._call_individual_reward_func(func, state)

    async def _call_group_reward_func(self, func: Any, states: Any) -> Any:
        if isinstance(func, RowFunction):
            return await func(states)
        return await super()._call_group_reward_func(func, states)


def rubric(
    reward: Reward | str | PathLike[str],
    split: bool,
    missing: Missing | None,
    **options: Unpack[Options],
) -> LegacyRubric:
    """The rubric: the reward, or its parts, with weight 1, and all of its numbers with weight 0.

    Raises:
        SpecError: the rubrics that are installed would make zeros of our errors, the reward
            compares more than a group, or ``split`` where the root is no weighted sum.
        ValueError: ``missing`` was not decided, or as :class:`~..scorer.Scorer`.
        TypeError: it is neither a reward nor a path.
    """
    _refuse_older(Rubric)
    policy = decided(missing, "a rubric of verifiers")
    groups = GroupScorer(reward, missing=policy, **options)
    scorer = groups.scorer
    picks: dict[str, Pick] = {"total": partial(_total, scorer)}
    if split:
        weights = scorer.weights()
        names = [*weights] if isinstance(policy, str) else [*weights, "missing"]
        picks = {name: partial(_contribution, scorer, weights, name) for name in names}
    metrics = {name: partial(_number, name) for name in scorer.names}
    kind = RowFunction if scorer.reward.scope == "row" else GroupFunction
    once = Once(groups.submit)
    made = [kind(name, pick, once) for name, pick in (picks | metrics).items()]
    return LegacyRubric(made, [1.0] * len(picks) + [0.0] * len(metrics))


def _refuse_older(base: Any) -> None:
    """Whatever it calls its functions by has to be what we replace.

    Raises:
        SpecError: it is not.
    """
    for name, takes in (
        ("_call_individual_reward_func", ["self", "func", "state"]),
        ("_call_group_reward_func", ["self", "func", "states"]),
    ):
        method = getattr(base, name, None)
        if method is None or list(inspect.signature(method).parameters) != takes:
            raise SpecError(
                "the Rubric of the verifiers that is installed calls its functions otherwise than "
                "that of verifiers 0.3.1, and would make a reward of 0 of every error: install "
                "verifiers==0.3.1"
            )


def _seen(row: dict[str, Any]) -> Any:
    return row["completion"], row["messages"]


def _total(scorer: Scorer, scored: Scored) -> float:
    return scored.number(scorer.missing)


def _contribution(scorer: Scorer, weights: dict[str, float], name: str, scored: Scored) -> float:
    return contributions(scorer, weights, scored)[name]


def _number(name: str, scored: Scored) -> float:
    return scored.numbers.get(name, 0.0)
