"""What OpenRLHF tells of a row, as columns: a prompt, a completion, and a label."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..scorer import Scorer
from .query import Completions

_AS_JSON = "json"


@dataclass
class Sample:
    """A row as the scorer takes it, or why it cannot be scored."""

    values: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""


class Rows:
    """Makes rows of what OpenRLHF tells.

    Args:
        scorer: what will score them.
        label: the column that a label is, or ``"json"`` where its keys are columns.
        completions: what finds the completion in a query.

    Raises:
        MissingColumn: the reward needs a column that no label can be.
    """

    def __init__(self, scorer: Scorer, label: str, completions: Completions) -> None:
        self.scorer, self.label, self.completions = scorer, label, completions
        if label == _AS_JSON:
            return
        known = {self._theirs(name): None for name in ("prompt", "completion", label)}
        for name in sorted(scorer.reward.always_needs - {"group"}):
            if self._theirs(name) not in known:
                raise scorer.lacking(
                    name,
                    known,
                    "OpenRLHF has nothing else but a label: make that a JSON object with all that "
                    "is needed, and say label='json'",
                )

    def __call__(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]
    ) -> list[Sample]:
        """Rows of queries, which are prompt and completion in one.

        Raises:
            TypeError: what is no list, or holds tokens in the place of text.
            ValueError: they differ in number.
        """
        given = {"queries": queries, "prompts": prompts, "labels": labels}
        for name, values in given.items():
            if not isinstance(values, list | tuple):
                raise TypeError(f"{name} is {type(values).__name__}, not a list")
        if len({len(values) for values in given.values()}) > 1:
            lengths = ", ".join(f"{len(values)} {name}" for name, values in given.items())
            raise ValueError(f"queries, prompts and labels differ in number: {lengths}")
        for name in ("queries", "prompts"):
            for row, value in enumerate(given[name]):
                if not isinstance(value, str):
                    raise TypeError(
                        f"{name}, row {row}: {type(value).__name__}, not text; tokens have to be "
                        "decoded first, with special tokens"
                    )
        return [self._within(*row) for row in zip(queries, prompts, labels, strict=True)]

    def of(self, completion: str, prompt: str, label: Any) -> Sample:
        """A row whose completion is known, without special tokens at its end."""
        try:
            values = self._labeled(label)
        except ValueError as error:
            return Sample(trouble=str(error))
        values[self._theirs("prompt")] = prompt
        values[self._theirs("completion")] = completion
        return Sample(values)

    def _within(self, query: str, prompt: str, label: Any) -> Sample:
        try:
            completion = self.completions.within(query, prompt)
        except ValueError as error:
            return Sample(trouble=str(error))
        return self.of(completion, prompt, label)

    def _labeled(self, label: Any) -> dict[str, Any]:
        if label is None or label == "":
            # What OpenRLHF gives where nobody told it the label's column.
            return {}
        if self.label != _AS_JSON:
            return {self._theirs(self.label): label}
        try:
            found = json.loads(label) if isinstance(label, str) else label
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, Mapping):
            raise ValueError(f"the label is no JSON object: {str(label)[:40]!r}")
        return dict(found)

    def _theirs(self, name: str) -> str:
        return self.scorer.columns.get(name, name)
