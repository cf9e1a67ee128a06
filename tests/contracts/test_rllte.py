"""The bonuses of rllte-core, as they are: what they pay in their own loop, and what moves them."""

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import rewardsmith as rs
from rewardsmith.adapters.recorder import Recorder
from rewardsmith.adapters.rllte import RllteBonus
from rewardsmith.core.acting import Step
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.env_reward import EnvReward

pytestmark = pytest.mark.contracts
KEYS = ("observations", "actions", "rewards", "terminateds", "truncateds", "next_observations")
COLUMNS = ("obs", "action", "env_reward", "terminated", "truncated", "next_obs")
NAMES = ("RND", "ICM", "Disagreement", "RE3", "PseudoCounts", "E3B", "RIDE")
N = 3


@pytest.fixture
def rewards() -> Any:
    return pytest.importorskip("rllte.xplore.reward")


def environments(env: str = "CartPole-v1") -> Any:
    return gymnasium.make_vec(env, num_envs=N, vectorization_mode="sync")


def made(rewards: Any, name: str, env: str = "CartPole-v1", **options: Any) -> Any:
    torch.manual_seed(0)
    options = {"obs_norm_type": "none", **options}
    return getattr(rewards, name)(environments(env), **options)


def played(steps: int, seed: int, env: str = "CartPole-v1") -> tuple[Rollouts, dict[str, Any]]:
    """What three environments did: as rollouts cut at episodes' ends, and as rllte wants it."""
    envs = gymnasium.make_vec(
        env,
        num_envs=N,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP},
    )
    envs.action_space.seed(seed)
    obs, _ = envs.reset(seed=seed)
    first = np.ones(N, dtype=bool)
    recorder = Recorder(rs.WeightedSum({"bonus": Reads()}))
    table: dict[str, list[Any]] = {key: [] for key in KEYS}
    for _ in range(steps):
        action = envs.action_space.sample()
        after, reward, terminated, truncated, info = envs.step(action)
        true_after = after.copy()
        for i in np.flatnonzero(terminated | truncated):
            true_after[i] = info["final_obs"][i]
        step = Step(
            obs, action, true_after, reward, terminated, truncated, first, np.ones(N, dtype=bool)
        )
        recorder.add(step)
        for key, column in zip(KEYS, COLUMNS, strict=True):
            table[key].append(torch.as_tensor(np.array(getattr(step, column))))
        obs, first = after, terminated | truncated
    rollouts = recorder.take()
    assert rollouts is not None
    samples = {key: torch.stack(column) for key, column in table.items()}
    for key in ("observations", "next_observations", "rewards"):
        samples[key] = samples[key].float()
    return rollouts, samples


class Reads(EnvReward):
    """Reads what a bonus reads, so that a recorder keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(needs=COLUMNS, granularity="dense")


def own_loop(bonus: Any, samples: dict[str, Any]) -> Any:
    for t in range(len(samples["rewards"])):
        bonus.watch(*(samples[key][t] for key in KEYS))
    return bonus.compute(samples=dict(samples), sync=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"gamma": 0.99, "kappa": 0.1}, {"rwd_norm_type": "none"}])
def test_it_pays_what_rllte_pays_and_scoring_moves_nothing(
    rewards: Any, name: str, options: dict[str, Any]
) -> None:
    theirs, ours = made(rewards, name, **options), RllteBonus(made(rewards, name, **options))
    for k in range(3):
        rollouts, samples = played(20, seed=k)
        before, generator = copy.deepcopy(ours.state_dict()), torch.get_rng_state()
        scores = ours(rollouts)
        assert same(before, ours.state_dict())
        assert torch.equal(generator, torch.get_rng_state())
        torch.manual_seed(k)
        learned, _ = rs.learn(ours, rollouts)
        torch.manual_seed(k)
        paid = own_loop(theirs, samples)
        assert torch.equal(scores.values, learned.values)
        torch.testing.assert_close(scores.values[rollouts.mask], paid.T.flatten())


def test_observation_statistics_move_in_update_only(rewards: Any) -> None:
    bonus = made(rewards, "RND", obs_norm_type="rms")
    ours, theirs = RllteBonus(bonus), copy.deepcopy(vars(bonus)["obs_norm"])
    rollouts, samples = played(10, seed=0)
    ours(rollouts)
    assert torch.equal(bonus.obs_norm.mean, theirs.mean)
    rs.learn(ours, rollouts)
    theirs.update(samples["observations"].reshape(-1, 4))
    assert torch.equal(bonus.obs_norm.mean, theirs.mean)


@pytest.mark.parametrize("name", NAMES)
def test_a_continuous_action_serves_too(rewards: Any, name: str) -> None:
    theirs = made(rewards, name, "Pendulum-v1")
    ours = RllteBonus(made(rewards, name, "Pendulum-v1"))
    rollouts, samples = played(12, 0, "Pendulum-v1")
    paid = own_loop(theirs, samples)
    torch.testing.assert_close(ours(rollouts).values[rollouts.mask], paid.T.flatten())


@pytest.mark.parametrize("name", NAMES)
def test_resuming_is_exact(rewards: Any, name: str, tmp_path: Any) -> None:
    one, other = (RllteBonus(made(rewards, name)) for _ in range(2))
    rs.learn(one, played(12, 0)[0])
    torch.save(one.state_dict(), tmp_path / "reward.pt")
    other.load_state_dict(torch.load(tmp_path / "reward.pt", weights_only=True))
    for reward in (one, other):
        torch.manual_seed(3)
        rs.learn(reward, played(12, 1)[0])
    rollouts, _ = played(12, 2)
    assert torch.equal(one(rollouts).values, other(rollouts).values)
    assert same(one.state_dict(), other.state_dict())


def test_compute_is_not_pure_even_without_sync(rewards: Any) -> None:
    """Why scoring asks a copy."""
    bonus = made(rewards, "RND")
    _, samples = played(8, 0)
    first, second = (bonus.compute(samples=dict(samples), sync=False) for _ in range(2))
    assert bonus.global_step == 2
    assert not torch.equal(first, second)


def test_without_sync_a_memory_serves_single_transitions_only(rewards: Any) -> None:
    """Why scoring asks with ``sync=True`` and stops the copy's learning instead."""
    bonus = made(rewards, "PseudoCounts")
    _, samples = played(8, 0)
    for t in range(8):
        bonus.watch(*(samples[key][t] for key in KEYS))
    with pytest.raises(RuntimeError, match="cannot be converted to Scalar"):
        bonus.compute(samples=samples, sync=False)


def test_a_fabric_gives_a_list_and_is_refused(rewards: Any) -> None:
    fabric = rewards.Fabric(made(rewards, "RND"), made(rewards, "ICM"))
    with pytest.raises(ValueError, match="gives 2 bonuses; make each a part"):
        RllteBonus(fabric)(played(8, 0)[0])


def test_ngu_of_this_version_breaks_by_itself_and_its_rows_say_so(rewards: Any) -> None:
    rollouts, samples = played(8, 0)
    with pytest.raises(AttributeError, match="mrs"):
        own_loop(made(rewards, "NGU"), samples)
    scores = RllteBonus(made(rewards, "NGU"))(rollouts)
    assert set(scores.status.tolist()) == {Status.FAILED}
    assert "mrs" in scores.errors[0][1]
    # With what its constructor forgets, it serves.
    theirs, ours = made(rewards, "NGU"), made(rewards, "NGU")
    theirs.mrs = ours.mrs = 5.0
    paid = own_loop(theirs, samples)
    torch.testing.assert_close(RllteBonus(ours)(rollouts).values[rollouts.mask], paid.T.flatten())


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)
