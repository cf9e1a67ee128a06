"""Our reward as a ``Rubric`` of ``verifiers.legacy``, and of all of verifiers before 0.3."""

from collections.abc import Callable
from typing import Any

from verifiers.rubrics.rubric import Rubric

from ...core.errors import SpecError
from ...core.reward import Reward
from ..batcher import Batcher
from ..scorer import STATUSES, Scored, Scorer, decided
from .episode import score_groups
from .hooks import contributions, number, parts_of
from .once import Once
from .rows import Row, row_of_state

Pick = Callable[[Scored], float]


class RewardRubric(Rubric):  # type: ignore[misc]  # its package need not be there
    """A rubric whose own functions may fail: verifiers' makes 0.0 of every exception.

    A column that does not exist would be a reward of zeros, and nobody would see it.
    """

    async def _call_individual_reward_func(self, func: Any, state: Any) -> Any:
        if hasattr(func, "rewardsmith"):
            return await func(state)
        return await super()._call_individual_reward_func(func, state)

    async def _call_group_reward_func(self, func: Any, states: Any) -> Any:
        if hasattr(func, "rewardsmith"):
            return await func(states)
        return await super()._call_group_reward_func(func, states)


def rubric(scorer: Scorer, split: bool) -> RewardRubric:
    """The rubric: the reward, or its parts, with weight 1, and all of its numbers with weight 0."""
    decided(scorer.missing, "a rubric of verifiers, which takes group means,")
    if scorer.reward.scope == "batch":
        raise SpecError(
            "this reward compares all rows of a batch, and verifiers scores no more than one group "
            "together"
        )
    picks: dict[str, Pick] = {"total": lambda scored: number(scorer, scored)}
    if split:
        picks = {name: _contribution(scorer, name) for name in parts_of(scorer)}
    metrics = {name: _number(name) for name in numbers_of(scorer.reward)}
    together = scorer.reward.scope != "row"
    made = _of_groups(scorer, picks | metrics) if together else _of_rows(scorer, picks | metrics)
    return RewardRubric(made, [1.0] * len(picks) + [0.0] * len(metrics))


def numbers_of(reward: Reward) -> list[str]:
    """The names of a row's numbers, which are known before there is one."""
    paths = [path for path, node in reward.walk() if path and isinstance(node, Reward)]
    parts = [f"{kind}/{path}" for path in paths for kind in ("reward", "scored")]
    return [*(f"status/{status.name.lower()}" for status in STATUSES), *parts]


def _of_rows(scorer: Scorer, picks: dict[str, Pick]) -> list[Any]:
    rows: Batcher[Row, Scored] = Batcher(scorer.each)
    once = Once(rows.submit)

    def made(name: str, pick: Pick) -> Any:
        async def function(state: Any) -> float:
            row = row_of_state(state)
            return pick(await once.ask(state, name, row, _seen(row)))

        return _named(function, name)

    return [made(name, pick) for name, pick in picks.items()]


def _of_groups(scorer: Scorer, picks: dict[str, Pick]) -> list[Any]:
    groups: Batcher[list[Row], list[Scored]] = Batcher(lambda batch: score_groups(scorer, batch))
    once = Once(groups.submit)

    def made(name: str, pick: Pick) -> Any:
        # By the name of its argument verifiers knows a function of a group.
        async def function(states: Any) -> list[float]:
            rows = [row_of_state(state) for state in states]
            found = await once.ask(states[0], name, rows, [_seen(row) for row in rows])
            return [pick(scored) for scored in found]

        return _named(function, name)

    return [made(name, pick) for name, pick in picks.items()]


def _seen(row: Row) -> Any:
    return row["completion"], row["messages"]


def _named(function: Any, name: str) -> Any:
    function.__name__ = function.__qualname__ = name
    function.rewardsmith = True
    return function


def _contribution(scorer: Scorer, name: str) -> Pick:
    return lambda scored: contributions(scorer, scored)[name]


def _number(name: str) -> Pick:
    return lambda scored: scored.numbers.get(name, 0.0)
