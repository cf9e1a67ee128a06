"""How far a state of objects and attributes attains a goal (017, StateFactory)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

from ..core.catalog import Paper, method
from ..core.errors import SpecError
from ..core.outcome import Outcome, Status, broken, judged
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from ..ops.embeddings import Vectors, encode, trigrams
from ..rules.factored_state import Item, Similarity, attainment, parse, repeated, texts
from ..rules.text import text_of
from ._batched import lacking, scores_from

Tables: TypeAlias = tuple[list[Item], list[Item]]
"""The objects of a state, and those of its goal."""


@method(
    "factored_state",
    kind="signal",
    seed=17,
    paper=Paper("2603.09400", "Reward Prediction with Factorized World States", 2026),
)
class FactoredState(Reward):
    """Matched similarity of a state's objects to a goal's, in [0, 1].

    The formula is :func:`~rewardsmith.rules.factored_state.attainment`; how states and goals are
    written, :func:`~rewardsmith.rules.factored_state.parse`. The paper lets a language model
    extract the objects; here they are given, or the policy writes them. To reward each turn, score
    ``rollouts.segments("turn")`` and put the scores back with ``scores.onto(rollouts, "turn")``.

    Similarities are cosines of an encoder's vectors (the paper found all-MiniLM-L6-v2 best);
    without one, of trigram counts, which know spelling and no meaning. Equal texts have similarity
    1. A state that cannot be read, or is empty, scores 0, and so does one that names an object more
    than once, and more often than its goal does: it would be paid for the best of its guesses
    (:func:`~rewardsmith.rules.factored_state.repeated`; our rule). A goal that cannot be read, or
    has no object, fails the row.

    Args:
        goal: the column of goals.
        state: the column of states; of chat messages, the text of the last assistant message.
        encoder: name or folder of a sentence-transformers model; None for trigrams.
        assignment: ``"max"`` lets one state object satisfy several goal objects, ``"hungarian"``
            one at most.
        batch_size: how many texts are encoded at a time; equal ones are encoded once.

    Raises:
        ValueError: the assignment is unknown, or the batch size not positive.
        SpecError: on use, if sentence-transformers or the model is missing.
    """

    def __init__(
        self,
        goal: str = "goal",
        state: str = "completion",
        encoder: str | None = None,
        assignment: Literal["max", "hungarian"] = "max",
        batch_size: int = 64,
    ) -> None:
        super().__init__()
        if assignment not in ("max", "hungarian"):
            raise ValueError(f"factored_state: assignment {assignment!r} is not max or hungarian")
        if batch_size < 1:
            raise ValueError(f"factored_state: batch_size is {batch_size}, not at least 1")
        self.goal, self.state, self.encoder = goal, state, encoder
        self.assignment, self.batch_size = assignment, batch_size
        self.declare(needs=(goal, state), granularity="outcome")

    def forward(self, rollouts: Rollouts) -> Scores:
        names = (self.state, self.goal)
        columns = [rollouts.column(name, needed_by=self.label()) for name in names]
        outcomes: list[Outcome] = []
        tables: dict[int, Tables] = {}
        for i, row in enumerate(zip(*columns, strict=True)):
            absent = lacking(names, row)
            outcome, read = _read(*row) if absent is None else (absent, None)
            outcomes.append(outcome)
            if read is not None:
                tables[i] = read
        similarities = self._similarities(tables.values())
        for i, (state, goal) in tables.items():
            try:
                outcomes[i] = judged(
                    attainment(state, goal, similarities(state, goal), self.assignment)
                )
            except SpecError:
                raise
            except Exception as error:  # noqa: BLE001 - an encoder may raise anything
                outcomes[i] = broken(error)
        return scores_from(outcomes)

    def _similarities(
        self, tables: Iterable[Tables]
    ) -> Callable[[list[Item], list[Item]], Similarity]:
        """Of the objects of a row: how alike any text of its state is to any of its goal."""
        found = sorted({text for pair in tables for items in pair for text in texts(items)})
        at = {text: k for k, text in enumerate(found)}
        embedded: list[Vectors] = []

        def similarities(state: list[Item], goal: list[Item]) -> Similarity:
            if not embedded:
                embedded.append(self._embed(found))
            rows, columns = (list(dict.fromkeys(texts(items))) for items in (state, goal))
            table = _products(
                embedded[0][[at[text] for text in rows]],
                embedded[0][[at[text] for text in columns]],
            )
            row_of = dict(zip(rows, table, strict=True))
            column_of = {text: k for k, text in enumerate(columns)}
            return lambda a, b: 1.0 if a == b else row_of[a][column_of[b]]

        return similarities

    def _embed(self, found: list[str]) -> Vectors:
        if self.encoder is None:
            return trigrams(found)
        return encode(self.encoder, found, self.batch_size)[0]


def _read(state: Any, goal: Any) -> tuple[Outcome, Tables | None]:
    """The objects of state and goal; or the outcome where there is nothing to compare."""
    try:
        wanted = parse(goal)
        if not wanted:
            raise ValueError("it has no object")
    except ValueError as error:
        return broken(ValueError(f"the goal cannot be read: {error}")), None
    try:
        given = parse(state if _is_table(state) else text_of(state))
    except TypeError as error:
        return broken(TypeError(f"the state: {error}")), None
    except ValueError as error:
        return (0.0, Status.SCORED, str(error)), None
    if not given:
        return (0.0, Status.SCORED, "the state is empty"), None
    again = repeated(given, wanted)
    if again is not None:
        why = f"the state has {again[:40]!r} more than once, and more often than the goal"
        return (0.0, Status.SCORED, why), None
    return (0.0, Status.UNSCORED, ""), (given, wanted)


def _is_table(state: Any) -> bool:
    """Whether it is a list of objects, not of chat messages."""
    return isinstance(state, list | tuple) and not any(
        isinstance(value, Mapping) and "role" in value for value in state
    )


def _products(a: Vectors, b: Vectors) -> list[list[float]]:
    product = a @ b.T
    table: list[list[float]] = (
        product.toarray() if hasattr(product, "toarray") else product
    ).tolist()
    return table
