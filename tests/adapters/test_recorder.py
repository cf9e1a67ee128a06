from typing import Any

import numpy as np
import pytest

from rewardsmith.adapters.recorder import Recorder
from rewardsmith.core.acting import Step, Terms, scan
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping


def step(t: int, first: Any, **info: Any) -> Step:
    n = len(first)
    return Step(
        obs={"a": np.full((n, 2), t)},
        action=np.arange(n) + t,
        next_obs={"a": np.full((n, 2), t + 1)},
        env_reward=np.full(n, float(t)),
        terminated=np.zeros(n, dtype=bool),
        truncated=np.zeros(n, dtype=bool),
        first=np.array(first),
        live=np.ones(n, dtype=bool),
        info={"x": np.full(n, t + 1.0), **info},
        prev_info={"x": np.full(n, float(t))} if t else {},
    )


def test_rows_are_episodes_or_pieces_of_them() -> None:
    recorder = Recorder(EnvReward())
    firsts = [[True, True], [False, False], [True, False], [False, False]]
    for t, first in enumerate(firsts):
        recorder.add(step(t, first))
    rollouts = recorder.take()
    assert rollouts is not None
    assert rollouts.mask.sum(dim=1).tolist() == [2, 2, 4]
    rows = [rollouts["env_reward"][i][rollouts.mask[i]].tolist() for i in range(3)]
    assert rows == [[0, 1], [2, 3], [0, 1, 2, 3]]
    assert recorder.take() is None
    # What goes on across the call is a row that does not begin an episode.
    recorder.add(step(4, [False, True]))
    rollouts = recorder.take()
    assert rollouts is not None
    assert rollouts.first()[:, 0].tolist() == [False, True]


def test_only_what_is_read_is_kept() -> None:
    recorder = Recorder(CountBonus(1.0, key=lambda x: x))
    recorder.add(step(0, [True]))
    rollouts = recorder.take()
    assert rollouts is not None
    assert set(rollouts.steps) == {"terminated", "truncated", "first", "info", "prev_info"}
    recorder = Recorder(Function(lambda obs, x=None, y=None: x, step=True))
    recorder.add(step(0, [True]))
    rollouts = recorder.take()
    assert rollouts is not None
    assert rollouts["obs"]["a"].shape == (1, 1, 2)
    assert rollouts["x"].tolist() == [[1.0]]


def test_cut_forgets() -> None:
    recorder = Recorder(EnvReward())
    recorder.add(step(0, [True]))
    recorder.cut()
    assert recorder.take() is None


@pytest.mark.parametrize(
    "reward", [EnvReward(), PotentialShaping(EnvReward("x"), lambda x: x**2, gamma=0.9)]
)
def test_what_was_kept_scores_as_it_was_paid(reward: Reward) -> None:
    recorder = Recorder(reward)
    paid = []
    for t, first in enumerate([[True, True], [False, False], [True, False]], start=1):
        s = step(t, first)
        recorder.add(s)
        paid.append(scan_one(reward, s))
    rollouts = recorder.take()
    assert rollouts is not None
    for scores in (reward(rollouts), scan(reward, rollouts)):
        found = [scores.values[i][rollouts.mask[i]].tolist() for i in range(3)]
        assert found[0] == pytest.approx([paid[0][0], paid[1][0]])
        assert found[1] == pytest.approx([paid[2][0]])
        assert found[2] == pytest.approx([p[1] for p in paid])


def scan_one(reward: Reward, s: Step) -> list[float]:
    return reward.step(s, reward.start(len(s.first)), Terms())[0].tolist()


def test_text_cannot_be_learned_from() -> None:
    recorder = Recorder(CountBonus(1.0, key=lambda room: room))
    recorder.add(step(0, [True], room=np.array(["hall"])))
    with pytest.raises(ValueError, match=r"column 'room', which holds str.*a number"):
        recorder.take()
