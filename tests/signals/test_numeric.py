import math

import pytest

import rewardsmith as rs
from rewardsmith.core.contract import check_contract
from rewardsmith.core.outcome import Status
from rewardsmith.core.spec import dumps, loads
from rewardsmith.signals.numeric import NumericAnswer


def test_it_keeps_its_contract():
    check_contract(NumericAnswer(), NumericAnswer.contract)


def test_scores_and_reasons():
    completions = [r"\boxed{10.1}", r"\boxed{inf}", r"\boxed{12}", r"\boxed{10}"]
    reward = NumericAnswer(rel_tol=0.01)
    scores = reward(rs.Rollouts({"completion": completions, "answer": ["10", "10", "10", "inf"]}))
    assert scores.values.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert scores.status.tolist() == [0, 0, 0, Status.FAILED]
    assert scores.info["why"].tolist() == ["", "'inf' is no number", "answered '12'", ""]


def test_a_spec_brings_it_back():
    reward = NumericAnswer(gold="g", answer="A:", rel_tol=0.1, abs_tol=2, unit="required")
    assert str(loads(dumps(reward))) == str(reward)


@pytest.mark.parametrize(
    "arguments",
    [{"unit": "maybe"}, {"answer": ""}]
    + [{name: x} for name in ("rel_tol", "abs_tol") for x in (-0.1, math.inf, math.nan)],
)
def test_what_it_cannot_be_made_with(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        NumericAnswer(**arguments)
