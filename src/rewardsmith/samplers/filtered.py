"""Groups whose answers are not all alike: the test, and what samplers that ask for them share."""

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from ..core.rollouts import Rollouts
from ..core.scores import Scores
from ..ops.groups import Groups, Ids
from .around import Around
from .prompts import PromptSampler

TOLERANCE = 1e-8
"""Scores that are nearer than this part of their size are alike."""


def differing(
    values: Float64[np.ndarray, " n"],
    group: Ids,
    scored: Bool[np.ndarray, " n"] | None = None,
    *,
    tolerance: float = TOLERANCE,
) -> Bool[np.ndarray, " n"]:
    """Whether the scores of a row's group differ: ``max - min > tolerance max(|max|, |min|)``.

    A group with fewer than two scored rows does not differ.

    Args:
        values: [N] one score per row, any unit.
        group: [N] one id per row, in any order.
        scored: [N] the rows that have a score; the others are not compared. Default all.
        tolerance: a part of the size of the scores, 0 or more.

    Returns:
        [N] the same for all rows of a group, scored or not.

    Raises:
        ValueError: lengths that disagree, or a scored value that is not finite.
    """
    groups = Groups(group, "differing")
    scored = np.ones(len(values), dtype=np.bool_) if scored is None else scored
    if not len(values) == len(scored) == len(groups.index):
        raise ValueError(
            f"differing: {len(values)} values, {len(scored)} flags and {len(groups.index)} ids of "
            "groups; one of each per row is needed"
        )
    odd = np.flatnonzero(scored & ~np.isfinite(values))
    if len(odd):
        raise ValueError(
            f"differing: row {odd[0]} is scored {values[odd[0]]}, a finite number is needed"
        )
    index = groups.index[scored]
    low, high = np.full(len(groups), np.inf), np.full(len(groups), -np.inf)
    np.minimum.at(low, index, values[scored])
    np.maximum.at(high, index, values[scored])
    # A group without a score has infinite bounds, whose difference is no number.
    low, high = np.where(low <= high, low, 0.0), np.where(low <= high, high, 0.0)
    # Halves, for the difference of the two largest numbers overflows.
    spread = high / 2.0 - low / 2.0
    size = np.maximum(np.abs(low), np.abs(high)) / 2.0
    differs: Bool[np.ndarray, " n"] = (spread > tolerance * size)[groups.index]
    return differs


class FilteredSampler(Around):
    """Prompts of another sampler, of which only the groups train whose scores differ.

    In a group whose scores are all the same every group-relative advantage is 0. The child proposes
    and observes **every** group, the filtered ones too; what it does not select is not selected. A
    row without a score is not compared, and goes with its group.

    Args:
        of: who proposes the prompts; all in turn, each pass in a new order, by default.
        measure: the path of the part of the scores that has to differ, such as ``correct``; the
            total by default. A total that a length reward is part of almost always differs.

    Raises:
        ValueError: a child that generates, whose answers would not be asked for. In ``observe`` and
            ``select``: rollouts without groups, or scores without the part ``measure``.
    """

    _more = "or more answers to each"
    """What else may help where too few groups are selected."""

    def __init__(self, of: PromptSampler | None = None, measure: str | None = None) -> None:
        super().__init__(of)
        self.measure = measure

    def observe(self, rollouts: Rollouts, scores: Scores) -> dict[str, float]:
        """The child learns; returns its metrics and ``kept``, the share of groups selected."""
        told = super().observe(rollouts, scores)
        return told | {"kept": self.kept(rollouts, scores)}

    def kept(self, rollouts: Rollouts, scores: Scores) -> float:
        """The share of groups that ``select`` selects."""
        groups = Groups(rollouts.group, self.default_name())
        selected = groups.count(self.select(rollouts, scores).numpy()) > 0
        return float(np.mean(selected)) if len(selected) else 0.0

    def select(self, rollouts: Rollouts, scores: Scores) -> Bool[Tensor, " n"]:
        if len(rollouts) > 1 and not rollouts.grouped:
            raise ValueError(
                f"{self.default_name()} compares the answers to a prompt, and these "
                f"{len(rollouts)} rollouts have no groups; give them `group`, such as the ids of "
                "their prompts"
            )
        part = self._measured(scores)
        # In float64, steps have the same sum in whatever order they were paid.
        values = part.values.detach().to("cpu", torch.float64)
        totals = values if values.ndim == 1 else values.sum(dim=1)
        scored = (part.scored & scores.scored).cpu()
        differs = torch.from_numpy(differing(totals.numpy(), rollouts.group, scored.numpy()))
        return differs & super().select(rollouts, scores)

    def why(self) -> str:
        by = f" by {self.measure!r}" if self.measure else ""
        return (
            f"the answers to each other prompt are scored alike{by}; give prompts that are solved "
            f"sometimes, {self._more}"
        )

    def _measured(self, scores: Scores) -> Scores:
        parts = dict(scores.walk())
        path = self.measure or ""
        if path not in parts:
            known = ", ".join(sorted(filter(None, parts))) or "none"
            raise ValueError(
                f"{self.default_name()}: the scores have no part {path!r} to measure; their parts "
                f"are: {known}"
            )
        return parts[path]
