"""The gate: a reward that counts only where one of higher priority is good enough (004, G-RA)."""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Int8
from torch import Tensor

from .acting import Floats, Step, Terms, void
from .algebra import all_dense
from .catalog import Paper, method
from .combination import dense_view, factor_view, failed_anywhere
from .errors import ScoreError
from .outcome import Status
from .reward import Reward
from .rollouts import Rollouts
from .scores import Scores, first_errors, worst


@method(
    "gate",
    kind="combine",
    seed=4,
    paper=Paper(
        "2508.10548",
        "Stabilizing Long-term Multi-turn Reinforcement Learning with Gated Rewards",
        2025,
    ),
)
class Gate(Reward):
    """``of`` counts only where ``condition`` reaches the threshold.

    ``1[condition >= threshold] * of``, plus ``condition`` itself if ``accumulate``: the gated
    reward accumulation ``R_hi + 1[R_hi >= delta] * sum_t r_t`` of the paper, where the condition is
    the outcome and ``of`` the dense sum of step rewards. Nest gates for more levels of priority.
    That the comparison is >= and that levels nest as a product is our reading of the paper.

    A closed gate scores 0. ``of`` is not read behind it: neither its values (masked, not
    multiplied, so that a NaN cannot leak) nor its status.

    Args:
        condition: the reward of higher priority.
        of: the reward that it gates; dense if the condition is.
        threshold: delta. -inf opens the gate for every scored row, inf for none.
        strict: compare with > instead of >=.
        accumulate: add the condition to the result.
        on_abstained: what happens where the condition abstained, as an outcome does that is missing
            because the episode was cut off: the row may ``"abstain"`` too, the gate be ``"closed"``
            or ``"open"``, or ``"raise"``.

    Raises:
        ValueError: the threshold is NaN, or a dense condition is to gate an outcome.
        ScoreError: ``on_abstained="raise"`` met such a row.
    """

    def __init__(
        self,
        condition: Reward,
        of: Reward,
        threshold: float,
        strict: bool = False,
        accumulate: bool = False,
        on_abstained: Literal["abstain", "closed", "open", "raise"] = "abstain",
    ) -> None:
        super().__init__()
        if np.isnan(threshold):
            raise ValueError("gate: the threshold is NaN")
        if condition.granularity == "dense" and of.granularity == "outcome":
            raise ValueError(
                "gate: the condition is dense and `of` an outcome; steps cannot gate a rollout"
            )
        self.condition, self.of, self.threshold = condition, of, float(threshold)
        self.strict, self.accumulate, self.on_abstained = strict, accumulate, on_abstained

    def forward(self, rollouts: Rollouts) -> Scores:
        condition, of = self.condition(rollouts), self.of(rollouts)
        known, opened = self._decide(condition)
        if of.at is None:
            values, at = torch.where(opened, of.values, 0.0), None
            read = opened
            if self.accumulate:
                values = values + condition.values
        else:
            settled = (known & ~condition.scored)[:, None] & rollouts.action_mask
            known_at = factor_view(condition, rollouts)[1] | settled
            opened_at = known_at & (opened[:, None] if opened.ndim == 1 else opened)
            read = opened_at.any(dim=1)
            passing = opened_at & of.at
            values, at = torch.where(passing, of.values, 0.0), passing | (known_at & ~opened_at)
            if self.accumulate:
                own, own_at = dense_view(condition, rollouts)
                values, at = values + own, at | own_at
        parts = {"condition": condition, "of": of}
        status = self._status(condition, of, read)
        errors = first_errors(parts, status)
        if at is None:
            return Scores.outcome(values, status, errors=errors, parts=parts)
        failed = failed_anywhere(parts)
        return Scores.dense(values, at, status, failed_at=failed, errors=errors, parts=parts)

    def _decide(self, condition: Scores) -> tuple[Bool[Tensor, " n"], Bool[Tensor, "..."]]:
        """Which rows' gate is decided, and which rows (or steps, if dense) it is open for."""
        abstained = condition.status == Status.ABSTAINED
        if self.on_abstained == "raise" and bool(abstained.any()):
            row = int(abstained.nonzero()[0])
            raise ScoreError("the gate's condition abstained", row=row, part="condition")
        reached = self._reached(condition.values)
        read = condition.scored if condition.at is None else condition.at
        opened = reached & read
        known = condition.scored
        if self.on_abstained in ("closed", "open"):
            known = known | abstained
        if self.on_abstained == "open":
            opened = opened | (abstained if condition.at is None else abstained[:, None])
        return known, opened

    def _status(
        self, condition: Scores, of: Scores, read: Bool[Tensor, " n"]
    ) -> Int8[Tensor, " n"]:
        own = condition.status
        if self.on_abstained in ("closed", "open"):
            own = torch.where(own == Status.ABSTAINED, int(Status.SCORED), own).to(torch.int8)
        return worst([own, torch.where(read, of.status, int(Status.SCORED)).to(torch.int8)])

    def _reached(self, values: Any) -> Any:
        return values > self.threshold if self.strict else values >= self.threshold

    @property
    def acts(self) -> bool:
        return super().acts and all_dense(self)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        values, carry = self.step_children(s, carry, out)
        condition = values["condition"]
        passed = np.where(self._reached(condition), values["of"], 0.0)
        # A comparison would make a number of a condition that is none.
        passed = void(passed, condition)
        return passed + condition if self.accumulate else passed, carry
