import pytest
import torch

import rewardsmith as rs
from rewardsmith.core.contract import check_contract
from rewardsmith.core.execution import Execution, Inline, using
from rewardsmith.core.outcome import Status
from rewardsmith.core.spec import dumps, loads
from rewardsmith.engine.processes import Processes
from rewardsmith.signals.math_answer import MathAnswer

inline = Execution(Inline())


def scored(reward, completions, golds):
    return reward(rs.Rollouts({"completion": completions, "answer": golds}))


def test_it_keeps_its_contract():
    with using(inline):
        check_contract(MathAnswer(), MathAnswer.contract)


def test_scores_and_reasons():
    with using(inline):
        scores = scored(
            MathAnswer(answer="A:"), ["A: 18", "A: 17", "18", "A: 18"], ["18"] * 3 + [None]
        )
    assert scores.values.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert scores.status.tolist() == [0, 0, 0, Status.FAILED]
    assert scores.info["why"].tolist() == ["", "answered '17'", "no answer found", ""]
    assert "gold" in scores.errors[3][1]


def test_chats_are_read():
    chat = [{"role": "user", "content": "A: 17"}, {"role": "assistant", "content": "A: 18"}]
    with using(inline):
        assert scored(MathAnswer(answer="A:"), [chat], ["18"]).values.tolist() == [1.0]


def test_a_spec_brings_it_back():
    reward = MathAnswer(gold="g", completion="c", answer="A:", fast=False)
    assert reward.needs == {"c", "g"}
    assert str(loads(dumps(reward))) == str(reward)


def test_an_empty_marker_is_refused():
    with pytest.raises(ValueError, match="answer"):
        MathAnswer(answer=" ")


def test_what_takes_for_ever_is_ended_where_nobody_said_how(monkeypatch):
    """Its own executor has a deadline; here a shorter one of the same kind."""
    with Processes(workers=1, timeout=1.0) as processes:
        monkeypatch.setattr("rewardsmith.engine.processes.shared", lambda: Execution(processes))
        completions = [r"\boxed{9^{9^{9^9}}}", r"\boxed{18}", r"\boxed{\sqrt{324}}"]
        scores = scored(MathAnswer(), completions, ["18"] * 3)
    assert scores.status.tolist() == [Status.TIMEOUT, Status.SCORED, Status.SCORED]
    assert scores.values.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("fast", [True, False])
def test_both_paths_agree_on_plain_numbers(fast):
    completions = [
        rf"\boxed{{{text}}}" for text in ("18", "18.0", "36/2", r"\frac{36}{2}", "19", "1/18")
    ]
    with using(inline):
        scores = scored(MathAnswer(fast=fast), completions, ["18"] * 6)
    assert torch.equal(scores.values, torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0]))
