"""Rewards that score each row by itself, and columns inside columns."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from tests.engine import jobs

from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.execution import Evaluated, Execution, Inline, using
from rewardsmith.core.outcome import Outcomes
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rowcall import MISSING, RowCall
from rewardsmith.core.rows import RowReward, scores_of
from rewardsmith.core.scores import Scores


class Weighed(RowReward):
    """Whether the completion is the answer."""

    def __init__(
        self, completion: str = "completion", answer: str = "answer", weight: float = 1.0
    ) -> None:
        super().__init__()
        self.completion, self.answer, self.weight = completion, answer, weight
        self.by_row(jobs.weighed, (completion, answer), {"weight": weight}, bounds=(0.0, weight))


class Broken(RowReward):
    """Does what its column says."""

    def __init__(self) -> None:
        super().__init__()
        self.by_row(jobs.score, ("value",), text=False)


def test_columns_options_and_facts() -> None:
    reward = Weighed(completion="response", weight=2.0)
    scores = reward(Rollouts({"response": ["a", "b"], "answer": ["a", "a"]}))
    assert scores.values.tolist() == [2.0, 0.0]
    assert scores.values.dtype == torch.float32
    assert reward.needs == {"response", "answer"}
    assert (reward.granularity, reward.scope, reward.bounds) == ("outcome", "row", (0.0, 2.0))
    assert scores.info["origin"].tolist() == [0, 0]
    assert (scores.info["seconds"] >= 0.0).all()
    again = pickle.loads(pickle.dumps(reward))
    assert again(Rollouts({"response": ["a"], "answer": ["a"]})).values.tolist() == [2.0]


def test_chat_messages_are_their_text() -> None:
    chat = [{"role": "user", "content": "b"}, {"role": "assistant", "content": "a"}]
    scores = Weighed()(Rollouts({"completion": [chat, "a", 3], "answer": ["a", "a", "a"]}))
    assert scores.values.tolist() == [1.0, 1.0, 0.0]
    assert scores.status.tolist() == [0, 0, 3]
    assert "column 'completion'" in scores.errors[2][1]


def test_statuses_reasons_and_errors() -> None:
    values = [0.5, "why", "raise", "none", "late", "nan"]
    scores = Broken()(Rollouts({"value": values}))
    assert scores.status.tolist() == [0, 0, 3, 1, 2, 4]
    assert scores.errors == {
        2: ("", "raised ValueError: no such answer"),
        4: ("", "raised TimeoutError: its own"),
        5: ("", "returned nan"),
    }
    # The reason of a score is none of its errors.
    assert scores.info["why"].tolist() == ["", "half of it", "", "", "", ""]
    assert Broken()(Rollouts({"value": [0.5, "raise"]})).info["why"].tolist() == ["", ""]


def test_a_missing_column_names_who_needs_it() -> None:
    with pytest.raises(MissingColumn, match=r"no column 'answer', needed by .*completion"):
        Weighed()(Rollouts({"completion": ["a"]}))


def test_what_is_set_around_it_runs_it() -> None:
    seen: list[int] = []

    class Noting:
        def run(self, call: RowCall, rows: Any) -> Outcomes:
            seen.append(len(rows))
            return Inline().run(call, rows)

    rollouts = Rollouts({"completion": ["a", "a", "b"], "answer": ["a", "a", "a"]})
    with using(Execution(Noting())):
        assert Weighed()(rollouts).info["origin"].tolist() == [0, 1, 0]
    assert seen == [2]
    Weighed()(rollouts)
    assert seen == [2]


def test_a_reward_may_say_what_runs_it_where_nobody_else_does() -> None:
    class Guarded(Weighed):
        def execution(self) -> Execution:
            raise RuntimeError("its own")

    rollouts = Rollouts({"completion": ["a"], "answer": ["a"]})
    with pytest.raises(RuntimeError, match="its own"):
        Guarded()(rollouts)
    with using(Execution(Inline())):
        assert Guarded()(rollouts).values.tolist() == [1.0]


def test_no_rows() -> None:
    scores = Weighed()(Rollouts({"completion": [], "answer": []}))
    assert len(scores) == 0


def test_info_is_per_row_and_may_be_selected() -> None:
    found = Evaluated(
        np.array([1.0, 0.0]),
        np.array([0, 3], dtype=np.int8),
        {0: "well", 1: "broke"},
        np.array([0.1, 0.2], dtype=np.float32),
        np.array([0, 0], dtype=np.int8),
    )
    scores = scores_of(found)
    assert isinstance(scores, Scores)
    assert scores.errors == {1: ("", "broke")}
    assert scores.info["why"].tolist() == ["well", ""]


@pytest.mark.parametrize("size", [1e39, -1e39, 3.4028235677973366e38, 1e-50])
def test_numbers_that_float32_does_not_hold(size: float) -> None:
    scores = Broken()(Rollouts({"value": [size, 1.0]}))
    assert scores.values[1] == 1.0
    assert scores.status[0] == (0 if size == 1e-50 else 4)
    assert torch.isfinite(scores.values).all()
    assert (0 in scores.errors) == (scores.status[0] == 4)


# --- columns inside columns -----------------------------------------------------------------------

NESTED = Rollouts(
    {
        "completion": ["a", "a", "a"],
        "reward_model": [{"ground_truth": "a", "deep": {"er": 1}}, {"ground_truth": "b"}, None],
        "odd": ["text", 3, [1]],
        "with.dot": [1, 2, 3],
        "empty": [{}, {}, {}],
    }
)


def test_a_path_names_what_is_inside() -> None:
    assert NESTED.column("reward_model.ground_truth") == ["a", "b", MISSING]
    assert NESTED.column("reward_model.deep.er") == [1, MISSING, MISSING]
    assert NESTED.column("with.dot") == [1, 2, 3]
    scores = Weighed(answer="reward_model.ground_truth")(NESTED)
    assert scores.values.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("name", ["odd.length", "no.such", ".a", "."])
def test_a_path_that_leads_nowhere_is_missing(name: str) -> None:
    with pytest.raises(MissingColumn, match=r"columns present: completion, empty, odd"):
        NESTED.column(name, needed_by="me")


def test_a_path_that_no_row_of_the_batch_holds_is_theirs_to_miss() -> None:
    assert NESTED.select([1]).column("reward_model.deep.er") == [MISSING]
    assert NESTED.column("reward_model.no") == [MISSING] * 3
