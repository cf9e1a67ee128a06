import pytest

import rewardsmith as rs
from rewardsmith.core.contract import check_contract
from rewardsmith.core.outcome import Status
from rewardsmith.core.spec import dumps, loads
from rewardsmith.signals.choice import Choice


def test_it_keeps_its_contract():
    check_contract(Choice(), Choice.contract)


def test_scores_and_reasons():
    completions = [
        "The answer is (B).",
        "The answer is B or C.",
        "The answer is C",
        "The answer is B",
    ]
    scores = Choice()(rs.Rollouts({"completion": completions, "answer": ["B", "B", "B", "?"]}))
    assert scores.values.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert scores.status.tolist() == [0, 0, 0, Status.FAILED]
    assert scores.info["why"].tolist() == ["", "it names two choices", "chose C", ""]


def test_options_are_a_column():
    reward = Choice(gold="right", options="choices", answer="A:")
    assert reward.needs == {"completion", "right", "choices"}
    columns = {"completion": ["A: 42", "A: 41"], "right": [1, 1], "choices": [["41", "42"]] * 2}
    assert reward(rs.Rollouts(columns)).values.tolist() == [1.0, 0.0]


def test_a_spec_brings_it_back():
    reward = Choice(gold="right", options="choices", answer="A:")
    assert str(loads(dumps(reward))) == str(reward)


def test_an_empty_marker_is_refused():
    with pytest.raises(ValueError, match="answer"):
        Choice(answer="")
