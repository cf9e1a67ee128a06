"""Potential shaping: what it leaves invariant, exactly, and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests import laws

from rewardsmith.core.acting import scan
from rewardsmith.core.errors import MissingColumn
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
