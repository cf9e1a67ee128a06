"""What ``compute_reward`` answers."""

from typing import Any

import numpy as np
import pytest
from tests.adapters.sb3.toys import Reach, hurry, near

import rewardsmith as rs
from rewardsmith.adapters.goals import GoalReward, VectorizedGoals, check_markov
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping

ACHIEVED = np.array([[0.0], [1.0], [5.0]])
DESIRED = np.array([[0.0], [3.0], [5.2]])


def custom() -> Reward:
    return rs.WeightedSum(
        {"env": EnvReward(), "near": Function(near, step=True)}, {"env": 2.0, "near": 1.0}
    )


def test_parts_that_know_the_goals_are_paid_for_new_ones() -> None:
    goals = GoalReward(custom(), VectorizedGoals(Reach().compute_reward))
    assert goals(ACHIEVED, DESIRED, {}).tolist() == pytest.approx([0.0, -2.0 - 2.0, -0.2])


def test_a_wrapped_environment_pays_for_new_ones() -> None:
    env = rs.wrap(Reach(), custom())
    env.reset(seed=0)
    _, reward, _, _, info = env.step(2)
    achieved, desired = env.unwrapped._obs()["achieved_goal"], env.unwrapped._obs()["desired_goal"]
    again = env.get_wrapper_attr("compute_reward")(achieved, desired, info)
    assert isinstance(again, float)
    assert again == pytest.approx(reward)
    batch = env.get_wrapper_attr("compute_reward")(ACHIEVED, DESIRED, {})
    assert batch.tolist() == pytest.approx([0.0, -4.0, -0.2])


def test_infos_are_read_where_the_caller_has_them() -> None:
    goals = GoalReward(EnvReward("distance"), VectorizedGoals(Reach().compute_reward))
    infos = [{"distance": 1.0}, {"distance": 2.0}, {"distance": 3.0}]
    assert goals(ACHIEVED, DESIRED, infos).tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match=r"'distance'.*RewardHerReplayBuffer"):
        goals(ACHIEVED, DESIRED, {})


def test_a_part_that_reads_more_is_refused_by_name() -> None:
    goals = GoalReward(Function(hurry, step=True), VectorizedGoals(Reach().compute_reward))
    with pytest.raises(ValueError, match=r"and no more: .*RewardHerReplayBuffer"):
        goals(ACHIEVED, DESIRED, {})


def test_an_environment_that_takes_one_goal_at_a_time_is_found_out() -> None:
    slow = VectorizedGoals(Reach(vectorized=False).compute_reward)
    with pytest.warns(UserWarning, match="not vectorized: goals are computed one by one"):
        found = slow(ACHIEVED, DESIRED, [{}] * 3)
    assert found.tolist() == [0.0, -1.0, 0.0]
    assert slow.vectorized is False
    fast = VectorizedGoals(Reach().compute_reward)
    assert fast(ACHIEVED[:1], DESIRED[:1], [{}]).tolist() == [0.0]
    assert fast.vectorized is None
    assert fast(ACHIEVED, DESIRED, [{}] * 3).tolist() == [0.0, -1.0, 0.0]
    assert fast.vectorized is True


def test_one_that_is_wrong_for_many_is_found_out() -> None:
    def total(achieved: Any, desired: Any, info: Any) -> Any:
        distance = -np.abs(achieved - desired).sum()
        return distance if achieved.ndim == 1 else distance * np.ones(len(achieved))

    with pytest.warns(UserWarning, match="not vectorized"):
        found = VectorizedGoals(total)(ACHIEVED, DESIRED, [{}] * 3)
    assert found.tolist() == pytest.approx([0.0, -2.0, -0.2])


def test_rewards_with_memory_are_refused_by_name() -> None:
    advice = PotentialShaping(EnvReward(), lambda obs, action: obs, 1.0, "look_back")
    tree = rs.WeightedSum({"a": EnvReward(), "b": advice})
    with pytest.raises(ValueError, match=r"because of b: potential_shaping[^;]*\. Relabeled"):
        check_markov(tree)
    with pytest.raises(ValueError, match="because of b: function"):
        check_markov(rs.Product({"a": EnvReward(), "b": Function(near)}))
    check_markov(rs.WeightedSum({"a": EnvReward(), "b": PotentialShaping(EnvReward(), near, 1.0)}))
