"""Environments that pay several numbers, one per objective."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from tests.adapters.worlds import Objectives, ObjectivesVector, run

import rewardsmith as rs
from rewardsmith.adapters.meter import Meter
from rewardsmith.core.errors import SpecError
from rewardsmith.core.reward import Reward
from rewardsmith.signals.env_reward import EnvReward

# Published environments; breakable-bottles pays a Python list, of whole numbers at that.
PUBLISHED = {"deep-sea-treasure-v0": 2, "breakable-bottles-v0": 3, "minecart-v0": 3}


def both() -> Reward:
    parts = {"walk": EnvReward(index=0), "time": EnvReward(index=1)}
    return rs.WeightedSum(parts, {"walk": 1.0, "time": 0.5})


@pytest.mark.parametrize("as_list", [True, False])
def test_objectives_are_parts(as_list: bool) -> None:
    env = rs.wrap(Objectives(as_list), both())
    env.reset(seed=0)
    steps = [env.step(2) for _ in range(3)]
    assert [step[1] for step in steps] == [2.5, 5.5, 8.5]
    assert steps[0][4]["reward_terms"] == {"walk": 3, "time": -1, "total": 2.5}
    assert [step[4]["env_reward"].tolist() for step in steps] == [[3, -1], [6, -1], [9, -1]]
    assert steps[2][4]["env_return"].tolist() == [18, -3]
    assert steps[2][4]["reward_sums"]["total"] == 16.5


def test_objectives_in_a_vector_environment() -> None:
    env = rs.wrap(ObjectivesVector([Objectives] * 2), both())
    infos = [step[4] for step in run(env, 3)]
    assert infos[0]["env_reward"].tolist() == [[1, -1], [2, -1]]
    assert infos[2]["env_return"].tolist() == [[14, -3], [11, -3]]
    assert infos[2]["reward_sums"]["time"].tolist() == [-3, -3]


@pytest.mark.parametrize("missing", ["raise", 0.0])
def test_reading_all_of_them_as_one_is_refused_with_the_fix(missing: Any) -> None:
    """Also where broken steps count as a number: every step would."""
    env = rs.wrap(Objectives(), rs.Scale(EnvReward(), 2.0), missing=missing)
    env.reset(seed=0)
    with pytest.raises(SpecError, match=r"^of: env_reward: .* but 2: .* index=0 \(up to 1\), in Y"):
        env.step(0)
    env = rs.wrap(Objectives(), EnvReward(index=2), missing=missing)
    env.reset(seed=0)
    with pytest.raises(SpecError, match="has 2 numbers per step, no index 2"):
        env.step(0)


def test_the_fix_can_be_written_down() -> None:
    env = rs.wrap(Objectives(), {"env_reward": {"index": 1}})
    env.reset(seed=0)
    assert env.step(0)[1] == -1.0
    assert rs.dump(env.meter.reward) == {"env_reward": {"index": 1}}


def test_functions_see_a_row_of_objectives() -> None:
    meter = Meter(rs.reward(step=True)(lambda env_reward: env_reward.min(axis=1)), 2)
    meter.reset(np.zeros((2, 1)), {})
    no = np.zeros(2, dtype=bool)
    paid = meter.step(
        action=np.zeros(2),
        next_obs=np.zeros((2, 1)),
        env_reward=[[1, 2], [4, 3]],
        terminated=no,
        truncated=no,
        info={},
    )
    assert paid.tolist() == [1, 3]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_environments(name: str) -> None:
    mo_gymnasium = pytest.importorskip("mo_gymnasium")

    def make() -> gymnasium.Env[Any, Any]:
        env: gymnasium.Env[Any, Any] = mo_gymnasium.make(name)
        return env

    k = PUBLISHED[name]
    reward = rs.WeightedSum({f"objective_{i}": EnvReward(index=i) for i in range(k)})
    bare, env = make(), rs.wrap(make(), reward)
    bare.reset(seed=0)
    env.reset(seed=0)
    bare.action_space.seed(0)
    returned = np.zeros(k)
    for _ in range(40):
        action = bare.action_space.sample()
        _, paid, *_ = bare.step(action)
        _, total, terminated, truncated, info = env.step(action)
        returned += np.asarray(paid)
        assert total == pytest.approx(np.sum(paid))
        np.testing.assert_allclose(info["env_reward"], paid)
        if terminated or truncated:
            np.testing.assert_allclose(info["env_return"], returned)
            break
    with pytest.raises(SpecError, match=f"but {k}: "):
        _first_step(rs.wrap(make(), EnvReward()))


def test_their_own_vector_environment_and_wrappers() -> None:
    mo_gymnasium = pytest.importorskip("mo_gymnasium")
    from mo_gymnasium.wrappers import LinearReward
    from mo_gymnasium.wrappers.vector import MOSyncVectorEnv

    def make() -> gymnasium.Env[Any, Any]:
        env: gymnasium.Env[Any, Any] = mo_gymnasium.make("deep-sea-treasure-v0")
        return env

    reward = rs.WeightedSum({"treasure": EnvReward(index=0), "time": EnvReward(index=1)})
    found = run(rs.wrap(MOSyncVectorEnv([make] * 3), reward), 20)
    wrapped = run(SyncVectorEnv([lambda: rs.wrap(make(), reward)] * 3), 20)
    for ours, theirs in zip(found, wrapped, strict=True):
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6)
    # Weighed by them, the objectives are still there, as a key of info.
    weighed = rs.wrap(LinearReward(make(), np.array([1.0, 0.0])), EnvReward("vector_reward", 1))
    assert _first_step(weighed) == -1.0


def _first_step(env: gymnasium.Env[Any, Any]) -> Any:
    env.reset(seed=0)
    return env.step(env.action_space.sample())[1]
