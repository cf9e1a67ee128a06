"""What samplers learn from: rewards between 0 and 1, and the prompts that they are of."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ..core.rollouts import Rollouts
from ..core.scores import Scores
from ..ops.weights import ROUNDING


def prompts_of(method: str, rollouts: Rollouts, size: int) -> Int64[np.ndarray, " n"]:
    """The row of the pool that each rollout is of: column ``prompt_id`` [N].

    Raises:
        MissingColumn: there is no such column.
        ValueError: it holds something else than whole numbers from 0 to below ``size``, or there is
            no pool yet.
    """
    if not size:
        raise ValueError(f"{method} has no pool yet; call over(dataset)")
    column = rollouts.column("prompt_id", needed_by=method)
    found = column.numpy(force=True) if isinstance(column, Tensor) else np.asarray(column)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise ValueError(
            f"{method}: the column 'prompt_id' holds {found.dtype} {list(found.shape)}; give each "
            "rollout the number of its row in the data set"
        )
    rows = found.astype(np.int64)
    for row in np.flatnonzero((rows < 0) | (rows >= size))[:1]:
        raise ValueError(
            f"{method}: row {row} has the prompt_id {rows[row]}; the data set has rows 0 to "
            f"{size - 1}: observe what was proposed of it"
        )
    return rows


def rates_of(
    method: str, scores: Scores, whose: Callable[[int], Any]
) -> tuple[Float64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Each row's reward, held to [0, 1], and whether it has one [N].

    Args:
        method: who asks; errors begin with it.
        scores: of N rows; dense ones are summed over steps.
        whose: says of a row what it belongs to, such as ``prompt 3``.

    Raises:
        ValueError: a reward outside [0, 1] by more than float32 rounds.
    """
    scored = scores.scored.numpy(force=True)
    rewards = scores.total().numpy(force=True).astype(np.float64)
    odd = scored & ~((rewards >= -ROUNDING) & (rewards <= 1.0 + ROUNDING))
    for row in np.flatnonzero(odd)[:1]:
        raise ValueError(
            f"{method}: row {row}, of {whose(int(row))}, has the reward {rewards[row]:g}, outside "
            "[0, 1]; scale rewards to a rate of success first"
        )
    return np.where(scored, rewards.clip(0.0, 1.0), 0.0), scored
