import copy
import io
import warnings
from collections import Counter
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.logger import HumanOutputFormat, KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)
from tests.adapters.sb3.toys import Reuses, first_of
from tests.adapters.test_order import catalog
from tests.adapters.worlds import (
    GAMMA,
    PLAN,
    REWARDS,
    WORLDS,
    Plan,
    Walk,
    bonus,
    floor,
    half,
    level,
    makers,
    parts,
    shaped_by_info,
)

import rewardsmith as rs
from rewardsmith.adapters.sb3 import RewardCallback, RewardVecEnv, find_reward_env
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping


def plans(n: int) -> list[Plan]:
    return [[*PLAN[i:], *PLAN[:i]] for i in range(n)]


def walks(n: int, **kwargs: Any) -> DummyVecEnv:
    return DummyVecEnv([lambda plan=plan: Walk(plan=plan, **kwargs) for plan in plans(n)])


def actions(n: int, t: int) -> Any:
    return (np.arange(n) + t) % 3


# --- the environment ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize("kind", ["box", "dict"])
def test_pays_what_the_gymnasium_wrapper_pays(name: str, kind: str) -> None:
    n = 3
    env = RewardVecEnv(walks(n, kind=kind), REWARDS[name](), gamma=GAMMA)
    alone = [rs.wrap(Walk(plan=plan, kind=kind), REWARDS[name](), gamma=GAMMA) for plan in plans(n)]
    env.reset()
    for single in alone:
        single.reset()
    for t in range(25):
        _, rewards, dones, infos = env.step(actions(n, t))
        assert rewards.dtype == np.float32
        for i, single in enumerate(alone):
            _, reward, terminated, truncated, info = single.step(actions(n, t)[i])
            assert rewards[i] == pytest.approx(reward, rel=1e-6, abs=1e-6)
            assert infos[i]["env_reward"] == info["env_reward"]
            assert infos[i]["reward_terms"] == pytest.approx(info["reward_terms"])
            assert ("reward_sums" in infos[i]) == dones[i] == (terminated or truncated)
            assert ("env_return" in infos[i]) == dones[i]
            if dones[i]:
                assert infos[i]["reward_sums"] == pytest.approx(info["reward_sums"])
                assert infos[i]["env_return"] == pytest.approx(info["env_return"])
                single.reset()


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", WORLDS)
def test_every_reward_in_every_world(kind: str, n: int) -> None:
    """Vectorized by SB3 and paid, or paid one by one: the same, for the whole catalog."""
    reward = catalog(kind)
    env = RewardVecEnv(DummyVecEnv(makers(kind, n)), reward, gamma=GAMMA, training=False)
    alone = [rs.wrap(make(), reward, gamma=GAMMA) for make in makers(kind, n)]
    env.seed(0)
    env.reset()
    for i, single in enumerate(alone):
        single.reset(seed=i)
    ends = 0
    for t in range(14):
        chosen = (np.arange(n) + t) % env.action_space.n  # type: ignore[attr-defined]
        _, rewards, dones, infos = env.step(chosen)
        for i, single in enumerate(alone):
            _, paid, terminated, truncated, info = single.step(chosen[i])
            # SB3 keeps what environments pay in float32.
            assert rewards[i] == pytest.approx(paid, rel=1e-4, abs=1e-4)
            assert same(infos[i]["reward_terms"], info["reward_terms"])
            assert dones[i] == (terminated or truncated)
            if dones[i]:
                assert same(infos[i]["reward_sums"], info["reward_sums"])
                assert infos[i]["env_return"] == pytest.approx(info["env_return"], rel=1e-5)
                single.reset()
                ends += 1
    assert ends > 2


def same(ours: dict[str, float], theirs: dict[str, float]) -> bool:
    one, other = np.array(list(ours.values())), np.array([theirs[path] for path in ours])
    return ours.keys() == theirs.keys() and np.allclose(one, other, rtol=1e-4, atol=1e-4)


def test_environments_may_write_what_they_told_again() -> None:
    each = [lambda: Reuses(plan=[(3, "terminated")])] * 2
    env = RewardVecEnv(DummyVecEnv(each), PotentialShaping(EnvReward(), first_of), gamma=1.0)
    env.reset()
    steps = [env.step(actions(2, t))[3] for t in range(6)]
    shaping = [[info["reward_terms"]["shaping"] for info in infos] for infos in steps]
    assert shaping == [[s, s] for s in (0.5, 0.5, -1.0, 0.5, 0.5, -6.0)]


@pytest.mark.parametrize("kind", ["box", "dict", "image"])
def test_the_last_observation_is_that_of_the_episode(kind: str) -> None:
    env = RewardVecEnv(walks(2, kind=kind), PotentialShaping(EnvReward(), level), gamma=1.0)
    if kind == "image":
        assert isinstance(VecTransposeImage(env).venv, RewardVecEnv)
    env.reset()
    shaping = np.zeros((2, 0))
    for t in range(6):
        terms = [info["reward_terms"] for info in env.step(actions(2, t))[3]]
        shaping = np.concatenate([shaping, [[term["shaping"]] for term in terms]], axis=1)
    # Environment 0: 3 steps from 0, terminated; 2 from 10, truncated; 1 from 20, terminated.
    assert shaping[0].tolist() == [1, 1, -2, 1, 1, -20]
    # Environment 1: 2 steps from 0, truncated; 1 from 10, terminated; 4 from 20.
    assert shaping[1].tolist() == [1, 1, -10, 1, 1, 1]


def test_shaping_adds_up_to_what_no_policy_can_change() -> None:
    env = RewardVecEnv(walks(2), shaped_by_info(), gamma=GAMMA)
    env.reset()
    discounted, length, episode, ends = np.zeros(2), np.zeros(2, dtype=int), np.zeros(2), Counter()
    for t in range(24):
        _, _, dones, infos = env.step(actions(2, t))
        discounted += [
            GAMMA**k * i["reward_terms"]["shaping"] for k, i in zip(length, infos, strict=True)
        ]
        length += 1
        for i in np.flatnonzero(dones):
            start, last = 5 * episode[i], 5 * episode[i] + 0.5 * length[i]
            cut = infos[i]["TimeLimit.truncated"]
            left = GAMMA ** length[i] * last if cut else 0.0
            assert discounted[i] == pytest.approx(left - start, abs=1e-9)
            ends[cut] += 1
            discounted[i], length[i], episode[i] = 0.0, 0, episode[i] + 1
    assert ends[True] > 1
    assert ends[False] > 1


def test_the_info_of_the_reset_survives_an_episode_of_one_step() -> None:
    """SB3 replaces its reset infos while the step that ends the first episode is under way."""
    env = RewardVecEnv(
        DummyVecEnv([lambda: Walk(plan=[(1, "truncated")])]),
        PotentialShaping(EnvReward(), half),
        gamma=1.0,
    )
    env.reset()
    found = [env.step(np.array([0]))[3][0]["reward_terms"]["shaping"] for _ in range(3)]
    assert found == [0.5, 0.5, 0.5]


def test_the_same_in_processes_of_their_own() -> None:
    reward = shaped_by_info()
    env = RewardVecEnv(SubprocVecEnv([Walk, Walk], start_method="fork"), reward, gamma=GAMMA)
    env.reset()
    found = [env.step(actions(2, t))[1] for t in range(7)]
    env.close()
    env = RewardVecEnv(DummyVecEnv([Walk, Walk]), reward, gamma=GAMMA)
    env.reset()
    np.testing.assert_array_equal(found, [env.step(actions(2, t))[1] for t in range(7)])


def test_keys_that_only_some_environments_report() -> None:
    venv = DummyVecEnv([lambda: Walk(rare=True), Walk])
    env = RewardVecEnv(venv, EnvReward("rare"))
    env.reset()
    with pytest.raises(MissingColumn, match=r"'rare', needed by env_reward.*gain.*x"):
        env.step(np.zeros(2, dtype=int))


def test_the_environment_that_broke_is_named() -> None:
    env = RewardVecEnv(
        walks(2), Function(lambda next_obs: np.where(next_obs[:, 0] == 10, np.nan, 0), step=True)
    )
    env.reset()
    for t in range(3):
        env.step(actions(2, t))
    env = RewardVecEnv(
        walks(2), Function(lambda next_obs: np.where(next_obs[:, 0] == 11, np.nan, 0), step=True)
    )
    env.reset()
    env.step(actions(2, 0))
    env.step(actions(2, 0))
    with pytest.raises(ScoreError, match="the reward, row 1"):
        env.step(actions(2, 0))


def test_one_of_ours_is_enough() -> None:
    env = RewardVecEnv(walks(1), parts())
    with pytest.raises(ValueError, match=r"already pay a reward of ours.*rs\.WeightedSum"):
        RewardVecEnv(VecNormalize(env), parts())
    assert find_reward_env(VecNormalize(env)) is env
    assert find_reward_env(walks(1)) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: DummyVecEnv([lambda: rs.wrap(Walk(), parts())]),
        lambda: VecMonitor(DummyVecEnv([lambda: rs.wrap(Walk(), parts())])),
        lambda: DummyVecEnv([lambda: Monitor(rs.wrap(Walk(), parts()))]),
        lambda: SubprocVecEnv([lambda: rs.wrap(Walk(), parts())], start_method="fork"),
    ],
)
def test_one_that_each_environment_pays_is_enough(make: Any) -> None:
    venv = make()
    with pytest.raises(ValueError, match=r"already pay a reward of ours.*rs\.WeightedSum"):
        RewardVecEnv(venv, EnvReward())
    venv.close()


def test_the_environments_reward_is_read_as_it_is() -> None:
    for venv in (VecNormalize(walks(1)), VecMonitor(VecNormalize(walks(1)))):
        with pytest.raises(ValueError, match=r"VecNormalize\(RewardVecEnv\(venv, reward\)\)"):
            RewardVecEnv(venv, parts())
    RewardVecEnv(VecNormalize(walks(1), norm_reward=False), parts())


def test_statistics_of_the_task_are_inside() -> None:
    env: Any = VecNormalize(VecMonitor(RewardVecEnv(walks(1), parts())))
    with pytest.raises(ValueError, match=r"RewardVecEnv\(VecMonitor\(venv\), reward\)"):
        ppo(env).learn(8, callback=RewardCallback())
    env = RewardVecEnv(VecMonitor(walks(1)), rs.Scale(EnvReward(), 3.0))
    model = ppo(env).learn(8, callback=RewardCallback())
    assert model.ep_info_buffer is not None
    assert env.reset().shape == (1, 1)
    paid = [float(info["r"]) for info in model.ep_info_buffer]
    assert sum(paid) * 3.0 <= model.rollout_buffer.rewards.sum() + 1e-5


def test_the_callback_says_how_to_pay_around_a_monitor() -> None:
    venv = DummyVecEnv([lambda: Monitor(rs.wrap(Walk(), parts()))])
    with pytest.raises(ValueError, match=r"rs\.wrap put into each .*RewardVecEnv\(DummyVecEnv"):
        ppo(venv).learn(8, callback=RewardCallback())


def test_what_the_space_does_not_say_is_refused() -> None:
    class Wide(VecEnvWrapper):
        def reset(self) -> Any:
            obs = self.venv.reset()
            return np.concatenate([obs, obs], axis=1)  # type: ignore[list-item]

        def step_wait(self) -> Any:
            return self.venv.step_wait()

    with pytest.raises(ValueError, match=r"^obs of the reset .*shape \[2\], the space \[1\]"):
        RewardVecEnv(Wide(walks(2)), parts()).reset()


def test_what_does_not_act_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="the root: function"):
        RewardVecEnv(walks(1), Function(lambda completion: 0.0))


def test_there_is_no_goal_to_relabel_where_environments_have_none() -> None:
    env = RewardVecEnv(walks(1), parts())
    with pytest.raises(AttributeError, match="have no compute_reward"):
        VecNormalize(env).env_method("compute_reward", None, None, {}, indices=[0])
    assert env.env_method("get_wrapper_attr", "position", indices=[0]) == [-10]


def test_the_infos_of_the_environments_are_left_alone() -> None:
    env = RewardVecEnv(walks(1), shaped_by_info(), gamma=1.0)
    env.reset()
    for t in range(4):
        env.step(actions(1, t))
        assert env.meter.last is not None
        assert "reward_terms" not in env.meter.last.info
        assert "reward_terms" not in env.meter.last.prev_info


# --- learning -------------------------------------------------------------------------------------


class Watcher(Reward):
    """Pays nothing and keeps what it learns from."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Rollouts] = []
        self.declare(needs={"obs", "next_obs", "action", "env_reward", "x"}, granularity="dense")

    def forward(self, rollouts: Rollouts) -> Scores:
        return Scores.dense(torch.zeros(len(rollouts), rollouts.n_steps), rollouts.action_mask)

    def step(self, s: Any, carry: Any, out: Any) -> Any:
        return np.zeros(len(s.first)), carry

    def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
        self.seen.append(rollouts)
        return {"rollouts": float(len(rollouts))}


class Written(KVWriter):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.rows.append(dict(key_values))

    def close(self) -> None:
        pass


def ppo(env: Any, **kwargs: Any) -> PPO:
    small: dict[str, Any] = {
        "n_steps": 8,
        "batch_size": 8,
        "n_epochs": 1,
        "device": "cpu",
        "seed": 0,
    }
    return PPO("MlpPolicy", env, policy_kwargs={"net_arch": [4]}, **(small | kwargs))


def test_the_learners_gamma_is_bound() -> None:
    reward = PotentialShaping(EnvReward(), half)
    ppo(RewardVecEnv(walks(1), reward), gamma=0.75).learn(8, callback=RewardCallback())
    assert reward.discount == 0.75


def test_another_gamma_is_refused() -> None:
    env = RewardVecEnv(walks(1), PotentialShaping(EnvReward(), half, gamma=0.9))
    with pytest.raises(SpecError, match=r"0\.9.*0\.75"):
        ppo(env, gamma=0.75).learn(8, callback=RewardCallback())
    env = RewardVecEnv(walks(1), PotentialShaping(EnvReward(), half), gamma=0.9)
    with pytest.raises(SpecError, match=r"gamma 0\.9, the learner has 0\.75"):
        ppo(env, gamma=0.75).learn(8, callback=RewardCallback())
    ppo(env, gamma=0.9).learn(8, callback=RewardCallback())


def test_a_callback_without_our_environment_says_so() -> None:
    with pytest.raises(ValueError, match="RewardVecEnv"):
        ppo(walks(1)).learn(8, callback=RewardCallback())


def test_learns_once_per_rollout_from_its_transitions() -> None:
    watcher = Watcher()
    env = RewardVecEnv(walks(2), rs.WeightedSum({"env": EnvReward(), "watcher": watcher}))
    taken: list[Any] = []
    step_async = env.step_async
    env.step_async = lambda a: (taken.append(a.copy()), step_async(a))[1]  # type: ignore[method-assign]
    ppo(VecNormalize(env, norm_obs=False)).learn(24, callback=RewardCallback())
    # 24 transitions of 2 environments are 2 rollouts of 8 steps each.
    assert len(watcher.seen) == 2
    played = [list(walk_through(plan)) for plan in plans(2)]
    for k, rollouts in enumerate(watcher.seen):
        assert int(rollouts.mask.sum()) == 16
        found = []
        for row in range(len(rollouts)):
            real = rollouts.mask[row]
            columns = {
                name: rollouts[name][row][real].flatten().tolist()
                for name in (
                    "obs",
                    "next_obs",
                    "action",
                    "env_reward",
                    "terminated",
                    "truncated",
                    "first",
                    "x",
                )
            }
            # An episode is one row: only its last step ends it, only its first begins it.
            assert not any(columns["first"][1:])
            assert not any(columns["terminated"][:-1])
            assert not any(columns["truncated"][:-1])
            found += list(zip(*columns.values(), strict=True))
        expected = []
        for i in range(2):
            for t in range(8 * k, 8 * (k + 1)):
                before, after, time, end, begins = played[i][t]
                action = int(taken[t][i])
                paid = float(time * (1 + action))
                expected.append(
                    (
                        before,
                        after,
                        action,
                        paid,
                        end == "terminated",
                        end == "truncated",
                        begins,
                        after / 2,
                    )
                )
        assert sorted(found) == sorted(expected)


def walk_through(plan: Plan) -> Any:
    """(position before, after, time, how it ended or "", whether it began) for many steps."""
    for episode in range(20):
        length, end = plan[episode % len(plan)]
        for t in range(length):
            before = 10 * episode + t
            yield before, before + 1, t + 1, end if t + 1 == length else "", t == 0


def test_counts_are_those_of_the_states_that_were_reached() -> None:
    reward = bonus()
    env = RewardVecEnv(walks(2), reward)
    ppo(env).learn(48, callback=RewardCallback())
    counts = Counter(
        int(np.floor(0.5 * after))
        for plan in plans(2)
        for _, (_, after, *_) in zip(range(24), walk_through(plan), strict=False)
    )
    node = dict(reward.walk())["bonus"]
    assert isinstance(node, CountBonus)
    assert node.counts == counts
    assert sum(counts.values()) == 48


def test_off_policy_it_learns_every_train_freq() -> None:
    watcher = Watcher()
    env = RewardVecEnv(walks(1), rs.WeightedSum({"env": EnvReward(), "watcher": watcher}))
    model = DQN(
        "MlpPolicy", env, train_freq=4, learning_starts=6, buffer_size=50, device="cpu", seed=0
    )
    model.learn(20, callback=RewardCallback())
    assert [int(rollouts.mask.sum()) for rollouts in watcher.seen] == [4] * 5


def test_the_parts_are_logged() -> None:
    written = Written()
    model = ppo(RewardVecEnv(walks(1), bonus(), training=True))
    model.set_logger(Logger(None, [written]))
    model.learn(8, callback=RewardCallback())
    row = written.rows[-1]
    # 3 + 2 + 1 steps in whole episodes; the fourth goes on.
    assert row["reward/total"] == pytest.approx(row["reward/env"] + row["reward/bonus"])
    # Half the position, rounded down, is 0 1 1, 5 6 and 10: one state is reached again.
    assert row["reward/bonus"] == pytest.approx((2 + 1 / np.sqrt(2) + 2 + 1) / 3)
    assert row["reward_update/bonus/states"] == 7.0


def test_long_names_do_not_end_the_training() -> None:
    """SB3's table cuts names to 36 letters, and raises where two become the same."""
    stem = "a_part_with_a_very_long_name_that_says_it_all"
    reward = rs.WeightedSum({f"{stem}_{i}": EnvReward() for i in range(2)})
    model = ppo(RewardVecEnv(walks(1), reward))
    written = Written()
    table = io.StringIO()
    model.set_logger(Logger(None, [HumanOutputFormat(table), written]))
    model.learn(8, callback=RewardCallback())
    assert "total" in table.getvalue()
    assert f"reward/{stem}_1" in written.rows[-1]


def test_evaluation_leaves_the_state_as_it_was() -> None:
    reward = rs.WeightedSum(
        {"bonus": CountBonus(1.0, key=floor), "norm": rs.transforms.RunningNorm(EnvReward())}
    )
    env = RewardVecEnv(walks(2), reward)
    model = ppo(env)
    model.learn(32, callback=RewardCallback())
    before = copy.deepcopy(reward.state_dict())
    assert before["parts.bonus._extra_state"]
    evaluation = RewardVecEnv(walks(2), reward, training=False)
    evaluation.reset()
    for t in range(20):
        evaluation.step(actions(2, t))
    assert evaluation.learn() == ({}, {}, None)
    assert evaluation.recorder is None
    assert reward.state_dict() == before


def test_training_can_be_turned_off_and_on() -> None:
    watcher = Watcher()
    env = RewardVecEnv(walks(2), rs.WeightedSum({"env": EnvReward(), "watcher": watcher}))
    env.reset()
    env.step(actions(2, 0))
    env.training = False
    for t in range(4):
        env.step(actions(2, t))
    assert env.learn() == ({}, {}, None)
    assert watcher.seen == []
    env.training = True
    env.step(actions(2, 0))
    assert env.learn().metrics == {"watcher/rollouts": 2.0}
    assert int(watcher.seen[0].mask.sum()) == 2


def test_steps_are_not_kept_for_ever_where_nobody_teaches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewardsmith.adapters.sb3.env._UNTAUGHT", 20, raising=False)
    env = RewardVecEnv(walks(2), rs.WeightedSum({"env": EnvReward(), "watcher": Watcher()}))
    model = ppo(env)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.learn(96)
    told = [str(found.message) for found in caught if "nobody let" in str(found.message)]
    assert len(told) == 1
    assert "callback=RewardCallback()" in told[0]
    assert "training=False" in told[0]
    assert env.recorder is not None
    assert (env.recorder.steps, env._paid) == ([], [])
    # A callback that comes later is not too late, nor is whoever calls learn().
    model.learn(48, callback=RewardCallback())
    watcher = dict(env.reward.walk())["watcher"]
    assert isinstance(watcher, Watcher)
    assert [int(rollouts.mask.sum()) for rollouts in watcher.seen] == [16] * 3
    other = RewardVecEnv(walks(2), rs.WeightedSum({"env": EnvReward(), "watcher": Watcher()}))
    other.reset()
    other.learn()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for t in range(30):
            other.step(actions(2, t))


def test_evaluation_beside_training() -> None:
    """The same reward in two environments: each keeps its own carry and account."""

    def trained(callbacks: list[Any]) -> Any:
        reward = bonus()
        env = RewardVecEnv(walks(2), reward)
        model = ppo(env)
        if callbacks:
            evaluation = RewardVecEnv(walks(1), reward, training=False)
            callbacks = [
                EvalCallback(evaluation, eval_freq=3, n_eval_episodes=2, verbose=0, warn=False)
            ]
        model.learn(48, callback=[RewardCallback(), *callbacks])
        return dict(reward.state_dict()), env.meter.sums

    (with_state, with_sums), (state, sums) = trained([1]), trained([])
    assert with_state == state
    np.testing.assert_equal(with_sums, sums)


def test_a_second_training_begins_with_a_clean_record() -> None:
    watcher = Watcher()
    env = RewardVecEnv(walks(1), rs.WeightedSum({"env": EnvReward(), "watcher": watcher}))
    model = ppo(env)
    model.learn(8, callback=RewardCallback())
    env.step(np.array([0]))
    model.learn(8, callback=RewardCallback())
    assert [int(rollouts.mask.sum()) for rollouts in watcher.seen] == [8, 8]
    assert bool(watcher.seen[1].first()[0, 0])


def test_rewards_reach_the_learner() -> None:
    env = RewardVecEnv(
        DummyVecEnv([lambda: Monitor(gymnasium.make("CartPole-v1"))]), rs.Scale(EnvReward(), 3.0)
    )
    model = ppo(env)
    model.learn(8, callback=RewardCallback())
    assert model.rollout_buffer.rewards.flatten().tolist() == [3.0] * 8
