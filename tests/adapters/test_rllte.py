"""A bonus of rllte as a reward of ours, against bonuses of the same signature and habits."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv
from tests import laws
from tests.adapters.worlds import Walk

import rewardsmith as rs
from rewardsmith.adapters.recorder import Recorder
from rewardsmith.adapters.rllte import RllteBonus
from rewardsmith.adapters.sb3 import RewardVecEnv
from rewardsmith.core.acting import Step
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.env_reward import EnvReward

KEYS = {"observations", "actions", "rewards", "terminateds", "truncateds", "next_observations"}


class Moments:
    """Running statistics in an object of their own."""

    def __init__(self) -> None:
        self.mean, self.count = torch.zeros(()), 1e-4

    def add(self, x: Any) -> None:
        self.count += x.numel()
        self.mean = self.mean + (x.mean() - self.mean) * x.numel() / self.count


class Envs:
    """What a bonus keeps and nobody can copy."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("environments cannot be copied")


class Bonus:
    """Pays the error of a network that learns, times how new the step is to its episode.

    As rllte's do, ``compute`` counts its calls, normalizes by what it saw, hands its memory out
    once, and lets the network learn.
    """

    def __init__(self, n_envs: int = 2) -> None:
        torch.manual_seed(0)
        self.envs = Envs()
        self.n_envs, self.global_step, self.obs_shape = n_envs, 0, (2,)
        self.net = torch.nn.Linear(2, 1)
        self.opt = torch.optim.Adam(self.net.parameters(), lr=0.1)
        self.moments = Moments()
        self.discounted: Any = None
        self.memory: list[list[Any]] = [[] for _ in range(n_envs)]
        self.novelty: list[list[float]] = [[] for _ in range(n_envs)]
        self.metrics: dict[str, list[Any]] = {"loss": []}

    def watch(
        self,
        observations: Any,
        actions: Any,
        rewards: Any,
        terminateds: Any,
        truncateds: Any,
        next_observations: Any,
    ) -> None:
        for i in range(self.n_envs):
            self.novelty[i].append(1.0 / (1 + len(self.memory[i])))
            self.memory[i].append(observations[i])
            if terminateds[i].item() or truncateds[i].item():
                self.memory[i].clear()

    def compute(self, samples: dict[str, Any], sync: bool = True) -> Any:
        assert samples.keys() == KEYS
        assert sync
        self.global_step += 1
        torch.rand(1)  # some draw where they need not
        obs = samples["next_observations"].view(-1, 2)
        with torch.no_grad():
            error = self.net(obs).square().view(samples["rewards"].shape)
        error = error * torch.tensor(self.novelty).T
        self.novelty = [[] for _ in range(self.n_envs)]
        self.update(samples)
        self.moments.add(error)
        self.discounted = error[-1].clone()
        return error / (self.moments.mean + 1.0)

    def update(self, samples: dict[str, Any]) -> None:
        order = torch.randperm(samples["observations"].numel() // 2)
        loss = self.net(samples["observations"].view(-1, 2)[order]).square().mean()
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        self.metrics["loss"].append([self.global_step, np.float64(loss.item())])


def rollouts(n: int, t: int, seed: int = 0) -> Rollouts:
    """n rollouts of t steps, whose rows hold several episodes."""
    rng = np.random.default_rng(seed)
    ends = rng.random((n, t)) < 0.3
    return Rollouts(
        steps={
            "obs": rng.normal(size=(n, t, 2)).astype(np.float32),
            "next_obs": rng.normal(size=(n, t, 2)).astype(np.float32),
            "action": rng.integers(0, 3, (n, t)),
            "env_reward": rng.normal(size=(n, t)),
            "terminated": ends,
            "truncated": ~ends & (rng.random((n, t)) < 0.2),
        }
    )


def own_loop(bonus: Any, batch: Rollouts) -> Any:
    """What rllte's loop pays for whole rows, one per environment."""
    names = ("obs", "action", "env_reward", "terminated", "truncated", "next_obs")
    columns = [batch[name].transpose(0, 1).contiguous() for name in names]
    columns[2] = columns[2].float()
    keys = ("observations", "actions", "rewards", "terminateds", "truncateds", "next_observations")
    for t in range(batch.n_steps):
        bonus.watch(*(column[t] for column in columns))
    return bonus.compute(samples=dict(zip(keys, columns, strict=True))).T


def equal(left: Any, right: Any) -> bool:
    """Equal states, tensors bit by bit."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return bool(left == right)


def test_it_pays_and_learns_as_rlltes_own_loop_does() -> None:
    theirs, ours = Bonus(), RllteBonus(Bonus())
    for k in range(3):
        batch = rollouts(2, 4, seed=k)
        torch.manual_seed(k)
        scores, metrics = rs.learn(ours, batch)
        torch.manual_seed(k)
        paid = own_loop(theirs, batch)
        torch.testing.assert_close(scores.values, paid)
        assert metrics == {"mean": pytest.approx(float(paid.mean()))}
    assert ours.bonus.global_step == 3
    assert equal(list(ours.bonus.net.parameters()), list(theirs.net.parameters()))


def test_scoring_changes_nothing() -> None:
    reward = RllteBonus(Bonus())
    rs.learn(reward, rollouts(2, 4))
    before, state = copy.deepcopy(reward.state_dict()), torch.get_rng_state()
    first, second = reward(rollouts(2, 5, 1)), reward(rollouts(2, 5, 1))
    assert torch.equal(first.values, second.values)
    assert equal(before, reward.state_dict())
    assert torch.equal(state, torch.get_rng_state())


def test_what_environments_collected_comes_back_in_their_lanes() -> None:
    recorder = Recorder(RllteBonus(Bonus()))
    batch = rollouts(2, 6)
    first = np.ones(2, dtype=bool)
    for t in range(6):
        now = {name: column[:, t].numpy() for name, column in batch.steps.items()}
        recorder.add(Step(**now, first=first, live=np.ones(2, dtype=bool)))
        first = now["terminated"] | now["truncated"]
    pieces = recorder.take()
    assert pieces is not None
    assert len(pieces) > 2
    scores = RllteBonus(Bonus())(pieces)
    torch.testing.assert_close(scores.values[pieces.mask], own_loop(Bonus(), batch).flatten())
    assert torch.equal(scores.values[~pieces.mask], torch.zeros(int((~pieces.mask).sum())))


def test_one_environment_takes_any_rollouts_and_dummy_steps_are_left_out() -> None:
    batch = laws.mixed_rollouts("vector")
    scores = RllteBonus(Bonus(1))(batch)
    assert bool(scores.scored.all())
    assert torch.equal(scores.at, batch.action_mask)
    live = batch.action_mask
    flat = Rollouts(
        steps={
            name: batch[name][live][None]
            for name in ("obs", "next_obs", "action", "env_reward", "terminated", "truncated")
        }
    )
    torch.testing.assert_close(scores.values[live], own_loop(Bonus(1), flat)[0])


def test_rollouts_that_do_not_fill_the_environments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 environments.* these 3 rollouts of \[4, 4, 4\] steps"):
        RllteBonus(Bonus())(rollouts(3, 4))
    with pytest.raises(ValueError, match="build the bonus with one environment"):
        RllteBonus(Bonus())(laws.mixed_rollouts("vector"))
    assert bool(RllteBonus(Bonus())(rollouts(4, 3)).scored.all())


def test_dict_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="one array of observations, not a dict"):
        RllteBonus(Bonus(1))(laws.mixed_rollouts("dict"))


class Fabric:
    """Several bonuses at once, as rllte has them: no environments of its own, a list of results."""

    def __init__(self, *rewards: Any) -> None:
        self.rewards, self.joins = list(rewards), False

    def watch(self, *args: Any, **kwargs: Any) -> None:
        for reward in self.rewards:
            reward.watch(*args, **kwargs)

    def compute(self, samples: Any, sync: bool = True) -> Any:
        paid = [reward.compute(samples, sync) for reward in self.rewards]
        return paid[0] * paid[1] if self.joins else paid

    def update(self, samples: Any) -> None:
        for reward in self.rewards:
            reward.update(samples)


def test_several_bonuses_serve_where_they_give_one_number() -> None:
    reward = RllteBonus(Fabric(Bonus(), Bonus()))
    with pytest.raises(ValueError, match="gives 2 bonuses; make each a part"):
        reward(rollouts(2, 4))
    reward.bonus.joins = True
    before = copy.deepcopy(reward.state_dict())
    with torch.no_grad():  # as rs.learn scores: nothing may be trained here
        scores = reward(rollouts(2, 4))
    torch.testing.assert_close(scores.values, own_loop(Bonus(), rollouts(2, 4)).square())
    assert equal(before, reward.state_dict())


def test_a_bonus_that_breaks_voids_the_rows() -> None:
    class Broken(Bonus):
        def compute(self, samples: Any, sync: bool = True) -> Any:
            raise AttributeError("no mrs")

    scores = RllteBonus(Broken())(rollouts(2, 3))
    assert scores.status.tolist() == [Status.FAILED] * 2
    assert scores.errors[1] == ("", "raised AttributeError: no mrs")


def test_what_is_not_a_number_per_step_is_refused() -> None:
    class Flat(Bonus):
        def compute(self, samples: Any, sync: bool = True) -> Any:
            return torch.zeros(7)

    with pytest.raises(ValueError, match=r"gives \[7\], expected a tensor \[3, 2\]"):
        RllteBonus(Flat())(rollouts(2, 3))


def test_an_infinite_bonus_is_a_bad_value() -> None:
    class Infinite(Bonus):
        def compute(self, samples: Any, sync: bool = True) -> Any:
            return super().compute(samples, sync).index_fill(1, torch.tensor([1]), torch.inf)

    scores = RllteBonus(Infinite())(rollouts(2, 3))
    assert scores.status.tolist() == [Status.SCORED, Status.BAD_VALUE]


def test_what_is_no_bonus_is_refused() -> None:
    with pytest.raises(TypeError, match=r"object has no watch\(\)"):
        RllteBonus(object())
    bare = Bonus()
    del bare.n_envs
    with pytest.raises(TypeError, match="Bonus does not say its n_envs"):
        RllteBonus(bare)


def test_a_state_that_could_not_be_saved_is_refused_at_once() -> None:
    bonus = Bonus()
    bonus.metrics["hook"] = [print]
    with pytest.raises(ValueError, match=r"Bonus.metrics\['hook'\]\[0\] is a builtin"):
        RllteBonus(bonus)


def joined() -> Fabric:
    fabric = Fabric(Bonus(), Bonus())
    fabric.joins = True
    return fabric


@pytest.mark.parametrize("make", [Bonus, joined])
def test_resuming_is_exact(make: Any, tmp_path: Path) -> None:
    reward = rs.WeightedSum({"env": EnvReward(), "bonus": RllteBonus(make())})
    rs.learn(reward, rollouts(2, 4))
    torch.save(reward.state_dict(), tmp_path / "reward.pt")
    resumed = rs.WeightedSum({"env": EnvReward(), "bonus": RllteBonus(make())})
    resumed.load_state_dict(torch.load(tmp_path / "reward.pt", weights_only=True))
    for which in (reward, resumed):
        torch.manual_seed(7)
        rs.learn(which, rollouts(2, 4, 1))
    assert equal(reward.state_dict(), resumed.state_dict())
    a, b = reward(rollouts(2, 3, 2)).values, resumed(rollouts(2, 3, 2)).values
    assert torch.equal(a, b)


def joined_of_three() -> Fabric:
    return Fabric(Bonus(3), Bonus(3))


@pytest.mark.parametrize(("make", "other"), [(Bonus, lambda: Bonus(3)), (joined, joined_of_three)])
def test_a_state_of_another_number_of_environments_is_refused(make: Any, other: Any) -> None:
    state, resumed = RllteBonus(make()).state_dict(), RllteBonus(other())
    before = copy.deepcopy(resumed.state_dict())
    with pytest.raises(ValueError, match=r"n_envs=3\) cannot take on the state of 2 .* with 2, or"):
        resumed.load_state_dict(state)
    assert equal(resumed.state_dict(), before)


def test_a_loaded_state_leaves_the_environments_and_the_optimizers_parameters() -> None:
    reward, other = RllteBonus(Bonus()), RllteBonus(Bonus())
    envs, parameters = reward.bonus.envs, list(reward.bonus.net.parameters())
    rs.learn(other, rollouts(2, 4))
    reward.load_state_dict(other.state_dict())
    assert reward.bonus.envs is envs
    assert reward.bonus.opt.param_groups[0]["params"][0] is parameters[0]
    state, kept = other.state_dict(), copy.deepcopy(other.state_dict())
    other.bonus.moments.mean += 1.0
    assert equal(state, kept)
    assert equal(reward.state_dict(), kept)


def test_it_is_scored_by_the_batch_and_not_while_acting() -> None:
    reward = RllteBonus(Bonus())
    assert (reward.scope, reward.granularity, reward.learns, reward.acts) == (
        "batch",
        "dense",
        True,
        False,
    )
    with pytest.raises(ValueError, match=r"the root: RllteBonus\(.*, scope batch"):
        rs.wrap(Walk(), reward)
    with pytest.raises(ValueError, match="use a reward of scope 'row'"):
        RewardVecEnv(DummyVecEnv([Walk]), reward, deferred=True)
    assert reward.label() == "RllteBonus(Bonus, n_envs=2)"
    assert reward.default_name() == "bonus"


def test_no_step_at_all_asks_nobody() -> None:
    empty = rollouts(2, 3)
    none = torch.zeros(2, 3, dtype=torch.bool)
    empty = Rollouts(steps=empty.steps, action_mask=none)
    reward = RllteBonus(Bonus())
    scores, metrics = rs.learn(reward, empty)
    assert scores.status.tolist() == [Status.ABSTAINED] * 2
    assert metrics == {}
    assert reward.bonus.global_step == 0
