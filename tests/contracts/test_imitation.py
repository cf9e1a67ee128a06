"""imitation's own wrappers, nets and algorithms with our rewards, and ours with its nets."""

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from tests.adapters.worlds import GAMMA, Walk

import rewardsmith as rs
from rewardsmith.adapters.imitation import ImitationReward, reward_fn
from rewardsmith.adapters.sb3 import RewardVecEnv
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping

pytestmark = [pytest.mark.contracts, pytest.mark.usefixtures("imitation")]


@pytest.fixture
def imitation() -> Any:
    return pytest.importorskip("imitation")


def effort(action: Any) -> Any:
    return -0.1 * np.asarray(action)


def upright(obs: Any) -> Any:
    return -np.abs(obs[:, 2])


def shaped() -> Reward:
    return PotentialShaping(Function(effort, step=True), upright)


def cartpole(n: int = 3, steps: int = 500) -> Any:
    return make_vec_env(
        "CartPole-v1", n, seed=0, env_kwargs={"max_episode_steps": steps}, vec_env_cls=None
    )


def paid_by(env: Any, steps: int = 60) -> tuple[Any, Any]:
    """Rewards [steps, n] and ends of a fixed sequence of actions."""
    env.seed(0)
    env.reset()
    rng = np.random.default_rng(0)
    rewards, dones = [], []
    for _ in range(steps):
        _, reward, done, _ = env.step(rng.integers(0, 2, env.num_envs))
        rewards.append(reward)
        dones.append(done)
    return np.array(rewards), np.array(dones)


def nets() -> Any:
    from imitation.rewards import reward_nets
    from imitation.util import networks

    torch.manual_seed(0)
    env = gymnasium.make("CartPole-v1")
    spaces = (env.observation_space, env.action_space)
    basic = reward_nets.BasicRewardNet(*spaces, use_next_state=True, use_done=True)
    return {
        "basic": basic,
        "normalized": reward_nets.NormalizedRewardNet(basic, networks.RunningNorm),
        "shaped": reward_nets.BasicShapedRewardNet(*spaces, discount_factor=0.9),
    }


# --- ours for imitation ---------------------------------------------------------------------------


def test_its_wrapper_pays_what_ours_pays() -> None:
    from imitation.rewards.reward_wrapper import RewardVecEnvWrapper

    fn = reward_fn(shaped(), done="terminated", gamma=GAMMA)
    theirs, dones = paid_by(RewardVecEnvWrapper(cartpole(), fn))
    ours, _ = paid_by(RewardVecEnv(cartpole(), shaped(), gamma=GAMMA))
    assert dones.sum() > 3
    np.testing.assert_allclose(theirs, ours, rtol=1e-5)


def test_its_done_is_true_at_time_limits_too() -> None:
    """Why ``done`` has to be said: told "terminated", a time limit takes the potential away."""
    from imitation.rewards.reward_wrapper import RewardVecEnvWrapper

    ours, dones = paid_by(RewardVecEnv(cartpole(steps=5), shaped(), gamma=GAMMA))
    for done, right in (("truncated", True), ("terminated", False)):
        fn = reward_fn(shaped(), done=done, gamma=GAMMA)  # type: ignore[arg-type]
        theirs, _ = paid_by(RewardVecEnvWrapper(cartpole(steps=5), fn))
        np.testing.assert_allclose(theirs[~dones], ours[~dones], rtol=1e-5)
        assert np.allclose(theirs[dones], ours[dones], rtol=1e-5) is right


def test_a_learner_trains_on_it_through_its_wrapper() -> None:
    from imitation.rewards.reward_wrapper import RewardVecEnvWrapper

    fn = reward_fn(shaped(), done="terminated", gamma=GAMMA)
    env = RewardVecEnvWrapper(cartpole(), fn)
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, seed=0)
    model.learn(192, callback=env.make_log_callback())
    assert model.rollout_buffer.rewards.max() <= 0.5


def test_its_preference_comparisons_train_agents_on_it() -> None:
    from imitation.algorithms import preference_comparisons

    fn = reward_fn(shaped(), done="terminated", gamma=GAMMA)
    model = PPO("MlpPolicy", cartpole(), n_steps=32, batch_size=32, n_epochs=1, seed=0)
    trainer = preference_comparisons.AgentTrainer(model, fn, cartpole(), np.random.default_rng(0))
    trainer.train(96)
    # CartPole itself would have paid 1 for every step.
    assert model.rollout_buffer.rewards.max() < 1.0
    # The trajectories that it shows still hold what the environment paid.
    assert all((trajectory.rews == 1.0).all() for trajectory in trainer.sample(32))


def test_it_relabels_transitions_as_its_protocol_asks() -> None:
    from imitation.data import rollout, types
    from imitation.policies.base import RandomPolicy
    from imitation.util.util import make_vec_env as make

    env = make("CartPole-v1", rng=np.random.default_rng(0), n_envs=2, parallel=False)
    policy = RandomPolicy(env.observation_space, env.action_space)
    sampled = rollout.generate_transitions(policy, env, 40, rng=np.random.default_rng(0))
    assert isinstance(sampled, types.TransitionsWithRew)
    fn = reward_fn(shaped(), done="terminated", gamma=1.0)
    paid = fn(sampled.obs, sampled.acts, sampled.next_obs, sampled.dones)
    after = np.where(sampled.dones, 0.0, upright(sampled.next_obs))
    np.testing.assert_allclose(
        paid, effort(sampled.acts) + after - upright(sampled.obs), rtol=1e-4, atol=1e-6
    )


def test_dict_observations_reach_it_as_dicts() -> None:
    from imitation.rewards.reward_wrapper import RewardVecEnvWrapper

    def moved(obs: Any, next_obs: Any) -> Any:
        return (next_obs["position"] - obs["position"])[:, 0]

    venv = make_vec_env(lambda: Walk(kind="dict"), 2)
    rewards, dones = paid_by(RewardVecEnvWrapper(venv, reward_fn(Function(moved, step=True))), 9)
    # One step of the walk each, at episodes' ends too.
    assert dones.any()
    assert (rewards == 1.0).all()


# --- imitation's for us ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["basic", "normalized", "shaped"])
def test_its_nets_pay_what_its_wrapper_pays(name: str) -> None:
    from imitation.rewards.reward_wrapper import RewardVecEnvWrapper

    net = nets()[name]
    frozen = copy.deepcopy(net)
    reward = ImitationReward(net)
    ours, dones = paid_by(RewardVecEnv(cartpole(steps=12), reward))
    assert dones.any()
    assert all(torch.equal(a, b) for a, b in zip(state(net), state(frozen), strict=True))

    def unmoved(*transitions: Any) -> Any:
        return frozen.predict_processed(*transitions, update_stats=False)

    theirs, _ = paid_by(RewardVecEnvWrapper(cartpole(steps=12), unmoved))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_shaped_net_keeps_the_potential_at_time_limits_where_it_is_told() -> None:
    net = nets()["shaped"]
    ended, dones = paid_by(RewardVecEnv(cartpole(steps=5), ImitationReward(net)))
    told, _ = paid_by(RewardVecEnv(cartpole(steps=5), ImitationReward(net, "terminated")))
    np.testing.assert_array_equal(ended[~dones], told[~dones])
    assert (ended[dones] != told[dones]).all()


def test_its_statistics_would_move_by_being_asked() -> None:
    """Why ``update_stats=False`` is passed."""
    net = nets()["normalized"]
    before = [tensor.clone() for tensor in state(net)]
    net.predict_processed(
        np.ones((4, 4), np.float32), np.zeros(4, int), np.ones((4, 4), np.float32), np.zeros(4)
    )
    assert not all(torch.equal(a, b) for a, b in zip(state(net), before, strict=True))


def state(net: Any) -> list[Any]:
    return [tensor.clone() for tensor in net.state_dict().values()]


def test_what_gail_learned_pays_and_scores() -> None:
    from imitation.algorithms.adversarial.gail import GAIL
    from imitation.data import rollout
    from imitation.data.wrappers import RolloutInfoWrapper
    from imitation.policies.base import RandomPolicy

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    venv = make_vec_env("CartPole-v1", 2, seed=0, wrapper_class=RolloutInfoWrapper)
    policy = RandomPolicy(venv.observation_space, venv.action_space)
    demos = rollout.rollout(policy, venv, rollout.make_sample_until(min_episodes=4), rng=rng)
    trainer = GAIL(
        demonstrations=demos,
        demo_batch_size=32,
        gen_replay_buffer_capacity=128,
        n_disc_updates_per_round=1,
        venv=venv,
        gen_algo=PPO("MlpPolicy", venv, n_steps=32, batch_size=32, n_epochs=1, seed=0),
        reward_net=nets()["normalized"],
        allow_variable_horizon=True,
    )
    trainer.train(128)
    reward = rs.WeightedSum({"gail": ImitationReward(trainer.reward_train), "env": EnvReward()})
    paid, _ = paid_by(RewardVecEnv(cartpole(), reward), 20)
    assert np.isfinite(paid).all()
    demo = demos[0]
    ends = np.zeros(len(demo), dtype=bool)
    ends[-1] = True
    rollouts = Rollouts.from_episodes(
        [
            {
                "obs": demo.obs[:-1],
                "action": demo.acts,
                "next_obs": demo.obs[1:],
                "env_reward": demo.rews,
                "terminated": ends,
                "truncated": np.zeros(len(demo), dtype=bool),
            }
        ]
    )
    asked = trainer.reward_train.predict_processed(
        demo.obs[:-1], demo.acts, demo.obs[1:], ends, update_stats=False
    )
    scores = reward(rollouts)
    np.testing.assert_allclose(scores.part("gail").values[0].numpy(), asked, rtol=1e-5)
