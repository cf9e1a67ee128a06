"""Advantages standardized by all that a task was ever paid: DCPO's smooth standardization."""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import Paper, method
from ...core.rollouts import Rollouts
from ...core.scores import Scores
from ...ops.groups import Ids
from ...ops.ranks import Ranks
from .keyed import Keyed, keys_of
from .outcomes import Outcomes, agreed

PerTask = Float64[np.ndarray, " k"]


class History(NamedTuple):
    """What k tasks were paid: in how many batches, how many rewards, and their moments."""

    visits: PerTask
    size: PerTask
    mean: PerTask
    squares: PerTask
    """The sum of squared deviations from the mean."""


def pooled(before: History, now: History) -> History:
    """The history of both together, exact for any counts: as if all rewards had been kept.

    ``delta = m_now - m; m <- m + delta n_now / (n + n_now);
    S <- S + S_now + delta^2 n n_now / (n + n_now)``
    (Chan, Golub and LeVeque). With as many rewards in every batch it is the paper's
    ``s_i^2 = ((i - 1) s^2 + s_now^2 + (i - 1) / i (m_now - m)^2) / i``.
    """
    size = before.size + now.size
    share = now.size / np.maximum(size, 1.0)
    delta = now.mean - before.mean
    return History(
        before.visits + now.visits,
        size,
        before.mean + delta * share,
        before.squares + now.squares + delta * delta * before.size * share,
    )


def dcpo_advantages(
    rewards: Float[Tensor, " n"],
    task: Ids,
    histories: Mapping[Hashable, tuple[float, ...]],
    *,
    keep: Bool[Tensor, " n"] | None = None,
    ddof: int = 0,
    ranks: Ranks = None,
) -> tuple[Advantages, dict[Hashable, tuple[float, ...]]]:
    """Of ``A_new``, by this batch, and ``A_tot``, by all of it so far: mixed both ways, the lesser.

    At the task's i-th visit, m and s over this batch's rewards of the task, M and S over those of
    all its batches up to and with this one::

        A_new = (R - m) / s        A_tot = (R - M) / S        (0 where s or S is 0)
        SA_new = (i - 1) / i A_new + 1 / i A_tot
        SA_tot = 1 / i A_new + (i - 1) / i A_tot
        A = whichever of SA_new and SA_tot is nearer to 0; of a tie, SA_tot

    Groups of one task in a batch are one visit: they are merged before anything is compared.

    Args:
        rewards: [N] one per rollout, any unit.
        task: [N] which task a row is of, the same across batches.
        histories: task -> (visits, count, mean, sum of squared deviations); a task that is not
            there is visited first now. It is not changed.
        keep: [N] rows that have a score; a task without one is not visited.
        ddof: 0 for the population's standard deviation, 1 for the sample's.
        ranks: processes that hold parts of the batch; all of them return the same histories.

    Returns:
        Advantages [N], without a unit, and the new histories of the tasks of this batch.

    Raises:
        ValueError: a kept reward is not finite, lengths disagree, or ddof is not 0 or 1.
    """
    _check(ddof)
    batch = Outcomes("dcpo_advantage", rewards, task, keep, ranks)
    ids, index, here = batch.groups.ids, batch.index, batch.count > 0.0
    rows = [histories.get(key, (0.0, 0.0, 0.0, 0.0)) for key in ids]
    before = History(*np.array(rows, dtype=np.float64).reshape(-1, 4).T)
    now = _history(batch)
    total = pooled(before, now)
    own = batch.deviations
    # R - M as (R - m) + (m - M): it is exactly 0 where every reward so far was the same.
    back = (now.mean - total.mean) * here
    a_new = _standardized(own, now, index, ddof)
    a_tot = _standardized(own + back[index], total, index, ddof)
    recent = (1.0 / np.maximum(total.visits, 1.0))[index]
    sa_new = (1.0 - recent) * a_new + recent * a_tot
    sa_tot = recent * a_new + (1.0 - recent) * a_tot
    values = np.where(np.abs(sa_new) < np.abs(sa_tot), sa_new, sa_tot)
    table = np.stack(total, axis=1).tolist()
    learned = {key: tuple(row) for key, row, seen in zip(ids, table, here, strict=True) if seen}
    revisited = float((before.visits[here] > 0.0).sum() / max(here.sum(), 1))
    return batch.advantages(values, revisited_tasks=revisited), learned


@method(
    "dcpo_advantage",
    kind="advantage",
    seed=121,
    paper=Paper("2509.02333", "DCPO: Dynamic Clipping Policy Optimization", 2025),
)
class CumulativeAdvantage(Keyed):
    """GRPO's advantages, smoothed by everything that the task was paid before (DCPO).

    A group whose rewards are all the same still teaches, by ``A_tot / i``: a task that used to fail
    and now always succeeds is reinforced. The formula is :func:`dcpo_advantages`'.

    **Biased.** Both means hold the rollout's own reward, both standard deviations weigh tasks by
    ``1 / std``, and the lesser of two estimates is no mean of them. Earlier policies' rewards in a
    baseline do not bias, they only fit worse.

    At a task's first visit it is GRPO with ``eps=0`` and this ``ddof``. A group of one row has
    ``A_new = 0`` and is told by its history alone; a first visit of one row gives 0. A constant
    group gives ``A_tot / i``, and exactly 0 if the task was never paid otherwise. A row without a
    score counts in no moment and gets 0.

    What is remembered pools rewards exactly. The authors' code remembers mean, standard deviation
    and visits; it pools batches as if all had the same count, and the sample's variances
    (``ddof=1``) as if they were the population's, which makes S greater; it refuses groups of one.

    Args:
        task: the column that names the task, the same across batches and restarts.
        ddof: 0 for the population's standard deviation, 1 for the sample's.
        ranks: processes that hold parts of the batch; a spec leaves it out.

    Raises:
        ValueError: ddof is not 0 or 1; in ``forward``, as :func:`dcpo_advantages`, or a row without
            a task. MissingColumn: there is no such column.

    Source: Yang et al. 2025, and the authors' ``compute_dcpo_outcome_advantage``. The
    method's other halves are a loss and the aggregation ``"seq-sum-token-mean"``.
    """

    def __init__(
        self,
        task: str = "task",
        ddof: int = 0,
        ranks: Any = None,  # Ranks, which no spec can hold and its schema does not know
    ) -> None:
        super().__init__()
        _check(ddof)
        self.task, self.ddof, self.ranks = task, ddof, ranks

    def both(self, rollouts: Rollouts, scores: Scores) -> tuple[Advantages, dict[Hashable, Any]]:
        return dcpo_advantages(
            scores.total(),
            agreed(lambda: keys_of("dcpo_advantage", rollouts, [self.task]), self.ranks),
            self.memory,
            keep=scores.scored,
            ddof=self.ddof,
            ranks=self.ranks,
        )


def _history(batch: Outcomes) -> History:
    visited = (batch.count > 0.0).astype(np.float64)
    return History(visited, batch.count, batch.means, batch.squares)


def _standardized(
    deviations: Float64[np.ndarray, " n"], history: History, index: np.ndarray, ddof: int
) -> Float64[np.ndarray, " n"]:
    std = np.sqrt(history.squares / np.maximum(history.size - ddof, 1.0))[index]
    return np.where(std > 0.0, deviations / np.where(std > 0.0, std, 1.0), 0.0)


def _check(ddof: int) -> None:
    if ddof not in (0, 1):
        raise ValueError(f"dcpo_advantage: ddof is {ddof}, it must be 0 or 1")
