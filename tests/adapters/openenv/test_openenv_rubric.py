"""Our rubrics without OpenEnv: rows, parts, when steps are scored, what is refused."""

import ast
import asyncio
import copy
import multiprocessing
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tests.adapters.openenv import fake

import rewardsmith as rs
from rewardsmith.adapters import versions
from rewardsmith.adapters.openenv.glue import glue
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores

HOME = "rewardsmith.adapters.openenv.rubric"
COLUMNS = {"completion": "action.message"}


REAL = find_spec("openenv") is not None
"""Whether these tests run on OpenEnv's own class, as they do among the contracts."""


@pytest.fixture
def openenv(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    if REAL:
        yield import_module(HOME)
        return
    # Put back as it was, whatever is installed.
    for name in ("openenv", "openenv.core", "openenv.core.rubrics"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    fake.install()
    yield import_module(HOME)
    del sys.modules[HOME]


@pytest.fixture
def made(openenv: Any) -> Any:
    def make(reward: Any, **options: Any) -> Any:
        given = {"missing": 0.0, "columns": COLUMNS, "executor": "inline"}
        return openenv.to_openenv(reward, **(given | options))

    return make


def act(message: Any, done: bool = True, **rest: Any) -> tuple[Any, Any]:
    return SimpleNamespace(message=message), SimpleNamespace(done=done, **rest)


def length(completion: Any) -> float:
    text = completion if isinstance(completion, str) else completion[-1]["content"]
    return float(len(text))


def none(completion: Any) -> None:
    return None


def breaks(completion: Any) -> float:
    raise RuntimeError("down")


def nan(completion: Any) -> float:
    return float("nan")


class Steps(Reward):
    """A reward of steps, or of groups, or one that learns."""

    def __init__(self, kind: Any = "outcome", together: Any = "row") -> None:
        super().__init__()
        self.kind, self.together = kind, together
        self.declare(needs=("completion",), granularity=kind, scope=together)


class Learner(Steps):
    """A reward that learns."""

    def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
        return {}


def test_a_tree_like_ours(made: Any) -> None:
    inner = rs.WeightedSum({"long": Function(length), "none": Function(none)})
    rubric = made(
        rs.WeightedSum({"inner": inner, "reset": Function(length)}, {"inner": 2.0, "reset": 1.0})
    )
    heard: list[float] = []
    rubric.get_rubric("reset_").register_forward_hook(lambda *given: heard.append(given[-1]))
    assert rubric(*act("abc")) == rubric.last_score == 9.0
    assert {name: part.last_score for name, part in rubric.named_rubrics()} == {
        "inner": 3.0,
        "inner.long": 3.0,
        "inner.none": None,
        "reset_": 3.0,
    }
    assert rubric.last_status == "scored"
    assert heard == [3.0]
    rubric.reset()
    assert rubric.last_score is rubric.get_rubric("reset_").last_score is None
    with pytest.raises(ScoreError, match="call the root"):
        rubric.get_rubric("reset_")(*act("abc"))


def test_tool_turns_are_read_as_chat(made: Any) -> None:
    turns = [
        {"role": "assistant", "content": None, "tool_calls": [{"name": "add"}]},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "it is 42"},
    ]
    assert made(Function(length))(*act(turns)) == 8.0


@pytest.mark.parametrize(
    ("function", "status"), [(none, "abstained"), (breaks, "failed"), (nan, "bad_value")]
)
def test_no_score_is_never_a_number_unless_it_is_said(
    made: Any, function: Any, status: str
) -> None:
    rubric = made(Function(function), missing=-1.0)
    assert rubric(*act("abc")) == rubric.last_score == -1.0
    assert rubric.last_status == status
    strict = made(Function(function), missing="raise")
    with pytest.raises(ScoreError, match=status):
        strict(*act("abc"))
    assert strict.last_status == status
    assert strict.last_score is None


def test_a_step_that_fails_shows_no_older_score(made: Any) -> None:
    def sometimes(completion: str) -> float:
        return 1.0 if completion == "good" else float("nan")

    rubric = made(Function(sometimes), missing="raise", score="step")
    assert rubric(*act("good")) == 1.0
    with pytest.raises(ScoreError):
        rubric(*act("bad"))
    assert rubric.last_score is None


def test_when_steps_are_scored(made: Any) -> None:
    rubric = made(rs.WeightedSum({"a": Function(length)}))
    assert [rubric(*act("abc", done=done)) for done in (True, False)] == [3.0, 0.0]
    assert rubric.last_status == "unscored"
    assert rubric.get_rubric("a").last_score is None
    rubric.reset()
    rubric(*act("abc", done=False))
    with pytest.warns(UserWarning, match="score='step'"):
        rubric.reset()
    with pytest.raises(SpecError, match="no field 'done'"):
        rubric(SimpleNamespace(message="abc"), SimpleNamespace())
    every = made(Function(length), score="step")
    assert every({"message": "abc"}, {}) == 3.0
    assert made(Function(length))({"message": "abc"}, {"done": True}) == 3.0


def test_a_row(openenv: Any) -> None:
    row = openenv.row_of(*act("hi", prompt="?", metadata={"answer": "4"}))
    assert row["message"] == row["action"]["message"] == "hi"
    assert row["prompt"] == "?"
    assert row["observation"]["metadata"]["answer"] == "4"
    both = openenv.row_of({"metadata": 1}, {"metadata": 2})
    assert "metadata" not in both
    assert openenv.row_of("left", 3) == {"observation": {}, "action": {}}


def test_a_row_of_their_own(made: Any) -> None:
    rubric = made(Function(length), columns=None, row=lambda action, seen: {"completion": "abcd"})
    assert rubric(*act("a")) == 4.0


def test_bad_input_is_told(openenv: Any, made: Any) -> None:
    for asynchronous in (False, True):
        lost = made(rs.WeightedSum({"a": Function(length)}), columns={}, asynchronous=asynchronous)
        with pytest.raises(MissingColumn, match=r"completion.*observation\.metadata\.answer"):
            told(lost, metadata={"answer": "4"})
    with pytest.raises(TypeError, match="token ids"):
        made(Function(length))(*act([1, 2, 3]))
    with pytest.raises(SpecError, match="compares the rows of a group"):
        made(Steps(together="group"))
    with pytest.raises(SpecError, match="scores the steps"):
        made(Steps(kind="dense"))
    with pytest.raises(ValueError, match="OpenEnv cannot leave a row"):
        made(Function(length), missing="missing")
    with pytest.raises(ValueError, match="OpenEnv cannot leave a row"):
        openenv.to_openenv(Function(length))
    with pytest.raises(ValueError, match="'done' or 'step'"):
        made(Function(length), score="end")
    with pytest.warns(UserWarning, match="does not learn here"):
        made(Learner())


def test_another_version_is_told_of(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", lambda name: "0.11.0")
    versions.note_version.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"tested with openenv 0\.10\.0, and this is 0\.11"):
            made(Function(length))
    finally:
        versions.note_version.cache_clear()


def test_generated_files() -> None:
    files = glue("../reward.yaml")
    assert 'parent / "../reward.yaml"' in files["rubric.py"]
    assert files["README.md"].count("\n") == 3
    assert '"rewardsmith[language]" "openenv==0.10.0"' in files["README.md"]


@pytest.mark.parametrize(
    "path", ['q"uote/r.yaml', "back\\slash/new\nline.yaml", "{braces}/ü😀.yaml"]
)
def test_paths_of_any_name(path: str) -> None:
    tree = ast.parse(glue(path)["rubric.py"])
    assert path in {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def test_asynchronous_rubrics_leave_the_loop_free(openenv: Any) -> None:
    make = openenv.openenv_factory(
        Function(length), missing=0.0, columns=COLUMNS, executor="inline", asynchronous=True
    )
    rubrics = [make() for _ in range(20)]

    async def all_of_them() -> list[float]:
        return await asyncio.gather(*(r(*act("a" * i)) for i, r in enumerate(rubrics)))

    assert asyncio.run(all_of_them()) == [float(i) for i in range(20)]
    assert [r.last_score for r in rubrics] == [float(i) for i in range(20)]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_hooks_on_parts_run(made: Any, asynchronous: bool) -> None:
    rubric = made(
        rs.WeightedSum({"a": Function(length), "none": Function(none)}), asynchronous=asynchronous
    )
    heard: list[Any] = []

    async def later(*given: Any) -> None:
        await asyncio.sleep(0)
        heard.append(("later", given[-1]))

    for path in ("a", "none"):
        part = rubric.get_rubric(path)
        part.register_forward_hook(lambda *given: heard.append(("now", given[-1])))
        if asynchronous:
            part.register_forward_hook(later)
    told(rubric, "abc")
    assert heard == [("now", 3.0), ("later", 3.0)][: 1 + asynchronous]


def test_steps_that_overlap_are_told_apart(made: Any) -> None:
    rubric = made(rs.WeightedSum({"a": Function(length)}), asynchronous=True)
    heard: list[Any] = []

    async def later(part: Any, action: Any, observation: Any, score: float) -> None:
        await asyncio.sleep(0)
        heard.append((action.message, score))

    rubric.get_rubric("a").register_forward_hook(later)

    async def both() -> list[float]:
        return await asyncio.gather(*(rubric(*act(text)) for text in ("abc", "abcdef")))

    assert asyncio.run(both()) == [3.0, 6.0]
    assert sorted(heard) == [("abc", 3.0), ("abcdef", 6.0)]


def told(rubric: Any, message: str = "abc", **rest: Any) -> tuple[Any, Any]:
    """What a rubric pays, and what its part says."""
    result = rubric(*act(message, **rest))
    if asyncio.iscoroutine(result):
        result = asyncio.run(_awaited(result))
    return result, dict(rubric.named_rubrics())["a"].last_score


async def _awaited(result: Any) -> Any:
    return await result


def _unpickled(payload: bytes) -> tuple[Any, Any]:
    if not REAL:
        fake.install()
    return told(pickle.loads(payload))


def _spawned(rubric: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_unpickled, (pickle.dumps(rubric),))


def _threaded(rubric: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(told, rubric).result()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    "way",
    [
        told,
        _threaded,
        _spawned,
        lambda rubric: told(pickle.loads(pickle.dumps(rubric))),
        lambda rubric: told(copy.deepcopy(rubric)),
    ],
    ids=["here", "thread", "spawn", "pickle", "deepcopy"],
)
def test_rubrics_work_wherever_they_are_sent(made: Any, way: Any, asynchronous: bool) -> None:
    rubric = made(rs.WeightedSum({"a": Function(length)}, {"a": 2.0}), asynchronous=asynchronous)
    assert way(rubric) == (6.0, 3.0)


def test_factories_pickle(openenv: Any) -> None:
    make = openenv.openenv_factory(Function(length), missing=0.0, columns=COLUMNS)
    assert pickle.loads(pickle.dumps(make))()(*act("abc")) == 3.0
