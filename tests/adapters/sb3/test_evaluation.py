"""Curves of the training reward and of gold."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tests.adapters.sb3.test_env import Written
from tests.adapters.sb3.toys import Outcome
from tests.adapters.worlds import Plan, Walk, floor

import rewardsmith as rs
from rewardsmith.adapters.sb3 import EvaluationCallback, RewardCallback, RewardVecEnv
from rewardsmith.adapters.sb3.evaluation import play, undisturbed
from rewardsmith.core.errors import SpecError
from rewardsmith.core.reward import Reward
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.running import RunningNorm


def walks(n: int = 2) -> DummyVecEnv:
    plans = ([(3, "truncated")], [(2, "terminated")])
    return DummyVecEnv([lambda plan=plan: Monitor(Walk(plan=plan)) for plan in plans[:n]])


def learning() -> Reward:
    parts = {"env": RunningNorm(EnvReward()), "bonus": CountBonus(1.0, key=floor)}
    return rs.WeightedSum(parts, {"env": 0.5, "bonus": 2.0})


def ppo(env: Any) -> tuple[PPO, Written]:
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=8, n_epochs=1, device="cpu", seed=0)
    written = Written()
    model.set_logger(Logger(None, [written]))
    return model, written


def test_both_curves_are_logged_and_training_is_not_disturbed() -> None:
    def trained(evaluate: bool) -> tuple[Any, Written]:
        reward = learning()
        model, written = ppo(RewardVecEnv(walks(), reward))
        callbacks: list[Any] = [RewardCallback()]
        if evaluate:
            env = RewardVecEnv(walks(), reward, training=False)
            callbacks.append(EvaluationCallback(env, every=16, episodes=4, seed=3))
        model.learn(64, callback=callbacks)
        return model, written

    model, written = trained(True)
    alone, _ = trained(False)
    for one, other in zip(model.policy.parameters(), alone.policy.parameters(), strict=True):
        assert torch.equal(one, other)
    rows = [row for row in written.rows if "evaluation/gold" in row]
    assert len(rows) == 4
    # Walks pay time times (1 + action): between 1 + 2 and 3 (1 + 2 + 3) for an episode.
    assert all(3 <= row["evaluation/gold"] <= 18 for row in rows)
    assert rows[-1]["evaluation/proxy"] != pytest.approx(rows[-1]["evaluation/gold"])
    assert rows[-1]["evaluation/length"] == 2.5


def test_evaluation_leaves_a_learning_reward_as_it_was() -> None:
    reward = learning()
    model, _ = ppo(RewardVecEnv(walks(), reward))
    model.learn(32, callback=RewardCallback())
    before = copy.deepcopy(reward.state_dict())
    env = RewardVecEnv(walks(), reward, training=False)
    found = play(model, env, episodes=6, seed=0, deterministic=False)
    assert len(found.gold) == len(found.proxy) == 6
    assert len(found.steps["gold"]) == found.length.sum()
    assert reward.state_dict() == before


def test_deferred_rewards_are_evaluated_too() -> None:
    reward = Outcome()
    model, _ = ppo(RewardVecEnv(walks(), reward, deferred=True))
    env = RewardVecEnv(walks(), reward, deferred=True, training=False)
    found = play(model, env, episodes=4, seed=0, deterministic=True)
    assert sorted(found.proxy) == [2, 3, 12, 13]


def test_gold_may_be_anything_a_step_tells() -> None:
    reward = EnvReward()
    model, written = ppo(RewardVecEnv(walks(), reward))
    env = RewardVecEnv(walks(), reward, training=False)
    gold = EvaluationCallback(env, every=16, episodes=2, gold=lambda step: np.ones(len(step.first)))
    model.learn(16, callback=[RewardCallback(), gold])
    assert written.rows[-1]["evaluation/gold"] == written.rows[-1]["evaluation/length"]


def test_another_reward_than_the_trained_one_is_refused() -> None:
    model, _ = ppo(RewardVecEnv(walks(), learning()))
    other = RewardVecEnv(walks(), learning(), training=False)
    with pytest.raises(SpecError, match="another reward object than the model's"):
        model.learn(16, callback=[RewardCallback(), EvaluationCallback(other, every=16)])
    reward = EnvReward()
    model, _ = ppo(RewardVecEnv(walks(), reward))
    with pytest.raises(SpecError, match="training=False"):
        model.learn(16, callback=EvaluationCallback(RewardVecEnv(walks(), reward), every=16))


# --- which episodes count -------------------------------------------------------------------------


def lasting(*plans: Plan) -> tuple[PPO, RewardVecEnv]:
    venv = DummyVecEnv([lambda plan=plan: Walk(plan=plan) for plan in plans])
    reward = EnvReward()
    return ppo(RewardVecEnv(walks(), reward))[0], RewardVecEnv(venv, reward, training=False)


def ones(step: Any) -> Any:
    return np.ones(len(step.first))


def test_an_episode_that_began_uncounted_stays_so() -> None:
    model, env = lasting([(1, "terminated"), (9, "terminated")], [(5, "truncated")])
    how: Any = {"episodes": 2, "seed": 0, "deterministic": False, "minimum_steps": 12}
    found = play(model, env, ones, **how)
    # When the other ends its first one, the one of nine steps is under way: the next is counted.
    assert found.length.tolist() == [1, 5, 5, 1]
    assert found.gold.tolist() == found.length.tolist()
    assert len(found.steps["gold"]) == found.length.sum()
    again = play(model, env, ones, **how)
    for name, column in found.steps.items():
        np.testing.assert_array_equal(column, again.steps[name])


def test_long_episodes_are_no_more_likely_to_count() -> None:
    lengths = np.random.default_rng(0).choice([1, 9], size=(3, 2000))
    model, env = lasting(*([(int(k), "terminated") for k in row] for row in lengths))
    found = play(model, env, ones, episodes=3, seed=0, deterministic=True, minimum_steps=1500)
    assert len(found.steps["gold"]) == found.length.sum() >= 1500
    # The standard error is below 0.3; to count running episodes from their middle gives 6 and more.
    assert found.length.mean() == pytest.approx(5.0, abs=0.7)


# --- what the policy sees -------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [True, False])
def test_the_policy_sees_normalized_observations(
    inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = EnvReward()
    venv = RewardVecEnv(walks(), reward)
    norm = VecNormalize(venv)
    if inside:
        norm = VecNormalize(walks(), norm_reward=False)
    model, _ = ppo(RewardVecEnv(norm, reward) if inside else norm)
    model.learn(32, callback=RewardCallback())
    seen: list[Any] = []
    predict = model.predict
    monkeypatch.setattr(
        model, "predict", lambda obs, **kw: (seen.append(obs), predict(obs, **kw))[1]
    )
    before = norm.obs_rms.count  # type: ignore[union-attr]
    env = RewardVecEnv(walks(), reward, training=False)
    play(model, env, episodes=2, seed=0, deterministic=True)
    raw = np.zeros((2, 1), dtype=np.float32)
    # One inside belongs to the environments: those of the evaluation have their own, or none.
    np.testing.assert_array_equal(seen[0], raw if inside else norm.normalize_obs(raw))
    assert inside or seen[0][0, 0] != 0
    assert norm.obs_rms.count == before  # type: ignore[union-attr]


# --- random numbers -------------------------------------------------------------------------------


def test_generators_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = ppo(RewardVecEnv(walks(), EnvReward()))
    states = {0: torch.tensor([1]), 1: torch.tensor([2])}
    cuda: Any = torch.cuda
    monkeypatch.setattr(cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(cuda, "device_count", lambda: 2)
    monkeypatch.setattr(cuda, "get_rng_state", lambda device=0: states[device])
    monkeypatch.setattr(
        cuda, "set_rng_state", lambda state, device=0: states.update({device: state})
    )
    monkeypatch.setattr(cuda, "manual_seed_all", lambda seed: states.update({0: seed, 1: seed}))
    before = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with undisturbed(model, 3):
            assert states == {0: 3, 1: 3}
            torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [int(state) for state in states.values()] == [1, 2]
