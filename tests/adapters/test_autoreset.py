"""The three ways in which episodes follow each other in a vector environment."""

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics
from tests.adapters.worlds import GAMMA, REWARDS, Walk, level, parts, run, vector

import rewardsmith as rs
from rewardsmith.adapters.observed import final_obs
from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.learning import learn
from rewardsmith.core.reward import Reward
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping
from rewardsmith.transforms.running import RunningNorm

SAME_STEP, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.DISABLED
ACTION = np.ones(2, dtype=int)


# --- same step ------------------------------------------------------------------------------------


def test_same_step_pays_the_step_that_was_taken() -> None:
    # Environment 0 takes 3 steps and terminates, environment 1 takes 2 and is truncated.
    env = rs.wrap(vector(2, mode=SAME_STEP), PotentialShaping(EnvReward(), level), gamma=1.0)
    steps = run(env, 4)
    # What is seen is the next episode's start, what is paid reaches the last observation.
    assert steps[1][0].tolist() == [[2], [10]]
    shaping = [step[4]["reward_terms"]["shaping"].tolist() for step in steps]
    assert shaping == [[1, 1], [1, 1], [-2, -10], [1, 1]]
    assert all(step[4]["_reward_terms"].all() for step in steps)
    assert steps[1][4]["_reward_sums"].tolist() == [False, True]
    assert steps[1][4]["reward_sums"]["shaping"].tolist() == [0, 2]
    assert steps[1][4]["env_return"].tolist() == [0, 2 + 2 * 3]


def test_same_step_infos_are_where_gymnasium_puts_those_of_an_end() -> None:
    env = rs.wrap(vector(2, mode=SAME_STEP), parts())
    infos = run(env, 2)[1][4]
    last = infos["final_info"]
    assert infos["_final_info"].tolist() == last["_reward_terms"].tolist() == [False, True]
    assert last["reward_terms"]["total"].tolist() == [0, 4]
    assert last["reward_sums"]["total"].tolist() == [0, 5]
    assert last["env_return"].tolist() == [0, 8]
    assert last["gain"].tolist() == [0, 0.5]  # the environment's own are still there
    as_list = run(DictInfoToList(rs.wrap(vector(2, mode=SAME_STEP), parts())), 2)[1][4]
    assert as_list[1]["final_info"]["reward_sums"]["total"] == 5
    assert as_list[1]["reward_sums"]["total"] == 5
    assert "final_info" not in as_list[0]


def test_same_step_reads_the_infos_of_the_step_that_was_taken() -> None:
    """A reset reports no `gain`; the row whose episode ended has it among the final infos."""
    env = rs.wrap(vector(2, mode=SAME_STEP), EnvReward("gain"))
    assert [step[1].tolist() for step in run(env, 3)] == [[0, 0.25], [0.25, 0.5], [0.5, 0]]
    env = rs.wrap(SyncVectorEnv([Walk] * 2, autoreset_mode=SAME_STEP), EnvReward("gain"))
    assert [step[1].tolist() for step in run(env, 3)] == [[0, 0.25], [0.25, 0.5], [0.5, 0]]


def test_a_key_that_one_episode_does_not_end_with_is_missing() -> None:
    env = rs.wrap(vector(1, mode=SAME_STEP, rare=True), EnvReward("rare"))
    env.reset(seed=0)
    env.unwrapped.envs[0].t = 1  # type: ignore[attr-defined]
    env.step(ACTION[:1])
    with pytest.raises(MissingColumn, match=r"'rare', needed by env_reward; .*gain"):
        env.step(ACTION[:1])


class Countdown(VectorEnv):
    """A vector environment of its own kind: it resets in the same step, and shows batches.

    Args:
        final: where it tells the last observations.
    """

    def __init__(self, final: str = "final_obs") -> None:
        self.num_envs, self.final = 2, final
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space, self.single_action_space = Box(0, 9, (1,)), Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, 2)
        self.action_space = batch_space(self.single_action_space, 2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.left = np.array([3, 2])
        return self.left[:, None].astype(np.float32), {}

    def step(self, actions: Any) -> Any:
        last = self.left - 1
        done = last == 0
        self.left = np.where(done, 3, last)
        obs, last = (a[:, None].astype(np.float32) for a in (self.left, last))
        none = np.zeros(2, dtype=bool)
        infos = {self.final: last, f"_{self.final}": done} if done.any() else {}
        return obs, np.ones(2), done, none, infos


def test_same_step_of_a_native_vector_environment() -> None:
    env = rs.wrap(Countdown(), PotentialShaping(EnvReward(), level), gamma=1.0)
    steps = run(env, 3)
    assert [step[1].tolist() for step in steps] == [[0, 0], [0, -0], [0, 0]]
    steps = run(rs.wrap(Countdown(), rs.reward(step=True)(lambda next_obs: next_obs[:, 0])), 3)
    assert [step[1].tolist() for step in steps] == [[2, 1], [1, 0], [0, 2]]
    assert steps[1][4]["final_info"]["reward_sums"]["total"].tolist() == [0, 1]


def test_last_observations_come_one_by_one_or_as_a_batch() -> None:
    obs = {"a": np.zeros((2, 1)), "b": (np.zeros(2), np.array(["x", "y"]))}
    batch = {"a": np.array([[7.0], [8.0]]), "b": (np.array([1.0, 2.0]), np.array(["long", "er"]))}
    each = np.array([None, {"a": np.array([8.0]), "b": (2.0, "er")}], dtype=object)
    done = np.array([False, True])
    for final in (batch, each):
        found = final_obs(obs, {"final_obs": final}, done)
        assert found["a"].tolist() == [[0], [8]]
        assert found["b"][0].tolist() == [0, 2]
        assert found["b"][1].tolist() == ["x", "er"]


def test_same_step_without_the_last_observation_is_refused() -> None:
    env = rs.wrap(Countdown(final="terminal"), EnvReward())
    env.reset()
    env.step(ACTION)
    with pytest.raises(ValueError, match=r"without infos\['final_obs'\].*'terminal'"):
        env.step(ACTION)


# --- disabled -------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [False, True])
def test_finished_environments_wait_for_their_reset(processes: bool) -> None:
    each = [lambda: Walk(plan=[(3, "terminated")]), lambda: Walk(plan=[(1, "truncated")])]
    bare: VectorEnv = (
        AsyncVectorEnv(each, context="fork", autoreset_mode=DISABLED)
        if processes
        else SyncVectorEnv(each, autoreset_mode=DISABLED)
    )
    env = rs.wrap(bare, REWARDS["look back"](), gamma=GAMMA)
    env.reset(seed=0)
    _, _, terminated, truncated, info = env.step(ACTION)
    assert info["env_return"].tolist() == [0, 2]
    with pytest.raises(ResetNeeded, match=r"environments \[1\] are done.*'reset_mask'"):
        env.step(ACTION)
    env.reset(options={"reset_mask": terminated | truncated})
    _, _, terminated, truncated, info = env.step(ACTION)
    # Row 0 goes on in its episode, row 1 begins another with an account of its own.
    shaping = info["reward_terms"]["shaping"]
    assert shaping[0] == pytest.approx((0.5 + 1) - (0 + 1) / GAMMA)
    assert shaping[1] == 0.5 * 10 + 1
    assert info["reward_sums"]["of"].tolist() == [0, 2]
    # Some rows more may be reset than those that are done, but not less.
    env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match=r"\[1\]"):
        env.step(ACTION)
    env.reset(options={"reset_mask": np.array([False, True])})
    assert env.step(ACTION)[4]["reward_terms"]["shaping"][0] == 0.5 * 10 + 1
    # A reset of all needs no mask.
    env.reset()
    env.step(ACTION)
    env.close()


def test_a_reset_of_a_few_tells_the_others_nothing_new() -> None:
    """A potential of info reads the reset's info in the rows that were reset."""
    each = [lambda: Walk(plan=[(3, "terminated")]), lambda: Walk(plan=[(1, "truncated")])]
    env = rs.wrap(SyncVectorEnv(each, autoreset_mode=DISABLED), REWARDS["shaped by info"]())
    env.meter.reward.bind(gamma=1.0)
    env.reset(seed=0)
    env.step(ACTION)
    obs, _ = env.reset(options={"reset_mask": np.array([False, True])})
    assert obs.tolist() == [[1], [10]]
    assert env.step(ACTION)[4]["reward_terms"]["shaping"].tolist() == [0.5, 0.5]


def test_the_mask_is_left_for_whoever_is_outside() -> None:
    """Gymnasium takes it out of the options that it is given, and reads it again outside."""
    env = RecordEpisodeStatistics(rs.wrap(vector(2, mode=DISABLED), parts()))
    env.reset(seed=0)
    lengths = []
    for _ in range(8):
        _, _, terminated, truncated, info = env.step(ACTION)
        if (terminated | truncated).any():
            lengths.append(info["episode"]["l"][info["_episode"]].tolist())
            env.reset(options={"reset_mask": terminated | truncated})
    assert lengths == [[2], [3, 1], [2], [1], [4]]


def test_a_few_are_reset_only_where_they_wait() -> None:
    for mode in (AutoresetMode.NEXT_STEP, SAME_STEP):
        env = rs.wrap(vector(2, mode=mode), parts())
        env.reset(seed=0)
        with pytest.raises(ValueError, match=r"reset_mask.*DISABLED"):
            env.reset(options={"reset_mask": np.array([True, False])})


# --- all ------------------------------------------------------------------------------------------


def test_the_mode_is_read_as_gymnasium_writes_it() -> None:
    class Silent(Countdown):
        def __init__(self, **metadata: Any) -> None:
            super().__init__()
            self.metadata = metadata

    env = rs.wrap(Silent(autoreset_mode="SameStep"), EnvReward())
    assert run(rs.wrap(Countdown(), EnvReward()), 3)[1][4].keys() == _second(env).keys()
    # Where nothing is said, the step after an end is a dummy.
    assert "final_info" not in _second(rs.wrap(Silent(), EnvReward()))
    with pytest.raises(ValueError, match="never"):
        rs.wrap(Silent(autoreset_mode="never"), EnvReward())


def _second(env: VectorEnv) -> Any:
    env.reset()
    env.step(ACTION)
    return env.step(ACTION)[4]


def test_gymnasiums_own_cart_poles() -> None:
    """The class that make_vec takes for CartPole, beside environments by themselves."""
    reward = PotentialShaping(parts(), level)
    env = rs.wrap(gymnasium.make_vec("CartPole-v1", 5), reward, gamma=GAMMA)
    assert type(env.unwrapped).__name__ == "CartPoleVectorEnv"
    env.action_space.seed(0)
    obs, _ = env.reset(seed=0)
    dummy, returns, ends = np.zeros(5, dtype=bool), np.zeros(5), 0
    for _ in range(80):
        action = env.action_space.sample()
        before = obs
        obs, rewards, terminated, truncated, info = env.step(action)
        phi, phi_next = level(before), level(obs)
        expected = 1.0 - action + GAMMA * np.where(terminated, 0.0, phi_next) - phi
        np.testing.assert_allclose(rewards, np.where(dummy, 0.0, expected), atol=1e-6)
        returns = np.where(dummy, 0.0, returns + rewards)
        dummy = terminated | truncated
        if dummy.any():
            ends += dummy.sum()
            np.testing.assert_allclose(info["reward_sums"]["total"][dummy], returns[dummy])
    assert ends > 5


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_observing_a_learning_reward_leaves_it_as_it_is(mode: AutoresetMode) -> None:
    """Environments pay a learning reward; only `rs.learn` teaches it."""

    def learning() -> Reward:
        bonus = CountBonus(1.0, key=lambda x: np.floor(x).astype(int))
        return RunningNorm(rs.WeightedSum({"env": EnvReward(), "bonus": bonus}))

    reward = learning()
    paid = np.arange(12.0).reshape(3, 4)
    learn(reward, rs.Rollouts(steps={"env_reward": paid, "info": {"x": paid}}))
    before = pickle.dumps(reward.state_dict())
    one = rs.wrap(vector(2, mode=mode), reward)
    run(one, 9)
    single = rs.wrap(Walk(), reward)
    single.reset(seed=0)
    single.step(1)
    assert pickle.dumps(reward.state_dict()) == before
    assert pickle.dumps(learning().state_dict()) != before
