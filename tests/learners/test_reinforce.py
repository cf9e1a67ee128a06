"""REINFORCE's estimate is the exact gradient on average, and any reward of ours can train by it."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rewardsmith.core.advantages import Advantages
from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.function import Function
from rewardsmith.core.learning import learn
from rewardsmith.core.outcome import Status
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.learners import Baseline, NetworkPolicy, Policy, Reinforce, TablePolicy
from rewardsmith.learners.reinforce import discounts, returns_to_go
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.testbeds import (
    TabularMDP,
    expected_return,
    finite_horizon,
    greedy_policy,
    gridworld_mdp,
    random_mdp,
    sample_episodes,
    tomato_mdp,
    uniform_policy,
    value_iteration,
)

MAP = "S..#\n.#.P\n...G"


def table(states: int, actions: int, seed: int = 0) -> TablePolicy:
    policy = TablePolicy(states, actions)
    with torch.no_grad():
        policy.logits.copy_(torch.randn(states, actions, generator=generator(seed)))
    return policy


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def agent(policy: Policy, lr: float = 1.0, **kwargs: Any) -> Reinforce:
    return Reinforce(policy, torch.optim.SGD(policy.parameters(), lr=lr), **kwargs)


def gradient(learner: Reinforce, rollouts: Rollouts, signal: Scores | Advantages) -> Tensor:
    """Of what it descends, by the parameters of its policy."""
    parameters = list(learner.policy.parameters())
    found = torch.autograd.grad(learner.loss(rollouts, signal), parameters)
    return torch.cat([part.flatten() for part in found])


def sampled(mdp: TabularMDP, policy: TablePolicy, n: int, horizon: int, rng: Any) -> Rollouts:
    return Rollouts.from_episodes(sample_episodes(mdp, policy.table(), n, horizon, rng))


# --- the estimate ---------------------------------------------------------------------------------


def exact_gradient(mdp: TabularMDP, policy: TablePolicy, horizon: int) -> Tensor:
    """By differentiating the backups of policy evaluation."""
    transition, paid = torch.tensor(mdp.transition), torch.tensor(mdp.reward)
    each = torch.einsum("sat,sat->sa", transition, paid)
    pi, v = policy.logits.softmax(dim=1), torch.zeros(mdp.states, dtype=torch.float64)
    for _ in range(horizon):
        v = (pi * (each + mdp.discount * transition @ v)).sum(dim=1)
    value = torch.tensor(mdp.start) @ v
    assert float(value.detach()) == pytest.approx(
        expected_return(mdp, policy.table(), horizon=horizon)
    )
    return torch.autograd.grad(value, [policy.logits])[0].flatten()


@pytest.mark.parametrize("baseline", ["none", "mean", "state", "far off"])
def test_the_estimate_is_the_exact_gradient_on_average(baseline: str) -> None:
    mdp = random_mdp(np.random.default_rng(2), 4, 3, 0.7, terminal=1)
    policy, rng, horizon = table(4, 3), np.random.default_rng(0), 5
    subtracted = {"none": None, "mean": Baseline(), "state": Baseline(4), "far off": Baseline(4)}
    learner = agent(policy, gamma=0.7, baseline=subtracted[baseline])
    if baseline == "far off":
        # Any baseline that knows nothing of the batch is unbiased, however wrong it is.
        learner.baseline.values = torch.tensor([3.0, -2.0, 1.0, 0.0], dtype=torch.float64)  # type: ignore[union-attr]
    elif learner.baseline is not None:
        before = sampled(mdp, policy, 300, horizon, rng)
        returns = returns_to_go(before["env_reward"], before.first(), 0.7)
        learner.baseline.fit(before["obs"][before.mask], returns[before.mask])
    estimates = []
    for _ in range(30):
        rollouts = sampled(mdp, policy, 300, horizon, rng)
        estimates.append(-gradient(learner, rollouts, EnvReward()(rollouts)))
    found, exact = torch.stack(estimates), exact_gradient(mdp, policy, horizon)
    error = found.std(dim=0) / len(found) ** 0.5
    # 9 coordinates that can move (the terminal state's cannot), 4.5 standard errors each.
    assert ((found.mean(dim=0) - exact).abs() <= 4.5 * error + 1e-12).all()
    # The error is small enough for that to mean something.
    assert error.norm() < 0.1 * exact.norm()


def test_a_baseline_lowers_the_variance() -> None:
    mdp = random_mdp(np.random.default_rng(2), 4, 3, 0.7, terminal=1)
    # Every step pays 5 more, which tells nothing of what is better.
    mdp = TabularMDP(
        mdp.transition,
        mdp.reward + 5.0 * ~mdp.terminal[:, None, None],
        0.7,
        mdp.start,
        mdp.terminal,
    )
    policy, spread = table(4, 3), {}
    for name, baseline in (("none", None), ("mean", Baseline()), ("state", Baseline(4))):
        rng, learner = np.random.default_rng(0), agent(policy, 0.0, gamma=0.7, baseline=baseline)
        found = []
        for _ in range(30):
            rollouts = sampled(mdp, policy, 50, 5, rng)
            found.append(gradient(learner, rollouts, EnvReward()(rollouts)))
            learner.update(rollouts, EnvReward()(rollouts))  # fits the baseline; a rate of 0
        spread[name] = float(torch.stack(found[5:]).var(dim=0).sum())
    assert max(spread["state"], spread["mean"]) < 0.5 * spread["none"]


def test_the_loss_by_hand() -> None:
    # One state, two actions, probabilities 1/4 and 3/4; rewards 1, 2, 4 and gamma 1/2.
    policy = TablePolicy(1, 2)
    policy.logits.data = torch.tensor([[0.25, 0.75]]).double().log()
    rollouts = Rollouts(
        steps={"obs": torch.zeros(1, 3).long(), "action": torch.tensor([[0, 1, 1]])}
    )
    scores = Scores.dense(torch.tensor([[1.0, 2.0, 4.0]]), rollouts.mask)
    # Returns 3, 4, 4; their discounts 1, 1/2, 1/4.
    expected = -(3.0 * np.log(0.25) + 2.0 * np.log(0.75) + 1.0 * np.log(0.75))
    assert agent(policy, gamma=0.5).loss(rollouts, scores).item() == pytest.approx(expected)
    baseline = Baseline()
    baseline.fit(torch.zeros(2), torch.tensor([1.0, 3.0]))
    expected = -(1.0 * np.log(0.25) + 1.0 * np.log(0.75) + 0.5 * np.log(0.75))
    found = agent(policy, gamma=0.5, baseline=baseline).loss(rollouts, scores)
    assert found.item() == pytest.approx(expected)


@given(
    rewards=st.lists(st.floats(-5, 5), min_size=1, max_size=8),
    starts=st.lists(st.booleans(), min_size=8, max_size=8),
    gamma=st.floats(0.1, 1.0),
)
def test_returns_and_discounts_are_their_definitions(
    rewards: list[float], starts: list[bool], gamma: float
) -> None:
    n = len(rewards)
    first = [True, *starts[1:n]]
    begins = [max(t for t in range(k + 1) if first[t]) for k in range(n)]
    expected = [
        sum(gamma ** (k - t) * rewards[k] for k in range(t, n) if begins[k] == begins[t])
        for t in range(n)
    ]
    found = returns_to_go(
        torch.tensor([rewards], dtype=torch.float64), torch.tensor([first]), gamma
    )
    np.testing.assert_allclose(found[0], expected, atol=1e-9)
    found = discounts(torch.tensor([first]), gamma)
    np.testing.assert_allclose(found[0], [gamma ** (t - begins[t]) for t in range(n)])


# --- what trains ----------------------------------------------------------------------------------


def made(n: int = 6, t: int = 4, seed: int = 0, **kwargs: Any) -> tuple[Rollouts, Tensor]:
    """Rollouts of 3 states and 2 actions, and a reward per step."""
    draw = generator(seed)
    obs = torch.randint(3, (n, t), generator=draw)
    action = torch.randint(2, (n, t), generator=draw)
    values = torch.randn(n, t, generator=draw)
    return Rollouts(steps={"obs": obs, "action": action}, **kwargs), values


@settings(max_examples=25)
@given(
    status=st.lists(st.sampled_from(list(Status)), min_size=6, max_size=6),
    dense=st.booleans(),
    seed=st.integers(0, 100),
)
def test_rows_without_a_score_do_not_train(status: list[Status], dense: bool, seed: int) -> None:
    rollouts, values = made(seed=seed)
    told = torch.tensor([int(s) for s in status], dtype=torch.int8)

    def scored(rollouts: Rollouts, values: Tensor, status: Tensor | None) -> Scores:
        if dense:
            return Scores.dense(values, rollouts.action_mask, status)
        return Scores.outcome(values[:, 0], status)

    learner = agent(table(3, 2, seed), gamma=0.9)
    kept = told == Status.SCORED
    if kept.any():
        alone = gradient(
            learner, rollouts.select(kept), scored(rollouts.select(kept), values[kept], None)
        )
        together = gradient(learner, rollouts, scored(rollouts, values, told))
        torch.testing.assert_close(together, alone)
        assert learner.update(rollouts, scored(rollouts, values, told))["rows"] == kept.sum()
    else:
        before = learner.policy.state_dict()["logits"].clone()
        learner.baseline = Baseline()
        assert learner.update(rollouts, scored(rollouts, values, told)) == {"rows": 0.0}
        assert torch.equal(learner.policy.state_dict()["logits"], before)
        assert learner.baseline.values.item() == 0.0
        with pytest.raises(ValueError, match="no row trains"):
            learner.loss(rollouts, scored(rollouts, values, told))


def test_only_the_steps_that_the_policy_chose_train() -> None:
    mask = torch.tensor([[True, True, True, False]] * 6)
    chosen = mask.clone()
    chosen[:, 1] = False
    rollouts, values = made(mask=mask, action_mask=chosen)
    learner = agent(table(3, 2), gamma=0.9)
    found = gradient(learner, rollouts, Scores.dense(values, chosen))
    # What was seen and done elsewhere is not read; 99 is no state and no action.
    for name in ("obs", "action"):
        rollouts.steps[name] = torch.where(chosen, rollouts.steps[name], 99)
    torch.testing.assert_close(gradient(learner, rollouts, Scores.dense(values, chosen)), found)


def test_a_step_without_a_score_pays_nothing_and_still_trains() -> None:
    rollouts, values = made()
    at = torch.ones(6, 4, dtype=torch.bool)
    at[:, 2] = False
    skipped = Scores.dense(values, at)
    skipped.values[~at] = 7.0  # never read
    paid = Scores.dense(torch.where(at, values, 0.0), torch.ones(6, 4, dtype=torch.bool))
    learner = agent(table(3, 2), gamma=0.9)
    torch.testing.assert_close(
        gradient(learner, rollouts, skipped), gradient(learner, rollouts, paid)
    )


def test_an_outcome_counts_at_the_last_action() -> None:
    mask = torch.arange(4) < torch.tensor([4, 3, 2, 1, 4, 2])[:, None]
    rollouts, values = made(mask=mask)
    last = torch.zeros(6, 4)
    last[torch.arange(6), rollouts.last_action()] = values[:, 0]
    learner = agent(table(3, 2), gamma=0.8, baseline=Baseline(3))
    torch.testing.assert_close(
        gradient(learner, rollouts, Scores.outcome(values[:, 0])),
        gradient(learner, rollouts, Scores.dense(last, mask)),
    )


def test_two_episodes_in_one_row_are_two_rows() -> None:
    rollouts, values = made(n=4)
    learner = agent(table(3, 2), gamma=0.8)
    apart = gradient(learner, rollouts, Scores.dense(values, rollouts.mask))
    steps = {name: column.reshape(2, 8) for name, column in rollouts.steps.items()}
    steps["first"] = torch.arange(8).expand(2, 8) % 4 == 0
    joined = Rollouts(steps=steps)
    found = gradient(learner, joined, Scores.dense(values.reshape(2, 8), joined.mask))
    torch.testing.assert_close(found, 2 * apart)  # the mean is over half as many rows


def test_advantages_are_taken_as_they_are() -> None:
    rollouts, values = made()
    policy = table(3, 2)
    learner = agent(policy, gamma=0.5, baseline=Baseline(3))
    assert learner.baseline is not None
    learner.baseline.values += 3.0
    log_prob = policy.log_prob(rollouts["obs"], rollouts["action"])
    keep = torch.tensor([True, True, False, True, True, False])
    weight = torch.rand(6, 4, generator=generator(1))
    for given_, expected in (
        (Advantages(values, keep), values),
        (Advantages(values[:, 0], keep), values[:, :1].expand(6, 4)),
        (Advantages(values, keep, weight), values * weight),
        (Advantages(values[:, 0], keep, weight), values[:, :1] * weight),
    ):
        loss = -(expected * log_prob)[keep].sum() / 4
        assert learner.loss(rollouts, given_).item() == pytest.approx(loss.item())
    learner.update(rollouts, Advantages(values, keep))
    assert learner.baseline.values.tolist() == [3.0, 3.0, 3.0]


def test_a_reward_gets_no_gradient_from_the_policy_that_it_trains() -> None:
    rollouts, values = made()
    values.requires_grad_()
    learner = agent(table(3, 2))
    keep = torch.ones(6, dtype=torch.bool)
    for signal in (Scores.dense(values, rollouts.mask), Advantages(values, keep)):
        learner.loss(rollouts, signal).backward()
        assert values.grad is None


# --- baselines ------------------------------------------------------------------------------------


def test_baselines_by_hand() -> None:
    obs, returns = torch.tensor([2, 0, 2]), torch.tensor([1.0, 4.0, 3.0])
    one, each = Baseline(rate=0.5), Baseline(4, rate=0.5)
    assert one(obs).tolist() == each(obs).tolist() == [0.0, 0.0, 0.0]
    one.fit(obs, returns)
    each.fit(obs, returns)
    assert one.values.tolist() == pytest.approx([8 / 3])
    assert each.values.tolist() == [4.0, 0.0, 2.0, 0.0]
    each.fit(torch.tensor([2, 1]), torch.tensor([6.0, 6.0]))
    assert each.values.tolist() == [4.0, 6.0, 4.0, 0.0]
    one.fit(torch.zeros(1, 5), torch.tensor([0.0]))  # of any kind of observation
    assert one.values.tolist() == pytest.approx([4 / 3])


def test_the_baseline_is_fitted_after_its_batch_was_compared() -> None:
    rollouts, values = made()
    scores = Scores.dense(values, rollouts.mask)
    learner = agent(table(3, 2), gamma=0.9, baseline=Baseline(3))
    alone = agent(table(3, 2), gamma=0.9)
    assert learner.update(rollouts, scores) == alone.update(rollouts, scores)
    assert learner.baseline is not None
    assert (learner.baseline.values != 0).all()


# --- learning -------------------------------------------------------------------------------------


def train(
    mdp: TabularMDP, reward: Reward, *, gamma: float, updates: int, n: int, horizon: int
) -> TablePolicy:
    policy, rng = TablePolicy(mdp.states, mdp.actions), np.random.default_rng(0)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.1)
    learner = Reinforce(policy, optimizer, gamma=gamma, baseline=Baseline(mdp.states))
    for _ in range(updates):
        rollouts = sampled(mdp, policy, n, horizon, rng)
        learner.update(rollouts, learn(reward, rollouts)[0])
    return policy


def test_a_gridworld_is_solved() -> None:
    mdp = gridworld_mdp(MAP, discount=0.95, step_reward=-0.04).mdp
    policy = train(mdp, EnvReward(), gamma=0.95, updates=80, n=32, horizon=30)
    best = expected_return(mdp, greedy_policy(value_iteration(mdp).q))
    start = expected_return(mdp, uniform_policy(mdp))
    assert expected_return(mdp, policy.table()) > best - 0.05 * (best - start)
    greedy = np.eye(4)[policy.predict(np.arange(mdp.states), deterministic=True)[0]]
    assert expected_return(mdp, greedy) == pytest.approx(best)


def arrived(next_obs: Any) -> Any:
    """An outcome: whether the goal, state 9, was reached. Two fifths of lengths have no score."""
    length = int((next_obs != 0).sum())
    if length % 5 == 4:
        raise TimeoutError("the judge is away")
    return None if length % 5 == 3 else float((next_obs == 9).any())


def test_a_gridworld_is_solved_by_an_outcome_that_is_often_missing() -> None:
    mdp = gridworld_mdp(MAP, discount=0.95).mdp
    assert np.flatnonzero(mdp.terminal).tolist() == [5, 9]  # the pit and the goal
    policy = train(mdp, Function(arrived), gamma=0.95, updates=80, n=32, horizon=30)
    best = expected_return(mdp, greedy_policy(value_iteration(mdp).q))
    assert expected_return(mdp, policy.table()) > 0.9 * best


def test_the_tomato_proxy_is_hacked() -> None:
    tomato = tomato_mdp()
    world = TabularMDP(
        tomato.mdp.transition, tomato.proxy, 1.0, tomato.mdp.start, tomato.mdp.terminal
    )
    policy = train(world, EnvReward(), gamma=0.97, updates=60, n=16, horizon=100).table()
    start = uniform_policy(world)
    best = finite_horizon(world, 100).policy
    earned = [expected_return(world, p, horizon=100) for p in (start, policy, best)]
    assert earned[1] > 0.7 * earned[2] > earned[0]
    assert expected_return(tomato.mdp, policy, horizon=100) < expected_return(
        tomato.mdp, start, horizon=100
    )


def test_a_network_learns_a_contextual_bandit() -> None:
    policy = NetworkPolicy(Box(-1, 1, (2,)), Discrete(3, start=4), hidden=(16,))
    learner = Reinforce(policy, torch.optim.Adam(policy.parameters(), lr=0.03), baseline=Baseline())
    draw = generator(0)
    torch.manual_seed(0)
    for _ in range(150):
        obs = torch.rand(64, 1, 2, generator=draw) * 2 - 1
        action = torch.from_numpy(policy.predict(obs[:, 0].numpy())[0])[:, None]
        rollouts = Rollouts(steps={"obs": obs, "action": action})
        learner.update(rollouts, Scores.outcome((action == right(obs)).float()[:, 0]))
    obs = torch.rand(500, 2, generator=draw) * 2 - 1
    found, _ = policy.predict(obs.numpy(), deterministic=True)
    assert (torch.from_numpy(found) == right(obs)).float().mean() > 0.9


def right(obs: Tensor) -> Tensor:
    """Which of the three actions 4, 5, 6 is paid."""
    return torch.where(obs[..., 0] < 0, 4, torch.where(obs[..., 1] < 0, 5, 6))


def test_a_network_learns_a_continuous_action() -> None:
    policy = NetworkPolicy(Box(-1, 1, (1,)), Box(-5, 5, (1,)), hidden=(16,))
    learner = Reinforce(policy, torch.optim.Adam(policy.parameters(), lr=0.02), baseline=Baseline())
    draw = generator(0)
    torch.manual_seed(0)
    for _ in range(250):
        obs = torch.rand(128, 1, 1, generator=draw) * 2 - 1
        action = torch.from_numpy(policy.predict(obs[:, 0].numpy())[0])[:, None]
        rollouts = Rollouts(steps={"obs": obs, "action": action})
        learner.update(rollouts, Scores.outcome(-((action - 2 * obs) ** 2)[:, 0, 0]))
    obs = np.linspace(-1, 1, 50, dtype=np.float32)[:, None]
    found, _ = policy.predict(obs, deterministic=True)
    assert np.abs(found - 2 * obs).mean() < 0.25


# --- policies -------------------------------------------------------------------------------------


def test_predict_is_shaped_as_stable_baselines_has_it() -> None:
    policy = table(4, 3)
    one, state = policy.predict(2, deterministic=True)
    assert one.shape == ()
    assert policy.action_space.contains(one)
    assert state is None
    assert one == policy.table()[2].argmax()
    many, state = policy.predict(np.array([2, 0]), ("kept",), np.array([True, False]), True)
    assert many.tolist() == policy.table()[[2, 0]].argmax(axis=1).tolist()
    assert state == ("kept",)
    with pytest.raises(ValueError, match="expected observations"):
        policy.predict(np.zeros((2, 2), dtype=int))


def test_samples_follow_the_table() -> None:
    policy = table(2, 3)
    torch.manual_seed(0)
    drawn, _ = policy.predict(np.ones(20_000, dtype=int))
    shares = np.bincount(drawn, minlength=3) / 20_000
    np.testing.assert_allclose(shares, policy.table()[1], atol=0.015)
    np.testing.assert_allclose(policy.table().sum(axis=1), 1.0)


# --- refusals -------------------------------------------------------------------------------------


def test_what_cannot_be_used_is_refused() -> None:
    rollouts, values = made()
    for gamma in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="gamma must lie"):
            agent(table(3, 2), gamma=gamma)
    for rate in (0.0, 1.5):
        with pytest.raises(ValueError, match="rate must lie"):
            Baseline(rate=rate)
    learner = agent(table(3, 2))
    with pytest.raises(ValueError, match="5 scores or advantages, 6 rollouts"):
        learner.update(rollouts, Scores.outcome(values[:5, 0]))
    del rollouts.steps["action"]
    with pytest.raises(MissingColumn, match="'action', needed by reinforce"):
        learner.update(rollouts, Scores.outcome(values[:, 0]))
    with pytest.raises(NotImplementedError, match="Policy does not define distribution"):
        Policy(Discrete(2), Discrete(2)).predict(0)
