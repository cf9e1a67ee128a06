"""The transform in torchrl's environments: specs, batches, resets, and what its libraries do."""

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

import rewardsmith as rs
from rewardsmith.adapters.torchrl import transform
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping
from rewardsmith.transforms.running import RunningNorm

pytestmark = [pytest.mark.contracts, pytest.mark.usefixtures("torchrl")]
GAMMA = 0.9


@pytest.fixture
def torchrl() -> Any:
    found = pytest.importorskip("torchrl.envs")
    torch.manual_seed(0)
    return found


def upright(obs: Any) -> Any:
    return -np.abs(obs[:, 2])


def effort(action: Any) -> Any:
    return -0.5 * np.asarray(action)


def look_back(obs: Any, action: Any) -> Any:
    return obs[:, 0] + action


def tree() -> Reward:
    """Reads every column, and carries a potential from step to step."""
    back = PotentialShaping(Function(effort, step=True), look_back, advice="look_back")
    return rs.WeightedSum(
        {"shaped": PotentialShaping(EnvReward(), upright), "back": back},
        {"shaped": 1.0, "back": 2.0},
    )


def single() -> Any:
    from torchrl.envs import GymEnv

    return GymEnv("CartPole-v1")


def serial() -> Any:
    from torchrl.envs import SerialEnv

    return SerialEnv(3, single)


def parallel() -> Any:
    from torchrl.envs import ParallelEnv

    return ParallelEnv(2, single)


def vectorized(mode: Any) -> Any:
    from torchrl.envs import GymWrapper

    return GymWrapper(
        gymnasium.vector.SyncVectorEnv(
            [lambda: gymnasium.make("CartPole-v1", max_episode_steps=12)] * 3, autoreset_mode=mode
        )
    )


def categorical() -> Any:
    from torchrl.envs import GymEnv

    return GymEnv("CartPole-v1", categorical_action_encoding=True)


def continuous() -> Any:
    from torchrl.envs import GymEnv, SerialEnv

    return SerialEnv(2, lambda: GymEnv("Pendulum-v1"))


ENVIRONMENTS = {
    "single": single,
    "serial": serial,
    "parallel": parallel,
    "same step": lambda: vectorized(AutoresetMode.SAME_STEP),
    "disabled": lambda: vectorized(AutoresetMode.DISABLED),
    "categorical": categorical,
    "continuous": continuous,
}


def rollouts_of(played: Any, spec: Any) -> Rollouts:
    """What torchrl collected, [n, t], as rollouts of ours; rows hold several episodes."""
    played = played if played.batch_dims == 2 else played[None]
    ended = played["next", "done"][..., 0]
    first = torch.cat([torch.ones_like(ended[:, :1]), ended[:, :-1]], dim=1)
    return Rollouts(
        steps={
            "obs": played["observation"],
            "next_obs": played["next", "observation"],
            "action": torch.as_tensor(np.array(spec.to_numpy(played["action"]))),
            "env_reward": played["next", "env_reward"][..., 0],
            "terminated": played["next", "terminated"][..., 0],
            "truncated": played["next", "truncated"][..., 0],
            "first": first,
        }
    )


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_specs_hold_and_every_part_is_what_forward_scores(name: str) -> None:
    from torchrl.envs import TransformedEnv, check_env_specs

    reward = tree() if name != "continuous" else PotentialShaping(EnvReward(), upright)
    env = TransformedEnv(ENVIRONMENTS[name](), transform(reward, gamma=GAMMA))
    try:
        check_env_specs(env, break_when_any_done="both")
        env.set_seed(0)
        played = env.rollout(50, break_when_any_done=False)
        rollouts = rollouts_of(played, env.action_spec)
        if name not in ("continuous", "parallel", "serial", "single"):
            assert int(rollouts.first().sum()) > len(rollouts)
        for path, part in reward(rollouts).walk():
            key = ("next", "reward_terms", path) if path else ("next", "reward")
            paid = played[key].reshape(len(rollouts), -1)
            torch.testing.assert_close(paid, part.values, rtol=1e-4, atol=1e-5)
    finally:
        env.close()


def test_it_agrees_with_our_own_wrapper() -> None:
    """The same environment, seeds and actions, once through torchrl and once through ours."""
    from torchrl.envs import TransformedEnv

    env = TransformedEnv(single(), transform(tree(), gamma=GAMMA))
    env.set_seed(3)
    played = env.rollout(30)
    ours = rs.wrap(gymnasium.make("CartPole-v1"), tree(), gamma=GAMMA)
    actions = env.action_spec.to_numpy(played["action"])
    # torchrl seeds by a reset of its own, before the one that begins the rollout.
    ours.reset(seed=3)
    obs, _ = ours.reset()
    np.testing.assert_array_equal(obs, played["observation"][0].numpy())
    paid = [ours.step(action)[1] for action in actions]
    np.testing.assert_allclose(paid, played["next", "reward"][:, 0].numpy(), rtol=1e-5)


def test_other_transforms_stand_beside_it() -> None:
    from torchrl.envs import (
        Compose,
        ObservationNorm,
        RewardSum,
        StepCounter,
        TransformedEnv,
        check_env_specs,
    )

    reward = tree()
    env = TransformedEnv(
        serial(),
        Compose(
            StepCounter(max_steps=7),
            transform(reward, gamma=GAMMA),
            RewardSum(),
            ObservationNorm(loc=5.0, scale=0.5, in_keys=["observation"]),
        ),
    )
    check_env_specs(env)
    played = env.rollout(20, break_when_any_done=False)
    assert played["next", "truncated"].any()
    rollouts = rollouts_of(played, env.action_spec)
    # Shown to the policy otherwise than to the reward: only what comes before it counts.
    for name in ("obs", "next_obs"):
        rollouts.steps[name] = (rollouts[name] - 5.0) / 0.5
    scores = reward(rollouts)
    torch.testing.assert_close(
        played["next", "reward"][..., 0], scores.values, rtol=1e-3, atol=1e-4
    )
    # Sums over episodes, of any part, for free.
    whole = (played["next", "step_count"] == 7)[..., 0]
    summed = played["next", "reward_terms", "episode_shaped/shaping"][..., 0][whole]
    terms = played["next", "reward_terms", "shaped/shaping"][..., 0]
    rows, steps = whole.nonzero(as_tuple=True)
    for total, row, last in zip(summed, rows, steps, strict=True):
        torch.testing.assert_close(total, terms[row, last - 6 : last + 1].sum())


def test_its_info_entries_are_columns_of_both_states() -> None:
    from torchrl.data import Unbounded
    from torchrl.envs import GymEnv, TransformedEnv, check_env_specs
    from torchrl.envs.libs.gym import default_info_dict_reader

    def ahead(x_position: Any) -> Any:
        return x_position

    base = GymEnv("HalfCheetah-v5")
    spec = [Unbounded(shape=(), dtype=torch.float64)]
    base.set_info_dict_reader(default_info_dict_reader(["x_position"], spec))
    env = TransformedEnv(base, transform(PotentialShaping(EnvReward(), ahead), gamma=GAMMA))
    check_env_specs(env)
    played = env.rollout(4)
    before, after = played["x_position"], played["next", "x_position"]
    shaping = played["next", "reward_terms", "shaping"][:, 0]
    expected = (GAMMA * after - before).flatten().to(torch.float32)
    torch.testing.assert_close(shaping, expected, rtol=1e-4, atol=1e-6)


def test_a_learning_reward_learns_and_is_saved_with_the_environment() -> None:
    from torchrl.envs import TransformedEnv, check_env_specs

    reward = RunningNorm(PotentialShaping(EnvReward(), upright))
    env = TransformedEnv(serial(), transform(reward, gamma=GAMMA))
    check_env_specs(env)
    env.transform.learn()
    assert reward.moments.count == 9  # its three steps of three environments
    reward.set_extra_state(RunningNorm(EnvReward()).get_extra_state())
    played = env.rollout(30, break_when_any_done=False)
    assert reward.moments.count == 0
    metrics = env.transform.learn()
    assert reward.moments.count == 90
    shaped = played["next", "reward_terms", "of"]
    assert metrics["mean"] == pytest.approx(float(shaped.double().mean()), abs=1e-6)
    other = RunningNorm(PotentialShaping(EnvReward(), upright))
    resumed = TransformedEnv(serial(), transform(other, gamma=GAMMA))
    resumed.load_state_dict(env.state_dict())
    assert other.moments.state() == reward.moments.state()


def test_evaluation_leaves_what_was_learned_as_it_is() -> None:
    from torchrl.envs import TransformedEnv, check_env_specs

    reward = RunningNorm(rs.WeightedSum({"env": EnvReward(), "new": CountBonus(1.0)}))
    trained = TransformedEnv(serial(), transform(reward))
    trained.rollout(10, break_when_any_done=False)
    trained.transform.learn()
    before = pickle.dumps(reward.state_dict())
    env = TransformedEnv(serial(), transform(reward, training=False))
    check_env_specs(env)
    env.rollout(30, break_when_any_done=False)
    assert env.transform.learn() == {}
    assert pickle.dumps(reward.state_dict()) == before


def test_a_collector_collects_it() -> None:
    from torchrl.collectors import Collector
    from torchrl.envs import TransformedEnv

    env = TransformedEnv(serial(), transform(tree(), gamma=GAMMA))
    collector = Collector(env, None, frames_per_batch=60, total_frames=120)
    reward = tree()
    reward.bind(gamma=GAMMA)
    batches = [batch.clone() for batch in collector]
    collector.shutdown()
    assert [batch.shape for batch in batches] == [(3, 20), (3, 20)]
    # Episodes go on across batches.
    rollouts = rollouts_of(torch.cat(batches, dim=1), env.action_spec)
    paid = torch.cat(batches, dim=1)["next", "reward"][..., 0]
    torch.testing.assert_close(paid, reward(rollouts).values, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_paid_is_refused() -> None:
    from torchrl.envs import Compose, TransformedEnv
    from torchrl.envs.transforms import RenameTransform

    twice = Compose(transform(EnvReward()), transform(EnvReward()))
    with pytest.raises(ValueError, match="already pays a reward of ours"):
        TransformedEnv(single(), twice).rollout(2)
    renamed = Compose(RenameTransform(["reward"], ["score"]), transform(EnvReward()))
    with pytest.raises(ValueError, match=r"no 'reward' but \['score'\]"):
        TransformedEnv(single(), renamed).rollout(2)
