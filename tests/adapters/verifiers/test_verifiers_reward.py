"""Functions that were written for verifiers as rewards of ours, without verifiers."""

import copy
import pickle
from typing import Any

import pytest

import rewardsmith as rs
from rewardsmith.adapters import versions
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
        case "text":
            return "good"
        case "list":
            return [1.0]
        case "empty":
            return {}
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
    answers = ["x", "none", "empty", "nan", "text", "list", "raise"]
    scores = VerifiersReward(odd)(Rollouts({"completion": ["4"] * 7, "answer": answers}))
    expected = [Status.SCORED] + [Status.ABSTAINED] * 2 + [Status.BAD_VALUE] * 3 + [Status.FAILED]
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


async def weighted(completion: Any, answer: str) -> Any:
    return odd(completion, answer)


weighted._vf_weight = 0.5  # type: ignore[attr-defined]  # what @vf.reward(weight=0.5) leaves there


def test_the_weight_of_the_decorator_is_in_as_in_their_total() -> None:
    rows = Rollouts({"completion": ["4"] * 3, "answer": ["x", "none", "text"]})
    scores = VerifiersReward(weighted)(rows)
    assert scores.values[0] == 0.5
    assert scores.status.tolist() == [Status.SCORED, Status.ABSTAINED, Status.BAD_VALUE]


async def named_as_methods(task: Any) -> float:
    assert (task.values, task.items, task.get, task.copy) == ("v", "i", "g", "c")
    assert task.by_number[1] == "one"
    return 1.0


def methods_of_state(state: Any) -> float:
    return float(state.get("get") == "g" and "values" in state.keys())  # noqa: SIM118 - theirs


def test_columns_named_as_methods_of_a_dict() -> None:
    columns = {"values": "v", "items": "i", "get": "g", "copy": "c", "by_number": {1: "one"}}
    rows = Rollouts({"completion": ["4"]} | {name: [value] for name, value in columns.items()})
    for function in (named_as_methods, methods_of_state):
        scores = VerifiersReward(function, columns=[*columns])(rows)
        assert scores.values.tolist() == [1.0], scores.errors


async def transcribed(trace: Any, shown: str) -> float:
    return float(trace.transcript == shown)


def test_a_transcript_shows_tools_as_theirs_does() -> None:
    calls = [
        {"id": "1", "name": "add", "arguments": '{"a": 1}'},
        {"id": "2", "function": {"name": "sub", "arguments": "{}"}},
        {"id": "3", "name": "run", "namespace": "py", "arguments": "{}"},
    ]
    chat = [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "name": "add", "content": [{"type": "text", "text": "42"}]},
        {"role": "tool", "content": ""},
        {"role": "assistant", "content": "it is 42"},
    ]
    shown = (
        '[user]\n2+2\n\n[assistant]\n[tool_call add({"a": 1})]\n[tool_call sub({})]\n'
        "[tool_call py.run({})]\n\n[tool add]\n42\n\n[tool]\n\n[assistant]\nit is 42"
    )
    rows = Rollouts({"completion": [chat], "prompt": ["2+2"], "shown": [shown]})
    scores = VerifiersReward(transcribed, columns=())(rows)
    assert scores.values.tolist() == [1.0], scores.errors


def test_another_version_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", lambda name: "0.9.0")
    versions.note_version.cache_clear()
    try:
        with pytest.warns(UserWarning, match="tested with verifiers"):
            VerifiersReward(exact)
    finally:
        versions.note_version.cache_clear()
