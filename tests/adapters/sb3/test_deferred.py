"""Rewards of whole episodes: what the learner sees, by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tests.adapters.sb3.toys import Outcome, Spread
from tests.adapters.worlds import Plan, Walk, half

import rewardsmith as rs
from rewardsmith.adapters.sb3 import RewardCallback, RewardVecEnv
from rewardsmith.core.errors import ScoreError
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping
from rewardsmith.transforms.running import RunningNorm

GAMMA, LAMBDA = 0.9, 0.8


class Seen(BaseCallback):
    """What the learner trains on, rollout by rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.rollouts: list[dict[str, Any]] = []
        self.paid: list[float] = []

    def _on_step(self) -> bool:
        self.paid += [float(info["env_reward"]) for info in self.locals["infos"]]
        return True

    def _on_rollout_end(self) -> None:
        names = ("observations", "rewards", "advantages", "returns", "values", "episode_starts")
        self.rollouts.append({n: getattr(self.model.rollout_buffer, n).copy() for n in names})


def walks(*plans: Plan) -> DummyVecEnv:
    return DummyVecEnv([lambda plan=plan: Walk(plan=plan) for plan in plans])


def trained(env: Any, steps: int, **kwargs: Any) -> tuple[PPO, Seen]:
    seen = Seen()
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=kwargs.pop("n_steps", 6),
        batch_size=2,
        n_epochs=1,
        learning_rate=0.0,
        gamma=GAMMA,
        gae_lambda=LAMBDA,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": [4]},
    )
    model.learn(steps, callback=CallbackList([RewardCallback(), seen]))
    return model, seen


def value(model: PPO, position: float) -> float:
    with torch.no_grad():
        obs = torch.tensor([[position]], dtype=torch.float32)
        return float(model.policy.predict_values(obs)[0, 0])


def by_hand(model: PPO, steps: list[tuple[float, float, float, str]]) -> tuple[Any, Any, Any]:
    """Rewards, advantages and returns of steps (position, next position, reward, how it ended)."""
    values = [value(model, s) for s, *_ in steps]
    rewards, advantages = [], [0.0] * len(steps)
    later = 0.0
    for t in reversed(range(len(steps))):
        _, reached, reward, end = steps[t]
        if end:
            # A time limit is bootstrapped inside the reward, and nothing follows either end.
            reward += GAMMA * value(model, reached) if end == "truncated" else 0.0
            delta, later = reward - values[t], 0.0
        else:
            following = values[t + 1] if t + 1 < len(steps) else value(model, reached)
            delta = reward + GAMMA * following - values[t]
        later = delta + GAMMA * LAMBDA * later
        advantages[t] = later
        rewards.insert(0, reward)
    returns = [a + v for a, v in zip(advantages, values, strict=True)]
    return rewards, advantages, returns


def check(model: PPO, rollout: dict[str, Any], steps: Any, i: int = 0) -> None:
    rewards, advantages, returns = by_hand(model, steps)
    np.testing.assert_allclose(rollout["rewards"][:, i], rewards, atol=1e-5)
    np.testing.assert_allclose(rollout["advantages"][:, i], advantages, atol=1e-5)
    np.testing.assert_allclose(rollout["returns"][:, i], returns, atol=1e-5)


def test_redistribution_on_three_steps_that_a_time_limit_cut_off() -> None:
    """Positions 0, 1, 2, then 10, 11, 12; both episodes are cut off after three steps."""
    env = RewardVecEnv(walks([(3, "truncated")]), Spread(), deferred=True)
    model, seen = trained(env, 6)
    paid = np.array(seen.paid)
    first, second = paid[:3].sum() / 3, paid[3:].sum() / 3
    assert first > 0
    steps = [
        (0, 1, first, ""),
        (1, 2, first, ""),
        (2, 3, first, "truncated"),
        (10, 11, second, ""),
        (11, 12, second, ""),
        (12, 13, second, "truncated"),
    ]
    check(model, seen.rollouts[0], steps)


def test_an_outcome_is_paid_at_the_end_and_unfinished_episodes_wait() -> None:
    env = RewardVecEnv(walks([(3, "truncated"), (2, "terminated")]), Outcome(), deferred=True)
    model, seen = trained(env, 8, n_steps=4)
    # The second episode goes on across the rollouts: it is paid in the second one.
    first = [(0, 1, 0, ""), (1, 2, 0, ""), (2, 3, 3, "truncated"), (10, 11, 0, "")]
    second = [
        (11, 12, 12, "terminated"),
        (20, 21, 0, ""),
        (21, 22, 0, ""),
        (22, 23, 23, "truncated"),
    ]
    check(model, seen.rollouts[0], first)
    check(model, seen.rollouts[1], second)


def test_of_an_episode_longer_than_a_rollout_the_steps_still_there_are_paid() -> None:
    env = RewardVecEnv(walks([(5, "terminated")], [(2, "truncated")]), Spread(), deferred=True)
    model, seen = trained(env, 12, n_steps=3)
    paid = np.array(seen.paid).reshape(-1, 2)
    each = paid[:5, 0].sum() / 5
    check(model, seen.rollouts[0], [(0, 1, 0, ""), (1, 2, 0, ""), (2, 3, 0, "")])
    check(model, seen.rollouts[1], [(3, 4, each, ""), (4, 5, each, "terminated"), (10, 11, 0, "")])
    pairs = paid[:, 1].reshape(-1, 2).sum(axis=1) / 2
    other = [(0, 1, pairs[0], ""), (1, 2, pairs[0], "truncated"), (10, 11, 0, "")]
    check(model, seen.rollouts[0], other, 1)
    # Its first step was in the rollout before, and is past.
    rest = [
        (11, 12, pairs[1], "truncated"),
        (20, 21, pairs[2], ""),
        (21, 22, pairs[2], "truncated"),
    ]
    check(model, seen.rollouts[1], rest, 1)


def test_a_reward_that_learns_before_it_scores_is_paid_by_the_new_statistics() -> None:
    env = RewardVecEnv(walks([(3, "terminated"), (5, "truncated")]), RunningNorm(EnvReward()))
    model, seen = trained(env, 12)
    paid = np.array(seen.paid)
    ends = ["", "", "terminated", "", "", "", "", "truncated", "", "", "terminated", ""]
    positions = [0, 1, 2, 10, 11, 12, 13, 14, 20, 21, 22, 30]
    for k in range(2):
        rows = slice(6 * k, 6 * (k + 1))
        known = RunningNorm(EnvReward())
        known.moments.add(paid[: rows.stop])
        scored = known(rs.Rollouts(steps={"env_reward": torch.tensor(paid[None, rows])})).values[0]
        steps = [
            (s, s + 1, float(r), e)
            for s, r, e in zip(positions[rows], scored, ends[rows], strict=True)
        ]
        check(model, seen.rollouts[k], steps)


def test_what_was_paid_stands_where_nothing_is_to_be_written() -> None:
    env = RewardVecEnv(walks([(3, "truncated")]), EnvReward())
    model, seen = trained(env, 6)
    positions = [0, 1, 2, 10, 11, 12]
    ends = ["", "", "truncated"] * 2
    steps = [(s, s + 1, r, e) for s, r, e in zip(positions, seen.paid, ends, strict=True)]
    check(model, seen.rollouts[0], steps)


def test_of_a_broken_episode_what_was_paid_stands() -> None:
    def broken(next_obs: Any) -> Any:
        return np.where(next_obs[:, 0] == 2.0, np.nan, next_obs[:, 0])

    reward = RunningNorm(Function(broken, step=True))
    env = RewardVecEnv(walks([(3, "terminated")]), reward, missing=0.0)
    _, seen = trained(env, 6)
    # The second step of the first episode has no reward, and no other episode is the worse for it.
    expected = [1.0, 0.0, 3.0, -np.sqrt(1.5), 0.0, np.sqrt(1.5)]
    np.testing.assert_allclose(seen.rollouts[0]["rewards"][:, 0], expected, atol=1e-5)


class Stop(BaseCallback):
    """Ends the training at a step, as StopTrainingOnMaxEpisodes does."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def _on_step(self) -> bool:
        return self.n_calls != self.at


@pytest.mark.parametrize("deferred", [True, False])
def test_training_goes_on_after_it_was_stopped(deferred: bool) -> None:
    reward = Outcome() if deferred else RunningNorm(EnvReward())
    env = RewardVecEnv(walks([(2, "terminated")]), reward, deferred=deferred)
    seen = Seen()
    model = PPO(
        "MlpPolicy", env, n_steps=4, batch_size=4, n_epochs=1, gamma=GAMMA, device="cpu", seed=0
    )
    model.learn(4, callback=CallbackList([RewardCallback(), Stop(3), seen]))
    assert not seen.rollouts
    model.learn(4, callback=CallbackList([RewardCallback(), seen]), reset_num_timesteps=False)
    expected: Any = [12, 0, 22, 0]
    if not deferred:
        norm = RunningNorm(EnvReward())
        norm.moments.add(np.array(seen.paid))
        expected = norm._normalize(np.array(seen.paid[3:]))
    np.testing.assert_allclose(seen.rollouts[0]["rewards"][:, 0], expected, atol=1e-5)


# --- in evaluation, and the logs ------------------------------------------------------------------


def test_in_evaluation_the_last_step_is_paid_the_episode() -> None:
    plans: list[Plan] = [[(3, "truncated")], [(2, "terminated")]]
    env = RewardVecEnv(walks(*plans), Outcome(), deferred=True, training=False)
    model, _ = trained(RewardVecEnv(walks(*plans), env.reward, deferred=True), 12)
    returns, lengths = evaluate_policy(
        model, env, n_eval_episodes=4, return_episode_rewards=True, warn=False
    )
    assert sorted(zip(lengths, returns, strict=True)) == [(2, 2), (2, 12), (3, 3), (3, 13)]
    env.reset()
    for _ in range(3):
        infos = env.step(np.zeros(2, dtype=int))[3]
    assert infos[0]["reward_sums"] == {"total": infos[0]["reward_sums"]["total"]}


def test_training_can_be_turned_off_between_episodes() -> None:
    env = RewardVecEnv(walks([(2, "terminated")]), Outcome(), deferred=True)
    trained(env, 6)
    env.training = False
    with pytest.raises(ValueError, match=r"within an episode.*call reset\(\) first"):
        env.step(np.array([0]))
    env.reset()
    paid = [float(env.step(np.array([0]))[1][0]) for _ in range(4)]
    assert paid[::2] == [0, 0]
    assert paid[3] == paid[1] + 10
    assert env.learn() == ({}, {}, None)


def test_the_parts_of_scored_episodes_are_logged() -> None:
    from tests.adapters.sb3.test_env import Written

    reward = rs.WeightedSum(
        {"spread": Spread(), "outcome": Outcome()}, {"spread": 0.0, "outcome": 2.0}
    )
    model = PPO(
        "MlpPolicy",
        RewardVecEnv(walks([(3, "truncated")]), reward, deferred=True),
        n_steps=6,
        batch_size=6,
        device="cpu",
        seed=0,
    )
    written = Written()
    model.set_logger(Logger(None, [written]))
    model.learn(6, callback=RewardCallback())
    logged = written.rows[-1]
    # Outcomes 3 and 13, doubled in the whole.
    assert logged["reward/outcome"] == 8.0
    assert logged["reward/total"] == 16.0
    assert logged["reward/spread"] > 0


# --- refusals -------------------------------------------------------------------------------------


def test_training_without_the_callback_is_refused() -> None:
    env = RewardVecEnv(walks([(3, "truncated")]), Spread(), deferred=True)
    env.reset()
    with pytest.raises(ValueError, match=r"pays 0 until .* callback=RewardCallback\(\)"):
        env.step(np.array([0]))


def test_training_on_without_the_callback_is_refused() -> None:
    env = RewardVecEnv(walks([(3, "truncated")]), Spread(), deferred=True)
    model, _ = trained(env, 6)
    with pytest.raises(ValueError, match=r"pays 0 until .* callback=RewardCallback\(\)"):
        model.learn(6)
    model.learn(6, callback=RewardCallback())


def test_off_policy_learners_are_refused() -> None:
    env = RewardVecEnv(walks([(3, "truncated")]), Spread(), deferred=True)
    with pytest.raises(ValueError, match=r"DQN stores each step's reward .* on-policy"):
        DQN("MlpPolicy", env, device="cpu").learn(4, callback=RewardCallback())


def test_normalized_rewards_are_refused() -> None:
    env = VecNormalize(RewardVecEnv(walks([(3, "truncated")]), Spread(), deferred=True))
    with pytest.raises(ValueError, match="norm_reward=False"):
        trained(env, 6)
    env = VecNormalize(
        RewardVecEnv(walks([(3, "truncated")]), Spread(), deferred=True), norm_reward=False
    )
    trained(env, 6)


def test_memory_and_learning_before_scoring_do_not_mix() -> None:
    advice = PotentialShaping(EnvReward(), lambda x, action: half(x), advice="look_back")
    with pytest.raises(ValueError, match=r"because of potential_shaping.* deferred=True"):
        trained(RewardVecEnv(walks([(3, "truncated")]), RunningNorm(advice)), 6)
    advice = PotentialShaping(EnvReward(), lambda x, action: half(x), advice="look_back")
    env = RewardVecEnv(walks([(3, "truncated")]), RunningNorm(advice), deferred=True)
    trained(env, 6)
    assert advice.discount == GAMMA


def test_an_episode_without_a_score_is_told_or_counts_as_the_number_given() -> None:
    plan: Plan = [(3, "terminated")]
    env = RewardVecEnv(walks(plan), Outcome(silent=13.0), deferred=True)
    with pytest.raises(ScoreError, match=r"row 0: an episode has no score: its reward abstained"):
        trained(env, 6)
    env = RewardVecEnv(walks(plan), Outcome(silent=13.0), deferred=True, missing=-7.0)
    _, seen = trained(env, 6)
    assert seen.rollouts[0]["rewards"][:, 0].tolist() == [0, 0, 3, 0, 0, -7]

    def broken(next_obs: Any) -> Any:
        raise RuntimeError("no model")

    env = RewardVecEnv(walks(plan), Function(broken), deferred=True)
    with pytest.raises(ScoreError, match="RuntimeError: no model"):
        trained(env, 6)


class Compares(Reward):
    def __init__(self) -> None:
        super().__init__()
        self.declare(needs=(), scope="group")


@pytest.mark.parametrize("scope", ["batch", "dataset"])
def test_rewards_of_a_batch_are_refused_in_words(scope: Any) -> None:
    reward = Compares()
    reward.declare(needs=(), scope=scope)
    with pytest.raises(
        ValueError, match=rf"scores all rollouts of a {scope} together.*scope 'row'"
    ):
        RewardVecEnv(walks([(3, "truncated")]), reward, deferred=True)


def test_rewards_that_compare_rollouts_are_refused() -> None:
    with pytest.raises(ValueError, match="scores all rollouts of a group together, and environ"):
        RewardVecEnv(walks([(3, "truncated")]), Compares(), deferred=True)
