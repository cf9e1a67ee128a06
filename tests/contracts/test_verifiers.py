"""Our hooks in real tasks of verifiers.v1: rewards, metrics, episodes; its functions as ours."""

import asyncio
import pickle
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tests.five_statuses as five
import torch

import rewardsmith as rs
from rewardsmith.adapters.verifiers import (
    Hooks,
    VerifiersReward,
    to_verifiers,
    to_verifiers_episode,
)
from rewardsmith.adapters.verifiers.glue import glue
from rewardsmith.core.errors import SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.outcome import Status
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores

pytestmark = pytest.mark.contracts


@pytest.fixture(scope="module")
def vf() -> Any:
    import verifiers.v1 as vf

    return vf


def trace_of(task: Any, *messages: Any) -> Any:
    """A finished trace of the task's prompt and some messages; assistants are sampled."""
    from verifiers.v1.configs.agent import WireAgentConfig
    from verifiers.v1.graph import MessageNode
    from verifiers.v1.trace import AgentInfo, Trace, TraceTask
    from verifiers.v1.types import UserMessage

    nodes = [MessageNode(message=UserMessage(content=task.data.prompt or "?"))]
    for i, message in enumerate(messages):
        nodes.append(MessageNode(parent=i, message=message, sampled=message.role == "assistant"))
    return Trace(
        task=TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash),
        agent=AgentInfo(config=WireAgentConfig()),
        nodes=nodes,
    )


def said(text: str | None, **rest: Any) -> Any:
    from verifiers.v1.types import AssistantMessage

    return AssistantMessage(content=text, **rest)


def task_of(vf: Any, data: Any, hooks: Hooks | None = None) -> Any:
    """A task whose class has the two hooks."""

    class Data(vf.TaskData):  # type: ignore[misc]
        answer: str = ""
        problem: str = ""

    class Task(vf.Task[Data]):  # type: ignore[misc]
        if hooks is not None:

            @vf.reward
            async def total(self, task: Any, trace: Any) -> Any:
                return await hooks.total(task, trace)

            @vf.metric
            async def parts(self, task: Any, trace: Any) -> Any:
                return await hooks.parts(task, trace)

    return Task(Data(**data))


def test_the_same_totals(vf: Any, tmp_path: Path) -> None:
    from verifiers.v1.errors import TaskError

    reward, data = five.write(tmp_path)
    labels = five.labels(reward, data)
    hooks = to_verifiers(reward, executor="processes", timeout=five.TIMEOUT)
    tasks = [
        task_of(vf, {k: row[k] for k in ("prompt", "answer", "problem")}, hooks)
        for row in five.rows()
    ]
    traces = [
        trace_of(task, said(row["completion"]))
        for task, row in zip(tasks, five.rows(), strict=True)
    ]

    async def all_of_them() -> list[Any]:
        scorings = [task.score(trace) for task, trace in zip(tasks, traces, strict=True)]
        return await asyncio.gather(*scorings, return_exceptions=True)

    told = asyncio.run(all_of_them())
    seen = set()
    for trace, error, label in zip(traces, told, labels, strict=True):
        status = label["status"]
        seen.add(status)
        assert trace.metrics[f"status/{status}"] == 1.0
        assert sum(trace.metrics[f"status/{s}"] for s in five_names()) == 1.0
        if status == "scored":
            assert error is None
            assert trace.reward == trace.rewards["total"].value == label["reward"]
        else:
            assert isinstance(error, TaskError)
            assert status in str(error)
            assert trace.rewards["total"] is None
    assert seen == {"scored", "abstained", "timeout", "failed", "bad_value"}
    correct = [t.metrics["reward/of/correct"] for t in traces if t.metrics["scored/of/correct"]]
    assert set(correct) == {0.0, 1.0}


def five_names() -> tuple[str, ...]:
    return "scored", "abstained", "timeout", "failed", "bad_value"


def length(completion: str) -> float:
    return float(len(completion))


def one(completion: str) -> float:
    return 1.0


def none(completion: str) -> None:
    return None


def test_every_field_of_the_task_is_a_column(vf: Any) -> None:
    def read(completion: str, prompt: str, answer: str, problem: str, trace: Any) -> float:
        assert (completion, prompt, answer, problem) == (" 42 ", "what?", "42", "p1")
        assert trace["num_turns"] == 1
        return 1.0

    hooks = to_verifiers(Function(read), executor="inline")
    task = task_of(vf, {"prompt": "what?", "answer": "42", "problem": "p1"}, hooks)
    trace = trace_of(task, said(" 42 "))
    asyncio.run(task.score(trace))
    assert trace.reward == 1.0
    assert trace.last_reply == "42"


def test_tool_turns(vf: Any) -> None:
    from verifiers.v1.types import ToolCall, ToolMessage

    def read(completion: str, messages: Any) -> float:
        assert completion == "it is 42"
        assert [m["role"] for m in messages] == ["assistant", "tool", "assistant"]
        assert messages[0]["tool_calls"][0]["name"] == "add"
        return 1.0

    hooks = to_verifiers(Function(read), executor="inline")
    task = task_of(vf, {"prompt": "what?"}, hooks)
    call = ToolCall(id="1", name="add", arguments="{}")
    trace = trace_of(
        task,
        said(None, tool_calls=[call]),
        ToolMessage(tool_call_id="1", content="42"),
        said("it is 42"),
    )
    asyncio.run(task.score(trace))
    assert trace.reward == 1.0


def plugged(vf: Any, folder: Path, config: str) -> Any:
    """A task whose configuration is read from a file as a run reads its own."""
    found = tomllib.loads(config)["env"]["taskset"]["task"]
    for entry in [*found["rewards"].values(), *found.get("metrics", {}).values()]:
        entry["fn"] = str(folder / entry["fn"])
    return vf.TaskConfig.model_validate(found)


def test_generated_files_run(vf: Any, tmp_path: Path) -> None:
    reward, _ = five.write(tmp_path)
    out = tmp_path / "export"
    out.mkdir()
    files = glue(f"../{reward.name}")
    for name, text in files.items():
        (out / name).write_text(text)
    row = five.rows()[0]
    task = task_of(vf, {"prompt": row["prompt"], "answer": row["answer"]})
    task.config = plugged(vf, out, files["rewards.toml"])
    trace = trace_of(task, said(f"<think>sum</think><answer>{row['answer']}</answer>"))
    asyncio.run(task.score(trace))
    assert trace.reward == pytest.approx(1.2)
    assert trace.metrics["reward/of/correct"] == 1.0
    assert files["README.md"].count("\n") == 3


def test_what_the_configuration_of_a_run_takes(vf: Any) -> None:
    from verifiers.v1.configs.env import EnvConfig

    config = tomllib.loads(glue("reward.yaml")["rewards.toml"])
    read = EnvConfig.model_validate(config["env"])
    assert read.taskset.task.rewards["total"].fn == "rewards.py:total"
    assert read.taskset.task.metrics["parts"].fn == "rewards.py:parts"


def test_one_scoring_serves_the_reward_and_its_metrics(vf: Any) -> None:
    calls: list[str] = []

    def counted(completion: str) -> float:
        calls.append(completion)
        return 1.0

    hooks = to_verifiers(Function(counted), executor="inline")
    task = task_of(vf, {"prompt": "?"}, hooks)
    traces = [trace_of(task, said(str(i))) for i in range(20)]

    async def all_of_them() -> None:
        await asyncio.gather(*(task.score(trace) for trace in traces))

    asyncio.run(all_of_them())
    assert sorted(calls) == sorted(str(i) for i in range(20))
    asyncio.run(all_of_them())
    assert len(calls) == 40


def test_split_into_the_parts(vf: Any) -> None:
    parts = {"a": Function(length), "b": Function(one)}
    reward = rs.WeightedSum(parts, {"a": 1.0, "b": -0.5})
    hooks = to_verifiers(reward, split=True, executor="inline")
    task = task_of(vf, {"prompt": "?"}, hooks)
    trace = trace_of(task, said("abc"))
    asyncio.run(task.score(trace))
    assert {name: r.score for name, r in trace.rewards.items()} == {"a": 3.0, "b": -0.5}
    assert trace.reward == 2.5
    parts = {"a": Function(length), "b": Function(none)}
    broken = rs.Product({"a": Function(length), "b": Function(none)})
    reward = rs.WeightedSum({"whole": broken}, {"whole": 1.0})
    hooks = to_verifiers(reward, split=True, missing=-1.0, executor="inline")
    task = task_of(vf, {"prompt": "?"}, hooks)
    trace = trace_of(task, said("abc"))
    asyncio.run(task.score(trace))
    assert {name: r.score for name, r in trace.rewards.items()} == {"whole": 0.0, "missing": -1.0}
    with pytest.raises(SpecError, match="weighted_sum"):
        to_verifiers(Function(length), split=True)


class Shorter(Reward):
    """1 for the shortest of its group, else 0; empty ones it does not judge."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(needs=("completion",), scope="group")

    def forward(self, rollouts: Rollouts) -> Scores:
        size = torch.tensor([len(c) for c in rollouts.column("completion")])
        least = torch.stack([size[rollouts.group == g].min() for g in rollouts.group])
        status = torch.where(size == 0, int(Status.ABSTAINED), 0).to(torch.int8)
        return Scores.outcome((size == least).float(), status)


def test_groups(vf: Any) -> None:
    from verifiers.v1.episode import Episode

    with pytest.raises(SpecError, match="to_verifiers_episode"):
        to_verifiers(Shorter())
    finalize = to_verifiers_episode(Shorter(), executor="inline")
    task = task_of(vf, {"prompt": "?"})
    texts = [["aa", "a", "aaa"], ["aaaa", "aaaaa"], ["a", ""]]
    episodes = []
    for group in texts:
        traces = [trace_of(task, said(text)) for text in group]
        for trace in traces:
            trace.ok = True
        episodes.append(Episode(task=traces[0].task, traces=traces))
    broken = trace_of(task)
    episodes[1].traces.append(broken)

    async def all_of_them() -> None:
        await asyncio.gather(*(finalize(task, episode) for episode in episodes))

    asyncio.run(all_of_them())
    assert [t.reward for t in episodes[0].traces] == [0.0, 1.0, 0.0]
    assert [t.reward for t in episodes[1].traces] == [1.0, 0.0, 0.0]
    assert "total" not in broken.rewards
    unscored = episodes[2].traces[1]
    assert unscored.rewards["total"] is None
    assert not unscored.ok
    assert "abstained" in unscored.last_error.message
    assert unscored.metrics["status/abstained"] == 1.0


async def their_transcript(task: Any, trace: Any) -> float:
    return float(sum(ord(letter) * i for i, letter in enumerate(trace.transcript)))


def test_their_transcript_is_the_same_here(vf: Any) -> None:
    from verifiers.v1.types import ToolCall, ToolMessage

    call = ToolCall(id="1", name="add", arguments='{"a": 1}', namespace="py")
    said_there = [
        said(None, tool_calls=[call]),
        ToolMessage(tool_call_id="1", name="add", content="42"),
        ToolMessage(tool_call_id="1", content=""),
        said("it is 42"),
    ]
    task = task_of(vf, {"prompt": "what?"})
    trace = trace_of(task, *said_there)
    columns = {"completion": [[m.model_dump() for m in said_there]], "prompt": ["what?"]}
    scores = VerifiersReward(their_transcript, columns=())(Rollouts(columns))
    assert scores.values.tolist() == [asyncio.run(their_transcript(task, trace))], scores.errors


def test_weights_and_no_named_score(vf: Any) -> None:
    weighted = vf.reward(weight=0.5)(_weighted)
    task = task_of(vf, {"prompt": "?"})
    type(task).theirs = vf.reward(weight=0.5)(_method(_weighted))
    for text, status in (("abc", Status.SCORED), ("", Status.ABSTAINED)):
        trace = trace_of(task, said(text))
        asyncio.run(task.score(trace))
        scores = VerifiersReward(weighted, columns=())(Rollouts({"completion": [text]}))
        assert scores.status.tolist() == [status]
        assert bool(trace.rewards) == (status == Status.SCORED)
        assert scores.values.tolist() == [trace.reward]


async def _weighted(task: Any, trace: Any) -> dict[str, float]:
    return {"long": float(len(trace.last_reply))} if trace.last_reply else {}


def test_functions_are_decorated_as_they_are(vf: Any) -> None:
    """Plugged, or as attributes of a class: they are objects, and take no self."""
    total, parts = pickle.loads(pickle.dumps(to_verifiers(Function(length), executor="inline")))

    class Task(vf.Task[vf.TaskData]):  # type: ignore[misc]
        correct = vf.reward(total)
        numbers = vf.metric(parts)

    task = Task(vf.TaskData(prompt="?"))
    trace = trace_of(task, said("abc"))
    asyncio.run(task.score(trace))
    assert trace.reward == trace.rewards["total"].value == 3.0
    assert trace.metrics["status/scored"] == 1.0


async def their_exact(task: Any, trace: Any) -> float:
    return float(trace.last_reply == task.answer and trace.num_turns == 1)


async def their_named(task: Any, trace: Any) -> dict[str, float]:
    shown = f"[user]\n{task.prompt}\n\n[assistant]\n"
    return {"exact": float(trace.last_reply == "4"), "long": float(len(trace.transcript))} | {
        "same": float(trace.transcript.startswith(shown))
    }


def test_their_functions_say_the_same_there_and_here(vf: Any) -> None:
    rows = [{"completion": text, "answer": "4", "prompt": "2+2"} for text in ("4 ", "5")]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for function in (their_exact, their_named):
        task = task_of(vf, {"prompt": "2+2", "answer": "4"})
        type(task).theirs = vf.reward(_method(function))
        traces = [trace_of(task, said(row["completion"])) for row in rows]
        for trace in traces:
            asyncio.run(task.score(trace))
        scores = VerifiersReward(function)(Rollouts(columns))
        assert scores.values.tolist() == [trace.reward for trace in traces]
        assert traces[0].reward != traces[1].reward


def _method(function: Any) -> Any:
    async def theirs(self: Any, task: Any, trace: Any) -> Any:
        return await function(task, trace)

    return theirs


def test_the_page_runs(vf: Any) -> None:
    page = Path(__file__).parents[2] / "docs" / "trainers" / "verifiers.md"
    blocks = re.findall(r"^```py(?:thon)?\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    shown: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        exec(block, shown)
    task = shown["SumTask"](shown["Sum"](prompt="2+2", answer="4"))
    trace = trace_of(task, said("It is \\boxed{4}."))
    asyncio.run(task.score(trace))
    assert trace.reward == trace.metrics["status/scored"] == 1.0
