"""Factored states as a reward: statuses, similarities of each row, one pass of the encoder."""

from typing import Any

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from tests.laws import FAILED, SCORED

from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rowcall import MISSING
from rewardsmith.ops import embeddings
from rewardsmith.signals.factored_state import FactoredState

OBJECTS = [{"identity": "box", "attrs": {"color": "red"}}]


def scores(states: list[Any], goals: list[Any], **arguments: Any) -> Any:
    return FactoredState(**arguments)(Rollouts({"completion": states, "goal": goals}))


def test_states_of_every_kind() -> None:
    chat = [{"role": "assistant", "content": "box: color=red"}]
    states = ["box: color=red", OBJECTS, chat, "", "box: red", 3]
    found = scores(states, ["box: color=red"] * 6)
    assert found.values.tolist() == [1, 1, 1, 0, 0, 0]
    assert found.status.tolist() == [SCORED] * 5 + [FAILED]
    assert found.info["why"].tolist() == [
        "",
        "",
        "",
        "the state is empty",
        "line 1: 'red' is no key=value",
        "",
    ]
    assert "the state: it is int" in found.errors[5][1]


def test_goals_that_are_none_fail_the_row() -> None:
    found = scores(["box"] * 4, [None, "", "box: red", "[]"])
    assert found.status.tolist() == [FAILED] * 4
    assert all("the goal cannot be read" in message for _, message in found.errors.values())


def test_spelling_counts_and_rows_do_not_see_each_other() -> None:
    states = ["red block: on=table", "green block: on=table", "lamp: on=shelf"]
    goals = ["red block: on=table"] * 3
    values = scores(states, goals).values
    assert values[0] == 1.0
    assert 0.0 < values[1] < 1.0
    assert values[2] < 0.1
    for i in range(3):
        alone = scores(states[i : i + 1], goals[i : i + 1]).values[0]
        assert float(alone) == pytest.approx(float(values[i]), abs=1e-6)
    assert FactoredState().scope == "row"


def test_equal_texts_are_alike_even_without_a_trigram() -> None:
    assert scores(["door: note=, a=b"], ["door: note="]).values.tolist() == [1.0]


def test_assignment() -> None:
    states, goals = ["key", "key\nkey"], ["key\nkey"] * 2
    assert scores(states, goals).values.tolist() == [1.0, 1.0]
    assert scores(states, goals, assignment="hungarian").values.tolist() == [0.5, 1.0]


class Encoder:
    max_seq_length = 0

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def encode(self, found: list[str], **options: Any) -> Any:
        self.batches.append(found)
        return np.array([[float(text.count("a")), 1.0] for text in found])


def test_an_encoder_sees_the_texts_of_all_rows_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Encoder()
    monkeypatch.setattr(embeddings, "_loaded", lambda name: made)
    found = scores(["aa: b=a", "aa: b=a"], ["c: b=c", "aa: b=a"], encoder="letters")
    assert made.batches == [["a", "aa", "b", "c"]]
    # cos((2, 1), (0, 1)) for the names, cos((1, 1), (0, 1)) for the values.
    assert found.values.tolist() == pytest.approx([1 / 5**0.5 / 2**0.5, 1.0])


def test_an_encoder_that_breaks_scores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Encoder):
        def encode(self, found: list[str], **options: Any) -> Any:
            raise RuntimeError("out of memory")

    monkeypatch.setattr(embeddings, "_loaded", lambda name: Broken())
    found = scores(["a", ""], ["a", "b"], encoder="broken")
    assert found.status.tolist() == [FAILED, SCORED]
    assert "out of memory" in found.errors[0][1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    # The tests check types, too; without them it is a ValueError that says the same.
    [({"assignment": "greedy"}, "greedy"), ({"batch_size": 0}, "batch_size is 0")],
)
def test_what_it_refuses(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises((ValueError, TypeCheckError), match=told):
        FactoredState(**arguments)


@pytest.mark.parametrize("assignment", ["max", "hungarian"])
def test_a_state_that_lists_its_guesses_is_worth_nothing(assignment: Any) -> None:
    states = ["a: x=1\na: x=2\na: x=3", "a: x=2", "a: x=2\nb: x=1", "c: x=2"]
    found = scores(states, ["a: x=2"] * 4, assignment=assignment)
    assert found.values.tolist() == [0.0, 1.0, 1.0, 0.0]
    assert found.info["why"][0] == (
        "the state has 'a' more than once, and more often than the goal"
    )


def test_a_row_without_a_column_fails_alone() -> None:
    found = scores(["box", MISSING, "box"], ["box", "box", MISSING])
    assert found.status.tolist() == [SCORED, FAILED, FAILED]
    assert found.values.tolist() == [1.0, 0.0, 0.0]
    assert found.errors[1][1] == "this row has no column 'completion'"
    assert found.errors[2][1] == "this row has no column 'goal'"
