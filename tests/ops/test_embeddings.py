"""Texts as vectors: word frequencies equal scikit-learn's, and what is encoded."""

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from rewardsmith.core.errors import SpecError
from rewardsmith.ops import embeddings
from rewardsmith.ops.embeddings import WordFrequencies, cosine, encode, norms, trigrams, words

TEXTS = ["The cat sat on the mat.", "A dog sat on 2 cats", "nothing alike", "the mat THE mat"]
texts = st.lists(st.text(max_size=30), min_size=1, max_size=5)
rows = st.lists(
    st.lists(
        st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-3), min_size=3, max_size=3
    ),
    min_size=2,
    max_size=2,
)


def frequencies(documents: list[str]) -> WordFrequencies:
    made = WordFrequencies()
    made.add(documents)
    return made


def test_vectors_are_scikit_learns() -> None:
    ours = frequencies(TEXTS).vectors(TEXTS)
    theirs = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit_transform(TEXTS)
    np.testing.assert_allclose((ours @ ours.T).toarray(), (theirs @ theirs.T).toarray(), atol=1e-12)


@given(texts, texts)
@settings(max_examples=30)
def test_frequencies_do_not_depend_on_chunks_or_order(first: list[str], second: list[str]) -> None:
    whole, chunks = frequencies(first + second), frequencies(second)
    chunks.add(first)
    assert whole.documents == chunks.documents == len(first) + len(second)
    assert np.array_equal(whole.counts, chunks.counts)
    again = WordFrequencies()
    again.add(first + second, [3] * (len(first) + len(second)))
    assert again.documents == 3 * whole.documents
    assert np.array_equal(again.counts, 3 * whole.counts)


def test_frequencies_are_saved() -> None:
    made = frequencies(TEXTS)
    again = WordFrequencies.of_state(made.state())
    assert again.documents == 4
    assert np.array_equal(again.counts, made.counts)


@given(texts)
@settings(max_examples=30)
def test_vectors_have_unit_length_or_none(found: list[str]) -> None:
    for vectors in (frequencies(found).vectors(found), trigrams(found)):
        lengths = norms(vectors)
        assert bool((np.isclose(lengths, 1) | (lengths == 0)).all())


def test_surrogates_and_null_bytes_are_text() -> None:
    odd = ["a\ud800b word", "null\x00byte", ""]
    assert words(odd).sum(axis=1).tolist() == [[3.0], [2.0], [0.0]]
    assert trigrams(odd).shape[0] == 3


def test_digits_are_words() -> None:
    assert float(cosine(words(["7"]), words(["8"]))[0]) == 0.0
    assert float(cosine(words(["7"]), words(["7"]))[0]) == 1.0


@given(rows, st.floats(0.01, 100))
@settings(max_examples=60)
def test_the_cosine_is_one(pair: list[list[float]], factor: float) -> None:
    a, b = (np.array([row]) for row in pair)
    value = float(cosine(a, b)[0])
    assert -1.0 <= value <= 1.0
    assert value == pytest.approx(float(cosine(b, a)[0]), abs=1e-9)
    assert value == pytest.approx(float(cosine(factor * a, b)[0]), abs=1e-6)
    for x in (a, b):
        assert float(cosine(x, x)[0]) == pytest.approx(float(np.any(x != 0)), abs=1e-9)
    if np.any(a) and np.any(b):
        by_hand = (a @ b.T).item() / (np.linalg.norm(a) * np.linalg.norm(b))
        assert value == pytest.approx(by_hand, abs=1e-9)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \(2, 3\) and \(1, 3\) have no cosines"):
        cosine(np.ones((2, 3)), np.ones((1, 3)))


class Model:
    """What sentence-transformers gives, as far as it is used; counts what it encodes."""

    max_seq_length = 8

    def __init__(self) -> None:
        self.encoded: list[list[str]] = []

    def encode(self, found: list[str], **options: Any) -> Any:
        self.encoded.append(list(found))
        return np.array([[len(text) + 1.0, 3.0] for text in found])

    def tokenizer(self, found: list[str], **options: Any) -> dict[str, list[list[int]]]:
        assert options["truncation"] is False
        return {"input_ids": [[0, *range(len(text.split())), 0] for text in found]}


def test_what_an_encoder_does_not_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "_loaded", lambda name: Model())
    texts = ["a b", "a longer one", "a b c d e f", "a b c d e f g h i"]
    vectors, unread, limit = encode("some", texts)
    assert unread.tolist() == [0, 0, 0, 3]
    assert limit == 8
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_a_missing_package_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(SpecError, match="pip install sentence-transformers"):
        encode("a-model-that-nobody-has", ["text"])


def test_a_missing_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Package:
        @staticmethod
        def SentenceTransformer(name: str) -> None:  # noqa: N802 - its name
            raise OSError("no such model")

    monkeypatch.setitem(sys.modules, "sentence_transformers", Package)
    with pytest.raises(SpecError, match="'gone' cannot be loaded: no such model"):
        encode("gone", ["text"])
