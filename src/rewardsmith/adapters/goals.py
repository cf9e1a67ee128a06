"""Rewards of goals other than those that were pursued: what ``compute_reward`` answers.

A goal environment's ``compute_reward(achieved_goal, desired_goal, info)`` knows neither the action
nor the rest of the state. A reward of ours is computed from what it knows; a part that reads more
is refused by name.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.acting import Floats, Step, Terms, check_finite
from ..core.errors import MissingColumn, ScoreError
from ..core.reward import Reward
from .columns import InfoColumns

_TRIED = 8


class VectorizedGoals:
    """An environment's own ``compute_reward``, on batches of n goals.

    Many environments answer for a batch at once, others for one goal at a time or wrongly for
    many: the first batch is compared with its rows. Where it is not vectorized a warning says so,
    and rows are computed one by one.

    Args:
        compute: ``(achieved_goal, desired_goal, info) -> reward``.
    """

    def __init__(self, compute: Callable[[Any, Any, Any], Any]) -> None:
        self.compute = compute
        self.vectorized: bool | None = None
        """None until a batch of more than one goal was seen."""

    def __call__(self, achieved: Any, desired: Any, infos: Sequence[Any]) -> Floats:
        """The rewards [n] of goals [n, ...]."""
        n = len(achieved)
        if self.vectorized is None and n > 1:
            self.vectorized = self._agrees(achieved[:_TRIED], desired[:_TRIED], infos[:_TRIED])
            if not self.vectorized:
                warnings.warn(
                    "the environment's compute_reward is not vectorized: goals are computed one by "
                    "one, which is slow; let it take arrays [n, ...] and return [n]",
                    stacklevel=2,
                )
        if self.vectorized:
            return np.asarray(self.compute(achieved, desired, infos), dtype=np.float64)
        return self._rows(achieved, desired, infos)

    def _agrees(self, achieved: Any, desired: Any, infos: Sequence[Any]) -> bool:
        try:
            batch = np.asarray(self.compute(achieved, desired, infos), dtype=np.float64)
        except Exception:  # noqa: BLE001 - whatever it raises, it is not vectorized
            return False
        rows = self._rows(achieved, desired, infos)
        return batch.shape == rows.shape and bool(np.allclose(batch, rows))

    def _rows(self, achieved: Any, desired: Any, infos: Sequence[Any]) -> Floats:
        each = zip(achieved, desired, infos, strict=True)
        return np.array([float(self.compute(a, d, info)) for a, d, info in each])


class GoalReward:
    """A reward of ours as ``compute_reward``.

    Args:
        reward: it carries no memory from step to step, and its parts read only ``env_reward`` (the
            environment's own, of the goal asked about), ``next_obs`` with the keys
            ``achieved_goal`` and ``desired_goal``, and ``info`` where the caller has it.
        goals: the environment's own.

    Raises:
        ValueError: the reward carries memory, so that a single transition does not tell it.
    """

    def __init__(self, reward: Reward, goals: VectorizedGoals) -> None:
        check_markov(reward)
        self.reward, self.goals = reward, goals

    def __call__(self, achieved: Any, desired: Any, info: Any) -> Floats:
        """The rewards [n] of goals [n, ...]; ``info`` is one dict per row, empty where unknown.

        Raises:
            ValueError: a part reads what no goal tells.
        """
        achieved, desired = np.asarray(achieved), np.asarray(desired)
        n = len(achieved)
        infos = [info] * n if isinstance(info, Mapping) else list(info)
        step = Step(
            obs=None,
            action=None,
            next_obs={"achieved_goal": achieved, "desired_goal": desired},
            env_reward=self.goals(achieved, desired, infos),
            terminated=None,
            truncated=None,
            first=np.zeros(n, dtype=np.bool_),
            live=np.ones(n, dtype=np.bool_),
            info=InfoColumns(infos) if all(infos) else {},
        )
        try:
            return paid(self.reward, step)
        except (MissingColumn, ScoreError) as error:
            raise ValueError(
                "compute_reward knows the goals and the environment's own reward, and no more: "
                f"{error}. Relabel with RewardHerReplayBuffer, which keeps whole transitions"
            ) from error


def paid(reward: Reward, step: Step) -> Floats:
    """The rewards [n] of n unrelated transitions.

    Raises:
        ScoreError: a part gives no finite number; with row and part.
    """
    out = Terms()
    values, _ = reward.step(step, None, out)
    check_finite(values, out, step.live)
    return values


def check_markov(reward: Reward) -> None:
    """Refuse a reward that a single transition does not determine.

    Raises:
        ValueError: it cannot be computed while acting, or carries memory; with the nodes' names.
    """
    guilty = [f"{path or 'the root'}: {node.label()}" for path, node in memories(reward)]
    if guilty:
        raise ValueError(
            "a single transition does not determine this reward, because of "
            + "; ".join(guilty)
            + ". Relabeled transitions need rewards that act and carry no memory between steps"
        )


def memories(reward: Reward) -> list[tuple[str, Reward]]:
    """The nodes that carry memory from step to step, or cannot act at all.

    What holds such a node is one too; only the innermost are named.
    """
    return [
        (path, node)
        for path, node in reward.walk()
        if isinstance(node, Reward)
        and _remembers(node)
        and not any(_remembers(child) for _, child in node.children_by_name())
    ]


def _remembers(node: Reward) -> bool:
    return not node.acts or node.start(1) is not None
