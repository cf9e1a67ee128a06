"""One batch of TRL's, scored: on this rank, with what the others have where that is needed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import ScoreError, SpecError
from ...core.outcome import Status
from ...core.scores import Scores
from ..columns import read_by
from ..scorer import Row, Scorer, numbers
from .groups import Window, window
from .logs import LogExtra, LogMetric, metrics, table, tally
from .ranks import Ranks

Values = list[float | None]
_NO_COLUMNS = frozenset({"trainer_state", "log_extra", "log_metric", "environments"})
"""What TRL gives reward functions beside columns."""


@dataclass(frozen=True)
class Batch:
    """What TRL calls a reward function with."""

    prompts: Sequence[Any]
    completions: Sequence[Any]
    completion_ids: Sequence[Any] | None
    given: Mapping[str, Any]
    """Data set columns, and what is no column."""

    def rows(self) -> list[Row]:
        """The batch by row, under TRL's names.

        Raises:
            ValueError: a column is not as long as the others.
        """
        n = len(self.completions)
        columns: dict[str, Sequence[Any]] = {"prompt": self.prompts, "completion": self.completions}
        if self.completion_ids is not None:
            columns["completion_ids"] = self.completion_ids
        for name, values in self.given.items():
            if name not in _NO_COLUMNS and isinstance(values, Sequence) and type(values) is not str:
                columns[name] = values
        for name, values in columns.items():
            if len(values) != n:
                raise ValueError(f"column {name!r} has {len(values)} rows, not {n} as completions")
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@dataclass(frozen=True)
class Evaluation:
    """What the reward functions made of one reward do together, once for each batch.

    Args:
        scorer: the reward, and the caller's policy for rows without a score.
        factors: part -> what its values are multiplied with, for the parts that are asked for.
        num_generations: rows of a group, where equal prompts do not tell.
        prefix: what stands before the names in the log.
        together: whether ranks wait for each other; every one of them has to call then.
    """

    scorer: Scorer
    factors: Mapping[str, float]
    num_generations: int | None
    prefix: str
    together: bool

    def __call__(self, batch: Batch) -> dict[str, Values]:
        """The values of the batch's rows: the reward's under "", those of the parts by name.

        Raises:
            MissingColumn: the reward needs a column that TRL does not give.
            ScoreError: a row broke and ``missing`` is ``"raise"``, or another rank failed.
            SpecError: groups that are not whole, or lie on ranks that do not wait for each other.
        """
        here = Ranks.here()
        ranks = here if self.together else Ranks()
        wide = self.scorer.reward.scope != "row"
        if wide and not self.together and here.count > 1:
            raise SpecError(
                f"this reward compares rows of a {self.scorer.reward.scope}, which lie on "
                f"{here.count} ranks, and asynchronous rewards cannot wait for each other: use "
                "to_trl(..., asynchronous=False)"
            )
        everybody = ranks.share(lambda: self._sent(batch)) if wide else [[]]
        results: dict[str, Values] = {}
        extra: dict[str, list[Any]] = {}

        def work() -> tuple[int, dict[str, float]]:
            if wide:
                part = window(everybody, ranks.index, self.scorer, self.num_generations)
            else:
                rows = batch.rows()
                part = Window(rows, None, 0, len(rows))
            if not part.n:
                return 0, {}
            scores = self.scorer(part.rows, part.group)
            own = slice(part.start, part.start + part.n)
            self._refuse_broken(scores, own)
            results.update(self._values(scores, own))
            columns = {name: values[own] for name, values in numbers(scores).items()}
            extra.update(table(columns))
            return tally(columns)

        means = metrics(ranks.share(work))
        alone = here.count > 1 and not self.together
        self._log(means, extra, batch.given, alone)
        return results or {name: [] for name in ("", *self.factors)}

    def _sent(self, batch: Batch) -> list[Row]:
        """The rows with no more in them than other ranks need."""
        columns = self.scorer.columns
        read = {columns.get(name, name) for name in read_by(self.scorer.reward)} | {"prompt"}
        read |= {columns[name] for name in ("group",) if name in columns}
        heads = read | {path.partition(".")[0] for path in read}
        return [{k: v if k in heads else None for k, v in row.items()} for row in batch.rows()]

    def _refuse_broken(self, scores: Scores, own: slice) -> None:
        if self.scorer.missing != "raise":
            return
        for row, code in enumerate(scores.status[own].tolist()):
            if code > Status.ABSTAINED:
                name = Status(code).name.lower()
                part, message = scores.errors.get(own.start + row, ("", ""))
                raise ScoreError(f"{name}: {message}" if message else name, row=row, part=part)

    def _values(self, scores: Scores, own: slice) -> dict[str, Values]:
        known = scores.scored[own].tolist()
        number = self.scorer.missing if isinstance(self.scorer.missing, float) else None
        values: dict[str, Values] = {}
        values[""] = _picked(scores.total()[own].tolist(), known, known, number)
        for name, factor in self.factors.items():
            part = scores.parts[name]
            # In float32, as the reward itself multiplies.
            weighted = (factor * part.total())[own].tolist()
            values[name] = _picked(weighted, part.scored[own].tolist(), known, number)
            # The number stands for the whole reward: one part carries it, the others add nothing.
            number = None
        return values

    def _log(
        self,
        means: Mapping[str, float],
        extra: Mapping[str, list[Any]],
        given: Mapping[str, Any],
        alone: bool,
    ) -> None:
        log_metric: LogMetric | None = given.get("log_metric")
        log_extra: LogExtra | None = given.get("log_extra")
        if log_metric is not None:
            for name, mean in means.items():
                # Where ranks do not wait for each other TRL averages their numbers, and one NaN
                # would take the other ranks' along.
                if not (alone and math.isnan(mean)):
                    log_metric(self.prefix + name, mean)
        if log_extra is not None:
            for name, column in extra.items():
                log_extra(self.prefix + name, column)


def _picked(
    values: list[float], has: list[bool], known: list[bool], number: float | None
) -> Values:
    """Values of scored rows; a row without a total gets the number, or None."""
    return [
        (value if there else None) if whole else number
        for value, there, whole in zip(values, has, known, strict=True)
    ]
