"""Prompts by a guess at their pass rates, drawn from what is believed of them: VADE."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from ..core.catalog import Paper, method
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from ..ops.weights import ROUNDING
from .filtered import differing
from .prompts import PromptSampler
from .rates import prompts_of, rates_of

LEAST = 1e-300
"""A count of a Beta distribution is never below it: 0 would be none."""


def information(
    rates: Float64[np.ndarray, " n"], powers: tuple[float, float] = (1.0, 2.0)
) -> Float64[np.ndarray, " n"]:
    """``p^a (1 - p)^b``: what a group of a prompt with the pass rate p is worth.

    It is largest at ``p = a / (a + b)``: with (1, 2) at 1/3, so that of two prompts whose answers
    differ as often the harder one is preferred; with (1, 1), the variance of an answer, at 1/2;
    (1, 0) is the rate itself.

    Args:
        rates: [N] from 0 to 1.
        powers: a and b, 0 or more.

    Raises:
        ValueError: a power below 0.
    """
    check_powers(powers)
    return np.asarray(rates ** powers[0] * (1.0 - rates) ** powers[1])


def counted(
    alpha: Float64[np.ndarray, " n"],
    beta: Float64[np.ndarray, " n"],
    right: Float64[np.ndarray, " n"],
    answers: Float64[np.ndarray, " n"],
    *,
    decay: float = 0.7,
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """``alpha <- decay alpha + c``, ``beta <- decay beta + G - c``: beliefs after a visit.

    From one visit to the next ``alpha + beta`` nears ``G / (1 - decay)`` and never passes the
    larger of that and where it began, so that about ``1 / (1 - decay)`` visits are remembered.

    Args:
        alpha: [N] believed right answers, more than 0; one entry for each prompt.
        beta: [N] believed wrong ones.
        right: [N] c, the sum of the rewards of this visit.
        answers: [N] G, how many answers they are of.
        decay: the share of the old counts that is kept, in (0, 1].

    Raises:
        ValueError: decay is out of range, or c is not from 0 to G.
    """
    check_decays(decay=decay)
    for row in np.flatnonzero(~((right >= 0.0) & (right <= answers * (1.0 + ROUNDING))))[:1]:
        raise ValueError(
            f"vade: entry {row} has {right[row]:g} right answers of {answers[row]:g}; a sum of "
            "rewards in [0, 1], over the answers that are counted, is needed"
        )
    wrong = (answers - right).clip(min=0.0)
    return np.maximum(decay * alpha + right, LEAST), np.maximum(decay * beta + wrong, LEAST)


def faded(
    counts: Float64[np.ndarray, " n"], prior: float, *, decay: float = 0.995
) -> Float64[np.ndarray, " n"]:
    """``prior + decay (counts - prior)``: a belief after one more batch, visited or not.

    Args:
        counts: [N] alpha, or beta, of each prompt.
        prior: what it was before anything was seen.
        decay: the share of the distance that is kept, in (0, 1].

    Raises:
        ValueError: decay is out of range.
    """
    check_decays(decay=decay)
    # As a mean: a count that is small beside the prior would be lost in a difference.
    return np.asarray(decay * counts + (1.0 - decay) * prior)


@method(
    "vade",
    kind="sampler",
    seed=128,
    paper=Paper(
        "2511.18902",
        "VADE: Variance-Aware Dynamic Sampling via Online Sample-Level Difficulty Estimation for "
        "Multimodal RL",
        2025,
    ),
)
class ThompsonSampling(PromptSampler):
    """Prompts whose answers will differ, guessed before anything is generated for them.

    Of each prompt's pass rate it keeps a Beta distribution. A proposal draws a rate from each
    (Thompson sampling: what was seldom seen is drawn wide, and so gets its turn), and takes the n
    prompts for which :func:`information` of the drawn rate is highest; ties are broken at random.
    Nothing is generated that is not trained on.

    The policy moves, so beliefs fade on two scales. Each *visit* multiplies the prompt's old counts
    by ``visit_decay`` (:func:`counted`). Each *batch*, at the one call of ``begin``, moves the
    counts of all prompts towards the prior by ``batch_decay`` (:func:`faded`), so that a prompt
    which was too hard comes up again: after ``ln 2 / (1 - batch_decay)`` batches half of what was
    believed is left, 138 by default.

    ``observe`` counts a prompt's rewards as right answers, rows without a score neither as right
    nor as answers; a prompt without a scored row was not visited. It takes numbers between 0 and 1,
    a rate of success. After the pool is known, ``alpha`` and ``beta`` [P] are what is believed.

    The three parts, Beta distributions, a Thompson sampler and decay on two scales, are in the
    paper's abstract. The formulas are **our reading**: the score p (1 - p)^2, both decays, their
    defaults and the prior were not checked against the paper's text or code.

    Args:
        powers: a and b of the score ``p^a (1 - p)^b``.
        prior: the counts (alpha, beta) of a prompt that was never seen, more than 0.
        visit_decay: the share of a prompt's counts that a visit keeps, in (0, 1].
        batch_decay: the share of what is believed beyond the prior that a batch keeps, in (0, 1].
        seed: of the draws.

    Raises:
        ValueError: an option out of range; in ``observe``, a reward outside [0, 1], or a prompt_id
            that the pool does not have; in ``propose``, as every sampler. MissingColumn: rollouts
            without ``prompt_id``.

    Source: Hu et al. 2025.
    """

    def __init__(
        self,
        powers: tuple[float, float] = (1.0, 2.0),
        prior: tuple[float, float] = (1.0, 1.0),
        visit_decay: float = 0.7,
        batch_decay: float = 0.995,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        check_powers(powers)
        check_decays(visit_decay=visit_decay, batch_decay=batch_decay)
        check_counts("prior", prior, 2)
        self.powers = (float(powers[0]), float(powers[1]))
        self.prior = (float(prior[0]), float(prior[1]))
        self.visit_decay, self.batch_decay = float(visit_decay), float(batch_decay)
        self.alpha = self.beta = np.empty(0)

    def over(self, pool: Sequence[Mapping[str, Any]]) -> None:
        super().over(pool)
        if len(self.alpha) != self.size:
            self.alpha, self.beta = (np.full(self.size, count) for count in self.prior)

    def begin(self) -> None:
        super().begin()
        self.alpha = faded(self.alpha, self.prior[0], decay=self.batch_decay)
        self.beta = faded(self.beta, self.prior[1], decay=self.batch_decay)

    def choose(self, n: int) -> list[int]:
        # In a random order, which the stable sort keeps among equals.
        rows = self._generator.permutation(np.flatnonzero(self.free()))
        drawn = self._generator.beta(self.alpha[rows], self.beta[rows])
        best = np.argsort(-information(drawn, self.powers), kind="stable")[:n]
        return [int(row) for row in rows[best]]

    def observe(self, rollouts: Rollouts, scores: Scores) -> dict[str, float]:
        """Take in a batch of scored groups.

        Returns:
            ``mixed``, the share of visited prompts whose rewards differ (:func:`differing`);
            ``pass_rate`` and ``evidence``, the means of alpha / (alpha + beta) and of alpha + beta
            over the pool.
        """
        prompts = prompts_of("vade", rollouts, self.size)
        rewards, scored = rates_of("vade", scores, lambda row: f"prompt {prompts[row]}")
        seen, index = np.unique(prompts[scored], return_inverse=True)
        right = np.bincount(index, weights=rewards[scored], minlength=len(seen))
        answers = np.bincount(index, minlength=len(seen)).astype(np.float64)
        self.alpha, self.beta = self.alpha.copy(), self.beta.copy()
        self.alpha[seen], self.beta[seen] = counted(
            self.alpha[seen], self.beta[seen], right, answers, decay=self.visit_decay
        )
        mixed = np.unique(prompts[differing(rewards, prompts, scored) & scored])
        evidence = self.alpha + self.beta
        return {
            "mixed": len(mixed) / max(len(seen), 1),
            "pass_rate": float((self.alpha / evidence).mean()),
            "evidence": float(evidence.mean()),
        }

    def own_state(self) -> dict[str, Any]:
        return {"alpha": self.alpha.tolist(), "beta": self.beta.tolist()}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        alpha, beta = (np.asarray(state[name], dtype=np.float64) for name in ("alpha", "beta"))
        check_counts("the state's alpha", alpha, self.size)
        check_counts("the state's beta", beta, self.size)
        self.alpha, self.beta = alpha, beta


def check_powers(powers: Sequence[float]) -> None:
    """ValueError for anything but two powers from 0."""
    if len(powers) != 2 or not all(0.0 <= power < math.inf for power in powers):
        raise ValueError(f"vade: powers is {powers}, two numbers from 0 are needed")


def check_counts(name: str, counts: ArrayLike, size: int) -> None:
    """ValueError for anything but so many finite numbers above 0."""
    found = np.asarray(counts, dtype=np.float64)
    if found.shape != (size,) or not ((found > 0.0) & (found < math.inf)).all():
        raise ValueError(
            f"vade: {name} is {reprlib.repr(found.tolist())}; numbers above 0, {size} of them, are "
            "needed"
        )


def check_decays(**decays: float) -> None:
    """ValueError outside (0, 1]."""
    for name, decay in decays.items():
        if not 0.0 < decay <= 1.0:
            raise ValueError(f"vade: {name} is {decay}, it must lie in (0, 1]")
