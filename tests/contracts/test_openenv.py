"""Our rubrics in real environments of OpenEnv: sessions, parts, hooks; and its rubrics as ours."""

import asyncio
import importlib.util
import re
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openenv")

import tests.five_statuses as five
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State
from openenv.core.rubrics import (
    Gate,
    Rubric,
    TrajectoryRubric,
    WeightedSum,
)
from pydantic import ValidationError

# What is said of our rubrics without OpenEnv has to hold on its own class: the tests are the same.
from tests.adapters.openenv.test_openenv_rubric import (  # noqa: F401
    made,
    openenv,
    test_a_row,
    test_a_row_of_their_own,
    test_a_step_that_fails_shows_no_older_score,
    test_a_tree_like_ours,
    test_asynchronous_rubrics_leave_the_loop_free,
    test_bad_input_is_told,
    test_factories_pickle,
    test_no_score_is_never_a_number_unless_it_is_said,
    test_rubrics_work_wherever_they_are_sent,
    test_steps_that_overlap_are_told_apart,
    test_tool_turns_are_read_as_chat,
    test_when_steps_are_scored,
)
from tests.adapters.openenv.test_openenv_rubric import (  # noqa: F401
    test_hooks_on_parts_run as test_hooks_on_parts_run_on_their_class,
)

from rewardsmith.adapters.openenv import OpenEnvReward, openenv_factory, to_openenv
from rewardsmith.adapters.openenv.glue import glue
from rewardsmith.core.errors import MissingColumn, ScoreError
from rewardsmith.core.function import Function
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts

pytestmark = pytest.mark.contracts
COLUMNS = {"completion": "action.message", "answer": "observation.metadata.answer"}


class Say(Action):  # type: ignore[misc]
    message: Any = ""


class Seen(Observation):  # type: ignore[misc]
    prompt: str = ""


class Quiz(Environment):  # type: ignore[misc]
    """One question an episode; answered in as many steps as it is told."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, rubric: Any, row: dict[str, Any], steps: int = 1) -> None:
        super().__init__(rubric=rubric)
        self.row, self.steps, self._state = row, steps, State()

    def reset(self, seed: Any = None, episode_id: Any = None, **kwargs: Any) -> Seen:
        self._reset_rubric()
        self._state = State(episode_id=episode_id)
        return Seen(prompt=self.row.get("prompt", ""))

    def _seen(self) -> Seen:
        self._state.step_count += 1
        done = self._state.step_count >= self.steps
        return Seen(done=done, metadata={"answer": self.row.get("answer", "")})

    def step(self, action: Say, timeout_s: Any = None, **kwargs: Any) -> Seen:
        seen = self._seen()
        seen.reward = self._apply_rubric(action, seen)
        return seen

    async def step_async(self, action: Say, timeout_s: Any = None, **kwargs: Any) -> Seen:
        seen = self._seen()
        seen.reward = await self._apply_rubric_async(action, seen)
        return seen

    @property
    def state(self) -> State:
        return self._state


def test_the_same_totals(tmp_path: Path) -> None:
    reward, data = five.write(tmp_path)
    labels = five.labels(reward, data)
    make = openenv_factory(
        reward, missing=-7.0, columns=COLUMNS, timeout=five.TIMEOUT, asynchronous=True
    )
    envs = [Quiz(make(), row) for row in five.rows()]

    async def one(env: Quiz) -> float:
        env.reset()
        seen = await env.step_async(Say(message=env.row["completion"]))
        return float(seen.reward)

    async def all_of_them() -> list[float]:
        return await asyncio.gather(*(one(env) for env in envs))

    paid = asyncio.run(all_of_them())
    for env, value, label in zip(envs, paid, labels, strict=True):
        assert env.rubric.last_status == label["status"]
        assert value == (label["reward"] if label["status"] == "scored" else -7.0)
        parts = {name: part.last_score for name, part in env.rubric.named_rubrics()}
        expected = {
            path.replace("/", "."): label[f"reward/{path}"]
            for path in ("condition", "of", "of/correct", "of/format")
        }
        assert parts == expected
    assert {env.rubric.last_status for env in envs} == {
        "scored",
        "abstained",
        "timeout",
        "failed",
        "bad_value",
    }


def test_the_same_totals_step_by_step(tmp_path: Path) -> None:
    reward, data = five.write(tmp_path)
    labels = five.labels(reward, data)
    rubric = to_openenv(reward, missing=-7.0, columns=COLUMNS, timeout=five.TIMEOUT)
    for row, label in zip(five.rows(), labels, strict=True):
        env = Quiz(rubric, row)
        env.reset()
        seen = env.step(Say(message=row["completion"]))
        expected = label["reward"] if label["status"] == "scored" else -7.0
        assert seen.reward == rubric.last_score == expected


def length(completion: str) -> float:
    return float(len(completion))


def none(completion: str) -> None:
    return None


def test_two_sessions_keep_their_own_scores() -> None:
    make = openenv_factory(Function(length), missing=0.0, columns=COLUMNS, executor="inline")
    envs = [Quiz(make(), {}), Quiz(make(), {})]
    wrong: list[Any] = []
    start = threading.Barrier(2)

    def session(env: Quiz, text: str) -> None:
        start.wait()
        for _ in range(200):
            env.reset()
            seen = env.step(Say(message=text))
            if not seen.reward == env.rubric.last_score == len(text):
                wrong.append((text, seen.reward, env.rubric.last_score))

    threads = [
        threading.Thread(target=session, args=(env, text))
        for env, text in zip(envs, ("a", "aaaa"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_outcome_waits_for_the_end() -> None:
    rubric = to_openenv(Function(length), missing=0.0, columns=COLUMNS, executor="inline")
    env = Quiz(rubric, {}, steps=3)
    env.reset()
    paid = [env.step(Say(message="abc")).reward for _ in range(3)]
    assert paid == [0.0, 0.0, 3.0]
    env.reset()
    assert rubric.last_score is None
    assert rubric.last_status == "unscored"
    each = to_openenv(
        Function(length), missing=0.0, columns=COLUMNS, executor="inline", score="step"
    )
    env = Quiz(each, {}, steps=3)
    env.reset()
    assert [env.step(Say(message="abc")).reward for _ in range(3)] == [3.0, 3.0, 3.0]


def test_an_episode_without_an_end_is_told_of() -> None:
    rubric = to_openenv(Function(length), missing=0.0, columns=COLUMNS, executor="inline")
    env = Quiz(rubric, {}, steps=99)
    env.reset()
    env.step(Say(message="abc"))
    with pytest.warns(UserWarning, match="score='step'"):
        env.reset()


def tree(tmp_path: Path) -> Path:
    """A weighted sum whose parts have names that rubrics have too."""
    here = Path(__file__).resolve()
    call = f'{{function: {{call: "{here}:length"}}}}'
    spec = tmp_path / "reward.yaml"
    spec.write_text(
        "reward: {weighted_sum: {weights: {reset: 1.0, last_score: 2.0, a: 0.5}, parts: {"
        f"reset: {call}, last_score: {call}, a: {call}}}}}}}\n"
    )
    return spec


def test_parts_have_names_that_shadow_nothing(tmp_path: Path) -> None:
    rubric = to_openenv(tree(tmp_path), missing=0.0, columns=COLUMNS, executor="inline")
    env = Quiz(rubric, {})
    env.reset()
    assert env.step(Say(message="ab")).reward == 7.0
    named = {name: part.last_score for name, part in rubric.named_rubrics()}
    assert named == {"reset_": 2.0, "last_score_": 2.0, "a": 2.0}
    assert rubric.last_score == 7.0
    assert rubric.get_rubric("reset_").last_score == 2.0
    env.reset()
    assert rubric.last_score is None


def test_hooks_on_parts_run(tmp_path: Path) -> None:
    heard: list[Any] = []
    for asynchronous in (False, True):
        rubric = to_openenv(
            tree(tmp_path),
            missing=0.0,
            columns=COLUMNS,
            executor="inline",
            asynchronous=asynchronous,
        )
        rubric.get_rubric("a").register_forward_hook(lambda *given: heard.append(given[-1]))
        rubric.register_forward_hook(lambda *given: heard.append(given[-1]))
        env = Quiz(rubric, {})
        env.reset()
        if asynchronous:
            asyncio.run(env.step_async(Say(message="ab")))
        else:
            env.step(Say(message="ab"))
    assert heard == [2.0, 7.0, 2.0, 7.0]


def test_no_score_and_no_number() -> None:
    rubric = to_openenv(Function(none), missing="raise", columns=COLUMNS, executor="inline")
    env = Quiz(rubric, {})
    env.reset()
    with pytest.raises(ScoreError, match="abstained"):
        env.step(Say(message="ab"))
    assert rubric.last_score is None
    with pytest.raises(ValueError, match="cannot leave a row"):
        to_openenv(Function(none), missing="missing")
    with pytest.raises(ValueError, match="cannot leave a row"):
        to_openenv(Function(none))


def test_a_coroutine_is_refused_where_a_number_is_due() -> None:
    rubric = to_openenv(
        Function(length), missing=0.0, columns=COLUMNS, executor="inline", asynchronous=True
    )
    env = Quiz(rubric, {})
    env.reset()
    with pytest.raises(ValidationError, match="coroutine"):
        env.step(Say(message="ab"))


def test_what_is_missing_or_no_text_is_told() -> None:
    rubric = to_openenv(Function(length), missing=0.0, executor="inline")
    env = Quiz(rubric, {})
    env.reset()
    with pytest.raises(MissingColumn, match="completion"):
        env.step(Say(message="ab"))
    tokens = to_openenv(Function(length), missing=0.0, columns=COLUMNS, executor="inline")
    env = Quiz(tokens, {})
    env.reset()
    with pytest.raises(TypeError, match="token ids"):
        env.step(Say(message=[1, 2]))


def test_generated_files_run(tmp_path: Path) -> None:
    five.write(tmp_path)
    out = tmp_path / "export"
    out.mkdir()
    for name, text in glue("../reward.yaml").items():
        (out / name).write_text(text)
    spec = importlib.util.spec_from_file_location("generated_rubric", out / "rubric.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    env, other = (Quiz(module.make_rubric(), row) for row in five.rows()[:2])
    assert env.rubric is not other.rubric
    env.reset()
    message = f"<think>sum</think><answer>{env.row['answer']}</answer>"
    seen = env.step(Say(message=message))
    assert seen.reward == pytest.approx(1.2)


class Says(Rubric):  # type: ignore[misc]
    def forward(self, action: Any, observation: Any) -> float:
        if action.message == "raise":
            raise RuntimeError("down")
        if action.message == "nan":
            return float("nan")
        return float(
            action.message == observation.metadata["answer"] == observation.metadata.answer
        )


class SaysLater(Rubric):  # type: ignore[misc]
    async def forward(self, action: Any, observation: Any) -> float:
        await asyncio.sleep(0)
        return float(action.message == "4")


def make_sum() -> Any:
    return WeightedSum([Says(), Gate(SaysLater())], weights=[0.25, 0.75])


class AtTheEnd(TrajectoryRubric):  # type: ignore[misc]
    def score_trajectory(self, trajectory: Any) -> float:
        return float(len(trajectory))

    def compute_step_rewards(self) -> list[float]:
        return [1.0]


ROWS = {
    "action": [{"message": m} for m in ("4", "5", "raise", "nan")],
    "observation": [{"done": True, "metadata": {"answer": "4"}}] * 4,
}


def test_their_rubric_as_our_reward() -> None:
    scores = OpenEnvReward(Says)(Rollouts(ROWS))
    expected = [Status.SCORED, Status.SCORED, Status.FAILED, Status.BAD_VALUE]
    assert scores.status.tolist() == expected
    assert scores.values[:2].tolist() == [1.0, 0.0]
    assert "down" in scores.errors[2][1]
    two = Rollouts({name: column[:2] for name, column in ROWS.items()})
    assert OpenEnvReward(make_sum)(two).values.tolist() == [1.0, 0.0]
    assert OpenEnvReward(make_sum, part="rubric_1")(two).values.tolist() == [1.0, 0.0]
    assert OpenEnvReward(SaysLater)(two).values.tolist() == [1.0, 0.0]
    # One step each: the rubric was reset in between.
    assert OpenEnvReward(AtTheEnd)(Rollouts(ROWS)).values.tolist() == [1.0] * 4
    models = Rollouts({"action": [Say(message="4")], "observation": [Seen(done=True)]})
    assert OpenEnvReward(SaysLater)(models).values.tolist() == [1.0]


def test_the_page_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "trainers" / "openenv.md"
    blocks = re.findall(r"^```py\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {"__name__": "page"})
