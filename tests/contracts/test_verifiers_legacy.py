"""Our rubric in the scoring of verifiers <= 0.3.1: rollouts, groups, other rubrics, failures."""

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest
import tests.five_statuses as five

from rewardsmith.adapters.verifiers import Hooks, VerifiersReward, to_verifiers
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.outcome import Status
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores

pytestmark = pytest.mark.contracts
STATUSES = ("scored", "abstained", "timeout", "failed", "bad_value")


@pytest.fixture(scope="module")
def vf() -> Any:
    import verifiers as vf

    return vf


def state_of(row: dict[str, Any], completion: Any = None) -> Any:
    """A state as environments make one: the input below, messages as models."""
    from verifiers.types import AssistantMessage, State, UserMessage

    task = {name: value for name, value in row.items() if name != "completion"}
    state = State(input=task | {"example_id": 0})
    state["task"] = task
    state["prompt"] = [UserMessage(content=row.get("prompt", "?"))]
    if completion is None and "completion" in row:
        completion = [AssistantMessage(content=row["completion"])]
    state["completion"] = completion
    state["trajectory"], state["reward"], state["metrics"], state["error"] = [], None, None, None
    return state


def test_the_same_totals(vf: Any, tmp_path: Path) -> None:
    reward, data = five.write(tmp_path)
    labels = five.labels(reward, data)
    rubric = to_verifiers(reward, missing=-7.0, timeout=five.TIMEOUT)
    assert isinstance(rubric, vf.Rubric)
    states = [state_of(row) for row in five.rows()]

    async def all_of_them() -> None:
        await asyncio.gather(*(rubric.score_rollout(state) for state in states))

    asyncio.run(all_of_them())
    groups = [state_of(row) for row in five.rows()]

    async def by_group() -> None:
        step = five.GROUP
        await asyncio.gather(
            *(rubric.score_group(groups[i : i + step]) for i in range(0, len(groups), step))
        )

    asyncio.run(by_group())
    for state, member, label in zip(states, groups, labels, strict=True):
        expected = label["reward"] if label["status"] == "scored" else -7.0
        assert state["reward"] == member["reward"] == expected
        assert state["metrics"] == member["metrics"]
        for name in STATUSES:
            assert state["metrics"][f"status/{name}"] == float(name == label["status"])
    assert {label["status"] for label in labels} == set(STATUSES)
    assert {s["metrics"]["reward/of/correct"] for s in states} == {0.0, 1.0}


class Shorter(Reward):
    """1 for the shortest of its group, else 0."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(needs=("completion",), scope="group")

    def forward(self, rollouts: Rollouts) -> Scores:
        import torch

        size = torch.tensor([len(c) for c in rollouts.column("completion")])
        least = torch.stack([size[rollouts.group == g].min() for g in rollouts.group])
        return Scores.outcome((size == least).float())


def test_a_group_is_scored_together(vf: Any) -> None:
    rubric = to_verifiers(Shorter(), missing=0.0, executor="inline")
    assert rubric.has_group_rewards
    first = [state_of({"completion": text}) for text in ("aa", "a", "aaa")]
    second = [state_of({"completion": text}) for text in ("aaaa", "aaaaa")]

    async def both() -> None:
        await asyncio.gather(rubric.score_group(first), rubric.score_group(second))

    asyncio.run(both())
    assert [s["reward"] for s in first] == [0.0, 1.0, 0.0]
    assert [s["reward"] for s in second] == [1.0, 0.0]
    assert first[1]["advantage"] == pytest.approx(2 / 3)


def test_it_adds_up_with_other_rubrics(vf: Any) -> None:
    async def one(completion: Any) -> float:
        return 1.0

    ours = to_verifiers(Function(_length), missing=0.0, executor="inline")
    group = vf.RubricGroup([ours, vf.Rubric([one])])
    state = state_of({"completion": "abc"})
    asyncio.run(group.score_rollout(state))
    assert state["reward"] == 4.0
    assert state["metrics"]["total"] == 3.0


def test_one_scoring_serves_the_reward_and_its_metrics(vf: Any) -> None:
    calls: list[str] = []

    def counted(completion: str) -> float:
        calls.append(completion)
        return 1.0

    rubric = to_verifiers(Function(counted), missing=0.0, executor="inline")
    state = state_of({"completion": "abc"})
    asyncio.run(rubric.score_rollout(state))
    assert len(rubric.funcs) > 5
    assert calls == ["abc"]
    asyncio.run(rubric.score_rollout(state))
    assert calls == ["abc", "abc"]


def test_split_into_the_parts(vf: Any, tmp_path: Path) -> None:
    spec = tmp_path / "reward.yaml"
    a, b = (
        f'{{function: {{call: "{Path(__file__).resolve()}:{n}"}}}}' for n in ("_length", "_one")
    )
    spec.write_text(
        f"reward: {{weighted_sum: {{weights: {{a: 1.0, b: -0.5}}, parts: {{a: {a}, b: {b}}}}}}}"
    )
    whole = to_verifiers(spec, missing=-1.0, executor="inline")
    split = to_verifiers(spec, missing=-1.0, split=True, executor="inline")
    states = [state_of({"completion": "abc"}) for _ in range(2)]
    asyncio.run(whole.score_rollout(states[0]))
    asyncio.run(split.score_rollout(states[1]))
    assert states[0]["reward"] == states[1]["reward"] == 2.5
    assert {k: states[1]["metrics"][k] for k in ("a", "b", "missing")} == {
        "a": 3.0,
        "b": -0.5,
        "missing": 0.0,
    }
    with pytest.raises(SpecError, match="weighted_sum"):
        to_verifiers(Function(_length), missing=0.0, split=True)


def _length(completion: str) -> float:
    return float(len(completion))


def _one(completion: str) -> float:
    return 1.0


def _none(completion: str) -> None:
    return None


def test_our_errors_are_not_zeros(vf: Any) -> None:
    def wants(completion: str, solution: str) -> float:
        return 1.0

    missing = to_verifiers(Function(wants), missing=0.0, executor="inline")
    with pytest.raises(MissingColumn, match="solution"):
        asyncio.run(missing.score_rollout(state_of({"completion": "x"})))
    strict = to_verifiers(Function(_none), missing="raise", executor="inline")
    with pytest.raises(ScoreError, match="abstained"):
        asyncio.run(strict.score_rollout(state_of({"completion": "x"})))
    with pytest.raises(ScoreError, match="abstained"):
        asyncio.run(strict.score_group([state_of({"completion": "x"})]))
    length = to_verifiers(Function(_length), missing=0.0, executor="inline")
    with pytest.raises(TypeError, match="token ids"):
        asyncio.run(length.score_rollout(state_of({}, completion=[1, 2, 3])))

    # What the base class makes of the same in a function that is not ours.
    def breaks(completion: Any) -> float:
        raise RuntimeError("down")

    state = state_of({"completion": "x"})
    asyncio.run(vf.Rubric([breaks]).score_rollout(state))
    assert state["reward"] == 0.0


def test_it_pickles(vf: Any) -> None:
    rubric = to_verifiers(Function(_length), missing=0.0, executor="inline")
    rubric = pickle.loads(pickle.dumps(rubric))
    state = state_of({"completion": "abc"})
    asyncio.run(rubric.score_rollout(state))
    assert state["reward"] == state["metrics"]["total"] == 3.0
    assert len({id(f._once) for f in rubric.funcs}) == 1


def test_missing_has_to_be_said(vf: Any) -> None:
    with pytest.raises(ValueError, match="cannot leave a row"):
        to_verifiers(Function(_length))


def test_a_rollout_that_broke_before_scoring_is_no_error_of_the_reward(vf: Any) -> None:
    rubric = to_verifiers(Function(_length), missing=-1.0, executor="inline")
    state = state_of({"completion": "x"})
    state["completion"] = None
    asyncio.run(rubric.score_rollout(state))
    assert state["reward"] == -1.0
    assert state["metrics"]["status/failed"] == 1.0


def test_tool_turns(vf: Any) -> None:
    from verifiers.types import AssistantMessage, ToolCall, ToolMessage

    said = [
        AssistantMessage(content=None, tool_calls=[ToolCall(id="1", name="add", arguments="{}")]),
        ToolMessage(tool_call_id="1", content="42"),
        AssistantMessage(content="it is 42"),
    ]

    def text_and_roles(completion: str, messages: Any) -> float:
        assert completion == "it is 42"
        assert [m["role"] for m in messages] == ["assistant", "tool", "assistant"]
        assert messages[0]["tool_calls"][0]["name"] == "add"
        return 1.0

    state = state_of({}, completion=said)
    rubric = to_verifiers(Function(text_and_roles), missing=0.0, executor="inline")
    asyncio.run(rubric.score_rollout(state))
    assert state["reward"] == 1.0, state["metrics"]


def test_the_newer_stack_of_the_same_release(vf: Any) -> None:
    import verifiers.v1 as v1
    from verifiers.v1.configs.agent import WireAgentConfig
    from verifiers.v1.graph import MessageNode
    from verifiers.v1.trace import AgentInfo, Trace, TraceTask
    from verifiers.v1.types import AssistantMessage

    hooks = to_verifiers(Function(_length), api="v1", executor="inline")
    assert isinstance(hooks, Hooks)

    class Task(v1.Task[v1.TaskData]):  # type: ignore[misc]
        @v1.reward
        async def total(self, task: Any, trace: Any) -> Any:
            return await hooks.total(task, trace)

    task = Task(v1.TaskData(prompt="?"))
    trace = Trace(
        task=TraceTask(type="Task", data=task.data),
        agent=AgentInfo(config=WireAgentConfig()),
        nodes=[MessageNode(message=AssistantMessage(content="abc"), sampled=True)],
    )
    asyncio.run(task.score(trace))
    assert trace.reward == 3.0


def their_exact(completion: Any, answer: str, state: Any, info: Any = None) -> float:
    assert state["completion"] == completion
    assert completion[-1].content == completion[-1]["content"]
    return float(completion[-1]["content"] == answer == state["answer"])


def test_their_function_says_the_same_there_and_here(vf: Any) -> None:
    rows = [{"completion": text, "answer": "4", "prompt": "2+2"} for text in ("4", "5")]
    states = [state_of(row) for row in rows]
    rubric = vf.Rubric([their_exact])
    for state in states:
        asyncio.run(rubric.score_rollout(state))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    scores = VerifiersReward(their_exact)(Rollouts(columns))
    assert scores.status.tolist() == [Status.SCORED, Status.SCORED]
    assert scores.values.tolist() == [state["reward"] for state in states] == [1.0, 0.0]
