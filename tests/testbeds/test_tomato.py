"""The tomato world meets its published numbers, and the environment meets its tables."""

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rewardsmith.testbeds import (
    Tomato,
    TomatoEnv,
    expected_return,
    finite_horizon,
    sample_episodes,
    tomato_mdp,
    uniform_policy,
)
from rewardsmith.testbeds.tomato import HORIZON, Position, tomato_field


@pytest.fixture(scope="module")
def tomato() -> Tomato:
    return tomato_mdp()


# --- the published numbers ------------------------------------------------------------------------


def test_size_of_the_world(tomato: Tomato) -> None:
    assert len(tomato.field.cells) == 26
    assert len(tomato.field.tomatoes) == 9
    assert 26 * 2**9 == 13_312
    assert tomato.mdp.states == len(tomato.positions) == 463
    assert tomato.positions[0] == Position(tomato.field.start, 0)
    # Never nine, so the published end of the episode (all watered) cannot happen.
    assert max(p.watered.bit_count() for p in tomato.positions) == 5


def test_the_true_optimum(tomato: Tomato) -> None:
    best = finite_horizon(tomato.mdp, HORIZON)
    assert expected_return(tomato.mdp, best.policy) == pytest.approx(9.74, abs=0.01)
    # The true optimum stays off the bucket: there, both rewards say the same.
    assert expected_return(tomato.mdp, best.policy, tomato.proxy) == pytest.approx(9.74, abs=0.01)


def test_the_proxy_optimum_is_a_hack(tomato: Tomato) -> None:
    best = finite_horizon(tomato.mdp, HORIZON, tomato.proxy)
    assert expected_return(tomato.mdp, best.policy, tomato.proxy) == pytest.approx(47.36, abs=0.01)
    assert expected_return(tomato.mdp, best.policy) == pytest.approx(2.36, abs=0.01)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_proxy_optimal_policy_earns_another_true_return(tomato: Tomato, sign: float) -> None:
    # A tiny share of the true reward picks the best (or worst) among the proxy's optima, so the
    # 2.36 does not hang on how ties are broken.
    blend = tomato.proxy + sign * 1e-6 * tomato.mdp.reward
    best = finite_horizon(tomato.mdp, HORIZON, blend)
    assert expected_return(tomato.mdp, best.policy, tomato.proxy) == pytest.approx(47.36, abs=0.01)
    assert expected_return(tomato.mdp, best.policy) == pytest.approx(2.36, abs=0.01)


# --- the rules ------------------------------------------------------------------------------------


def test_drying_looks_at_distance_after_the_move() -> None:
    field = tomato_field("#######\n#tA  O#\n#######")
    watered = field.step(Position(field.start, 0), 1)
    assert field.bits(watered).tolist() == [True]
    for _ in range(3):
        watered = field.step(watered, 0)
        assert field.bits(watered).tolist() == [True]  # distance 1, 2, 3
    dried = field.step(watered, 0)
    assert field.bits(dried).tolist() == [False]  # distance 4
    assert field.rewards(dried) == pytest.approx((0.0, 0.1))  # on the bucket, with 5 cells


def test_a_wall_stops_the_agent_but_not_the_clock(tomato: Tomato) -> None:
    mdp = tomato.mdp
    # Left of the start is a wall: nothing changes.
    assert mdp.transition[0, 1, 0] == 1.0


def test_noise_mixes_the_actions(tomato: Tomato) -> None:
    noisy = tomato_mdp(noise=0.1, discount=0.98)
    assert noisy.mdp.discount == 0.98
    assert noisy.positions == tomato.positions
    mean = tomato.mdp.transition.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(noisy.mdp.transition, 0.9 * tomato.mdp.transition + 0.1 * mean)
    np.testing.assert_array_equal(noisy.proxy, tomato.proxy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": -0.1}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"discount": 0.0}, "discount"),
        ({"text": "#At#"}, "one bucket"),
        ({"text": "AAtO"}, "one agent"),
        ({"text": "AxO"}, "unknown mark"),
        ({"text": "AtO"}, "ends the episode"),
    ],
)
def test_a_broken_world_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tomato_mdp(**arguments)


# --- the environment ------------------------------------------------------------------------------


@pytest.mark.parametrize("reward", ["true", "proxy"])
@pytest.mark.parametrize("observation", ["features", "state"])
def test_the_environment_agrees_with_the_tables(
    tomato: Tomato, reward: Any, observation: Any
) -> None:
    env = TomatoEnv(reward=reward, observation=observation)
    rng = np.random.default_rng(0)
    for episode in sample_episodes(tomato.mdp, uniform_policy(tomato.mdp), 20, HORIZON, rng):
        seen, info = env.reset()
        assert info["state"] == episode["obs"][0]
        for t, action in enumerate(episode["action"]):
            row = episode["obs"][t], action, episode["next_obs"][t]
            seen, paid, terminated, truncated, info = env.step(action)
            assert info["state"] == row[2]
            assert info["true_reward"] == tomato.mdp.reward[row]
            assert info["proxy_reward"] == tomato.proxy[row]
            assert paid == info[f"{reward}_reward"]
            assert (terminated, truncated) == (False, bool(episode["truncated"][t]))
            if observation == "state":
                assert seen == row[2]
            else:
                assert seen[:26].argmax() == tomato.positions[row[2]].cell
                assert seen[26:].sum() == tomato.positions[row[2]].watered.bit_count()


def test_every_transition_of_the_tables_is_the_rules(tomato: Tomato) -> None:
    # The walk above meets few states; this meets all 463 * 4.
    for state, position in enumerate(tomato.positions):
        for action in range(4):
            after = tomato.positions[int(tomato.mdp.transition[state, action].argmax())]
            assert after == tomato.field.step(position, action)


def test_noise_of_the_environment_is_that_of_the_tables() -> None:
    env = TomatoEnv(noise=0.4)
    env.reset(seed=0)
    hits = 0
    for _ in range(2000):
        env.reset()
        _, _, _, _, info = env.step(0)
        hits += info["state"] == 1  # the first position found: right of the start
    probability = tomato_mdp(noise=0.4).mdp.transition[0, 0, 1]
    assert probability == pytest.approx(0.7)
    assert hits / 2000 == pytest.approx(probability, abs=4 * np.sqrt(0.21 / 2000))


@pytest.mark.parametrize("observation", ["features", "state"])
def test_gymnasium_accepts_the_environment(observation: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(
            "rewardsmith.testbeds.tomato_env:Tomato-v0",
            observation=observation,
            render_mode="rgb_array",
        )
        check_env(env.unwrapped)
    assert isinstance(env.unwrapped, TomatoEnv)


def test_the_picture_shows_what_is_watered() -> None:
    env = TomatoEnv(render_mode="rgb_array")
    env.reset()
    before = env.render()
    env.step(2)  # down, onto a tomato
    after = env.render()
    assert before is not None
    assert after is not None
    assert before.shape == (160, 160, 3)
    assert before.dtype == np.uint8
    assert tuple(before[5 * 16, 16]) == (200, 60, 40)
    assert tuple(after[5 * 16, 16]) == (60, 160, 70)
    assert tuple(after[5 * 16 + 8, 16 + 8]) == (20, 20, 20)
    assert TomatoEnv().render() is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"reward": "gold"},
        {"observation": "pixels"},
        {"horizon": 0},
        {"noise": 2.0},
        {"render_mode": "human"},
    ],
)
def test_a_broken_argument_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        TomatoEnv(**arguments)


def test_a_broken_action_is_refused() -> None:
    env = TomatoEnv()
    env.reset()
    with pytest.raises(ValueError, match="action must be"):
        env.step(4)
