"""Hindsight replay under our rewards."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer
from tests.adapters.sb3.toys import Arrive, Reach, hurry, near

import rewardsmith as rs
from rewardsmith.adapters.sb3 import RewardCallback, RewardHerReplayBuffer, RewardVecEnv
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward


def custom() -> Reward:
    parts = {"env": EnvReward(), "hurry": Function(hurry, step=True)}
    return rs.WeightedSum(parts, {"env": 1.0, "hurry": 0.5})


def goals_only() -> Reward:
    parts = {"env": EnvReward(), "near": Function(near, step=True)}
    return rs.WeightedSum(parts, {"env": 1.0, "near": 0.5})


def trained(env: Any, buffer: Any, steps: int = 60, size: int = 400, **kwargs: Any) -> DQN:
    model = DQN(
        "MultiInputPolicy",
        env,
        replay_buffer_class=buffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, **kwargs},
        learning_starts=20,
        batch_size=16,
        buffer_size=size,
        device="cpu",
        seed=0,
        policy_kwargs={"net_arch": [4]},
    )
    found = env.venv if isinstance(env, VecNormalize) else env
    return model.learn(
        steps, callback=RewardCallback() if isinstance(found, RewardVecEnv) else None
    )


def reaches(n: int = 2) -> DummyVecEnv:
    return DummyVecEnv([lambda k=k: Reach(5 + k) for k in range(n)])


def by_hand(samples: Any) -> Any:
    """``custom`` of sampled transitions, from the goals that are in them."""
    obs = {key: value.numpy() for key, value in samples.next_observations.items()}
    env = Reach().compute_reward(obs["achieved_goal"], obs["desired_goal"], {})
    return env + 0.5 * hurry(obs, samples.actions.numpy()[:, 0])


def rounded_goal(obs: Any) -> Any:
    return np.round(obs["desired_goal"][:, 0]).astype(int)


@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
@pytest.mark.parametrize("n", [1, 2])
def test_virtual_rewards_are_ours_of_the_relabeled_goal(strategy: str, n: int) -> None:
    model = trained(
        RewardVecEnv(reaches(n), custom()), RewardHerReplayBuffer, goal_selection_strategy=strategy
    )
    buffer: Any = model.replay_buffer
    samples = buffer.sample(500)
    np.testing.assert_allclose(samples.rewards[:, 0], by_hand(samples), atol=1e-5)
    goals = samples.observations["desired_goal"]
    assert (goals == samples.next_observations["desired_goal"]).all()
    check_goals(buffer, strategy)
    assert not samples.dones.any()
    stored = buffer.observations["desired_goal"][: buffer.pos].copy()
    buffer.sample(100)
    np.testing.assert_array_equal(buffer.observations["desired_goal"][: buffer.pos], stored)


def check_goals(buffer: Any, strategy: str, terminates: bool = False, size: int = 500) -> None:
    """Rewards, ends, and that each virtual goal was achieved in the transition's own episode."""
    drawn: list[Any] = []
    find = buffer._finished
    buffer._finished = lambda n: (drawn.append(find(n)), drawn[-1])[1]
    samples = buffer.sample(size)
    buffer._finished = find
    np.testing.assert_allclose(samples.rewards[:, 0], by_hand(samples), atol=1e-5)
    achieved = buffer.next_observations["achieved_goal"][..., 0]
    pursued = buffer.next_observations["desired_goal"][..., 0]
    goals = samples.observations["desired_goal"][:, 0].numpy()
    rows = buffer.buffer_size if buffer.full else buffer.pos
    oldest = buffer.pos if buffer.full else 0
    later = 0
    for k, (row, i) in enumerate(np.stack(np.divmod(drawn[0], buffer.n_envs), axis=1)):
        done = samples.dones[k, 0] == 1
        assert done == (abs(achieved[row, i] - pursued[row, i]) <= 0.5 and terminates)
        # The steps of its episode, by what ended when, in the order in which they were taken.
        order = (oldest + np.arange(rows)) % rows
        at = int(np.flatnonzero(order == row)[0])
        ends = np.flatnonzero(buffer.dones[order, i])
        end = ends[ends >= at][0]
        start = ends[ends < at][-1] + 1 if (ends < at).any() else 0
        assert not done or at == end
        if k >= int(0.8 * size):
            assert goals[k] == pursued[row, i]
            continue
        first = {"future": at, "final": end, "episode": start}[strategy]
        assert goals[k] in achieved[order[first : end + 1], i]
        later += goals[k] != achieved[row, i]
    assert later > 0.3 * size


@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
def test_where_the_ring_wraps_and_episodes_terminate(strategy: str) -> None:
    venv = DummyVecEnv([lambda: Arrive(7), lambda: Arrive(9)])
    env = RewardVecEnv(venv, custom())
    # 30 rows of 2 environments, over which 75 steps go.
    model = trained(
        env, RewardHerReplayBuffer, steps=150, size=60, goal_selection_strategy=strategy
    )
    buffer: Any = model.replay_buffer
    assert buffer.full
    assert (buffer.dones * (1 - buffer.timeouts)).any()
    assert buffer.timeouts.any()
    check_goals(buffer, strategy, terminates=True)


def test_saved_and_loaded_it_goes_on(tmp_path: Path) -> None:
    model = trained(RewardVecEnv(reaches(), custom()), RewardHerReplayBuffer)
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    again = trained(RewardVecEnv(reaches(), custom()), RewardHerReplayBuffer, steps=22)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The last trajectory")
        again.load_replay_buffer(tmp_path / "buffer.pkl")
    buffer: Any = again.replay_buffer
    kept = buffer.pos
    assert kept == model.replay_buffer.pos  # type: ignore[union-attr]
    samples = buffer.sample(100)
    np.testing.assert_allclose(samples.rewards[:, 0], by_hand(samples), atol=1e-5)
    again.learn(20, callback=RewardCallback())
    assert buffer.pos > kept
    other = trained(RewardVecEnv(reaches(1), custom()), RewardHerReplayBuffer, steps=22)
    with pytest.raises(
        ValueError, match="made for 2 environments, and these are 1: make as many, or start"
    ):
        other.load_replay_buffer(tmp_path / "buffer.pkl")


def test_a_learning_reward_is_paid_as_it_is_now_for_every_goal() -> None:
    bonus = CountBonus(1.0, rounded_goal, revisits=False)
    reward = rs.WeightedSum({"env": EnvReward(), "bonus": bonus})
    model = trained(RewardVecEnv(reaches(), reward), RewardHerReplayBuffer)
    samples = model.replay_buffer.sample(200)  # type: ignore[union-attr]
    obs = {key: value.numpy() for key, value in samples.next_observations.items()}  # type: ignore[union-attr]
    env = Reach().compute_reward(obs["achieved_goal"], obs["desired_goal"], {})
    seen = [bonus.counts.get(round(g), 0) for g in obs["desired_goal"][:, 0].tolist()]
    expected = env + 1.0 / np.sqrt(1.0 + np.array(seen))
    np.testing.assert_allclose(samples.rewards[:, 0], expected, atol=1e-5)


def test_the_goals_are_drawn_as_stable_baselines_draws_them() -> None:
    def steps_ahead(buffer: Any, virtual: slice) -> Any:
        """How often each time and way to the goal comes up among relabeled transitions."""
        samples = buffer.sample(20_000)
        time = samples.next_observations["observation"][virtual, 1].numpy().astype(int)
        start = samples.observations["observation"][virtual, 0].numpy().astype(int)
        goal = samples.observations["desired_goal"][virtual, 0].numpy().astype(int)
        return np.histogram2d(time, goal - start, bins=[np.arange(1, 8), np.arange(-7, 9)])[
            0
        ].ravel()

    model = trained(RewardVecEnv(reaches(), custom()), RewardHerReplayBuffer, steps=300)
    ours: Any = model.replay_buffer
    theirs: Any = HerReplayBuffer(
        400, ours.observation_space, ours.action_space, ours.env, n_envs=2, n_sampled_goal=4
    )
    for name, value in vars(ours).items():
        if name in vars(theirs):
            setattr(theirs, name, value)
    theirs.env = RewardVecEnv(reaches(), goals_only())
    np.random.seed(0)
    first, last = slice(16_000), slice(4_000, None)
    table = np.stack([steps_ahead(ours, first), steps_ahead(theirs, last)])
    found = chi2_contingency(table[:, table.sum(axis=0) >= 10])
    assert found.pvalue > 0.01, found
    # The test can tell: drawing from the whole episode is another distribution.
    theirs.goal_selection_strategy = type(theirs.goal_selection_strategy).EPISODE
    table[1] = steps_ahead(theirs, last)
    assert chi2_contingency(table[:, table.sum(axis=0) >= 10]).pvalue < 1e-6


def test_stable_baselines_own_buffer_asks_our_compute_reward() -> None:
    model = trained(RewardVecEnv(reaches(), goals_only()), HerReplayBuffer)
    samples: Any = model.replay_buffer.sample(300)  # type: ignore[union-attr]
    obs = {key: value.numpy() for key, value in samples.next_observations.items()}
    env = Reach().compute_reward(obs["achieved_goal"], obs["desired_goal"], {})
    np.testing.assert_allclose(samples.rewards[:, 0], env + 0.5 * near(obs), atol=1e-5)


def test_behind_vec_normalize() -> None:
    model = trained(VecNormalize(RewardVecEnv(reaches(), custom())), RewardHerReplayBuffer)
    buffer: Any = model.replay_buffer
    raw = buffer.sample(200)
    np.testing.assert_allclose(raw.rewards[:, 0], by_hand(raw), atol=1e-5)
    normalize: Any = model.get_vec_normalize_env()
    np.random.seed(3)
    raw = buffer.sample(200)
    np.random.seed(3)
    samples = buffer.sample(200, normalize)
    expected = normalize.normalize_reward(raw.rewards.numpy())
    np.testing.assert_allclose(samples.rewards, expected, atol=1e-5)
    seen = normalize.normalize_obs({k: v.numpy() for k, v in raw.observations.items()})
    np.testing.assert_allclose(
        samples.observations["desired_goal"], seen["desired_goal"], atol=1e-5
    )


def test_an_environment_that_is_not_vectorized_is_told_and_right() -> None:
    venv = DummyVecEnv([lambda: Reach(vectorized=False)])
    with pytest.warns(UserWarning, match="not vectorized"):
        model = trained(RewardVecEnv(venv, custom()), RewardHerReplayBuffer)
    samples = model.replay_buffer.sample(100)  # type: ignore[union-attr]
    np.testing.assert_allclose(samples.rewards[:, 0], by_hand(samples), atol=1e-5)


# --- refusals -------------------------------------------------------------------------------------


def test_an_environment_without_our_reward_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an environment that pays a reward of ours"):
        trained(reaches(), RewardHerReplayBuffer)


def test_before_the_first_episode_ends_it_says_so() -> None:
    env = RewardVecEnv(DummyVecEnv([lambda: Reach(100)]), custom())
    with pytest.raises(RuntimeError, match="let learning_starts be longer than an episode"):
        trained(env, RewardHerReplayBuffer)
