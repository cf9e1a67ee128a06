"""Rubrics of OpenEnv as rewards of ours, without OpenEnv."""

import asyncio
import copy
import pickle
from typing import Any

import pytest
from tests.adapters.openenv.fake import Rubric

import rewardsmith as rs
from rewardsmith.adapters import versions
from rewardsmith.adapters.openenv import OpenEnvReward
from rewardsmith.core import spec
from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts


class Says(Rubric):
    """1 for the answer; remembers how many steps it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def reset(self) -> None:
        self.steps = 0

    def forward(self, action: Any, observation: Any) -> Any:
        self.steps += 1
        assert self.steps == 1
        match action.message:
            case "none":
                return None
            case "text":
                return "good"
            case "nan":
                return float("nan")
            case "raise":
                raise RuntimeError("down")
        return float(action.message == observation.metadata["answer"])


class Later(Rubric):
    """The same, asynchronous."""

    async def forward(self, action: Any, observation: Any) -> float:
        await asyncio.sleep(0)
        return float(action["message"] == "4")


class Both(Rubric):
    """A sum of parts, the second only where the first says something."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Says(), Says()

    def reset(self) -> None:
        self.first.reset()
        self.second.reset()

    def forward(self, action: Any, observation: Any) -> float:
        first = self.first(action, observation)
        return first + self.second(action, observation) if first else 0.0


MESSAGES = ("4", "5", "none", "nan", "raise", "text")
ROWS = {
    "action": [{"message": message} for message in MESSAGES],
    "observation": [{"done": True, "metadata": {"answer": "4"}}] * len(MESSAGES),
}
TWO = {name: column[:2] for name, column in ROWS.items()}


def test_each_row_is_an_episode_with_a_status() -> None:
    scores = OpenEnvReward(Says)(Rollouts(ROWS))
    assert scores.status.tolist() == [
        Status.SCORED,
        Status.SCORED,
        Status.ABSTAINED,
        Status.BAD_VALUE,
        Status.FAILED,
        Status.BAD_VALUE,
    ]
    assert scores.values[:2].tolist() == [1.0, 0.0]
    assert "down" in scores.errors[4][1]


def test_parts_and_asynchronous_rubrics() -> None:
    assert OpenEnvReward(Later)(Rollouts(TWO)).values.tolist() == [1.0, 0.0]
    assert OpenEnvReward(Both)(Rollouts(TWO)).values.tolist() == [2.0, 0.0]
    second = OpenEnvReward(Both, part="second")(Rollouts(TWO))
    assert second.status.tolist() == [Status.SCORED, Status.ABSTAINED]
    assert second.values[0] == 1.0


def test_in_other_processes() -> None:
    reward = pickle.loads(pickle.dumps(OpenEnvReward(Both, part="first")))
    assert (reward.call, reward.part) == (Both, "first")
    assert copy.deepcopy(reward) is reward
    with rs.executor("processes", workers=1):
        scores = reward(Rollouts(TWO))
        assert scores.values.tolist() == [1.0, 0.0], scores.errors


def test_bad_input_is_told() -> None:
    with pytest.raises(MissingColumn, match="observation"):
        OpenEnvReward(Says)(Rollouts({"action": [{"message": "4"}]}))
    with pytest.raises(ValueError, match="the rubric's class"):
        OpenEnvReward(Says())  # type: ignore[arg-type]


def test_written_and_read_back(tmp_path: Any) -> None:
    file = tmp_path / "reward.yaml"
    node = f"{{openenv_reward: {{call: '{__file__}:Both', part: first}}}}"
    file.write_text(f"reward: {node}\n", encoding="utf-8")
    reward = spec.load(str(file))
    assert isinstance(reward, OpenEnvReward)
    assert reward(Rollouts(TWO)).values.tolist() == [1.0, 0.0]


class Counted(Rubric):
    """Counts how often it is made; has columns that are named as a dict's methods."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Counted.made += 1

    def forward(self, action: Any, observation: Any) -> float:
        return float(action.values == [1] and observation.items == 2)


def test_a_rubric_is_made_once() -> None:
    """Making it may load a model."""
    Counted.made = 0
    reward = OpenEnvReward(Counted)
    rows = Rollouts({"action": [{"values": [1]}] * 2, "observation": [{"items": 2}] * 2})
    for _ in range(3):
        assert reward(rows).values.tolist() == [1.0, 1.0]
    assert Counted.made == 1
    assert OpenEnvReward(Counted)(rows).values.tolist() == [1.0, 1.0]
    assert Counted.made == 1


def test_another_version_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", lambda name: "0.11.0")
    versions.note_version.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"tested with openenv 0\.10\.0"):
            OpenEnvReward(Says)
    finally:
        versions.note_version.cache_clear()
