"""Closeness to a reference: the formula, what frequencies it knows, and how it can be hacked."""

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.laws import FAILED, SCORED

import rewardsmith as rs
from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rowcall import MISSING
from rewardsmith.core.spec import dump
from rewardsmith.ops import embeddings
from rewardsmith.signals.semantic import SemanticSimilarity, semantic_similarity

REFERENCES = [
    "The heart pumps blood through the arteries to the body.",
    "Insulin lowers the sugar in the blood by letting cells take it up.",
    "Water boils at a lower temperature on a high mountain.",
]
words = st.lists(st.sampled_from(["red", "green", "one", "two", "cat"]), min_size=1, max_size=6)
sentences = words.map(" ".join)


def rollouts(completions: list[Any], references: list[Any]) -> Rollouts:
    return Rollouts({"completion": completions, "reference": references})


def scored(completions: list[Any], references: list[Any], **arguments: Any) -> list[float]:
    scores = SemanticSimilarity(**arguments)(rollouts(completions, references))
    assert set(scores.status.tolist()) == {SCORED}
    return scores.values.tolist()


@given(
    st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda x: np.abs(x).max() > 0.1),
    st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda x: np.abs(x).max() > 0.1),
    st.floats(-0.99, 0.99),
    st.floats(0.1, 10),
)
@settings(max_examples=60)
def test_the_formula(a: list[float], b: list[float], floor: float, factor: float) -> None:
    x, y = np.array([a]), np.array([b])
    plain = float(semantic_similarity(x, y)[0])
    assert -1 <= plain <= 1
    assert plain == pytest.approx(float(semantic_similarity(y, factor * x)[0]), abs=1e-9)
    floored = float(semantic_similarity(x, y, floor)[0])
    assert floored == pytest.approx(max(0.0, (plain - floor) / (1 - floor)), abs=1e-9)
    assert 0 <= floored <= 1
    assert float(semantic_similarity(x, x, floor)[0]) == pytest.approx(1)


@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5))
@settings(max_examples=30)
def test_identical_texts_score_one_and_order_is_blind(pairs: list[tuple[str, str]]) -> None:
    said, wanted = ([*column] for column in zip(*pairs, strict=True))
    forth, back = scored(said, wanted), scored(wanted, said)
    assert forth == pytest.approx(back, abs=1e-6)
    assert scored(wanted, wanted) == [1.0] * len(wanted)
    shuffled = [" ".join(sorted(text.split())) for text in wanted]
    # A known weakness: the words of the reference in any order are the reference.
    assert scored(shuffled, wanted) == pytest.approx([1.0] * len(wanted), abs=1e-6)


def test_the_reference_of_another_item_earns_less() -> None:
    own, other = scored(REFERENCES, REFERENCES), scored(REFERENCES[1:] + REFERENCES[:1], REFERENCES)
    assert own == [1.0] * 3
    assert max(other) < 0.35


def test_padding() -> None:
    reference = REFERENCES[0]
    wrong = "It is an organ of the skin."
    padded = wrong + " heart blood arteries body pumps"
    right_padded = reference + " and many other words that nobody asked for, again and again"
    score = dict(
        zip(
            ("wrong", "padded", "right", "right_padded"),
            scored([wrong, padded, reference, right_padded], [reference] * 4),
            strict=True,
        )
    )
    # Topical words pay: it measures topic, not truth. Other words cost.
    assert score["wrong"] < 0.3 < score["padded"]
    assert score["right_padded"] < score["right"] == 1.0


def test_surveyed_frequencies_do_not_depend_on_the_chunk() -> None:
    said = ["the heart pumps", "sugar in cells", "the mountain"]
    whole = rollouts(said, REFERENCES)
    reward = SemanticSimilarity()
    assert reward.scope == "dataset"
    unsurveyed = reward(whole).values
    assert reward.frequencies.documents == 0
    for i in range(3):
        reward.survey(whole.select([i]))
    assert reward.frequencies.documents == 6
    by_chunk = [float(reward(whole.select([i])).values[0]) for i in range(3)]
    assert by_chunk == pytest.approx(unsurveyed.tolist(), abs=1e-6)
    # Without the survey, a chunk's own words decide.
    assert float(SemanticSimilarity()(whole.select([0])).values[0]) != pytest.approx(by_chunk[0])


def test_a_text_counts_as_often_as_it_is_there() -> None:
    data = rollouts(["the heart", "the heart", "cells"], REFERENCES[:1] * 3)
    at_once, one_by_one = SemanticSimilarity(), SemanticSimilarity()
    at_once.survey(data)
    for i in range(3):
        one_by_one.survey(data.select([i]))
    assert at_once.frequencies.documents == one_by_one.frequencies.documents == 6
    assert np.array_equal(at_once.frequencies.counts, one_by_one.frequencies.counts)


def test_what_was_surveyed_is_saved(tmp_path: Any) -> None:
    reward = rs.WeightedSum({"like": SemanticSimilarity()})
    data = rollouts(["the heart", "cells"], REFERENCES[:2])
    reward.survey(data)
    torch.save(reward.state_dict(), tmp_path / "state.pt")
    again = rs.WeightedSum({"like": SemanticSimilarity()})
    again.load_state_dict(torch.load(tmp_path / "state.pt"))
    one = data.select([0])
    assert torch.equal(again(one).values, reward(one).values)
    assert not torch.equal(SemanticSimilarity()(one).values, reward(one).values)
    for twin in (copy.deepcopy(reward), pickle.loads(pickle.dumps(reward))):
        assert torch.equal(twin(one).values, reward(one).values)


def test_rows_that_cannot_be_compared() -> None:
    chat = [{"role": "assistant", "content": REFERENCES[0]}]
    said = ["", "  \n", "text", "text", "text", 3, chat, "!!!", "???", "a\ud800\x00"]
    wanted = [*REFERENCES[:2], None, " ", 7, "text", REFERENCES[0], "!!!", "!!!", "a\ud800\x00"]
    scores = SemanticSimilarity()(rollouts(said, wanted))
    assert scores.status.tolist() == [0, 0, FAILED, FAILED, FAILED, FAILED, 0, 0, FAILED, 0]
    assert scores.values.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 0, 1]
    assert scores.info["why"][:2].tolist() == ["the completion is empty"] * 2
    told = {row: message for row, (_, message) in scores.errors.items()}
    assert "column 'reference'" in told[2]
    assert "the reference is empty" in told[3]
    assert "column 'completion'" in told[5]
    assert "holds no word" in told[8]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(MissingColumn, match="no column 'reference', needed by semantic_similarity"):
        SemanticSimilarity()(Rollouts({"completion": ["text"]}))


def test_a_floor_spreads_the_scores() -> None:
    said = ["heart blood"]
    low, plain, cut = (scored(said, REFERENCES[:1], floor=floor)[0] for floor in (None, 0.0, 0.99))
    assert low == plain > 0
    assert cut == 0.0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"floor": 1.0}, "the floor 1.0 does not lie"),
        ({"floor": float("nan")}, "the floor nan"),
        ({"floor": -1.5}, "the floor -1.5"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_what_it_refuses(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SemanticSimilarity(**arguments)


# --- with an encoder ------------------------------------------------------------------------------


class Encoder:
    """Counts letters; a text has one token per letter."""

    max_seq_length = 40

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, found: list[str], **options: Any) -> Any:
        self.seen += found
        return np.array([[text.count(c) for c in "abcdefghij"] for text in found], dtype=float)

    def tokenizer(self, found: list[str], **options: Any) -> dict[str, list[str]]:
        return {"input_ids": list(found)}


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Encoder:
    made = Encoder()
    monkeypatch.setattr(embeddings, "_loaded", lambda name: made)
    return made


def test_an_encoder_sees_each_text_once(encoder: Encoder) -> None:
    reward = SemanticSimilarity(encoder="letters")
    assert reward.scope == "row"
    values = reward(rollouts(["aab", "aab", "cab", ""], ["abc", "abc", "abc", "abc"])).values
    assert sorted(encoder.seen) == ["aab", "abc", "cab"]
    assert values.tolist() == pytest.approx([3 / 15**0.5, 3 / 15**0.5, 1.0, 0.0])
    reward.survey(rollouts(["a"], ["b"]))
    assert reward.frequencies.documents == 0


def test_what_is_not_read_is_warned_of(encoder: Encoder) -> None:
    reward = SemanticSimilarity(encoder="letters")
    data = rollouts(["a" * 50, "b"], ["c" * 43, "c"])
    with pytest.warns(UserWarning, match="'letters' reads 40 tokens"):
        scores = reward(data)
    assert scores.info["unread"].tolist() == [13, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reward(data.select([1]))


def test_an_encoder_that_breaks_scores_nothing(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(found: list[str], **options: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(encoder, "encode", broken)
    scores = SemanticSimilarity(encoder="letters")(rollouts(["a", ""], ["b", "b"]))
    assert scores.status.tolist() == [FAILED, SCORED]
    assert "out of memory" in scores.errors[0][1]
    monkeypatch.setattr(
        encoder, "encode", lambda found, **options: np.full((len(found), 2), np.nan)
    )
    assert SemanticSimilarity(encoder="letters")(rollouts(["a"], ["b"])).status.tolist() == [4]


def test_it_is_written_down() -> None:
    made = SemanticSimilarity("solution", encoder="all-MiniLM-L6-v2", floor=None)
    assert dump(made) == {
        "semantic_similarity": {
            "gold": "solution",
            "encoder": "all-MiniLM-L6-v2",
            "floor": None,
        }
    }


def test_a_row_without_a_column_fails_alone() -> None:
    data = rollouts(["a dog ran", MISSING, "a dog ran"], ["a dog ran", "a dog ran", MISSING])
    reward = SemanticSimilarity()
    reward.survey(data)
    scores = reward(data)
    assert scores.status.tolist() == [SCORED, FAILED, FAILED]
    assert scores.values.tolist() == [1.0, 0.0, 0.0]
    assert scores.errors[1][1] == "this row has no column 'completion'"
    assert scores.errors[2][1] == "this row has no column 'reference'"
    # Nothing of such a row was counted.
    assert reward.frequencies.documents == 2
