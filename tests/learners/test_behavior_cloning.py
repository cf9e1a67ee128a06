"""A clone does what it was shown, and is evaluated where policies of Stable-Baselines3 are."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from torch import Tensor

from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.learners import NetworkPolicy, TablePolicy, clone_behavior
from rewardsmith.learners.behavior_cloning import cloning_loss
from rewardsmith.testbeds import (
    expected_return,
    greedy_policy,
    sample_episodes,
    tomato_mdp,
    value_iteration,
)

BOX = Box(-10, 10, (2,))


class Expert:
    """Keeps the pole up for all 500 steps, and a point at the origin."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, **_: Any
    ) -> Any:
        if observation.shape[-1] == 4:
            return (observation @ np.array([0.1, 0.3, 3.0, 1.0]) > 0).astype(np.int64), state
        return -(observation @ np.array([[0.8], [1.2]])).astype(np.float32), state


class Point(gymnasium.Env[Any, Any]):
    """A point on a line: position and speed are seen, the force is chosen; both cost."""

    def __init__(self) -> None:
        self.observation_space, self.action_space = Box(-np.inf, np.inf, (2,)), Box(-9, 9, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.state, self.time = self.np_random.normal(size=2), 0
        return self.state.astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        position, speed = self.state
        self.state = np.array([position + 0.1 * speed, speed + 0.1 * float(action[0])])
        self.time += 1
        cost = float(self.state @ self.state + 0.1 * action @ action)
        return self.state.astype(np.float32), -cost, False, self.time == 60, {}


def demonstrations(env: gymnasium.Env[Any, Any], episodes: int) -> Rollouts:
    played = []
    for seed in range(episodes):
        obs, _ = env.reset(seed=seed)
        seen, done, over = [], [], False
        while not over:
            action, _ = Expert().predict(obs)
            seen.append(obs)
            done.append(action)
            obs, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
        played.append({"obs": np.stack(seen), "action": np.stack(done)})
    return Rollouts.from_episodes(played)


def labelled(n: int = 20, t: int = 5, seed: int = 0, **kwargs: Any) -> Rollouts:
    """Observations in the plane; the action is 1 where the first coordinate is positive."""
    obs = torch.randn(n, t, 2, generator=torch.Generator().manual_seed(seed))
    return Rollouts(steps={"obs": obs, "action": (obs[..., 0] > 0).long()}, **kwargs)


def discrete(seed: int = 0) -> NetworkPolicy:
    return NetworkPolicy(BOX, Discrete(2), hidden=(16,), seed=seed)


def parameters(policy: torch.nn.Module) -> Tensor:
    return torch.cat([value.flatten() for value in policy.state_dict().values()])


# --- clones of experts ----------------------------------------------------------------------------


def test_a_clone_balances_the_pole_as_long_as_its_expert() -> None:
    env = gymnasium.make("CartPole-v1")
    shown = demonstrations(env, 10)
    assert shown.mask.sum(dim=1).tolist() == [500] * 10
    policy = NetworkPolicy(env.observation_space, env.action_space, hidden=(32, 32))
    found = clone_behavior(policy, shown, epochs=25, learning_rate=3e-3)
    venv = make_vec_env("CartPole-v1", 4, seed=1000)
    earned, _ = evaluate_policy(found.policy, venv, 4, deterministic=True)  # type: ignore[arg-type]
    assert earned > 475
    torch.manual_seed(0)
    sampled, _ = evaluate_policy(found.policy, venv, 4, deterministic=False)  # type: ignore[arg-type]
    assert sampled > 400
    untaught, _ = evaluate_policy(policy, venv, 8, deterministic=True)  # type: ignore[arg-type]
    assert untaught < 100


@pytest.mark.parametrize("loss", ["likelihood", "mse"])
def test_a_clone_steers_the_point_as_its_expert_does(loss: Any) -> None:
    env = Point()
    shown = demonstrations(env, 30)
    policy = NetworkPolicy(env.observation_space, env.action_space, hidden=(32,))
    found = clone_behavior(policy, shown, loss=loss, epochs=60, batch_size=64, learning_rate=3e-3)
    returns = {}
    venv = make_vec_env(Point, 4, seed=1000)
    for name, model in (("expert", Expert()), ("clone", found.policy), ("start", policy)):
        venv.seed(5)
        returns[name], _ = evaluate_policy(model, venv, 20, deterministic=True)  # type: ignore[arg-type]
    assert returns["start"] < 2 * returns["expert"] < 0
    assert abs(returns["clone"] - returns["expert"]) < 0.05 * abs(returns["expert"])


def test_a_clone_of_the_tomato_optimum_earns_it() -> None:
    mdp = tomato_mdp(discount=0.98).mdp
    expert = greedy_policy(value_iteration(mdp).q)
    shown = Rollouts.from_episodes(sample_episodes(mdp, expert, 3, 100, np.random.default_rng(0)))
    found = clone_behavior(
        TablePolicy(mdp.states, mdp.actions), shown, validation=0, epochs=60, learning_rate=0.3
    )
    mode, _ = found.policy.predict(np.arange(mdp.states), deterministic=True)
    # The world is deterministic: the clone never comes to a state that it was not shown.
    true = expected_return(mdp, expert, horizon=100)
    assert expected_return(mdp, np.eye(4)[mode], horizon=100) == pytest.approx(true)
    assert found.validation_losses == []
    assert found.best_epoch == 59


# --- what is fitted -------------------------------------------------------------------------------


def test_the_deviation_is_that_of_the_noise() -> None:
    draw = torch.Generator().manual_seed(0)
    obs = torch.randn(100, 20, 2, generator=draw)
    noise = torch.randn(100, 20, 2, generator=draw) * torch.tensor([0.3, 0.05])
    shown = Rollouts(steps={"obs": obs, "action": obs * torch.tensor([1.0, -2.0]) + noise})
    for loss in ("likelihood", "mse"):
        # Without a hidden layer it is the true model.
        policy = NetworkPolicy(BOX, BOX, hidden=())
        found = clone_behavior(policy, shown, loss=loss, epochs=60, learning_rate=3e-2).policy
        assert isinstance(found, NetworkPolicy)
        assert found.log_std is not None
        deviation = found.log_std.detach().exp()
        torch.testing.assert_close(deviation, torch.tensor([0.3, 0.05]), rtol=0.1, atol=0.0)


def test_losses_by_hand() -> None:
    policy = TablePolicy(2, 2)
    policy.logits.data = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).double().log()
    obs, action = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])
    weight = torch.tensor([1.0, 2.0, 1.0])
    expected = -(np.log(0.25) + 2 * np.log(0.75) + np.log(0.5)) / 4
    assert cloning_loss(policy, obs, action, weight).item() == pytest.approx(expected)
    network = NetworkPolicy(BOX, BOX, hidden=())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    seen, done = torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    found = cloning_loss(network, seen, done, torch.tensor([3.0, 1.0]), kind="mse")
    assert found.item() == pytest.approx((3 * 25 + 1 * 1) / 4)
    # A standard normal: half the squares and half a log 2 pi per dimension.
    found = cloning_loss(network, seen, done, torch.tensor([3.0, 1.0]))
    assert found.item() == pytest.approx((3 * 25 + 1 * 1) / 8 + np.log(2 * np.pi))


def test_the_losses_told_are_means_over_all_steps() -> None:
    shown, policy = labelled(7, 3), discrete()
    weights = torch.arange(1.0, 8.0)
    found = clone_behavior(
        policy, shown, weights=weights, validation=0, epochs=2, batch_size=4, learning_rate=0.0
    )
    obs, action = shown["obs"].flatten(0, 1), shown["action"].flatten()
    whole = cloning_loss(found.policy, obs, action, weights.repeat_interleave(3))
    assert found.losses == pytest.approx([whole.item()] * 2)


def test_a_deviation_has_a_floor() -> None:
    policy = NetworkPolicy(BOX, BOX)
    assert policy.log_std is not None
    for told, held in ((-50.0, -5.0), (0.5, 0.5), (50.0, 2.0)):
        policy.log_std.data.fill_(told)
        deviation = policy.distribution(torch.zeros(3, 2)).stddev
        torch.testing.assert_close(deviation, torch.full((3, 2), held).exp())


@settings(max_examples=20)
@given(
    counts=st.lists(st.integers(0, 3), min_size=5, max_size=5).filter(any), seed=st.integers(0, 99)
)
def test_a_weight_is_a_number_of_copies(counts: list[int], seed: int) -> None:
    shown, policy = labelled(5, 1, seed), discrete(seed)
    obs, action = shown["obs"][:, 0], shown["action"][:, 0]
    times = torch.tensor(counts)
    copied = cloning_loss(
        policy,
        obs.repeat_interleave(times, dim=0),
        action.repeat_interleave(times),
        torch.ones(int(times.sum())),
    )
    torch.testing.assert_close(cloning_loss(policy, obs, action, times.float()), copied)


def test_what_the_policy_did_not_choose_is_not_read() -> None:
    mask = torch.arange(5).expand(20, 5) < 4
    chosen = mask & (torch.arange(5) != 1)
    shown = labelled(mask=mask, action_mask=chosen)
    found = clone_behavior(discrete(), shown, epochs=5)
    shown.steps["obs"] = torch.where(chosen[..., None], shown["obs"], torch.nan)
    shown.steps["action"] = torch.where(chosen, shown["action"], -7)
    again = clone_behavior(discrete(), shown, epochs=5)
    assert torch.equal(parameters(found.policy), parameters(again.policy))
    assert found[1:] == again[1:]


@pytest.mark.parametrize("per_step", [False, True])
def test_what_weighs_nothing_is_not_read(per_step: bool) -> None:
    good, bad = labelled(), labelled(seed=1)
    steps = {
        "obs": torch.cat([good["obs"], bad["obs"]]),
        "action": torch.cat([good["action"], 1 - bad["action"]]),
    }
    steps["action"][-1] = 99  # no action at all
    weights = torch.tensor([1.0] * 20 + [0.0] * 20)
    found = clone_behavior(
        discrete(),
        Rollouts(steps=steps),
        weights=weights[:, None].expand(40, 5) if per_step else weights,
        epochs=60,
        batch_size=16,
        learning_rate=1e-2,
    )
    test = labelled(200, 1, seed=2)
    action, _ = found.policy.predict(test["obs"][:, 0].numpy(), deterministic=True)
    assert (torch.from_numpy(action) == test["action"][:, 0]).float().mean() > 0.95


def test_whole_rollouts_are_held_out() -> None:
    # Each rollout is one state, so that a clone cannot know what to do in those held out. They keep
    # the chance of a policy that has not been trained.
    obs = torch.arange(10)[:, None].expand(10, 4)
    shown = Rollouts(steps={"obs": obs, "action": torch.zeros(10, 4, dtype=torch.int64)})
    found = clone_behavior(
        TablePolicy(10, 4), shown, validation=0.3, epochs=40, patience=40, learning_rate=0.3
    )
    chance = found.policy.table()[:, 0]  # type: ignore[operator]
    assert (chance == 0.25).sum() == 3
    assert (chance > 0.3).sum() == 7
    assert found.validation_losses == pytest.approx([np.log(4)] * 40)


def test_the_best_epoch_is_kept_and_training_stops_after_it() -> None:
    # Labels are noise: what is learned of the training rollouts is wrong of the others.
    shown = labelled(12, 4)
    draw = torch.Generator().manual_seed(3)
    shown.steps["action"] = torch.randint(2, (12, 4), generator=draw)
    found = clone_behavior(
        discrete(), shown, validation=0.5, epochs=500, patience=5, learning_rate=0.03, batch_size=8
    )
    told = found.validation_losses
    assert len(found.losses) == len(told) == found.best_epoch + 6 < 500
    assert min(told) == told[found.best_epoch]
    shorter = clone_behavior(
        discrete(),
        shown,
        validation=0.5,
        epochs=found.best_epoch + 1,
        learning_rate=0.03,
        batch_size=8,
    )
    assert torch.equal(parameters(shorter.policy), parameters(found.policy))


def test_the_seed_decides_and_nothing_else_is_disturbed() -> None:
    start, shown = discrete(), labelled()
    before, state = parameters(start), torch.random.get_rng_state()
    one = clone_behavior(start, shown, epochs=3, seed=1)
    same = clone_behavior(start, shown, epochs=3, seed=1)
    other = clone_behavior(start, shown, epochs=3, seed=2)
    assert torch.equal(parameters(one.policy), parameters(same.policy))
    assert not torch.equal(parameters(one.policy), parameters(other.policy))
    assert torch.equal(parameters(start), before)
    assert torch.equal(parameters(discrete(1)), parameters(discrete(1)))
    assert not torch.equal(parameters(discrete(1)), parameters(discrete(2)))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_far_and_constant_observations_are_standardized() -> None:
    shown = labelled(40)
    far = torch.stack([1e4 + 100 * shown["obs"][..., 0], torch.full((40, 5), 7.0)], dim=-1)
    shown.steps["obs"] = far
    policy = NetworkPolicy(Box(-np.inf, np.inf, (2,)), Discrete(2), hidden=(16,))
    found = clone_behavior(policy, shown, epochs=60, batch_size=32, learning_rate=1e-2).policy
    assert isinstance(found, NetworkPolicy)
    assert found.scale[1] == 1.0
    action, _ = found.predict(far.flatten(0, 1).numpy(), deterministic=True)
    assert (torch.from_numpy(action) == shown["action"].flatten()).float().mean() > 0.95


# --- the network ----------------------------------------------------------------------------------


def test_actions_have_the_shape_and_the_bounds_of_their_space() -> None:
    space = Box(-0.1, 0.1, (2, 3), dtype=np.float64)
    policy = NetworkPolicy(Box(0, 1, (4, 4)), space)
    one, _ = policy.predict(np.ones((4, 4)))
    assert space.contains(one)
    many, _ = policy.predict(np.ones((5, 4, 4)))
    assert many.shape == (5, 2, 3)
    assert all(space.contains(action) for action in many)
    assert np.abs(many).max() == 0.1  # a standard deviation of 1 is clipped
    calm, _ = policy.predict(np.ones((2, 4, 4)), deterministic=True)
    np.testing.assert_array_equal(calm[0], calm[1])


def test_actions_count_from_where_their_space_starts() -> None:
    policy = NetworkPolicy(BOX, Discrete(2, start=5), hidden=(16,))
    shown = labelled()
    shown.steps["action"] = shown["action"] + 5
    found = clone_behavior(policy, shown, epochs=60, batch_size=16, learning_rate=1e-2).policy
    action, _ = found.predict(shown["obs"].flatten(0, 1).numpy(), deterministic=True)
    assert set(action) == {5, 6}
    assert (torch.from_numpy(action) == shown["action"].flatten()).float().mean() > 0.95


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation": 1.0}, "validation must lie"),
        ({"validation": float("nan")}, "validation must lie"),
        ({"epochs": 0}, "at least 1"),
        ({"patience": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"loss": "mse"}, "'mse' fits the mean"),
        ({"policy": TablePolicy(3, 2), "loss": "mse"}, "'mse' fits the mean"),
        ({"weights": torch.ones(3)}, r"weights have shape \[3\], expected \[20\] or \[20, 5\]"),
        ({"weights": torch.tensor([1.0] * 19 + [-1.0])}, "row 19 has a weight that is negative"),
        ({"weights": torch.full((20, 5), torch.inf)}, "row 0 has a weight"),
        ({"weights": torch.zeros(20)}, "0 rollouts have steps to learn from"),
        ({"weights": torch.eye(20)[3]}, "1 rollouts .* held out .* validation=0"),
        ({"rollouts": Rollouts(steps={"obs": torch.zeros(20, 5, 2)})}, "behavior cloning"),
    ],
)
def test_what_cannot_be_used_is_refused(arguments: dict[str, Any], message: str) -> None:
    given_: dict[str, Any] = {"policy": discrete(), "rollouts": labelled()}
    with pytest.raises((ValueError, MissingColumn), match=message):
        clone_behavior(**(given_ | arguments))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("obs", torch.nan, r"row 4, step 2: obs \[nan, nan\] is not in Box"),
        ("action", 2, r"row 4, step 2: action 2 is not in Discrete"),
        ("action", -1, r"row 4, step 2: action -1 is not in Discrete"),
    ],
)
def test_a_step_that_is_not_in_its_space_is_named(name: str, value: Any, message: str) -> None:
    shown = labelled()
    shown[name][4, 2] = value
    with pytest.raises(ValueError, match=message):
        clone_behavior(discrete(), shown)


def test_columns_of_another_kind_are_refused() -> None:
    shown = labelled()
    with pytest.raises(ValueError, match=r"row 0, step 0: action [01] is not in Box"):
        clone_behavior(NetworkPolicy(BOX, BOX), shown)
    with pytest.raises(ValueError, match=r"obs .* is not in Discrete"):
        clone_behavior(TablePolicy(3, 2), shown)


def test_spaces_without_a_network_are_refused() -> None:
    with pytest.raises(ValueError, match="FlattenObservation"):
        NetworkPolicy(Dict({"a": BOX}), Discrete(2))
    with pytest.raises(ValueError, match="Discrete or Box actions"):
        NetworkPolicy(BOX, MultiDiscrete([2, 2]))
