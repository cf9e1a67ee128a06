"""Functions that were written for verifiers as rewards of ours, without verifiers."""

import copy
import pickle
from typing import Any

import pytest

import rewardsmith as rs
from rewardsmith.adapters.verifiers import VerifiersReward
from rewardsmith.core import spec
from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts


async def exact(task: Any, trace: Any) -> float:
    return float(trace.last_reply == task.answer)


async def named(trace: Any) -> dict[str, float]:
    return {"a": 1.0, "b": float(len(trace.assistant_messages))}


async def of_tokens(trace: Any) -> float:
    return float(len(trace.nodes))


def of_rubric(completion: Any, prompt: Any, state: Any, task: Any, info: Any = None) -> float:
    assert prompt[0].role == "user"
    assert state["completion"][-1]["content"] == completion[-1].content
    assert info is None
    return float(completion[-1]["content"] == task["answer"])


def grouped(completions: Any) -> list[float]:
    return [1.0]


async def needs_runtime(trace: Any, runtime: Any) -> float:
    return 1.0


async def may_use_runtime(trace: Any, runtime: Any = None) -> float:
    return float(runtime is None)


def odd(completion: Any, answer: str) -> Any:
    match answer:
        case "none":
            return None
        case "nan":
            return float("nan")
        case "raise":
            raise RuntimeError("down")
    return 1.0


ROWS = {"completion": [" 4 ", "5"], "answer": ["4", "4"], "prompt": ["2+2", "2+2"]}


@pytest.mark.parametrize(
    ("function", "expected"),
    [(exact, [1.0, 0.0]), (named, [2.0, 2.0]), (may_use_runtime, [1.0, 1.0])],
)
def test_functions_of_a_task(function: Any, expected: list[float]) -> None:
    scores = VerifiersReward(function)(Rollouts(ROWS))
    assert scores.status.tolist() == [Status.SCORED] * 2
    assert scores.values.tolist() == expected


def test_functions_of_a_rubric() -> None:
    rows = ROWS | {"completion": ["4", [{"role": "assistant", "content": "5"}]]}
    scores = VerifiersReward(of_rubric)(Rollouts(rows))
    assert scores.values.tolist() == [1.0, 0.0], scores.errors


def test_statuses_of_their_functions() -> None:
    answers = ["x", "none", "nan", "raise"]
    scores = VerifiersReward(odd)(Rollouts({"completion": ["4"] * 4, "answer": answers}))
    expected = [Status.SCORED, Status.ABSTAINED, Status.BAD_VALUE, Status.FAILED]
    assert scores.status.tolist() == expected
    lacking = VerifiersReward(of_tokens, columns=())(Rollouts({"completion": ["4"]}))
    assert "trace.nodes" in lacking.errors[0][1]
    with pytest.raises(MissingColumn, match="answer"):
        VerifiersReward(exact)(Rollouts({"completion": ["4"]}))


def test_their_functions_that_cannot_serve() -> None:
    with pytest.raises(ValueError, match="scores a group"):
        VerifiersReward(grouped)
    with pytest.raises(ValueError, match="needs a runtime"):
        VerifiersReward(needs_runtime)
    with pytest.raises(ValueError, match="list of names"):
        VerifiersReward(exact, columns="answer")


def test_their_functions_in_other_processes() -> None:
    reward = pickle.loads(pickle.dumps(VerifiersReward(of_rubric)))
    assert reward.call is of_rubric
    assert copy.deepcopy(reward) is reward
    with rs.executor("processes", workers=1):
        scores = reward(Rollouts(ROWS | {"completion": ["4", "5"]}))
        assert scores.values.tolist() == [1.0, 0.0], scores.errors
        assert VerifiersReward(exact)(Rollouts(ROWS)).values.tolist() == [1.0, 0.0]


def test_written_and_read_back(tmp_path: Any) -> None:
    file = tmp_path / "reward.yaml"
    file.write_text(
        f"reward: {{verifiers_reward: {{call: '{__file__}:exact', columns: [answer]}}}}\n"
    )
    reward = spec.load(str(file))
    assert isinstance(reward, VerifiersReward)
    assert reward(Rollouts(ROWS)).values.tolist() == [1.0, 0.0]
