"""Replay buffers that pay the reward as it is now."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tests.adapters.sb3.toys import Reach, near
from tests.adapters.worlds import Walk, half, level

import rewardsmith as rs
from rewardsmith.adapters.sb3 import (
    RewardCallback,
    RewardDictReplayBuffer,
    RewardReplayBuffer,
    RewardVecEnv,
)
from rewardsmith.adapters.sb3.replay import StepStore
from rewardsmith.core.acting import Step
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping

PLANS = ([(3, "truncated"), (2, "terminated")], [(4, "terminated"), (1, "truncated")])


def walks(n: int = 2) -> DummyVecEnv:
    return DummyVecEnv([lambda plan=plan: Walk(plan=plan) for plan in PLANS[:n]])


def dqn(
    env: Any, buffer: Any = RewardReplayBuffer, policy: str = "MlpPolicy", **kwargs: Any
) -> DQN:
    small: dict[str, Any] = {
        "learning_starts": 10,
        "batch_size": 8,
        "buffer_size": 200,
        "train_freq": 4,
        "device": "cpu",
        "seed": 0,
        "gamma": 0.9,
    }
    return DQN(
        policy,
        env,
        replay_buffer_class=buffer,
        policy_kwargs={"net_arch": [4]},
        **(small | kwargs),
    )


def all_samples(model: DQN) -> Any:
    """Every row of the buffer, environment by environment, as samples."""
    buffer: Any = model.replay_buffer
    rows = np.arange(buffer.pos)
    found = []
    for i in range(buffer.n_envs):
        real = np.random.randint
        try:
            np.random.randint = lambda *args, size, i=i, **kw: np.full(size, i)  # type: ignore[assignment]
            found.append(buffer._get_samples(rows, model.get_vec_normalize_env()))
        finally:
            np.random.randint = real
    return found


@pytest.mark.parametrize("n", [1, 2])
def test_a_reward_that_stays_as_it_is_samples_what_was_stored(n: int) -> None:
    reward = PotentialShaping(
        rs.WeightedSum({"env": EnvReward(), "x": Function(half, step=True)}), level
    )
    model = dqn(RewardVecEnv(walks(n), reward))
    model.learn(60, callback=RewardCallback())
    buffer: Any = model.replay_buffer
    for i, samples in enumerate(all_samples(model)):
        stored = buffer.rewards[: buffer.pos, i]
        np.testing.assert_allclose(samples.rewards[:, 0], stored, atol=1e-5)
        assert samples.rewards.dtype == torch.float32
        assert samples.rewards.shape == (buffer.pos, 1)
        # Only true ends are ends: an episode that was cut off is bootstrapped.
        done = buffer.dones[: buffer.pos, i].astype(bool)
        cut = buffer.timeouts[: buffer.pos, i].astype(bool)
        assert cut.any()
        assert samples.dones[:, 0].tolist() == (done & ~cut).tolist()


@pytest.mark.parametrize("normalized", [False, True])
def test_a_bonus_that_wore_off_is_paid_as_it_is_now(normalized: bool) -> None:
    bonus = CountBonus(1.0, lambda x: np.round(x).astype(int) % 3, revisits=False)
    env: Any = RewardVecEnv(walks(), bonus)
    model = dqn(VecNormalize(env, norm_obs=False, clip_reward=1e9) if normalized else env)
    model.learn(80, callback=RewardCallback())
    buffer: Any = model.replay_buffer
    stored = buffer.rewards[: buffer.pos]
    assert stored[0].tolist() == [1.0, 1.0]
    scale = 1.0
    if normalized:
        found = model.get_vec_normalize_env()
        assert found is not None
        scale = float(np.sqrt(found.ret_rms.var + found.epsilon))
    for i, samples in enumerate(all_samples(model)):
        now = bonus.beta / np.sqrt(1.0 + np.array([bonus.counts[int(k)] for k in keys(buffer, i)]))
        np.testing.assert_allclose(samples.rewards[:, 0] * scale, now, rtol=1e-5)
        assert float(samples.rewards[0, 0]) * scale < 0.5


def keys(buffer: Any, i: int) -> Any:
    return np.round(0.5 * buffer.next_observations[: buffer.pos, i, 0]).astype(int) % 3


def test_dict_observations() -> None:
    reward = rs.WeightedSum({"env": EnvReward(), "near": Function(near, step=True)})
    model = dqn(
        RewardVecEnv(DummyVecEnv([Reach, lambda: Reach(4)]), reward),
        RewardDictReplayBuffer,
        "MultiInputPolicy",
    )
    model.learn(60, callback=RewardCallback())
    buffer: Any = model.replay_buffer
    for i, samples in enumerate(all_samples(model)):
        np.testing.assert_allclose(
            samples.rewards[:, 0], buffer.rewards[: buffer.pos, i], atol=1e-5
        )
        assert samples.next_observations["achieved_goal"].shape == (buffer.pos, 1)
        assert not samples.dones.any()


def test_old_rows_are_overwritten() -> None:
    model = dqn(RewardVecEnv(walks(1), Function(level_of, step=True)), buffer_size=16)
    model.learn(40, callback=RewardCallback())
    buffer: Any = model.replay_buffer
    assert buffer.full
    step = buffer.store.steps(np.arange(16))
    np.testing.assert_allclose(step.next_obs[:, 0], buffer.next_observations[:, 0, 0])


def test_numbers_and_text_are_kept_whole_whatever_came_first() -> None:
    def f(x: Any, room: Any) -> Any:
        return x

    def step(x: Any, room: str) -> Step:
        empty: dict[str, Any] = dict.fromkeys(("obs", "action", "next_obs", "env_reward"))
        no = np.zeros(2, dtype=bool)
        info = {"x": np.asarray([x, x]), "room": np.asarray([room, "b"])}
        return Step(**empty, terminated=no, truncated=no, first=no, live=~no, info=info)

    store = StepStore(Function(f, step=True), 4)
    shown = [(0, "a"), (0.5, "a long name"), (True, ""), (2, "c")]
    for row, (x, room) in enumerate(shown):
        store.put(step(x, room), row)
    info = store.steps(np.arange(0, 8, 2)).info
    assert info["x"].tolist() == [0.0, 0.5, 1.0, 2.0]
    assert info["room"].tolist() == ["a", "a long name", "", "c"]


def level_of(next_obs: Any) -> Any:
    return level(next_obs)


def test_saved_and_loaded_it_goes_on(tmp_path: Path) -> None:
    bonus = CountBonus(1.0, half_key, revisits=False)
    env = RewardVecEnv(walks(), bonus)
    model = dqn(env)
    model.learn(40, callback=RewardCallback())
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    again = dqn(RewardVecEnv(walks(), bonus))
    again.load_replay_buffer(tmp_path / "buffer.pkl")
    with pytest.raises(
        ValueError, match=r"does not know the reward: .*callback=RewardCallback\(\)"
    ):
        again.replay_buffer.sample(4)  # type: ignore[union-attr]
    again.learn(16, callback=RewardCallback())
    assert again.replay_buffer.pos == 20 + 8  # type: ignore[union-attr]
    assert again.replay_buffer.sample(4).rewards.shape == (4, 1)  # type: ignore[union-attr]


def half_key(x: Any) -> Any:
    return np.round(x).astype(int)


# --- refusals -------------------------------------------------------------------------------------


def test_without_the_callback_it_says_so() -> None:
    with pytest.raises(
        ValueError, match=r"RewardReplayBuffer does not know the reward: train with"
    ):
        dqn(RewardVecEnv(walks(), EnvReward())).learn(20)


def test_another_number_of_environments_is_refused() -> None:
    buffer: Any = dqn(RewardVecEnv(walks(), EnvReward())).replay_buffer
    with pytest.raises(ValueError, match="made for 2 environments, and these are 1"):
        buffer.attach(RewardVecEnv(walks(1), EnvReward()))


def test_other_spaces_are_refused() -> None:
    buffer: Any = dqn(RewardVecEnv(walks(), EnvReward())).replay_buffer
    images = DummyVecEnv([lambda: Walk(kind="image")] * 2)
    with pytest.raises(ValueError, match=r"observations of shape \[1\].*show \[36, 36, 3\]: start"):
        buffer.attach(RewardVecEnv(images, EnvReward()))
    other = DummyVecEnv([More, More])
    with pytest.raises(ValueError, match=r"actions of Discrete\(3\).*take Discrete\(4\): start"):
        buffer.attach(RewardVecEnv(other, EnvReward()))
    with pytest.raises(ValueError, match="pay a reward of ours: attach a RewardVecEnv"):
        buffer.attach(walks())


def test_what_stable_baselines_puts_around_images_is_no_other_space() -> None:
    venv = DummyVecEnv([lambda: Walk(kind="image", plan=[(4, "truncated")])])
    env = RewardVecEnv(venv, EnvReward())
    model = dqn(env, policy="CnnPolicy", learning_starts=100)
    model.learn(12, callback=RewardCallback())
    assert model.replay_buffer.sample(4).rewards.shape == (4, 1)  # type: ignore[union-attr]


class More(Walk):
    """With an action more."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = Discrete(4)


def test_filled_by_hand_it_takes_each_step_once() -> None:
    env = RewardVecEnv(walks(1), EnvReward())
    buffer: Any = dqn(env).replay_buffer
    buffer.attach(env)
    obs = env.reset()
    action, no = np.zeros((1, 1)), np.zeros(1)
    with pytest.raises(
        ValueError, match=r"took none yet: fill it by model\.learn\(\), or add each"
    ):
        buffer.add(obs, obs, action, no, no, [{}])
    for _ in range(2):
        after, reward, done, infos = env.step(np.zeros(1, dtype=int))
        buffer.add(obs, after, action, reward, done, infos)
        with pytest.raises(ValueError, match=r"took none since the last: fill it"):
            buffer.add(obs, after, action, reward, done, infos)
    assert buffer.pos == 2
    assert buffer.store.steps(np.arange(2)).env_reward.tolist() == [1.0, 2.0]


def test_memory_between_steps_is_refused() -> None:
    advice: Reward = PotentialShaping(EnvReward(), lambda x, action: half(x), advice="look_back")
    for reward in (advice, CountBonus(1.0)):
        with pytest.raises(ValueError, match="a single transition does not determine"):
            dqn(RewardVecEnv(walks(), reward)).learn(20, callback=RewardCallback())


def test_shared_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="optimize_memory_usage overwrites"):
        dqn(
            RewardVecEnv(walks(), EnvReward()),
            replay_buffer_kwargs={"handle_timeout_termination": False},
            optimize_memory_usage=True,
        )
