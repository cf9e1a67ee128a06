"""Potential shaping: what it leaves invariant, exactly, and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests import laws
from tests.laws import BAD_VALUE, FAILED, SCORED, TIMEOUT

from rewardsmith.core import algebra
from rewardsmith.core.acting import scan
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.testbeds import tabular
from rewardsmith.transforms.potential import PotentialShaping

pytestmark = pytest.mark.filterwarnings(laws.TYPE_CHECKS)
worlds = st.builds(
    lambda seed, states, actions, gamma, ends: tabular.random_mdp(
        np.random.default_rng(seed), states, actions, gamma, min(3, states), ends
    ),
    st.integers(0, 2**16),
    st.integers(3, 6),
    st.integers(2, 3),
    st.sampled_from([0.3, 0.9, 0.99]),
    st.integers(0, 2),
)


def table_of(mdp: tabular.TabularMDP, potential: Any, gamma: float) -> np.ndarray:
    """What PotentialShaping makes of every transition (s, a, s'), as a reward table."""
    s, a, s_next = (axis.ravel() for axis in np.indices(mdp.transition.shape))
    rollouts = Rollouts(
        steps={
            "obs": torch.from_numpy(s)[:, None],
            "action": torch.from_numpy(a)[:, None],
            "next_obs": torch.from_numpy(s_next)[:, None],
            "env_reward": torch.from_numpy(mdp.reward.flatten())[:, None],
            "terminated": torch.from_numpy(mdp.terminal[s_next])[:, None],
        }
    )
    scores = PotentialShaping(EnvReward(), lambda obs: potential[obs], gamma)(rollouts)
    table = scores.values.double().numpy().reshape(mdp.transition.shape)
    table[mdp.terminal] = 0.0
    return table


@given(mdp=worlds, seed=st.integers(0, 99), twins=st.booleans())
@settings(max_examples=25)
def test_it_preserves_the_set_of_optimal_policies(
    mdp: tabular.TabularMDP, seed: int, twins: bool
) -> None:
    if twins:  # Two actions that are the same: a tie that shaping must not break.
        transition, reward = mdp.transition.copy(), mdp.reward.copy()
        transition[:, 1], reward[:, 1] = transition[:, 0], reward[:, 0]
        mdp = tabular.TabularMDP(transition, reward, mdp.discount, mdp.start, mdp.terminal)
    phi = 5.0 * np.random.default_rng(seed).normal(size=mdp.states)
    plain = tabular.value_iteration(mdp).q
    shaped = tabular.value_iteration(mdp, table_of(mdp, phi, mdp.discount)).q
    on = ~mdp.terminal
    np.testing.assert_allclose(shaped[on], (plain - phi[:, None])[on], atol=2e-3)
    gaps = plain.max(axis=1, keepdims=True) - plain
    assume(not ((gaps > 1e-6) & (gaps < 1e-2)).any())
    ours = tabular.optimal_actions(shaped, 5e-3)
    assert np.array_equal(ours, tabular.optimal_actions(plain, 5e-3))


def test_another_gamma_can_change_what_is_optimal() -> None:
    # Stay for 0.1 per step for ever, or end at once for 1.5: staying is worth 1.0 at gamma 0.9.
    transition = np.zeros((2, 2, 2))
    transition[0, 0, 0] = transition[0, 1, 1] = transition[1, :, 1] = 1.0
    reward = np.zeros((2, 2, 2))
    reward[0, 0, 0], reward[0, 1, 1] = 0.1, 1.5
    mdp = tabular.TabularMDP(transition, reward, 0.9, np.array([1.0, 0.0]), np.array([False, True]))
    phi = np.array([-10.0, 0.0])
    for gamma, best in ((0.9, 1), (0.5, 0)):
        q = tabular.value_iteration(mdp, table_of(mdp, phi, gamma)).q
        assert int(q[0].argmax()) == best


def sampled(mdp: tabular.TabularMDP, seed: int) -> Rollouts:
    """Episodes with a `next_action` where they were cut off."""
    rng = np.random.default_rng(seed)
    episodes = tabular.sample_episodes(mdp, tabular.uniform_policy(mdp), 4, 5, rng)
    for episode in episodes:
        episode["next_action"] = rng.integers(0, mdp.actions, len(episode["obs"]))
    return Rollouts.from_episodes(episodes)


def discounted(values: torch.Tensor, gamma: float) -> torch.Tensor:
    return (values.double() * gamma ** torch.arange(values.shape[1])).sum(dim=1)


@given(mdp=worlds, seed=st.integers(0, 2**16))
@settings(max_examples=25)
def test_the_return_is_shifted_by_the_first_and_the_last_potential(
    mdp: tabular.TabularMDP, seed: int
) -> None:
    phi = np.random.default_rng(seed).normal(size=mdp.states)
    gamma, rollouts = mdp.discount, sampled(mdp, seed)
    reward = PotentialShaping(EnvReward(), lambda obs: phi[obs], gamma)
    for scores in (reward(rollouts), scan(reward, rollouts)):
        plain = discounted(scores.parts["of"].values, gamma)
        shaped = discounted(scores.values, gamma)
        for row in range(len(rollouts)):
            steps = int(rollouts.mask[row].sum())
            expected = float(plain[row]) - phi[rollouts["obs"][row, 0]]
            if rollouts["truncated"][row].any():
                expected += gamma**steps * phi[rollouts["next_obs"][row, steps - 1]]
            assert float(shaped[row]) == pytest.approx(expected, abs=1e-4)


@given(mdp=worlds, seed=st.integers(0, 2**16))
@settings(max_examples=25)
def test_advice_with_actions_telescopes(mdp: tabular.TabularMDP, seed: int) -> None:
    phi = np.random.default_rng(seed).normal(size=(mdp.states, mdp.actions))
    gamma, rollouts = mdp.discount, sampled(mdp, seed)

    def potential(obs: Any, action: Any) -> Any:
        return phi[obs, action]

    ahead = PotentialShaping(EnvReward(), potential, gamma, "look_ahead")(rollouts)
    back = PotentialShaping(EnvReward(), potential, gamma, "look_back")(rollouts)
    forward = discounted(ahead.parts["shaping"].values, gamma)
    backward = discounted(back.parts["shaping"].values, gamma)
    for row in range(len(rollouts)):
        steps = int(rollouts.mask[row].sum())
        s, a = rollouts["obs"][row], rollouts["action"][row]
        expected = [-phi[s[0], a[0]], 0.0]
        if rollouts["truncated"][row].any():
            after = rollouts["next_obs"][row, steps - 1], rollouts["next_action"][row, steps - 1]
            expected[0] += gamma**steps * phi[after]
            expected[1] = gamma ** (steps - 1) * phi[s[steps - 1], a[steps - 1]]
        assert float(forward[row]) == pytest.approx(expected[0], abs=1e-4)
        assert float(backward[row]) == pytest.approx(expected[1], abs=1e-4)


def by_action(obs: Any, action: Any) -> Any:
    return 10.0 * obs + action


def steps(**columns: list[Any]) -> Rollouts:
    return Rollouts(steps={name: torch.tensor([column]) for name, column in columns.items()})


def test_look_ahead_keeps_the_episodes_of_a_row_apart() -> None:
    # Three episodes in one row, as vectorized environments give them.
    rollouts = steps(
        obs=[1.0, 2.0, 3.0, 4.0],
        next_obs=[5.0, 6.0, 7.0, 8.0],
        action=[0.0, 0.0, 0.0, 0.0],
        next_action=[1.0, 1.0, 1.0, 1.0],
        env_reward=[0.0] * 4,
        terminated=[True, False, False, False],
        truncated=[False, True, False, False],
        first=[True, True, True, False],
    )
    scores = PotentialShaping(EnvReward(), by_action, 0.5, "look_ahead")(rollouts)
    assert scores.values.tolist() == [[-10.0, 0.5 * 61 - 20, 0.5 * 40 - 30, 0.5 * 81 - 40]]


def test_look_ahead_asks_for_the_next_action_where_it_needs_it() -> None:
    columns: dict[str, list[Any]] = {
        "obs": [1.0],
        "next_obs": [2.0],
        "action": [0.0],
        "env_reward": [0.0],
    }
    reward = PotentialShaping(EnvReward(), by_action, 0.5, "look_ahead")
    with pytest.raises(MissingColumn, match="'next_action', needed by look_ahead advice on an ep"):
        reward(steps(terminated=[False], **columns))
    assert reward(steps(terminated=[True], **columns)).values.tolist() == [[-10.0]]


def test_the_reset_info_describes_the_first_state() -> None:
    rollouts = steps(env_reward=[0.0, 0.0], terminated=[False, False])
    rollouts.steps["prev_info"] = {"x": torch.tensor([[7.0, 2.0]])}
    rollouts.steps["info"] = {"x": torch.tensor([[2.0, 3.0]])}
    scores = PotentialShaping(EnvReward(), lambda x: x, 1.0)(rollouts)
    assert scores.values.tolist() == [[2.0 - 7.0, 3.0 - 2.0]]


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_the_potential_of_a_terminal_state_is_not_read(value: float) -> None:
    rollouts = steps(
        obs=[1.0, 2.0], next_obs=[2.0, 0.0], env_reward=[0.0, 1.0], terminated=[False, True]
    )
    reward = PotentialShaping(EnvReward(), lambda obs: np.where(obs == 0.0, value, obs), 1.0)
    for scores in (reward(rollouts), scan(reward, rollouts)):
        assert scores.values.tolist() == [[1.0, -1.0]]


def test_large_potentials_keep_their_differences() -> None:
    rollouts = steps(obs=[1.0], next_obs=[2.0], env_reward=[0.0], terminated=[False])
    reward = PotentialShaping(EnvReward(), lambda obs: 1e9 + obs.astype(float), 1.0)
    for scores in (reward(rollouts), scan(reward, rollouts)):
        assert scores.values.tolist() == [[1.0]]


# --- gamma ----------------------------------------------------------------------------------------


def test_gamma_comes_from_the_learner() -> None:
    rollouts = steps(obs=[2.0], next_obs=[4.0], env_reward=[0.0], terminated=[False])
    shaping = PotentialShaping(EnvReward(), laws.height)
    tree = algebra.WeightedSum({"a": algebra.Scale(shaping, 1.0)})
    for score in (tree, lambda r: scan(tree, r)):
        with pytest.raises(SpecError, match="does not know the learner's gamma: pass gamma="):
            score(rollouts)
    tree.bind(gamma=0.75)
    assert shaping.discount == 0.75
    assert tree(rollouts).values.tolist() == [[0.75 * 4 - 2]]


def test_a_gamma_that_differs_from_the_learners_is_refused() -> None:
    shaping = PotentialShaping(EnvReward(), laws.height, 0.9)
    shaping.bind(gamma=0.9)
    with pytest.raises(SpecError, match=r"gamma 0\.9, the learner 0\.99: .*leave gamma out"):
        algebra.Scale(shaping, 1.0).bind(gamma=0.99)
    inner = PotentialShaping(EnvReward(), laws.height, 0.5)
    with pytest.raises(SpecError, match=r"gamma 0\.5"):
        PotentialShaping(inner, laws.height, 0.9).bind(gamma=0.9)


@pytest.mark.parametrize("gamma", [0.0, -0.5, 1.0001, float("nan"), float("inf")])
def test_a_gamma_outside_its_range_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"it must lie in \(0, 1\]"):
        PotentialShaping(EnvReward(), laws.height, gamma)
    with pytest.raises(ValueError, match=r"it must lie in \(0, 1\]"):
        PotentialShaping(EnvReward(), laws.height).bind(gamma=gamma)
    assert PotentialShaping(EnvReward(), laws.height, 1).discount == 1.0


# --- potentials that break ------------------------------------------------------------------------


def raising(error: Exception) -> Any:
    def potential(obs: Any) -> Any:
        raise error

    return potential


@pytest.mark.parametrize(
    ("potential", "status", "told"),
    [
        (raising(KeyError("door")), FAILED, "the potential raised KeyError: 'door'"),
        (raising(TimeoutError("late")), TIMEOUT, "the potential raised TimeoutError: late"),
        (lambda obs: obs[:1], BAD_VALUE, "the potential returned shape [1], expected [2]"),
        (lambda obs: obs[:, None], BAD_VALUE, "the potential returned shape [2, 1]"),
        (lambda obs: 1.0, BAD_VALUE, "the potential returned shape []"),
        (lambda obs: np.full(len(obs), np.nan), BAD_VALUE, "nan is not a finite number"),
        (lambda obs: np.full(len(obs), np.inf), BAD_VALUE, "is not a finite number"),
        (lambda obs: ["high"] * 2, FAILED, "could not convert string to float"),
    ],
)
def test_a_potential_that_breaks(potential: Any, status: int, told: str) -> None:
    rollouts = Rollouts(
        steps={
            "obs": torch.ones(2, 2),
            "next_obs": torch.ones(2, 2),
            "env_reward": torch.ones(2, 2),
            "terminated": torch.zeros(2, 2, dtype=torch.bool),
        },
        action_mask=torch.tensor([[True, True], [False, False]]),
    )
    shaped = PotentialShaping(EnvReward(), potential, 1.0)
    scores = algebra.Scale(shaped, 1.0)(rollouts)
    # Nothing of the second row was to be read.
    assert scores.status.tolist() == [status, 1]
    path, message = scores.errors[0]
    assert path == "of/shaping"
    assert told in message
    with pytest.raises(ScoreError) as caught:
        scan(algebra.Scale(shaped, 1.0), rollouts)
    assert caught.value.part == "of/shaping"
    assert told in str(caught.value)


def test_a_column_that_the_potential_lacks_is_named() -> None:
    reward = PotentialShaping(EnvReward(), lambda depth: depth, 1.0)
    rollouts = steps(env_reward=[0.0], terminated=[False])
    for score in (reward, lambda r: scan(reward, r)):
        with pytest.raises(MissingColumn, match="no column 'depth', needed by the potential"):
            score(rollouts)


def test_an_advice_and_a_potential_of_actions_need_each_other() -> None:
    with pytest.raises(ValueError, match="a potential of `action` needs advice="):
        PotentialShaping(EnvReward(), laws.with_action, 1.0)
    with pytest.raises(ValueError, match="an advice needs a potential of `action`"):
        PotentialShaping(EnvReward(), laws.height, 1.0, "look_back")


def test_its_facts() -> None:
    plain = PotentialShaping(EnvReward(), laws.height, 1.0)
    assert plain.needs == {"env_reward", "terminated", "obs", "next_obs"}
    assert (plain.granularity, plain.acts, plain.start(3)) == ("dense", True, None)
    assert plain.coefficients() == {"of": 1.0, "shaping": 1.0}
    back = PotentialShaping(EnvReward(), laws.with_action, 1.0, "look_back")
    assert back.needs == {"env_reward", "terminated", "obs", "action"}
    assert back.acts
    assert back.start(3)["phi"].tolist() == [0.0] * 3
    assert not PotentialShaping(laws.outcome([1.0]), laws.height, 1.0).acts
    # An outcome can be shaped, on whole rollouts.
    rollouts = steps(obs=[2.0, 3.0], next_obs=[3.0, 0.0], terminated=[False, True])
    shaped = PotentialShaping(laws.outcome([5.0]), lambda obs: obs, 1.0)(rollouts)
    assert shaped.values.tolist() == [[1.0, 5.0 - 3.0]]
    assert shaped.status.tolist() == [SCORED]
