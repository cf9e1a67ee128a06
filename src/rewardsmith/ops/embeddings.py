"""Texts as vectors: counted words or characters, or what a sentence encoder says of them.

Counts are hashed, so that what is kept of a data set of any size is one array of document counts.
Vectors have unit length (a text without any term is all 0), so that a product is a cosine.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.errors import SpecError

Floats: TypeAlias = NDArray[np.float64]
Vectors: TypeAlias = Any
"""One row per text: an array [n, d], or a sparse matrix of that shape."""

BUCKETS = 2**20
"""What terms are hashed into; a million words of a data set collide rarely enough."""


def cosine(a: Vectors, b: Vectors) -> Floats:
    """``a_i . b_i / (|a_i| |b_i|)`` of the rows of two matrices [n, d]; 0 where one is all 0.

    Rounding never leads out of [-1, 1].
    """
    if a.shape != b.shape:
        raise ValueError(f"vectors of shapes {a.shape} and {b.shape} have no cosines")
    product = _row_sums(a.multiply(b) if hasattr(a, "multiply") else a * b)
    lengths = norms(a) * norms(b)
    return np.clip(product / np.where(lengths > 0, lengths, 1.0), -1.0, 1.0)


def norms(vectors: Vectors) -> Floats:
    """The length of each row [n]."""
    squares = vectors.multiply(vectors) if hasattr(vectors, "multiply") else vectors * vectors
    return np.sqrt(_row_sums(squares))


def _row_sums(matrix: Vectors) -> Floats:
    return np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()


class WordFrequencies:
    """How many documents each word occurs in, and texts weighed by that (TF-IDF).

    A word of a text weighs ``count * (ln((1 + n) / (1 + df)) + 1)`` with n documents, of which df
    hold the word (scikit-learn's smoothed form). Words are runs of letters, digits and ``_`` in
    lower case; digits by themselves count.
    """

    def __init__(self) -> None:
        self.documents = 0
        self.counts: Floats = np.zeros(BUCKETS)

    def add(self, texts: Sequence[str], times: Sequence[int] | None = None) -> None:
        """Take in documents, each once or as often as ``times`` says."""
        if not texts:
            return
        weights = np.ones(len(texts)) if times is None else np.asarray(times, dtype=np.float64)
        bags = words(texts)
        self.documents += int(weights.sum())
        of_entry = np.repeat(weights, np.diff(bags.indptr))
        np.add.at(self.counts, bags.indices, of_entry)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """TF-IDF vectors of unit length, sparse [n, BUCKETS]."""
        bags = words(texts)
        rarity = np.log((1 + self.documents) / (1 + self.counts[bags.indices])) + 1
        bags.data = bags.data * rarity
        return _unit(bags)

    def state(self) -> dict[str, Any]:
        """What to save: the number of documents, and the counts that are not 0."""
        seen = self.counts.nonzero()[0]
        terms, counts = torch.from_numpy(seen), torch.from_numpy(self.counts[seen])
        return {"documents": self.documents, "terms": terms, "counts": counts}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "WordFrequencies":
        """What :meth:`state` saved."""
        made = cls()
        made.documents = int(state["documents"])
        made.counts[np.asarray(state["terms"])] = np.asarray(state["counts"])
        return made


def words(texts: Sequence[str]) -> Vectors:
    """How often each word occurs in each text, sparse [n, BUCKETS]."""
    return _hashed("word", r"(?u)\b\w+\b", (1, 1)).transform(_valid(texts))


def trigrams(texts: Sequence[str]) -> Vectors:
    """Counts of three characters in a row, within words and their margins, of unit length.

    Columns that none of the texts uses are left out: products of a few rows are then cheap.
    """
    counts = _hashed("char_wb", None, (3, 3)).transform(_valid(texts))
    return _unit(counts[:, np.unique(counts.indices)])


@cache
def _hashed(analyzer: str, pattern: str | None, ngrams: tuple[int, int]) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        n_features=BUCKETS,
        analyzer=analyzer,
        token_pattern=pattern,
        ngram_range=ngrams,
        norm=None,
        alternate_sign=False,
        dtype=np.float64,
    )


def _unit(matrix: Vectors) -> Vectors:
    lengths = norms(matrix)
    scale = np.repeat(1 / np.where(lengths > 0, lengths, 1.0), np.diff(matrix.indptr))
    matrix.data = matrix.data * scale
    return matrix


def _valid(texts: Sequence[str]) -> list[str]:
    # Lone surrogates, which models can produce, cannot be hashed or tokenized.
    return [text.encode("utf-8", "replace").decode("utf-8") for text in texts]


def encode(
    encoder: str, texts: Sequence[str], batch_size: int = 64
) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
    """Embed texts with a sentence encoder.

    Args:
        encoder: the name or the folder of a sentence-transformers model; loaded once per process.
        texts: what to embed.
        batch_size: how many at a time.

    Returns:
        Vectors [n, d] of unit length; how many tokens of each text [n] the encoder did not read
        because the text is too long for it; and how many it reads at most (0: no limit).

    Raises:
        SpecError: sentence-transformers is not installed, or there is no such model.
    """
    model, valid = _loaded(encoder), _valid(texts)
    found = np.asarray(
        model.encode(valid, batch_size=batch_size, convert_to_numpy=True, show_progress_bar=False),
        dtype=np.float32,
    )
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    vectors = np.asarray(found / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)
    limit = int(getattr(model, "max_seq_length", 0) or 0)
    return vectors, _unread(model, valid, limit), limit


def _unread(model: Any, texts: Sequence[str], limit: int) -> NDArray[np.int64]:
    unread = np.zeros(len(texts), dtype=np.int64)
    # A token is at least one byte; what is surely short enough is not tokenized a second time.
    long = [i for i, text in enumerate(texts) if limit and len(text.encode()) + _SPECIAL > limit]
    if long:
        ids = model.tokenizer([texts[i] for i in long], truncation=False, verbose=False)
        unread[long] = [max(0, len(tokens) - limit) for tokens in ids["input_ids"]]
    return unread


_SPECIAL = 4
"""No fewer than the tokens that encoders put around a text."""


@cache
def _loaded(encoder: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise SpecError(
            f"the encoder {encoder!r} needs sentence-transformers: "
            "pip install sentence-transformers"
        ) from error
    try:
        return SentenceTransformer(encoder)
    except (OSError, ValueError) as error:
        raise SpecError(f"the encoder {encoder!r} cannot be loaded: {error}") from error
