"""An episode's rollouts scored together, for rewards that compare them with each other."""

from os import PathLike
from typing import Any, Unpack

from ...core.errors import ScoreError
from ...core.reward import Reward
from ...core.scores import Missing
from ..scorer import Options
from ..versions import note_version
from .groups import GroupScorer
from .rows import row_of_trace


class EpisodeHook:
    """Scores an episode's rollouts. Made by :func:`to_verifiers_episode`."""

    def __init__(self, groups: GroupScorer, name: str) -> None:
        self._groups, self._name = groups, name

    async def __call__(self, task: Any, episode: Any) -> None:
        """Record the reward and the metrics of each trace.

        Raises:
            MissingColumn: the reward needs a column that no row has had so far.
            TypeError: the completions are token ids.
        """
        traces = [trace for trace in episode.traces if trace.ok and trace.agent.trainable]
        if not traces:
            return
        rows = [row_of_trace(trace.task.data, trace) for trace in traces]
        for trace, scored in zip(traces, await self._groups.ask(rows), strict=True):
            trace.record_metrics(scored.numbers)
            try:
                reward = scored.number(self._groups.scorer.missing)
            except ScoreError as error:
                trace.rewards[self._name] = None
                trace.record_error(error)
            else:
                trace.record_reward(self._name, reward)


def to_verifiers_episode(
    reward: Reward | str | PathLike[str],
    *,
    name: str = "total",
    missing: Missing | None = None,
    **options: Unpack[Options],
) -> EpisodeHook:
    """A coroutine function ``(task, episode)`` for ``Env.finalize`` of ``verifiers.v1``.

    The episode's rollouts are one group: those that came to their end, of agents that are trained.
    Each gets the reward ``name``, and the parts as metrics. One without a score keeps no reward
    (None), and its trace is marked as failed with the reason, unless ``missing`` is a number. It
    pickles.

    Args:
        reward: the reward, or the path of its ``reward.yaml``.
        name: what the reward is recorded as.
        missing: a number for rows without a score; ``"missing"``, the default, and ``"raise"`` both
            mark the trace, for an exception would fail the whole episode.
        options: see :class:`~..scorer.Options`.

    Raises:
        SpecError: the file cannot be read, or the reward compares all rows of a batch or of a data
            set.
        ValueError: as :class:`~..scorer.Scorer`.
        TypeError: it is neither a reward nor a path.
    """
    note_version("verifiers")
    policy: Missing = "missing" if missing is None else missing
    return EpisodeHook(GroupScorer(reward, missing=policy, **options), name)
