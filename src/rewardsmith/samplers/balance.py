"""How much to explore, by how many answers are worth training on and how clean they are: B-STaR."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike

from ..ops.groups import Groups, Ids
from ..ops.pass_at_k import pass_at_k_rate

THRESHOLDS = tuple(round(-1.0 + 0.01 * i, 2) for i in range(201))
"""Those of the authors' search: -1.00 to 1.00 by 0.01."""
_MOST = 64


@dataclass(frozen=True, eq=False)
class Answers:
    """Scored answers to queries, N of them.

    Raises:
        ValueError: there are none, lengths disagree, or a reward is not finite; it names the row.
    """

    rewards: ArrayLike
    """[N] what answers are selected by, any unit."""
    correct: ArrayLike
    """[N] whether an answer is right."""
    query: Ids
    """[N] what they answer: one id per row, in any order."""
    texts: Sequence[str] | None = None
    """[N] what they say: of equal answers to a query one counts. None: all are different."""
    gold: ArrayLike | None = None
    """[N] rows that are given solutions and no samples: their reward is 1 (as that of the authors,
    whose reward is 1 for a right answer and 0 for a wrong one, and up to 0.2 for its steps)."""

    def __post_init__(self) -> None:
        n = len(np.asarray(self.rewards))
        for name in ("correct", "query", "texts", "gold"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                raise ValueError(
                    f"b_star: {n} rewards, {len(column)} of {name}; one of each per row"
                )
        if not n:
            raise ValueError("b_star: there are no answers")
        rewards = np.asarray(self.rewards, dtype=np.float64)
        odd = np.flatnonzero(~np.isfinite(rewards))
        if len(odd):
            raise ValueError(
                f"b_star: the reward of row {odd[0]} is {rewards[odd[0]]}, a finite number is "
                "needed: leave rows out that have no score"
            )


@dataclass(frozen=True, eq=False)
class Configuration:
    """What a search found best."""

    temperature: float
    threshold: float
    score: float
    """Its balance score, in [0, 1]."""
    selected: Int64[np.ndarray, " m"]
    """The rows of the answers at that temperature that it selects, in their order."""


def balance_score(
    rewards: ArrayLike,
    correct: ArrayLike,
    query: Ids,
    threshold: float,
    target: int = 8,
    texts: Sequence[str] | None = None,
) -> float:
    """``mean_q min(n'_q / n*, 1) n'_q / n_q``: enough right answers, and few wrong ones with them.

    n_q counts the different answers to query q with a reward above the threshold, n'_q the right
    ones among them, and n* is ``target``. A query of which nothing is selected contributes 0; the
    authors' code leaves it out, so that a threshold which selects one right answer in all would be
    as good as any.

    Args:
        rewards: [N] what answers are selected by.
        correct: [N] whether an answer is right.
        query: [N] one id per row.
        threshold: what a reward has to exceed.
        target: n*, how many right answers to a query are enough.
        texts: [N] of equal answers to a query the one with the best reward counts.

    Returns:
        From 0 to 1; 1 iff each query has n* or more selected, and all of them are right.

    Raises:
        ValueError: as :class:`Answers`, the threshold is no number, or ``target`` is below 1.

    Source: Zeng et al. 2024 (2412.17256); ``cal_modi_acc_soft`` of the authors'
    ``determine_hyper.py``.
    """
    ranked = Ranked(Answers(rewards, correct, query, texts))
    return float(ranked.balance(ranked.above(threshold), target).mean())


def select_by_reward(
    answers: Answers, threshold: float, size: int, most: int = _MOST
) -> Int64[np.ndarray, " m"]:
    """Rows to train on: the k best of each query above a threshold, until they are enough.

    k is the least, from 1 to ``most``, that gives ``size`` rows. Equal answers to a query are one
    row, the one with the best reward. They are counted among its k nevertheless, as in the authors'
    code.

    Args:
        answers: scored.
        threshold: what a reward has to exceed.
        size: how many rows are wanted; there are fewer where k = ``most`` does not give them, and
            more where the last k gives more.
        most: the largest k.

    Raises:
        ValueError: the threshold is no number, or ``size`` or ``most`` is below 1.
    """
    return np.flatnonzero(Ranked(answers).best(threshold, size, most))


def best_configuration(
    samples: Mapping[float, Answers],
    size: int,
    thresholds: Sequence[float] = THRESHOLDS,
    target: int = 8,
    most: int = _MOST,
) -> Configuration:
    """The temperature and the threshold whose selection has the best balance score.

    Each selection is that of :func:`select_by_reward`. Of equal scores the first one is taken, in
    the order of the temperatures, and of the thresholds at one.

    Args:
        samples: temperature -> what was sampled at it for a few queries and scored, with the same
            queries and as many answers at each.
        size: how many rows each selection is to have.
        thresholds: those to try.
        target: n* of the score.
        most: the largest number of answers per query.

    Raises:
        ValueError: there is nothing to try, or as the two functions.
    """
    if not samples or not len(thresholds):
        raise ValueError(
            f"b_star: {len(samples)} temperatures and {len(thresholds)} thresholds to try; give at "
            "least one of each"
        )
    found: Configuration | None = None
    for temperature, answers in samples.items():
        ranked = Ranked(answers)
        for threshold in thresholds:
            chosen = ranked.best(threshold, size, most)
            score = float(ranked.balance(chosen, target).mean())
            if found is None or score > found.score:
                rows = np.flatnonzero(chosen)
                found = Configuration(temperature, threshold, score, rows)
    assert found is not None
    return found


def monitors(answers: Answers, k: int) -> dict[str, float]:
    """What is there to be found, and how well the reward finds it (formulas: our reading).

    ``pass_at_k`` and ``distinct_correct``, the different right answers to a query, tell
    exploration. Exploitation is ``best_of_k - pass_at_1``: how much more often the best by reward
    of k answers is right than one drawn blindly; below 0 the reward misleads. Expectations are over
    the sets of k among the answers to a query, ties in reward broken evenly, and means over
    queries.

    Args:
        answers: samples with their rewards; ``gold`` rows are not samples and are refused.
        k: how many are drawn, at most as many as each query has.

    Returns:
        ``pass_at_k``, ``distinct_correct``, ``best_of_k``, ``pass_at_1``, ``exploitation``.

    Raises:
        ValueError: a query has fewer than k answers, k is below 1, or rows are gold.
    """
    if answers.gold is not None and np.any(answers.gold):
        raise ValueError("b_star: monitors are of samples, and some rows are gold; leave them out")
    ranked = Ranked(answers)
    n, right = ranked.groups.count(), ranked.groups.count(ranked.correct)
    reached = float(pass_at_k_rate(n, right, k).mean())
    index = ranked.groups.index
    # The chance that the answer of this rank is the best of k: C(n - 1 - rank, k - 1) / C(n, k).
    weight = np.zeros(len(index))
    chance = k / n
    for rank in range(int(n.max())):
        at = ranked.rank == rank
        weight[at] = chance[index[at]]
        chance = chance * np.maximum(n - k - rank, 0.0) / np.maximum(n - 1 - rank, 1.0)
    # Answers with the same reward share what their places have.
    tied = Groups(list(zip(index.tolist(), ranked.rewards.tolist(), strict=True)), "b_star")
    shared = (tied.sum(weight) / tied.count())[tied.index]
    best = float(ranked.groups.sum(shared * ranked.correct).mean())
    blind = float((right / n).mean())
    return {
        "pass_at_k": reached,
        "distinct_correct": float(ranked.groups.count(ranked.first & ranked.correct).mean()),
        "best_of_k": best,
        "pass_at_1": blind,
        "exploitation": best - blind,
    }


class Ranked:
    """Answers with their place in their query, from the best reward on."""

    def __init__(self, answers: Answers) -> None:
        rewards = np.asarray(answers.rewards, dtype=np.float64)
        if answers.gold is not None:
            rewards = np.where(np.asarray(answers.gold, dtype=np.bool_), 1.0, rewards)
        self.rewards = rewards
        self.correct: Bool[np.ndarray, " n"] = np.asarray(answers.correct, dtype=np.bool_)
        self.groups = Groups(answers.query, "b_star")
        order, index = self.groups.ranked(rewards), self.groups.index
        starts = np.cumsum(self.groups.count()) - self.groups.count()
        self.rank = np.empty(len(order), dtype=np.int64)
        self.rank[order] = np.arange(len(order)) - starts.astype(np.int64)[index[order]]
        self.first = np.ones(len(order), dtype=np.bool_)
        if answers.texts is not None:
            seen: set[tuple[int, str]] = set()
            for row in order.tolist():
                said = (int(index[row]), answers.texts[row])
                self.first[row] = said not in seen
                seen.add(said)

    def above(self, threshold: float) -> Bool[np.ndarray, " n"]:
        """The different answers with a reward above the threshold."""
        if np.isnan(threshold):
            raise ValueError(f"b_star: threshold is {threshold}, it must be a number")
        return (self.rewards > threshold) & self.first

    def best(self, threshold: float, size: int, most: int) -> Bool[np.ndarray, " n"]:
        """Those of them in the first k places, for the least k that gives ``size``."""
        if size < 1 or most < 1:
            raise ValueError(f"b_star: size is {size} and most {most}, both must be at least 1")
        above = self.above(threshold)
        counts = np.cumsum(np.bincount(self.rank[above], minlength=1))
        k = min(int(np.searchsorted(counts, size)) + 1, most)
        return above & (self.rank < k)

    def balance(self, chosen: Bool[np.ndarray, " n"], target: int) -> Float64[np.ndarray, " q"]:
        """What each query contributes to the balance score."""
        if target < 1:
            raise ValueError(f"b_star: target is {target}, it must be at least 1")
        n, right = self.groups.count(chosen), self.groups.count(chosen & self.correct)
        return np.asarray(np.minimum(right / target, 1.0) * right / np.maximum(n, 1.0))
