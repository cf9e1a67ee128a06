"""Hooks for verifiers without verifiers: rows, what is shared, what is refused."""

import ast
import asyncio
import copy
import inspect
import multiprocessing
import pickle
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

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

    def __init__(self, together: Any = "group") -> None:
        super().__init__()
        self.together = together
        self.declare(needs=("completion",), scope=together)

    def forward(self, rollouts: Rollouts) -> Scores:
        texts = list(rollouts.column("completion"))
        ids = rollouts.group.tolist()
        least = {g: min(len(t) for t, i in zip(texts, ids, strict=True) if i == g) for g in ids}
        values = [float(len(t) == least[i]) for t, i in zip(texts, ids, strict=True)]
        return Scores.outcome(torch.tensor(values))


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
        assert inspect.iscoroutinefunction(type(function).__call__)
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
    with pytest.raises(SpecError, match="compares all rows of a batch"):
        to_verifiers_episode(Grouped("batch"))
    with pytest.raises(SpecError, match="weighted_sum"):
        hooks(Function(right), split=True)
    # A mean is of the parts that did not abstain: no row's parts add up to it.
    with pytest.raises(SpecError, match="weighted_sum"):
        hooks(rs.WeightedMean({"a": Function(right), "b": Function(none)}), split=True)
    with pytest.raises(ValueError, match="'v1' or 'legacy'"):
        hooks(Function(right), api="v2")
    with pytest.raises(SpecError, match=r"verifiers==0\.3\.1"):
        hooks(Function(right), api="legacy", missing=0.0)
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
    assert 'parent / "../reward.yaml"' in files["rewards.py"]
    assert files["README.md"].count("\n") == 3
    assert '"rewardsmith[language]" "verifiers==0.4.0"' in files["README.md"]


@pytest.mark.parametrize(
    "path", ['q"uote/r.yaml', "back\\slash/new\nline.yaml", "{braces}/ü😀.yaml"]
)
def test_paths_of_any_name(path: str) -> None:
    tree = ast.parse(glue(path)["rewards.py"])
    assert path in {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


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


def told(pair: Any) -> tuple[Any, Any]:
    """What two functions say of a right answer, on an event loop."""
    total, parts = pair

    async def both() -> tuple[Any, Any]:
        trace = said("4")
        return await asyncio.gather(total(Task(), trace), parts(Task(), trace))

    return asyncio.run(both())


def _unpickled(payload: bytes) -> tuple[Any, Any]:
    return told(pickle.loads(payload))


def _spawned(pair: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_unpickled, (pickle.dumps(pair),))


def _threaded(pair: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(told, pair).result()


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    "way",
    [
        told,
        _threaded,
        _spawned,
        lambda pair: told(pickle.loads(pickle.dumps(pair))),
        lambda pair: told(copy.deepcopy(pair)),
    ],
    ids=["asyncio", "thread", "spawn", "pickle", "deepcopy"],
)
def test_functions_work_wherever_they_are_sent(way: Any, split: bool) -> None:
    reward = rs.WeightedSum({"long": rs.signals.Length(high=3), "right": Function(right)})
    total, numbers = way(hooks(reward, split=split))
    expected = {"long": 1.0, "right": 1.0}
    assert total == (expected if split else 2.0)
    assert {name: numbers[f"reward/{name}"] for name in expected} == expected


def test_they_still_share_what_is_scored_elsewhere() -> None:
    total, parts = pickle.loads(pickle.dumps(hooks(Function(right))))
    assert total._once is parts._once
    assert total._once.submit.__self__ is total._rows


def episode_of(*texts: str) -> tuple[Any, list[Any]]:
    """An episode, and where its traces record what they are told."""
    traces = [said(text) for text in texts]
    for trace in traces:
        trace.ok, trace.agent = True, SimpleNamespace(trainable=True)  # type: ignore[attr-defined]
        trace.task = SimpleNamespace(data=Task())  # type: ignore[attr-defined]
        trace.rewards, trace.errors, trace.metrics = {}, [], {}  # type: ignore[attr-defined]
        trace.record_reward = trace.rewards.__setitem__  # type: ignore[attr-defined]
        trace.record_metrics = trace.metrics.update  # type: ignore[attr-defined]
        trace.record_error = trace.errors.append  # type: ignore[attr-defined]
    return SimpleNamespace(traces=traces), traces


def test_episodes() -> None:
    finalize = pickle.loads(pickle.dumps(to_verifiers_episode(Grouped(), executor="inline")))
    episodes = [episode_of(*texts) for texts in (("aa", "a"), ("aaaa", "aaaaa"))]

    async def all_of_them() -> None:
        await asyncio.gather(*(finalize(None, episode) for episode, _ in episodes))

    asyncio.run(all_of_them())
    paid = [[trace.rewards["total"] for trace in traces] for _, traces in episodes]
    assert paid == [[0.0, 1.0], [1.0, 0.0]]
    for policy in ("missing", "raise", -3.0):
        finalize = to_verifiers_episode(Function(breaks), missing=policy, executor="inline")
        episode, (trace,) = episode_of("x")
        asyncio.run(finalize(None, episode))
        assert trace.metrics["status/failed"] == 1.0
        assert trace.rewards["total"] == (-3.0 if policy == -3.0 else None)
        assert bool(trace.errors) == (policy != -3.0)


def test_an_episode_that_cannot_be_read_fails_alone() -> None:
    finalize = to_verifiers_episode(
        Grouped(), columns={"completion": "trace.info.said"}, executor="inline"
    )
    good, bad = episode_of("x", "x"), episode_of("x")
    for trace, text in zip(good[1] + bad[1], ("a", "aa", [1, 2]), strict=True):
        trace.info["said"] = text

    async def both() -> list[Any]:
        scorings = [finalize(None, episode) for episode, _ in (good, bad)]
        return await asyncio.gather(*scorings, return_exceptions=True)

    first, second = asyncio.run(both())
    assert first is None
    assert [trace.rewards["total"] for trace in good[1]] == [1.0, 0.0]
    assert isinstance(second, TypeError)


@pytest.fixture
def legacy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package of verifiers whose Rubric a test says."""

    def install(base: type) -> None:
        for name in ("verifiers", "verifiers.rubrics", "verifiers.rubrics.rubric"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        sys.modules["verifiers.rubrics.rubric"].Rubric = base  # type: ignore[attr-defined]

    home = "rewardsmith.adapters.verifiers.rubric"
    monkeypatch.delitem(sys.modules, home, raising=False)
    yield install
    sys.modules.pop(home, None)


class Rubric031:
    """What is replaced of the class in 0.3.1."""

    def __init__(self, funcs: Any, weights: Any) -> None:
        self.funcs, self.weights = funcs, weights

    async def _call_individual_reward_func(self, func: Any, state: Any) -> float:
        return 0.0

    async def _call_group_reward_func(self, func: Any, states: Any) -> list[float]:
        return []


class Rubric013:
    """0.1.3: other names, and zeros for every exception."""

    async def call_reward_func(self, func: Any, prompt: Any, **rest: Any) -> float:
        return 0.0


class Rubric019(Rubric031):
    """0.1.9: a further argument."""

    async def _call_individual_reward_func(  # type: ignore[override]
        self, func: Any, state: Any, score_sem: Any
    ) -> float:
        return 0.0


@pytest.mark.parametrize("older", [Rubric013, Rubric019])
def test_rubrics_that_would_make_zeros_of_errors_are_refused(legacy: Any, older: type) -> None:
    legacy(older)
    with pytest.raises(SpecError, match=r"verifiers==0\.3\.1"):
        hooks(Function(right), api="legacy", missing=0.0)


class RubricState(dict[str, Any]):
    """Refers weakly, as theirs."""


def test_a_rubric_of_rows_and_one_of_groups(legacy: Any) -> None:
    legacy(Rubric031)
    mean = rs.WeightedMean({"a": Function(right), "b": Function(none)})
    with pytest.raises(SpecError, match="weighted_sum"):
        hooks(mean, api="legacy", missing=0.0, split=True)
    with pytest.raises(ValueError, match="cannot leave a row"):
        hooks(mean, api="legacy")
    rubric = hooks(Function(right), api="legacy", missing=-1.0)
    states = [row_state(completion=text) for text in ("4", "4 5")]
    found = [asyncio.run(rubric._call_individual_reward_func(rubric.funcs[0], s)) for s in states]
    assert found == [1.0, 0.0]
    assert rubric.funcs[0].__name__ == "total"
    grouped = hooks(Grouped(), api="legacy", missing=-1.0).funcs[0]
    assert list(inspect.signature(grouped).parameters) == ["states"]
    assert asyncio.run(grouped(states)) == [1.0, 0.0]
    kept = pickle.loads(pickle.dumps(rubric.funcs))
    assert asyncio.run(kept[0](states[0])) == 1.0


def row_state(completion: str) -> RubricState:
    return RubricState(input={"answer": "4"}, completion=completion)
