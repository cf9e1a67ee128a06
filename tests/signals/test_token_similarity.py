"""BMAS: its invariants, its known weakness, and what has no embedding."""

import copy
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.core.errors import SpecError
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rowcall import MISSING
from rewardsmith.core.spec import dumps, loads
from rewardsmith.signals.token_similarity import TokenSimilarity, bmas, one_hot_words

coordinates = st.integers(-4, 4).map(float)
vectors = st.tuples(coordinates, coordinates, coordinates).filter(any)
sets = st.lists(vectors, min_size=1, max_size=6)


def by_hand(x: Any, y: Any) -> float:
    def cos(a: Any, b: Any) -> float:
        return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))

    there = np.mean([max(cos(a, b) for b in y) for a in x])
    back = np.mean([max(cos(a, b) for a in x) for b in y])
    return float((there + back) / 2)


@given(sets, sets, st.randoms())
@settings(max_examples=60)
def test_it_is_the_formula_and_a_similarity_of_sets(x: Any, y: Any, random: Any) -> None:
    assert bmas(x, y) == pytest.approx(by_hand(x, y))
    assert bmas(x, y) == pytest.approx(bmas(y, x))
    assert -1 <= bmas(x, y) <= 1
    assert bmas(x, x) == pytest.approx(1.0)
    assert bmas(random.sample(x, len(x)), y) == pytest.approx(bmas(x, y))
    # Lengths do not matter, however small.
    assert bmas([[1e-200 * c for c in v] for v in x], y) == pytest.approx(bmas(x, y))


def test_a_long_text_is_the_same_in_pieces() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2500, 8)), rng.normal(size=(30, 8))
    assert bmas(x, y) == pytest.approx(by_hand(x, y))


def test_vectors_of_length_0_are_left_out_with_a_warning() -> None:
    x, y = [[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0]]
    with pytest.warns(UserWarning, match="1 vectors of length 0"):
        assert bmas(x, y) == 1.0
    with pytest.warns(UserWarning, match="2 vectors"):
        assert bmas([[0.0, 0.0]], [[0.0, 0.0]]) == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bmas(np.zeros((0, 2)), y) == 0.0


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0, 3.0]], "widths 2 and 3"),
        ([1.0, 2.0], [[1.0, 2.0]], "shape"),
        ([[np.nan, 2.0]], [[1.0, 2.0]], "not finite"),
        ([[1.0, 2.0]], [[np.inf, 2.0]], "not finite"),
    ],
)
def test_what_it_refuses(x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bmas(x, y)


# --- the node -------------------------------------------------------------------------------------

REFERENCE = "the red boat lies on the shore"


def blind(text: str) -> Any:
    """Knows no word but these; each its own direction."""
    known = ["red", "boat", "shore"]
    return np.array([[float(word == k) for k in known] for word in text.split()])


def opposite(text: str) -> Any:
    return np.array([[1.0] if text == "up" else [-1.0]])


def scored(completions: list[Any], references: list[Any], **options: Any) -> Any:
    reward = TokenSimilarity(**(options or {"embed": one_hot_words}))
    return reward(Rollouts({"completion": completions, "answer": references}))


def test_word_salad_of_the_reference_scores_1() -> None:
    salad = ["shore the on lies boat red the", "the the red boat lies on shore " * 20]
    scores = scored(salad, [REFERENCE] * 2)
    assert scores.values.tolist() == pytest.approx([1.0, 1.0])


def test_rows_by_hand() -> None:
    messages = [{"role": "assistant", "content": "<think>a ship?</think>the RED boat"}]
    scores = scored([REFERENCE, messages, "some ship", "", "<think>boat", "boat"], [REFERENCE] * 6)
    # All 3 words are there; of the 7 of the reference "the" twice, "red" and "boat".
    expected = [1.0, (1 + 4 / 7) / 2, 0.0, 0.0, 0.0, (1 + 1 / 7) / 2]
    assert scores.values.tolist() == pytest.approx(expected)
    assert scores.status.tolist() == [Status.SCORED] * 6
    assert scores.info["why"][3] == "the completion has no token with an embedding"


def test_broken_references_and_embeddings_fail_their_rows() -> None:
    scores = scored(["red", "red", "red", "the"], ["red", "the", None, "red"], embed=blind)
    assert scores.status.tolist() == [Status.SCORED, Status.FAILED, Status.FAILED, Status.SCORED]
    assert scores.values.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert "the reference has no token" in scores.errors[1][1]
    scores = scored(["the red boat"], ["red"], embed=blind)
    assert scores.info["why"][0] == "1 tokens without an embedding"
    assert scores.values.tolist() == [0.75]
    failed = scored(["red"], ["red"], embed=len)
    assert failed.status.tolist() == [Status.FAILED]
    assert "the reference: embeddings have shape" in failed.errors[0][1]


def test_what_is_opposite_is_worth_nothing() -> None:
    assert scored(["up", "down"], ["up", "up"], embed=opposite).values.tolist() == [1.0, 0.0]


def test_hostile_and_long_text() -> None:
    long = REFERENCE + " " * 20_000
    completions = ["\x00\ud800 " * 1000, " " * 5_000_000, "w " * 2_500_000, long, REFERENCE]
    scores = scored(completions, [REFERENCE] * 4 + [long])
    assert scores.values.tolist() == [0.0] * 5
    assert scores.status.tolist() == [Status.SCORED] * 4 + [Status.FAILED]
    assert scores.info["why"][3] == "the completion has more than 20000 characters"
    assert "the reference has more than 20000 characters" in scores.errors[4][1]
    assert scored([long], [long], embed=one_hot_words, longest=len(long)).values.tolist() == [1.0]


def test_it_is_written_down_and_travels() -> None:
    reward = TokenSimilarity(gold="caption", embed=one_hot_words)
    rollouts = Rollouts({"completion": ["red boat"], "caption": ["red ship"]})
    for tree in (
        loads(dumps(reward)),
        copy.deepcopy(reward),
        pickle.loads(pickle.dumps(reward)),
    ):
        assert tree(rollouts).values.tolist() == reward(rollouts).values.tolist() == [0.5]
    assert loads(dumps(TokenSimilarity(table="models/a"))).label() == (
        "token_similarity(table='models/a')"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_table_of_a_model(tmp_path: Path, dtype: torch.dtype) -> None:
    pytest.importorskip("tokenizers")
    save_file = pytest.importorskip("safetensors.torch").save_file
    vocabulary = {"red": 0, "boat": 1, "ship": 2, "[UNK]": 3}
    (tmp_path / "tokenizer.json").write_text(
        json.dumps(
            {
                "version": "1.0",
                "pre_tokenizer": {"type": "Whitespace"},
                "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
            }
        )
    )
    table = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 0.0]]).to(dtype)
    save_file({"lm_head.weight": -table}, tmp_path / "a.safetensors")
    with pytest.raises(SpecError, match="holds input embeddings"):
        scored(["red"], ["red"], table=str(tmp_path))
    save_file({"model.embed_tokens.weight": table}, tmp_path / "b.safetensors")
    rows = ["red ship", "red red", "\ud800", "red what"]
    scores = scored(rows, ["red boat"] * 4, table=str(tmp_path))
    assert scores.values.tolist() == pytest.approx([1.0, 0.75, 0.0, 0.75])
    assert scores.info["why"][3] == "1 tokens without an embedding"


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    pytest.importorskip("safetensors")
    with pytest.raises(SpecError, match=r"there is no .*tokenizer\.json"):
        scored(["red"], ["red"], table=str(tmp_path))


def test_exactly_one_source_of_embeddings() -> None:
    for options in ({}, {"table": "a", "embed": one_hot_words}):
        with pytest.raises(ValueError, match="either `table`"):
            TokenSimilarity(**options)
    with pytest.raises(ValueError, match="longest is 0"):
        TokenSimilarity(embed=one_hot_words, longest=0)


def test_a_row_without_a_column_fails_alone() -> None:
    data = Rollouts({"completion": ["a b", MISSING, "a b"], "answer": ["a b", "a b", MISSING]})
    scores = TokenSimilarity(embed=one_hot_words)(data)
    assert scores.status.tolist() == [Status.SCORED, Status.FAILED, Status.FAILED]
    assert scores.values.tolist() == [1.0, 0.0, 0.0]
    assert scores.errors[1][1] == "this row has no column 'completion'"
    assert scores.errors[2][1] == "this row has no column 'answer'"
