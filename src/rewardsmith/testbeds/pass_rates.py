"""Prompts whose pass rates rise as a policy learns, each at a speed of its own; no policy at all.

What a sampler of prompts selects can be held against the true rates here, in milliseconds a batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from ..core.rollouts import Rollouts
from ..core.scores import Scores


class PassRates(Sequence[Mapping[str, Any]]):
    """A pool of n prompts, row i of which a policy solves with ``p_i(t)`` at training step t.

    ``p_i(t) = 1 / (1 + exp(difficulty_i - speed_i t))``, with ``difficulty_i`` normal and
    ``speed_i`` log-normal. No rate depends on what was trained on, so that all samplers meet the
    same drift. It is a data set itself: ``sampler.over(rates)``. Its columns are ``prompt_id``,
    ``prompt`` and those given.

    Args:
        n: prompts, 1 or more.
        seed: of the difficulties and speeds.
        difficulty: mean of ``difficulty_i``, in logits: the median prompt starts at
            ``1 / (1 + exp(difficulty))``.
        spread: standard deviation of ``difficulty_i``, 0 or more.
        speed: median of ``speed_i``, in logits per step, more than 0.
        speeds: standard deviation of ``log speed_i``, 0 or more.
        columns: further columns of the pool, n values each.

    Raises:
        ValueError: a number out of its range, or a column that is not of n values.
    """

    def __init__(
        self,
        n: int = 2000,
        seed: int = 0,
        *,
        difficulty: float = 2.0,
        spread: float = 2.0,
        speed: float = 0.02,
        speeds: float = 1.0,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        if n < 1 or not spread >= 0.0 or not speed > 0.0 or not speeds >= 0.0:
            raise ValueError(
                f"PassRates: n={n}, spread={spread}, speed={speed}, speeds={speeds}; n has to be 1 "
                "or more, the speed more than 0, and both standard deviations 0 or more"
            )
        self.columns: dict[str, list[Any]] = {
            "prompt_id": list(range(n)),
            "prompt": [f"prompt {row}" for row in range(n)],
            **{name: list(column) for name, column in (columns or {}).items()},
        }
        for name, column in self.columns.items():
            if len(column) != n:
                raise ValueError(f"PassRates: column {name!r} has {len(column)} values for {n}")
        generator = np.random.default_rng(seed)
        self.difficulty = difficulty + spread * generator.standard_normal(n)
        self.speed = speed * np.exp(speeds * generator.standard_normal(n))

    def __len__(self) -> int:
        return len(self.speed)

    def __getitem__(self, row: Any) -> Any:
        return {name: column[row] for name, column in self.columns.items()}

    def rates(self, step: float) -> Float64[np.ndarray, " n"]:
        """The true ``p_i(t)`` [n]; 0 or 1 where float64 has nothing between."""
        # exp(-log(1 + exp(x))): nothing overflows.
        return np.exp(-np.logaddexp(0.0, self.difficulty - self.speed * step))

    def mixed(self, group: int, step: float) -> Float64[np.ndarray, " n"]:
        """``1 - p^G - (1 - p)^G`` [n]: how probable it is that answers of a group differ."""
        rates = self.rates(step)
        return 1.0 - rates**group - (1.0 - rates) ** group

    def answers(
        self, prompts: Sequence[int], group: int, step: float, rng: np.random.Generator
    ) -> tuple[Rollouts, Scores]:
        """``group`` answers for each prompt, beside each other, right (1) with ``p_i(t)`` or 0.

        Args:
            prompts: rows of the pool.
            group: answers for each, 1 or more.
            step: t.
            rng: all randomness; one uniform number for each answer, in order.

        Returns:
            Rollouts with one group for each entry of ``prompts``, the pool's columns and a
            ``completion``; and their scores, 1 for right and 0 for wrong.

        Raises:
            ValueError: no prompt, a row that is not in the pool, or no answer in a group.
        """
        rows = np.repeat(np.asarray(prompts, dtype=np.int64), group)
        if not len(rows) or rows.min() < 0 or rows.max() >= len(self):
            raise ValueError(
                f"PassRates: {group} answers for each of the prompts {[*prompts]}; one answer or "
                f"more, for rows 0 to {len(self) - 1}, is needed"
            )
        right = rng.random(len(rows)) < self.rates(step)[rows]
        columns: dict[str, Any] = {
            name: [column[row] for row in rows.tolist()] for name, column in self.columns.items()
        }
        columns["prompt_id"] = torch.from_numpy(rows)
        columns["completion"] = ["right" if is_right else "wrong" for is_right in right.tolist()]
        number = np.repeat(np.arange(len(prompts)), group)
        rollouts = Rollouts(columns, group=torch.from_numpy(number))
        return rollouts, Scores.outcome(torch.from_numpy(right).to(torch.float32))
