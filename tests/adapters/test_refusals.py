"""Bad input is refused by name, with the fix."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorWrapper
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit
from gymnasium.wrappers.vector import RecordEpisodeStatistics as RecordAll
from tests.adapters.worlds import Walk, level, parts, vector

import rewardsmith as rs
from rewardsmith.core.errors import ScoreError, SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward, Scope
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping

# --- twice ----------------------------------------------------------------------------------------


def wrapped() -> gymnasium.Env[Any, Any]:
    return TimeLimit(rs.wrap(Walk(), parts()), 9)


@pytest.mark.parametrize(
    "make",
    [
        wrapped,
        lambda: rs.wrap(vector(2), parts()),
        lambda: RecordAll(rs.wrap(vector(2), parts())),
        lambda: SyncVectorEnv([wrapped, wrapped]),
        lambda: RecordAll(SyncVectorEnv([wrapped, wrapped])),
        lambda: AsyncVectorEnv([wrapped, wrapped], context="fork"),
    ],
)
def test_an_environment_is_wrapped_once(make: Any) -> None:
    env = make()
    with pytest.raises(ValueError, match=r"already pays a reward of ours.*rs\.WeightedSum"):
        rs.wrap(env, EnvReward())
    env.close()


# --- statistics -----------------------------------------------------------------------------------


def test_statistics_are_of_the_reward_that_they_see() -> None:
    """Outside they count ours, inside the task's; `env_return` is the task's in any case."""
    outside = RecordEpisodeStatistics(rs.wrap(Walk(), parts()))
    inside = rs.wrap(RecordEpisodeStatistics(Walk()), parts())
    for env, expected in ((outside, 1 + 3 + 5), (inside, 2 + 4 + 6)):
        env.reset(seed=0)
        info = [env.step(1)[4] for _ in range(3)][-1]
        assert info["episode"]["r"] == expected
        assert info["env_return"] == 12
        assert info["reward_sums"]["total"] == 9


def test_stable_baselines_monitor_can_keep_the_tasks_return() -> None:
    monitor = pytest.importorskip("stable_baselines3.common.monitor")
    env = monitor.Monitor(rs.wrap(Walk(), parts()), info_keywords=("env_return",))
    env.reset(seed=0)
    info = [env.step(1)[4] for _ in range(3)][-1]
    assert (info["episode"]["r"], info["episode"]["env_return"]) == (9, 12)


# --- rewards --------------------------------------------------------------------------------------


class Compared(Reward):
    """A reward that acts, but says that it compares rollouts."""

    def __init__(self, within: Scope) -> None:
        super().__init__()
        self.within = within
        self.declare(granularity="dense", scope=within)

    def step(self, s: Any, carry: Any, out: Any) -> Any:
        return np.zeros(len(s.first)), carry


@pytest.mark.parametrize("scope", ["group", "batch", "dataset"])
@pytest.mark.parametrize("make", [Walk, vector])
def test_rewards_that_compare_rollouts_are_refused(scope: Scope, make: Any) -> None:
    tree = rs.Scale(rs.WeightedSum({"env": EnvReward(), "rank": Compared(scope)}), 2.0)
    with pytest.raises(ValueError, match=rf"because of of/rank: Compared.*scope {scope}\. Score"):
        rs.wrap(make(), tree)
    with pytest.raises(ValueError, match=r"because of the root: Compared"):
        rs.wrap(make(), Compared(scope))


# --- environments ---------------------------------------------------------------------------------


def test_what_is_no_environment_of_gymnasium() -> None:
    dummy = pytest.importorskip("stable_baselines3.common.vec_env").DummyVecEnv
    with pytest.raises(TypeError, match=r"DummyVecEnv; .*RewardVecEnv"):
        rs.wrap(dummy([Walk]), parts())
    with pytest.raises(TypeError, match=r"expected a Gymnasium environment, got builtins\.str"):
        rs.wrap("CartPole-v1", parts())  # type: ignore[call-overload]


class Spoiled(Walk):
    """Shows NaN from the second step of an episode on.

    Args:
        where: "obs", "reward" or "x", a key of info.
    """

    def __init__(self, where: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.where = where

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        if self.t >= 2 and self.where == "reward":
            reward = float("nan")
        if self.t >= 2 and self.where == "x":
            info["x"] = float("nan")
        return obs, reward, terminated, truncated, info

    def _obs(self) -> Any:
        obs = super()._obs()
        if self.t >= 2 and self.where == "obs":
            leaf = obs["clock"] if self.kind == "dict" else obs
            leaf[-1] = np.nan
        return obs


def count(obs: Any) -> Any:
    return np.asarray(obs["clock"]).sum(axis=1) if isinstance(obs, dict) else obs[:, 0]


@pytest.mark.parametrize(
    ("where", "kind", "told"),
    [
        ("obs", "box", "next_obs of environment 1 is nan at [0]"),
        ("obs", "dict", "next_obs['clock'] of environment 1 is nan at [1]"),
        ("reward", "box", "env_reward of environment 1 is nan"),
    ],
)
def test_the_environment_that_showed_nan_is_named(where: str, kind: str, told: str) -> None:
    each = [lambda: Walk(kind=kind), lambda: Spoiled(where, kind=kind), lambda: Walk(kind=kind)]
    env = rs.wrap(SyncVectorEnv(each), PotentialShaping(EnvReward(), count), gamma=1.0)
    env.reset(seed=0)
    env.step(np.zeros(3, dtype=int))
    with pytest.raises(ScoreError) as caught:
        env.step(np.zeros(3, dtype=int))
    assert (caught.value.row, caught.value.part) == (1, "shaping" if where == "obs" else "of")
    assert str(caught.value).endswith(f"nan is not a finite number; {told}")


def test_nan_at_the_reset_and_in_infos() -> None:
    env = rs.wrap(Spoiled("x"), EnvReward("x"))
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ScoreError, match=r"info\['x'\] of environment 0 is nan$"):
        env.step(0)
    # The observation that was acted in comes first, for it came first.
    env = rs.wrap(Spoiled("obs"), PotentialShaping(EnvReward(), level), gamma=1.0, missing=0.0)
    env.reset(seed=0)
    assert env.step(0)[1] == 1 + 1
    assert env.step(0)[1] == 0
    env.meter.missing = "raise"
    with pytest.raises(ScoreError, match=r"; obs of environment 0 is nan at \[0\]$"):
        env.step(0)


def test_what_raises_because_of_nan_says_so_too() -> None:
    def whole(next_obs: Any) -> Any:
        return np.array([float(int(value)) for value in next_obs[:, 0]])

    env = rs.wrap(SyncVectorEnv([Walk, lambda: Spoiled("obs")]), Function(whole, step=True))
    env.reset(seed=0)
    env.step(np.zeros(2, dtype=int))
    with pytest.raises(ScoreError, match=r"row 1: .*cannot convert.*; next_obs of environment 1"):
        env.step(np.zeros(2, dtype=int))


def test_nan_that_all_show_is_told_of_the_first() -> None:
    def picky(next_obs: Any) -> Any:
        if np.isnan(next_obs).any():
            raise ValueError("no")
        return np.zeros(len(next_obs))

    env = rs.wrap(SyncVectorEnv([lambda: Spoiled("obs")] * 2), Function(picky, step=True))
    env.reset(seed=0)
    env.step(np.zeros(2, dtype=int))
    with pytest.raises(ScoreError, match=r"no; next_obs of environment 0 is nan") as caught:
        env.step(np.zeros(2, dtype=int))
    assert caught.value.row is None


def test_a_finite_step_that_breaks_blames_no_number() -> None:
    env = rs.wrap(Walk(), Function(lambda obs: 1 / 0, step=True))
    env.reset(seed=0)
    with pytest.raises(ScoreError, match=r"division by zero$"):
        env.step(0)


def test_a_vector_environment_shows_a_row_each() -> None:
    class Short(VectorWrapper):
        def reset(self, **kwargs: Any) -> Any:
            obs, info = self.env.reset(**kwargs)
            return {"position": obs["position"], "clock": obs["clock"][:1]}, info

    env = rs.wrap(Short(vector(2, kind="dict")), parts())
    with pytest.raises(ValueError, match=r"obs\['clock'\] of the reset has 1 rows for 2 env"):
        env.reset(seed=0)


class Shows(Walk):
    """Shows what its space does not say."""

    def __init__(self, kind: str, shown: Any) -> None:
        super().__init__(kind=kind)
        self.shown = shown

    def _obs(self) -> Any:
        return self.shown


ONE, TWO = np.zeros(1, np.float32), np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("kind", "shown", "told"),
    [
        ("box", TWO, r"^obs of the reset .* has the shape \[2\], the space \[1\]; let the env"),
        ("box", {"a": ONE}, "^obs of .* has the shape a dict, the space"),
        (
            "dict",
            {"position": ONE, "clock": ONE},
            r"^obs\['clock'\] of .*shape \[1\], the space \[2\]",
        ),
        (
            "dict",
            {"position": ONE},
            r"has the keys \['position'\], the space \['clock', 'position'\]",
        ),
        ("dict", ONE, "has the keys a ndarray, the space"),
        ("tuple", (ONE,), "has so many members: 1, the space 2"),
        ("tuple", (ONE, ONE), r"^obs\[1\] of .*shape \[1\], the space \[2\]"),
    ],
)
def test_what_the_space_does_not_say(kind: str, shown: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        rs.wrap(Shows(kind, shown), parts()).reset(seed=0)


def test_a_vector_that_shows_what_its_space_does_not_say() -> None:
    class Wide(VectorWrapper):
        def reset(self, **kwargs: Any) -> Any:
            obs, info = self.env.reset(**kwargs)
            return np.concatenate([obs, obs], axis=1), info

    with pytest.raises(ValueError, match=r"^obs of the reset .*shape \[2\], the space \[1\]"):
        rs.wrap(Wide(vector(2)), parts()).reset(seed=0)


def test_actions_may_be_a_list() -> None:
    env = rs.wrap(vector(2), Function(lambda action: -action, step=True))
    env.reset(seed=0)
    assert env.step([1, 2])[1].tolist() == [-1, -2]


def test_text_where_a_number_is_read() -> None:
    env = rs.wrap(Walk(), rs.Scale(EnvReward("room"), 2.0), missing=0.0)
    env.reset(seed=0)
    with pytest.raises(SpecError, match=r"^of: env_reward: column 'room' holds no numbers"):
        env.step(0)
