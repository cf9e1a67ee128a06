"""Q-learning meets value iteration, and learns what our rewards pay."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.adapters.gymnasium import wrap
from rewardsmith.core.acting import Step, Terms
from rewardsmith.core.errors import SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.learners import TabularEnv, learn_q, linear, power
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.testbeds import (
    TabularMDP,
    TomatoEnv,
    expected_return,
    finite_horizon,
    greedy_policy,
    gridworld_mdp,
    random_mdp,
    shaped,
    tomato_mdp,
    value_iteration,
)
from rewardsmith.transforms.potential import PotentialShaping

MAP = "S..#\n.#.P\n...G"


def chain(discount: float = 0.9) -> TabularMDP:
    """Two states for ever: staying in 0 pays 1, crossing pays 0, anything in 1 pays 2."""
    transition = np.zeros((2, 2, 2))
    transition[0, 0, 0] = transition[0, 1, 1] = transition[1, :, 1] = 1.0
    reward = np.zeros((2, 2, 2))
    reward[0, 0], reward[1] = 1.0, 2.0
    return TabularMDP(transition, reward, discount, np.array([1.0, 0.0]), np.zeros(2, dtype=bool))


# --- the values -----------------------------------------------------------------------------------


def test_a_gridworld_is_solved_exactly() -> None:
    # In a deterministic world a learning rate of 1 is value iteration, one entry at a time.
    mdp = gridworld_mdp(MAP, discount=0.95, step_reward=-0.04).mdp
    found = learn_q(
        TabularEnv(mdp, 20), steps=20_000, gamma=0.95, seed=0, epsilon=0.5, learning_rate=1.0
    )
    exact = value_iteration(mdp).q
    np.testing.assert_allclose(found.q, exact, atol=1e-12)
    assert found.visits[~mdp.terminal].min() > 0
    best = expected_return(mdp, greedy_policy(exact))
    assert expected_return(mdp, greedy_policy(found.q)) == pytest.approx(best, abs=1e-12)
    np.testing.assert_array_equal(found.policy, greedy_policy(found.q).argmax(axis=1))


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), terminal=st.integers(0, 2), horizon=st.integers(1, 4))
def test_any_deterministic_world_is_solved_through_any_time_limit(
    seed: int, terminal: int, horizon: int
) -> None:
    # Every state is a start, so that even a horizon of 1 shows every transition. Values of the
    # world without a limit come out only if a truncated step looks ahead and a terminated does not.
    mdp = random_mdp(np.random.default_rng(seed), 4, 2, 0.7, branching=1, terminal=terminal)
    likely = np.where(mdp.terminal, 0.0, 1.0 / (~mdp.terminal).sum())
    mdp = TabularMDP(mdp.transition, mdp.reward, mdp.discount, likely, mdp.terminal)
    found = learn_q(
        TabularEnv(mdp, horizon),
        steps=3000,
        gamma=0.7,
        seed=seed,
        epsilon=1.0,
        learning_rate=1.0,
    )
    np.testing.assert_allclose(found.q, value_iteration(mdp).q, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_random_world_is_solved_to_a_tolerance(seed: int) -> None:
    mdp = random_mdp(np.random.default_rng(seed), 5, 3, 0.8, terminal=1)
    found = learn_q(
        TabularEnv(mdp, 10), steps=100_000, gamma=0.8, seed=seed, epsilon=1.0,
        learning_rate=power(0.8),
    )  # fmt: skip
    exact = value_iteration(mdp)
    np.testing.assert_allclose(found.q, exact.q, atol=0.1)
    best = expected_return(mdp, greedy_policy(exact.q))
    assert expected_return(mdp, greedy_policy(found.q)) > best - 0.02


def test_the_end_of_an_episode_by_hand() -> None:
    # One step, reward 3, from state 0 to state 1, whose value is known to be 5.
    for terminated, target in ((True, 3.0), (False, 3.0 + 0.9 * 5.0)):
        found = learn_q(
            OneStep(terminated=terminated), steps=1, gamma=0.9, seed=0, learning_rate=0.5, initial=5
        )
        assert found.q.tolist() == [[5.0 + 0.5 * (target - 5.0)], [5.0]]
        assert found.returns.tolist() == [3.0]
        assert found.ends.tolist() == [1]
        assert found.visits.tolist() == [[1], [0]]


class OneStep(gymnasium.Env[Any, Any]):
    """States 5 and 6, one action called -2: from 5 to 6, and over."""

    def __init__(self, terminated: bool = True, pays: Any = 3.0, sees: Any = 6) -> None:
        self.observation_space, self.action_space = Discrete(2, start=5), Discrete(1, start=-2)
        self.terminated, self.pays, self.sees = terminated, pays, sees

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return 5, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        return self.sees, self.pays, self.terminated, not self.terminated, {"odd": 1}


def test_spaces_may_start_anywhere() -> None:
    found = learn_q(OneStep(), steps=3, gamma=0.9, seed=0)
    action, state = found.predict(np.array([5, 6, 5]), state="kept")
    assert action.tolist() == [-2, -2, -2]
    assert state == "kept"
    assert found.predict(np.int64(5))[0].shape == ()


# --- the learner ----------------------------------------------------------------------------------


def test_the_seed_decides_everything() -> None:
    def run(seed: int) -> Any:
        mdp = random_mdp(np.random.default_rng(0), 6, 3, 0.9, terminal=1)
        return learn_q(TabularEnv(mdp, 8), steps=500, gamma=0.9, seed=seed)

    one, same, other = run(1), run(1), run(2)
    np.testing.assert_array_equal(one.q, same.q)
    np.testing.assert_array_equal(one.returns, same.returns)
    assert not np.array_equal(one.q, other.q)


def test_the_curve_accounts_for_every_finished_episode() -> None:
    mdp = chain()
    gold = -mdp.reward
    found = learn_q(
        TabularEnv(mdp, 4, gold=gold), steps=10, gamma=0.9, seed=0, epsilon=1.0, gold="gold"
    )
    assert found.ends.tolist() == [4, 8]  # the third is not finished
    assert found.gold_returns is not None
    np.testing.assert_array_equal(found.gold_returns, -found.returns)
    assert found.visits.sum() == 10
    assert learn_q(TabularEnv(mdp, 4), steps=3, gamma=0.9, seed=0).returns.tolist() == []


def test_schedules() -> None:
    line = linear(1.0, 0.2, 4)
    assert [line(n) for n in range(6)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    assert [power(0.5)(n) for n in (1, 4)] == [1.0, 0.5]
    seen: dict[str, list[int]] = {"epsilon": [], "rate": []}

    def epsilon(n: int) -> float:
        seen["epsilon"].append(n)
        return 0.0

    def rate(n: int) -> float:
        seen["rate"].append(n)
        return 1.0

    found = learn_q(OneStep(), steps=3, gamma=0.9, seed=0, epsilon=epsilon, learning_rate=rate)
    assert seen == {"epsilon": [0, 1, 2], "rate": [1, 2, 3]}
    assert found.q[0, 0] == 3.0


def test_no_exploration_follows_the_values_and_breaks_ties_at_random() -> None:
    # Staying pays at once, so that a greedy learner who tried it first never leaves.
    firsts = set()
    for seed in range(20):
        found = learn_q(TabularEnv(chain(), 50), steps=50, gamma=0.9, seed=seed, epsilon=0.0)
        firsts.add(tuple((found.visits[0] > 0).tolist()))
    assert firsts == {(True, False), (False, True)}


# --- our rewards ----------------------------------------------------------------------------------


def goal_distance(obs: Any) -> Any:
    return -0.1 * (9 - np.asarray(obs, dtype=np.float64))


def test_a_wrapped_environment_teaches_what_the_reward_pays() -> None:
    # Q under potential shaping is Q less the potential; here it is given no gamma of its own.
    mdp = gridworld_mdp("S.G\n..P", discount=0.9).mdp
    env = wrap(TabularEnv(mdp, 15), PotentialShaping(EnvReward(), goal_distance))
    found = learn_q(
        env, steps=1500, gamma=0.9, seed=0, epsilon=0.9, learning_rate=1.0, gold="env_reward"
    )
    phi = goal_distance(np.arange(mdp.states))
    np.testing.assert_allclose(found.q, value_iteration(mdp, shaped(mdp, phi)).q, atol=1e-9)
    assert found.gold_returns is not None
    assert set(found.gold_returns) <= {-1.0, 0.0, 1.0}
    assert not np.array_equal(found.gold_returns, found.returns)


def test_another_gamma_than_the_rewards_is_refused() -> None:
    env = wrap(TabularEnv(chain(), 5), PotentialShaping(EnvReward(), goal_distance, gamma=0.5))
    with pytest.raises(SpecError, match="gamma"):
        learn_q(env, steps=5, gamma=0.9, seed=0)


class Updates(Reward):
    """Pays how often it has been updated, and keeps the actions that it was updated with."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[int]] = []
        self.declare(needs={"action"}, granularity="dense")

    def forward(self, rollouts: Rollouts) -> Scores:
        return Scores.dense(
            torch.full(rollouts.mask.shape, float(len(self.seen))), rollouts.action_mask
        )

    def step(self, s: Step, carry: Any, out: Terms) -> Any:
        return np.full(len(s.first), float(len(self.seen))), carry

    def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
        assert scores is not None
        assert rollouts.first().tolist() == [[True, False, False, False, False]]
        self.seen += rollouts["action"].tolist()
        return {}


def test_a_reward_that_learns_does_so_after_every_episode() -> None:
    reward, taken = Updates(), []

    def note(action: Any) -> Any:
        taken.append(action)
        return action

    inner = wrap(TabularEnv(chain(), 5), reward)
    noted = gymnasium.wrappers.TransformAction(inner, note, Discrete(2))
    env = gymnasium.wrappers.TransformReward(noted, lambda r: 2 * r)
    found = learn_q(env, steps=13, gamma=0.9, seed=0, epsilon=1.0)
    # Two finished episodes; the three steps of the last are not learned from.
    assert reward.seen == [taken[:5], taken[5:10]]
    assert found.returns.tolist() == [0.0, 10.0]


def test_the_tomato_proxy_is_hacked() -> None:
    tomato = tomato_mdp()
    earned = {}
    for name, table in (("proxy", tomato.proxy), ("true", tomato.mdp.reward)):
        found = learn_q(
            TabularEnv(tomato.mdp, 100, reward=table, gold=tomato.mdp.reward),
            steps=60_000,
            gamma=0.98,
            seed=0,
            epsilon=linear(1.0, 0.05, 30_000),
            learning_rate=0.5,
            gold="gold",
        )
        policy = greedy_policy(found.q)
        earned[name] = {
            "proxy": expected_return(tomato.mdp, policy, tomato.proxy, 100),
            "true": expected_return(tomato.mdp, policy, horizon=100),
            "start": np.mean(found.gold_returns[:50]),
            "end": np.mean(found.gold_returns[-50:]),
        }
    best = expected_return(
        tomato.mdp, finite_horizon(tomato.mdp, 100, tomato.proxy).policy, tomato.proxy
    )
    assert earned["proxy"]["proxy"] > 0.95 * best
    assert earned["proxy"]["true"] < 1.0
    assert earned["proxy"]["end"] < earned["proxy"]["start"]
    assert earned["true"]["true"] > 5.0
    assert earned["true"]["end"] > earned["true"]["start"]


def test_gold_is_told_beside_what_the_wrapped_tomato_world_pays() -> None:
    env = wrap(TomatoEnv(observation="state"), EnvReward("proxy_reward"))
    found = learn_q(env, steps=1000, gamma=0.95, seed=0, epsilon=1.0, gold="true_reward")
    assert found.gold_returns is not None
    # The proxy pays more on the bucket and the same elsewhere; random walks do come by.
    assert (found.returns > found.gold_returns - 1e-9).all()
    assert found.returns.mean() > found.gold_returns.mean() + 0.5


# --- the environment of an MDP --------------------------------------------------------------------


def test_gymnasium_accepts_the_environment_of_an_mdp() -> None:
    check_env(TabularEnv(gridworld_mdp(MAP).mdp, 5), skip_render_check=True)


def test_the_environment_draws_by_the_tables() -> None:
    mdp = random_mdp(np.random.default_rng(3), 4, 2, 0.9, branching=3, terminal=1)
    env = TabularEnv(mdp, 1, reward=np.full((4, 2, 4), 7.0) * ~mdp.terminal[:, None, None])
    starts, nexts, n = np.zeros(4), np.zeros((4, 4)), 20_000
    env.reset(seed=0)
    for _ in range(n):
        before, _ = env.reset()
        after, paid, terminated, truncated, info = env.step(1)
        assert paid == 7.0
        assert info == {}
        assert (terminated, truncated) == (mdp.terminal[after], not mdp.terminal[after])
        starts[before] += 1
        nexts[before, after] += 1
    np.testing.assert_allclose(starts / n, mdp.start, atol=0.02)
    on = starts > 1000
    np.testing.assert_allclose((nexts[on].T / starts[on]).T, mdp.transition[on, 1], atol=0.05)
    assert nexts[mdp.transition[:, 1] == 0].sum() == 0


def test_without_a_horizon_an_episode_waits_for_its_end() -> None:
    env = TabularEnv(gridworld_mdp("SG").mdp)
    env.reset(seed=0)
    for _ in range(300):
        assert env.step(1)[2:4] == (False, False)
    assert env.step(0)[1:4] == (1.0, True, False)


# --- refusals -------------------------------------------------------------------------------------


class Spaces(OneStep):
    def __init__(self, observation: Any, action: Any) -> None:
        super().__init__()
        self.observation_space, self.action_space = observation, action


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 0.0}, "gamma must lie"),
        ({"gamma": 1.1}, "gamma must lie"),
        ({"gamma": float("nan")}, "gamma must lie"),
        ({"steps": 0}, "steps must be"),
        ({"initial": float("inf")}, "initial must be finite"),
        ({"epsilon": 1.5}, r"epsilon must lie in \[0, 1\], got 1.5"),
        ({"epsilon": lambda n: -1.0 if n == 2 else 0.0}, "epsilon.*at 2"),
        ({"learning_rate": 0.0}, r"learning_rate must lie in \(0, 1\]"),
        ({"learning_rate": lambda n: 1.0 / (n - 3)}, "learning_rate.*at 1"),
        ({"gold": "true"}, "no gold 'true'; keys there: odd"),
        ({"env": OneStep(pays=float("nan"))}, "step 0: the reward is nan"),
        ({"env": OneStep(sees=4)}, "observation 4, which is not in"),
        ({"env": OneStep(sees=7)}, "observation 7, which is not in"),
        ({"env": Spaces(Box(0, 1, (2,)), Discrete(2))}, "Discrete observation space, got Spaces"),
        ({"env": Spaces(Discrete(2), MultiDiscrete([2, 2]))}, "Discrete action space"),
        ({"env": Spaces(Discrete(2), Box(0, 1, (1,)))}, "Discrete action space"),
        (
            {"env": gymnasium.vector.SyncVectorEnv([OneStep, OneStep])},
            "one environment.*SyncVectorEnv",
        ),
        ({"env": chain()}, "one environment.*TabularMDP"),
    ],
)
def test_what_cannot_be_used_is_refused(arguments: dict[str, Any], message: str) -> None:
    given_: dict[str, Any] = {"env": OneStep(), "steps": 4, "gamma": 0.9, "seed": 0}
    with pytest.raises(ValueError, match=message):
        learn_q(**(given_ | arguments))


def test_a_broken_world_is_refused() -> None:
    mdp = chain()
    with pytest.raises(ValueError, match="horizon must be at least 1"):
        TabularEnv(mdp, 0)
    with pytest.raises(ValueError, match="reward must have"):
        TabularEnv(mdp, 5, reward=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="must be finite"):
        TabularEnv(mdp, 5, gold=np.full((2, 2, 2), np.nan))
    env = TabularEnv(mdp, 5)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action must lie in 0\.\.1"):
        env.step(-1)


def test_a_reward_that_breaks_ends_the_training() -> None:
    env = wrap(TabularEnv(chain(), 5), Function(broken, step=True))
    with pytest.raises(ValueError, match="finite number"):
        learn_q(env, steps=5, gamma=0.9, seed=0)


def broken(action: Any) -> Any:
    return np.full(len(action), np.nan)
