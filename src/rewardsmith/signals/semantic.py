"""Closeness to a reference text, by the vectors of a sentence encoder or by weighed words (011)."""

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from ..core.catalog import Paper, method
from ..core.errors import SpecError
from ..core.outcome import Outcome, Status, broken, judged
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from ..ops.embeddings import Floats, Vectors, WordFrequencies, cosine, encode, norms
from ..rules.text import text_of
from ._batched import lacking, scores_from

Pair: TypeAlias = tuple[str, str]
"""A completion's text and its reference's."""


def semantic_similarity(
    completions: Vectors, references: Vectors, floor: float | None = None
) -> Floats:
    """``r = cos(E(y), E(y*))`` per row; with a floor, ``max(0, (r - floor) / (1 - floor))``.

    It is symmetric, does not depend on the lengths of the vectors, and 0 where one of them is all
    0. The floor spreads the range that encoders really use (unrelated texts rarely have a cosine of
    0) over [0, 1]; that it is cut off at 0 is our reading.

    Args:
        completions: vectors [n, d] of what was said, an array or a sparse matrix.
        references: vectors [n, d] of what it is compared with.
        floor: the cosine that is worth nothing, in [-1, 1).

    Returns:
        [n], in [-1, 1] without a floor and in [0, 1] with one.

    Raises:
        ValueError: the floor does not lie in [-1, 1), or the shapes differ.
    """
    _check_floor(floor)
    similarity = cosine(completions, references)
    return similarity if floor is None else np.maximum(0.0, (similarity - floor) / (1 - floor))


def _check_floor(floor: float | None) -> None:
    if floor is not None and not -1.0 <= floor < 1.0:
        raise ValueError(f"semantic_similarity: the floor {floor} does not lie in [-1, 1)")


@method(
    "semantic_similarity",
    kind="signal",
    seed=11,
    paper=Paper(
        "2509.13081",
        "Shaping Explanations: Semantic Reward Modeling with Encoder-Only Transformers for GRPO",
        2025,
    ),
)
class SemanticSimilarity(Reward):
    """Cosine similarity between completion and reference; see :func:`semantic_similarity`.

    Without an encoder, texts are TF-IDF vectors of their words. A word's weight depends on how many
    texts of the *data set* hold it, so this reward has scope ``"dataset"``: :meth:`survey` counts
    the completions and references of every chunk, and what was counted is saved with the state.
    Where nothing was surveyed, the rollouts at hand are taken for the whole data set.

    With an encoder each row stands by itself. Encoders read the first few hundred tokens only: what
    they do not read is told as a warning, and per row in ``info["unread"]`` (tokens of completion
    and reference).

    It measures topic, not truth. With TF-IDF the words of the reference in any order score 1, and
    a wrong text gains by topical words; encoders see negations and numbers poorly. Combine it with
    a check of the answer, as the paper does.

    A completion without text scores 0. A missing reference fails the row, and so does, without an
    encoder, one without a word (unless the completion is the same text, which always scores 1).

    Args:
        gold: the column of reference texts (or chat messages).
        completion: the column of completions, text or chat messages.
        encoder: name or folder of a sentence-transformers model; None for TF-IDF.
        floor: the cosine that is worth nothing; None leaves cosines as they are, in [-1, 1].
        batch_size: how many texts are encoded at a time; equal ones are encoded once.

    Raises:
        ValueError: the floor does not lie in [-1, 1), or the batch size is not positive.
        SpecError: on use, if sentence-transformers or the model is missing.
    """

    def __init__(
        self,
        gold: str = "reference",
        completion: str = "completion",
        encoder: str | None = None,
        floor: float | None = 0.0,
        batch_size: int = 64,
    ) -> None:
        super().__init__()
        _check_floor(floor)
        if batch_size < 1:
            raise ValueError(f"semantic_similarity: batch_size is {batch_size}, not at least 1")
        self.gold, self.completion, self.encoder = gold, completion, encoder
        self.floor, self.batch_size = floor, batch_size
        self.frequencies = WordFrequencies()
        self.declare(
            needs=(completion, gold),
            granularity="outcome",
            scope="dataset" if encoder is None else "row",
        )

    def forward(self, rollouts: Rollouts) -> Scores:
        outcomes, pairs = self._read(rollouts)
        unread = np.zeros(len(outcomes), dtype=np.int64)
        if pairs:
            texts = list(dict.fromkeys(text for pair in pairs.values() for text in pair))
            at = {text: k for k, text in enumerate(texts)}
            said, wanted = ([at[pair[side]] for pair in pairs.values()] for side in (0, 1))
            rows = list(pairs)
            if self.encoder is None:
                vectors = self._known(rollouts).vectors(texts)
            else:
                try:
                    vectors, left, limit = encode(self.encoder, texts, self.batch_size)
                except SpecError:
                    raise
                except Exception as error:  # noqa: BLE001 - a model may raise anything
                    for row in rows:
                        outcomes[row] = broken(error)
                    return scores_from(outcomes)
                unread[rows] = left[said] + left[wanted]
                self._warn_of(left, limit)
            values = semantic_similarity(vectors[said], vectors[wanted], self.floor)
            blank = norms(vectors)[wanted] == 0
            for row, value, empty in zip(rows, values.tolist(), blank.tolist(), strict=True):
                outcomes[row] = _outcome(value, empty, *pairs[row])
        return scores_from(outcomes, {"unread": unread})

    def _read(self, rollouts: Rollouts) -> tuple[list[Outcome], dict[int, Pair]]:
        """What is known of each row without comparing, and the texts of the rows to compare."""
        names = (self.completion, self.gold)
        columns = [rollouts.column(name, needed_by=self.label()) for name in names]
        outcomes: list[Outcome] = []
        pairs: dict[int, Pair] = {}
        for i, row in enumerate(zip(*columns, strict=True)):
            absent = lacking(names, row)
            if absent is not None:
                outcomes.append(absent)
                continue
            outcome: Outcome = (0.0, Status.UNSCORED, "")
            try:
                said, wanted = (_text(*cell) for cell in zip(names, row, strict=True))
                if not wanted.strip():
                    raise ValueError(f"column {self.gold!r}: the reference is empty")
                if said.strip():
                    pairs[i] = (said, wanted)
                else:
                    outcome = (0.0, Status.SCORED, "the completion is empty")
            except (TypeError, ValueError) as error:
                outcome = broken(error)
            outcomes.append(outcome)
        return outcomes, pairs

    def survey(self, rollouts: Rollouts) -> None:
        """Count the words of a chunk's completions and references."""
        if self.encoder is None:
            self._count(self.frequencies, rollouts)

    def _known(self, rollouts: Rollouts) -> WordFrequencies:
        """What was surveyed, or else the words of these rollouts; nothing of them is kept."""
        if self.frequencies.documents:
            return self.frequencies
        own = WordFrequencies()
        self._count(own, rollouts)
        return own

    def _count(self, frequencies: WordFrequencies, rollouts: Rollouts) -> None:
        times = Counter(text for pair in self._read(rollouts)[1].values() for text in pair)
        frequencies.add(list(times), list(times.values()))

    def _warn_of(self, unread: Any, limit: int) -> None:
        if unread.any():
            warnings.warn(
                f"the encoder {self.encoder!r} reads {limit} tokens; what comes after them in a "
                "longer text does not count (see info['unread'])",
                stacklevel=2,
            )

    def get_extra_state(self) -> dict[str, Any]:
        return self.frequencies.state()

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self.frequencies = WordFrequencies.of_state(state)


def _text(name: str, value: Any) -> str:
    try:
        return text_of(value)
    except TypeError as error:
        raise TypeError(f"column {name!r}: {error}") from None


def _outcome(value: float, blank: bool, said: str, wanted: str) -> Outcome:
    if said == wanted:
        value = 1.0  # also where rounding, or a text without any word, says otherwise
    elif blank:
        return broken(ValueError("the reference holds no word"))
    return judged(value)
