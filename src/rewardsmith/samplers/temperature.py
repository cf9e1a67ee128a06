"""The temperature to generate with, found by trying: B-STaR, online."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from ..core.catalog import Paper, method
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from .around import Around
from .balance import Answers, Ranked
from .prompts import PromptSampler


@method(
    "b_star",
    kind="sampler",
    seed=60,
    paper=Paper(
        "2412.17256",
        "B-STaR: Monitoring and Balancing Exploration and Exploitation in Self-Taught Reasoners",
        2024,
    ),
)
class BalancedTemperature(Around):
    """Holds the temperature with the best balance score; prompts are another sampler's.

    Each temperature generates ``trial`` batches, and its score is the mean over the groups of them
    (see :func:`balance_score`). The best one, of equal ones the first in the list, generates
    ``hold`` batches; then all are tried again. All batches train, those of a trial too. Published
    is the search over samples for a few held-out queries before each round of training
    (:func:`best_configuration`); that the batches of online training themselves are the samples is
    our reading. The scores of a trial are of different prompts and of a policy that moves, so a
    short trial chooses by chance among temperatures that are near.

    Rows without a score are left out, and so is a group without any row that has one.

    Args:
        of: says which prompts, observes all groups and selects; None for all in turn.
        temperatures: those to try, in order.
        trial: batches for each of them.
        hold: batches for the best one.
        threshold: the total that an answer needs to be worth training on.
        correct: the path of the part that says whether an answer is right; None for the total. Then
            with ``correct_above`` at or below ``threshold`` all that is selected is right, and the
            score tells how much of that there is.
        correct_above: it is right above this.
        target: n*, how many right answers to a prompt are enough.

    Raises:
        ValueError: an argument is out of range; in ``observe``, there is no part ``correct``.

    Source: Zeng et al. 2024, and the authors' ``determine_hyper.py``.
    """

    def __init__(
        self,
        of: PromptSampler | None = None,
        temperatures: Sequence[float] = (0.6, 0.8, 1.0, 1.2),
        trial: int = 1,
        hold: int = 20,
        threshold: float = 0.0,
        correct: str | None = None,
        correct_above: float = 0.5,
        target: int = 8,
    ) -> None:
        super().__init__(of)
        if not temperatures or not all(t > 0 for t in temperatures):
            raise ValueError(
                f"b_star: temperatures are {list(temperatures)}; give one or more above 0"
            )
        for name, number in (("trial", trial), ("hold", hold), ("target", target)):
            if number < 1:
                raise ValueError(f"b_star: {name} is {number}, it must be at least 1")
        self.temperatures, self.trial, self.hold = tuple(temperatures), trial, hold
        self.threshold, self.correct, self.correct_above = threshold, correct, correct_above
        self.target = target
        self._sums = [0.0] * len(temperatures)
        self._groups = [0] * len(temperatures)

    @property
    def trying(self) -> int | None:
        """Which of the temperatures this batch tries; None where the best one is held."""
        cycle = len(self.temperatures) * self.trial + self.hold
        number = max(self.batches - 1, 0) % cycle // self.trial
        return number if number < len(self.temperatures) else None

    @property
    def temperature(self) -> float:  # type: ignore[override]
        """That of this batch."""
        return self.temperatures[self.best() if self.trying is None else self.trying]

    def best(self) -> int:
        """Which of the temperatures has the best mean score since the trials began."""
        means = [s / max(n, 1) for s, n in zip(self._sums, self._groups, strict=True)]
        return int(np.argmax(means))

    def begin(self) -> None:
        before = self.trying
        super().begin()
        if self.trying == 0 and before != 0:
            self._sums = [0.0] * len(self.temperatures)
            self._groups = [0] * len(self.temperatures)

    def observe(self, rollouts: Rollouts, scores: Scores) -> dict[str, float]:
        """The child learns, and a trial is graded.

        Returns:
            The child's metrics, ``temperature``, and ``balance``, the score of these groups.
        """
        told = self.of.observe(rollouts, scores) | {"temperature": float(self.temperature)}
        each = self._graded(rollouts, scores)
        if not len(each):
            return told
        if self.trying is not None:
            self._sums[self.trying] += float(each.sum())
            self._groups[self.trying] += len(each)
        return told | {"balance": float(each.mean())}

    def _graded(self, rollouts: Rollouts, scores: Scores) -> Float64[np.ndarray, " q"]:
        """What each group contributes to the score."""
        parts = dict(scores.walk())
        if (self.correct or "") not in parts:
            known = ", ".join(sorted(filter(None, parts))) or "none"
            raise ValueError(
                f"b_star: the scores have no part {self.correct!r} that says what is right; their "
                f"parts are: {known}"
            )
        part = parts[self.correct or ""]
        rows = (scores.scored & part.scored).nonzero().flatten().tolist()
        if not rows:
            return np.zeros(0)
        said = next((c for c in ("completion_ids", "completion") if c in rollouts.rows), None)
        texts = None if said is None else [str(rollouts.rows[said][row]) for row in rows]
        totals, right = scores.total().numpy(force=True), part.total().numpy(force=True)
        ranked = Ranked(
            Answers(
                totals[rows],
                right[rows] > self.correct_above,
                [int(rollouts.group[row]) for row in rows],
                texts,
            )
        )
        contributions = ranked.balance(ranked.above(self.threshold), self.target)
        return np.asarray(contributions)

    def own_state(self) -> dict[str, Any]:
        state = {"sums": list(self._sums), "groups": list(self._groups)}
        return super().own_state() | state

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        if len(state["sums"]) != len(self.temperatures):
            raise ValueError(
                f"b_star: the state is of {len(state['sums'])} temperatures, this sampler has "
                f"{len(self.temperatures)}"
            )
        super().load_own_state(state)
        self._sums, self._groups = list(state["sums"]), list(state["groups"])
