"""An episode's rollouts scored together, for rewards that compare them with each other."""

from collections.abc import Awaitable, Callable, Mapping
from os import PathLike
from typing import Any, Literal

from ...core.errors import ScoreError
from ...core.reward import Reward
from ...core.scores import Missing
from ..batcher import Batcher
from ..scorer import Scored, Scorer
from ..versions import note_version
from .hooks import number
from .rows import Row, row_of_trace


def to_verifiers_episode(
    reward: Reward | str | PathLike[str],
    *,
    name: str = "total",
    missing: Missing = "missing",
    columns: Mapping[str, str] | None = None,
    executor: Literal["processes", "inline"] = "processes",
    workers: int = 2,
    timeout: float | None = 10.0,
) -> Callable[[Any, Any], Awaitable[None]]:
    """A coroutine function ``(task, episode)`` for ``Env.finalize`` of ``verifiers.v1``.

    The episode's rollouts are one group: those that came to their end, of agents that are trained.
    Each gets the reward ``name``, and the parts as metrics. One without a score keeps no reward
    (None), and its trace is marked as failed with the reason, unless ``missing`` is a number.

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        name: what the reward is recorded as.
        missing: a number for rows without a score.
        columns: our names: theirs.
        executor: as for :class:`~..scorer.Scorer`.
        workers: likewise.
        timeout: likewise.
    """
    note_version("verifiers")
    scorer = Scorer(
        reward,
        columns=columns,
        missing=missing,
        executor=executor,
        workers=workers,
        timeout=timeout,
    )
    groups: Batcher[list[Row], list[Scored]] = Batcher(lambda batch: score_groups(scorer, batch))

    async def finalize(task: Any, episode: Any) -> None:
        traces = [trace for trace in episode.traces if trace.ok and trace.agent.trainable]
        if not traces:
            return
        found = await groups.ask([row_of_trace(trace.task.data, trace) for trace in traces])
        for trace, scored in zip(traces, found, strict=True):
            trace.record_metrics(scored.numbers)
            try:
                trace.record_reward(name, number(scorer, scored))
            except ScoreError as error:
                trace.rewards[name] = None
                trace.record_error(error)

    return finalize


def score_groups(scorer: Scorer, batch: list[list[Row]]) -> list[list[Scored]]:
    """The scores of some groups of rows, scored in one go."""
    rows = [row for rows in batch for row in rows]
    found = iter(scorer.each(rows, group=[i for i, rows in enumerate(batch) for _ in rows]))
    return [[next(found) for _ in rows] for rows in batch]
