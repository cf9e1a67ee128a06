"""One batch of TRL's, scored: on this rank, with what the others have where that is needed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ...core.errors import SpecError
from ...core.outcome import Status
from ...core.scores import Scores
from ...ops.ranks import Ranks, count_of, everybody, rank_of, share
from ..columns import read_by
from ..scorer import Row, Scorer, numbers
from ..telling import Reason
from .batch import Batch
from .groups import Window, window
from .logs import Log, metrics, table, tally
from .troubles import Troubles

Values = list[float | None]


@dataclass(frozen=True)
class _Found:
    """What a rank found of its own rows."""

    values: dict[str, Values]
    columns: dict[str, list[float]] = field(default_factory=dict)
    """What :func:`~..scorer.numbers` says; nothing where it has no rows."""
    troubles: dict[int, Reason] = field(default_factory=dict)

    def tally(self) -> tuple[int, dict[str, float]]:
        return tally(self.columns)


@dataclass(frozen=True)
class Evaluation:
    """What the reward functions made of one reward do together, once for each batch.

    Args:
        scorer: the reward, and the caller's policy for rows without a score.
        factors: part -> what its values are multiplied with, for the parts that are asked for.
        num_generations: rows of a group, where equal prompts do not tell.
        log: where what was found is written.
        together: whether ranks wait for each other; every one of them has to call then.
    """

    scorer: Scorer
    factors: Mapping[str, float]
    num_generations: int | None
    log: Log
    together: bool
    troubles: Troubles = field(default_factory=Troubles)

    def __call__(self, batch: Batch) -> dict[str, Values]:
        """The values of the batch's rows: the reward's under "", those of the parts by name.

        Raises:
            MissingColumn: the reward needs a column that TRL does not give.
            ScoreError: a row broke and ``missing`` is ``"raise"``, or another rank failed.
            SpecError: groups that are not whole, or lie on ranks that do not wait for each other.
            TypeError: the completions are tokens, or what the reward reads is no column.
            ValueError: columns differ in length.
        """
        ranks = everybody()
        asked = ranks if self.together else None
        by_rank = self._by_rank(batch, ranks, asked)
        found, tallies = share(
            lambda: self._found(self._window(batch, by_rank, rank_of(asked))), _Found.tally, asked
        )
        self.troubles(found.troubles, len(found.values[""]))
        extra = table(found.columns, found.troubles)
        self.log(metrics(tallies), extra, batch.given, alone=asked is not ranks)
        return found.values

    def _by_rank(self, batch: Batch, ranks: Ranks, asked: Ranks) -> list[list[Row]] | None:
        """Each rank's rows, where the reward compares rows; else None."""
        scope = self.scorer.reward.scope
        if scope == "row":
            return None
        if asked is not ranks:
            raise SpecError(
                f"this reward compares rows of a {scope}, which lie on {count_of(ranks)} ranks, "
                "and asynchronous rewards cannot wait for each other: use "
                "to_trl(..., asynchronous=False)"
            )
        return share(lambda: self._sent(batch), lambda rows: rows, asked)[1]

    def _sent(self, batch: Batch) -> list[Row]:
        """The rows with no more in them than other ranks need."""
        heads = self._read() | {"prompt"}
        return [{k: v if k in heads else None for k, v in r.items()} for r in batch.rows(heads)]

    def _read(self) -> set[str]:
        """TRL's columns that the reward reads: by their whole names, and by those before a dot."""
        columns = self.scorer.columns
        read = {columns.get(name, name) for name in read_by(self.scorer.reward) - {"group"}}
        read |= {columns[name] for name in ("group",) if name in columns}
        return read | {path.partition(".")[0] for path in read}

    def _window(self, batch: Batch, by_rank: list[list[Row]] | None, rank: int) -> Window:
        """The rows that this rank has to score."""
        if by_rank is not None:
            return window(by_rank, rank, self.scorer, self.num_generations)
        rows = batch.rows(self._read())
        return Window(rows, None, 0, len(rows))

    def _found(self, part: Window) -> _Found:
        """Score some rows; what is returned is of this rank's own.

        Raises:
            ScoreError: a row broke and ``missing`` is ``"raise"``.
        """
        if not part.n:
            return _Found({name: [] for name in ("", *self.factors)})
        scores = self.scorer(part.rows, part.group)
        columns = {name: values[part.own] for name, values in numbers(scores).items()}
        troubles = dict(reasons(scores, part.own))
        return _Found(self._values(scores, part.own), columns, troubles)

    def _values(self, scores: Scores, own: slice) -> dict[str, Values]:
        whole = Scores.outcome(
            scores.total()[own],
            scores.status[own],
            errors={
                i - own.start: e for i, e in scores.errors.items() if own.start <= i < own.stop
            },
        )
        given, known = whole.resolve(self.scorer.missing), whole.scored.tolist()
        number = self.scorer.missing if isinstance(self.scorer.missing, float) else None
        has = given.scored.tolist()
        values = {"": _picked(given.total().tolist(), has, has, None)}
        for name, factor in self.factors.items():
            part = scores.parts[name]
            # In float32, as the reward itself multiplies.
            weighted = (factor * part.total())[own].tolist()
            values[name] = _picked(weighted, part.scored[own].tolist(), known, number)
            # The number stands for the whole reward: one part carries it, the others add nothing.
            number = None
        return values


def reasons(scores: Scores, own: slice) -> Iterator[tuple[int, Reason]]:
    """Row -> why it has no score."""
    for row, code in enumerate(scores.status[own].tolist()):
        if code != Status.SCORED:
            part, message = scores.errors.get(own.start + row, ("", ""))
            yield row, Reason(Status(code), part, message)


def _picked(
    values: list[float], has: list[bool], known: list[bool], number: float | None
) -> Values:
    """Values of scored rows; a row without a total gets the number, or None."""
    return [
        (value if there else None) if whole else number
        for value, there, whole in zip(values, has, known, strict=True)
    ]
