"""Environments that Gymnasium builds again from their spec pay the same."""

import json
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec, WrapperSpec
from gymnasium.wrappers import TimeAwareObservation
from tests.adapters.worlds import GAMMA, level

import rewardsmith as rs
from rewardsmith.adapters.gymnasium import RewardWrapper
from rewardsmith.core.errors import SpecError
from rewardsmith.core.learning import learn
from rewardsmith.core.reward import Reward
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping


def paid(env: Any, steps: int = 8) -> list[float]:
    env.reset(seed=3)
    env.action_space.seed(3)
    return [float(env.step(env.action_space.sample())[1]) for _ in range(steps)]


def shaped() -> Reward:
    return PotentialShaping(EnvReward(), level)


DATA = {"potential_shaping": {"of": {"env_reward": {}}, "potential": "tests.adapters.worlds:level"}}


@pytest.mark.parametrize("reward", [shaped(), DATA])
def test_a_spec_builds_it_again(reward: Any) -> None:
    env = rs.wrap(gymnasium.make("CartPole-v1"), reward, gamma=GAMMA, missing=-1.0)
    assert env.spec is not None
    again = gymnasium.make(env.spec)
    assert isinstance(again, RewardWrapper)
    assert (again.meter.gamma, again.meter.missing) == (GAMMA, -1.0)
    assert paid(again) == paid(env)
    assert paid(env) != paid(gymnasium.make("CartPole-v1"))


def test_it_may_be_registered_with_a_reward() -> None:
    """`additional_wrappers` belong to a spec; `gymnasium.make` has no such argument."""
    wrapper = RewardWrapper.wrapper_spec(reward=DATA, gamma=GAMMA)
    gymnasium.register(
        "rewardsmith/Shaped-v0",
        entry_point="gymnasium.envs.classic_control.cartpole:CartPoleEnv",
        additional_wrappers=(wrapper,),
    )
    try:
        expected = paid(rs.wrap(gymnasium.make("CartPole-v1"), shaped(), gamma=GAMMA))
        assert paid(gymnasium.make("rewardsmith/Shaped-v0")) == expected
        many = gymnasium.make_vec("rewardsmith/Shaped-v0", 2, vectorization_mode="sync")
        many.reset(seed=3)
        assert many.step(np.array([0, 1]))[1].shape == (2,)
    finally:
        del gymnasium.registry["rewardsmith/Shaped-v0"]


def test_wrappers_of_each_environment_of_a_vector() -> None:
    env = gymnasium.make_vec(
        "CartPole-v1",
        2,
        vectorization_mode="sync",
        wrappers=[lambda e: rs.wrap(e, shaped(), gamma=GAMMA)],
    )
    outside = rs.wrap(gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync"), DATA)
    outside.meter.reward.bind(gamma=GAMMA)
    for e in (env, outside):
        e.reset(seed=3)
    for action in ([0, 1], [1, 1], [0, 0]):
        np.testing.assert_allclose(env.step(np.array(action))[1], outside.step(np.array(action))[1])


def test_it_is_the_same_reward_or_a_copy_as_it_was() -> None:
    reward = CountBonus(1.0, key=lambda obs: np.zeros(len(obs), dtype=int))
    env = rs.wrap(gymnasium.make("CartPole-v1"), reward)
    further = TimeAwareObservation(env)
    # Asked for by the further wrapper now, and kept.
    spec = further.spec
    assert env.spec is not None
    assert spec is not None
    learn(reward, rs.Rollouts(steps={"next_obs": np.zeros((1, 3, 4))}))
    same, copy = gymnasium.make(env.spec), gymnasium.make(spec)
    assert same.get_wrapper_attr("meter").reward is reward
    assert copy.get_wrapper_attr("meter").reward is not reward
    assert paid(same, 1) == [0.5]
    assert paid(copy, 1) == [1.0]


def test_json_holds_rewards_that_were_given_as_data() -> None:
    env = rs.wrap(gymnasium.make("CartPole-v1"), rs.dump(shaped()), gamma=GAMMA)
    assert env.spec is not None
    text = env.spec.to_json()
    assert json.loads(text)["additional_wrappers"][0]["kwargs"]["gamma"] == GAMMA
    assert paid(gymnasium.make(EnvSpec.from_json(text))) == paid(env)
    env = rs.wrap(gymnasium.make("CartPole-v1"), shaped(), gamma=GAMMA)
    assert env.spec is not None
    with pytest.raises(TypeError, match="PotentialShaping is not JSON serializable"):
        env.spec.to_json()


def test_data_that_describe_no_reward_are_refused() -> None:
    with pytest.raises(SpecError, match=r"env_rewrad.*env_reward"):
        rs.wrap(gymnasium.make("CartPole-v1"), {"env_rewrad": {}})
    spec = gymnasium.spec("CartPole-v1")
    wrong = WrapperSpec("RewardWrapper", "rewardsmith.adapters.gymnasium:RewardWrapper", {})
    spec = EnvSpec(spec.id, spec.entry_point, additional_wrappers=(wrong,))
    with pytest.raises(TypeError, match="reward"):
        gymnasium.make(spec)
