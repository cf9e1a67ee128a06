"""Hooks for verifiers without verifiers: rows, what is shared, what is refused."""

import asyncio
import inspect
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

import rewardsmith as rs
from rewardsmith.adapters import versions
from rewardsmith.adapters.verifiers import to_verifiers, to_verifiers_episode
from rewardsmith.adapters.verifiers.glue import glue
from rewardsmith.adapters.verifiers.once import Once
from rewardsmith.adapters.verifiers.rows import row_of_state, row_of_trace
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores


class Task:
    """Task data as pydantic shows it."""

    model_fields = ("prompt", "answer")
    model_extra = None

    def __init__(self, prompt: Any = "2+2", answer: str = "4") -> None:
        self.prompt, self.answer = prompt, answer


@dataclass
class Trace:
    """What is read of a trace."""

    nodes: list[Any] = field(default_factory=list)
    root_reply: str | None = None
    id: str = "t"
    info: dict[str, Any] = field(default_factory=dict)
    is_truncated: bool = False
    stop_condition: str | None = None

    @property
    def branches(self) -> list[Any]:
        return [SimpleNamespace(nodes=self.nodes)] if self.nodes else []

    @property
    def assistant_messages(self) -> list[Any]:
        return [SimpleNamespace(**n.message) for n in self.nodes if n.sampled]

    @property
    def num_turns(self) -> int:
        return len(self.assistant_messages)


def said(*texts: str | None) -> Trace:
    nodes = [SimpleNamespace(message={"role": "user", "content": "2+2"}, sampled=False)]
    for text in texts:
        message = {"role": "assistant", "content": text}
        nodes.append(SimpleNamespace(message=message, sampled=True))
    return Trace(nodes)


def right(completion: str, answer: str) -> float:
    return float(completion == answer)


def none(completion: str) -> None:
    return None


def nan(completion: str) -> float:
    return float("nan")


def breaks(completion: str) -> float:
    raise RuntimeError("down")


class Grouped(Reward):
    """A reward that compares."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(needs=("completion",), scope="group")


class Learner(Reward):
    """A reward that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(needs=("completion",))

    def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
        return {}


def hooks(reward: Reward, **options: Any) -> Any:
    return to_verifiers(reward, executor="inline", **options)


def test_functions_are_what_verifiers_calls() -> None:
    for function, name in zip(hooks(Function(right)), ("total", "parts"), strict=True):
        assert inspect.iscoroutinefunction(function)
        assert function.__name__ == name
        assert list(inspect.signature(function).parameters) == ["task", "trace"]


def test_a_score_and_its_parts() -> None:
    reward = rs.WeightedSum({"right": Function(right), "none": Function(none)})
    total, parts = hooks(reward)
    trace = said("4")
    assert asyncio.run(total(task=Task(), trace=trace)) == 1.0
    numbers = asyncio.run(parts(task=Task(), trace=trace))
    assert numbers["reward/right"] == numbers["scored/right"] == numbers["status/scored"] == 1.0
    assert numbers["scored/none"] == 0.0


@pytest.mark.parametrize(
    ("function", "told"), [(none, "abstained"), (nan, "bad_value"), (breaks, "failed.*down")]
)
def test_no_score_is_never_a_number_unless_it_is_said(function: Any, told: str) -> None:
    for policy in ("missing", "raise"):
        total, parts = hooks(Function(function), missing=policy)
        with pytest.raises(ScoreError, match=told):
            asyncio.run(total(Task(), said("4")))
        assert asyncio.run(parts(Task(), said("4")))[f"status/{told.split('.')[0]}"] == 1.0
    total, _ = hooks(Function(function), missing=-2.0)
    assert asyncio.run(total(Task(), said("4"))) == -2.0


def test_bad_input_is_told() -> None:
    def wants(completion: str, solution: str) -> float:
        return 1.0

    total, parts = hooks(Function(wants))
    for function in (total, parts):
        with pytest.raises(MissingColumn, match="solution"):
            asyncio.run(function(Task(), said("4")))
    total, _ = hooks(Function(wants), columns={"solution": "answer"})
    assert asyncio.run(total(Task(), said("4"))) == 1.0
    total, _ = hooks(Function(right), columns={"completion": "trace.info.ids"})
    trace = said("4")
    trace.info["ids"] = [1, 2]
    with pytest.raises(TypeError, match="token ids"):
        asyncio.run(total(Task(), trace))
    with pytest.raises(SpecError, match="to_verifiers_episode"):
        hooks(Grouped())
    with pytest.raises(SpecError, match="weighted sum"):
        hooks(Function(right), split=True)
    with pytest.raises(ValueError, match="not finite"):
        hooks(Function(right), missing=float("nan"))


def test_a_reward_that_learns_is_told_of() -> None:
    with pytest.warns(UserWarning, match="does not learn here"):
        hooks(Learner())
    with pytest.warns(UserWarning, match="does not learn here"):
        to_verifiers_episode(Learner())


def test_another_version_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", lambda name: "0.9.0")
    versions.note_version.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"tested with verifiers 0\.3\.1 to 0\.4\.0"):
            hooks(Function(right))
    finally:
        versions.note_version.cache_clear()


def test_generated_files() -> None:
    files = glue("../reward.yaml")
    compile(files["rewards.py"], "rewards.py", "exec")
    assert '"../reward.yaml"' in files["rewards.py"]
    assert files["README.md"].count("\n") == 3


def test_a_row_of_a_trace() -> None:
    row = row_of_trace(Task(), said(None, " 4 "))
    assert (row["completion"], row["prompt"], row["answer"]) == (" 4 ", "2+2", "4")
    assert row["messages"] == [
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": " 4 "},
    ]
    assert row["trace"]["num_turns"] == 2
    assert row_of_trace(Task(prompt=None), said("4"))["prompt"] == [
        {"role": "user", "content": "2+2"}
    ]
    empty = row_of_trace(Task(), Trace())
    assert (empty["completion"], empty["messages"]) == ("", [])
    assert row_of_trace(Task(), Trace(root_reply="root"))["completion"] == "root"


def test_a_row_of_a_state() -> None:
    chat = [{"role": "assistant", "content": "4"}, {"role": "user", "content": "sure?"}]
    row = row_of_state({"input": {"answer": "4", "level": 3}, "completion": chat})
    assert (row["completion"], row["answer"], row["level"]) == ("4", "4", 3)
    assert row["messages"] == chat
    assert row_of_state({"completion": "plain"})["completion"] == "plain"
    assert row_of_state({"completion": [1, 2]})["completion"] == [1, 2]
    assert row_of_state({"completion": []})["completion"] == ""
    assert row_of_state({"completion": None})["completion"] is None
    texts = [{"role": "text", "content": "a"}, {"role": "text", "content": "b"}]
    assert row_of_state({"completion": texts})["completion"] == "ab"


class Counting:
    """Scores by counting how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, completion: str) -> float:
        self.asked.append(completion)
        return float(len(self.asked))


def test_one_scoring_for_both_and_another_for_another_round() -> None:
    count = Counting()
    total, parts = hooks(Function(count))
    trace = said("4")

    async def both() -> Any:
        return await asyncio.gather(total(Task(), trace), parts(Task(), trace))

    assert asyncio.run(both())[0] == 1.0
    assert len(count.asked) == 1
    assert asyncio.run(both())[0] == 2.0
    asyncio.run(parts(Task(), trace))
    trace.nodes[-1].message["content"] = "5"
    # The trace has changed since.
    asyncio.run(total(Task(), trace))
    assert count.asked == ["4", "4", "4", "5"]


def test_who_is_cancelled_takes_nothing_along() -> None:
    waiting: Future[float] = Future()
    once = Once(lambda item: waiting)
    trace = said("4")

    async def both() -> Any:
        first = asyncio.create_task(once.ask(trace, "parts", None, None))
        second = asyncio.create_task(once.ask(trace, "total", None, None))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        waiting.set_result(1.0)
        return await second, first.cancelled()

    assert asyncio.run(both()) == (1.0, True)


def test_what_is_shared_is_forgotten_with_its_trace() -> None:
    once: Once[Any] = Once(lambda item: SimpleNamespace())
    trace = said("4")
    once._result(trace, "total", None, None)
    assert len(once._entries) == 1
    del trace
    assert not once._entries
