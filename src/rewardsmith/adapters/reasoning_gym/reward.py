"""Signal: what reasoning-gym's own scorer says of a completion."""

import json
from collections.abc import Mapping
from typing import Any

from ...core.catalog import method
from ...core.errors import SpecError
from ...core.execution import Execution
from ...core.rows import RowReward
from .entry import score_entry, score_problem
from .problems import data_set, need_package

_EVALUATED = frozenset(
    {
        "binary_matrix",
        "countdown",
        "intermediate_integration",
        "n_queens",
        "polynomial_multiplication",
        "puzzle24",
        "simple_integration",
        "spiral_matrix",
        "string_insertion",
    }
)
"""Data sets whose scorers run an answer as Python: by ``eval``, or sympy's ``parse_expr``."""


@method("reasoning_gym_reward", kind="signal")
class ReasoningGymReward(RowReward):
    """A data set's ``score_answer`` of reasoning-gym, as it is: 0 to 1, often with in-betweens.

    An answer that is wrong, or is not there, is worth what the scorer says (0 or a little more). A
    scorer that raises leaves its row failed, and some do at answers that they cannot read. What
    scorers catch themselves, or score too high, is not seen here.

    Args:
        dataset: its name; None where the rows tell, in ``metadata["source_dataset"]``.
        config: the configuration of ``dataset``, for the few scorers that read it.
        tag: the last ``<tag>...</tag>`` of a completion holds its answer, and without one there is
            none; None for the whole completion.
        completion: the column of the completions.
        question: the column of the questions, without instructions.
        answer: the column of the gold answers.
        metadata: the column of the rest: dicts, or text made by :func:`rows`.
        entry: the column of whole entries, in place of ``question``, ``answer`` and ``metadata``.

    Raises:
        SpecError: there is no such data set, with the nearest name; it refuses ``config``; or
            reasoning-gym is not installed.
    """

    def __init__(
        self,
        dataset: str | None = None,
        config: Mapping[str, Any] | None = None,
        tag: str | None = "answer",
        completion: str = "completion",
        question: str = "question",
        answer: str = "answer",
        metadata: str = "metadata",
        entry: str | None = None,
    ) -> None:
        super().__init__()
        if tag is not None and not tag.strip():
            raise ValueError("reasoning_gym_reward: tag is empty; None for the whole completion")
        if dataset is None and config:
            raise SpecError("config is of one data set, and dataset does not say which")
        if dataset is None:
            need_package()
        else:
            data_set(dataset, dict(config or {}))
        self.dataset, self.config, self.tag = dataset, config, tag
        self.completion, self.question, self.answer = completion, question, answer
        self.metadata, self.entry = metadata, entry
        if dataset is None or dataset in _EVALUATED:
            self.caution = (
                "reasoning-gym runs the answers of some problems as Python, without isolation"
            )
        columns = (question, answer, metadata) if entry is None else (entry,)
        self.by_row(
            score_problem if entry is None else score_entry,
            (completion, *columns),
            {"dataset": dataset, "config": json.dumps(dict(config or {})), "tag": tag},
            preload=("reasoning_gym",),
        )

    def execution(self) -> Execution:
        # Some scorers hand an answer to sympy, which may take for ever.
        from ...engine.processes import shared

        return shared()
