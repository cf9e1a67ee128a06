"""DAPO's dynamic sampling: generate until a batch is full of groups whose scores differ."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.catalog import Paper, method
from .filtered import FilteredSampler
from .prompts import PromptSampler


@method(
    "dapo_filter",
    kind="sampler",
    paper=Paper(
        "2503.14476", "DAPO: An Open-Source LLM Reinforcement Learning System at Scale", 2025
    ),
)
class DynamicSampling(FilteredSampler):
    """Drop groups whose scores are all the same, and generate for further prompts in their place.

    So every batch has n groups with a gradient, however many prompts are solved or out of reach.
    What it costs is generation: with a share k of groups that differ, about 1 / k batches for one.
    Selected groups beyond n are dropped. After ``max_rounds`` without n a trainer raises.

    In every round as many prompts are proposed as the batch has, or as the pool has left, as in the
    code of verl. Asking only for the groups that are missing (``whole=False``) throws none
    away, and takes more rounds: after r of them a share ``(1 - k)^r`` is expected to be missing.

    **Biased towards prompts of middling difficulty**, which is its purpose: a prompt of pass rate p
    trains with probability ``1 - p^G - (1 - p)^G``.

    The code of verl keeps groups of one answer and demands a standard deviation that is not
    exactly 0; here a group with fewer than two scores is constant, and differences below 1e-8 of
    the size of the scores are none.

    Args:
        of: who proposes the prompts, and observes all groups; ``shuffled`` by default.
        max_rounds: how often may be generated for one batch, 1 or more.
        measure: the part of the scores that has to differ; the total by default.
        whole: a whole batch of prompts in every round, and not only as many as are missing.

    Raises:
        ValueError: ``max_rounds`` below 1; in ``observe`` and ``select``, as
            :class:`FilteredSampler`.

    Source: Yu et al. 2025, section 3.2, and verl's ``filter_groups``.
    """

    def __init__(
        self,
        of: PromptSampler | None = None,
        max_rounds: int = 10,
        measure: str | None = None,
        whole: bool = True,
    ) -> None:
        super().__init__(of, measure)
        if max_rounds < 1:
            raise ValueError(f"dapo_filter: max_rounds is {max_rounds}, it has to be 1 or more")
        self.max_rounds, self.whole = max_rounds, whole
        self.rounds, self.short = max_rounds, "raise"
        self._more = f"more answers to each, or more than {max_rounds} rounds"
        self._wanted = 0

    def begin(self) -> None:
        super().begin()
        self._wanted = 0

    def choose(self, n: int) -> Sequence[int]:
        # The first round of a batch asks for all of it.
        self._wanted = max(self._wanted, n)
        left = self.size - len(self.taken)
        return super().choose(min(self._wanted, left) if self.whole else n)

    def own_state(self) -> dict[str, Any]:
        return {**super().own_state(), "wanted": self._wanted}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        super().load_own_state(state)
        self._wanted = int(state["wanted"])
