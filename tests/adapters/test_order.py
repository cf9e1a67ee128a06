"""Vectorize, then wrap = wrap each, then vectorize: rewards, infos and sums, however it resets."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from tests.adapters.worlds import (
    GAMMA,
    PLAN,
    REWARDS,
    WORLDS,
    Objectives,
    ObjectivesVector,
    Walk,
    makers,
    run,
)
from tests.laws import ACTING

import rewardsmith as rs
from rewardsmith.adapters.recorder import Recorder
from rewardsmith.core.function import Function
from rewardsmith.core.learning import learn
from rewardsmith.core.reward import Reward
from rewardsmith.signals.env_reward import EnvReward

MODES = tuple(AutoresetMode)
TOLD = ("env_reward", "reward_terms", "reward_sums", "env_return")
Make = Callable[[], gymnasium.Env[Any, Any]]


def assert_order_does_not_matter(
    make: Make | Sequence[Make],
    reward: Callable[[], Reward],
    n: int,
    steps: int,
    mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    vectorize: Any = SyncVectorEnv,
) -> None:
    each = [make] * n if callable(make) else list(make)
    wrapped = [lambda m=m: rs.wrap(m(), reward(), gamma=GAMMA) for m in each]
    one = run(rs.wrap(vectorize(each, autoreset_mode=mode), reward(), gamma=GAMMA), steps)
    other = run(SyncVectorEnv(wrapped, autoreset_mode=mode), steps)
    ends = 0
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-9, atol=1e-9)
        for name in TOLD:
            assert_same(ours[4], merged(theirs[4], n), name, n)
        if "final_info" in theirs[4]:
            for name in TOLD:
                assert_same(ours[4]["final_info"], theirs[4]["final_info"], name, n)
        done = ours[2] | ours[3]
        ends += int(done.sum())
        assert ("reward_sums" in ours[4]) == ("env_return" in ours[4]) == done.any()
        if done.any():
            np.testing.assert_array_equal(ours[4]["_reward_sums"], done)
            np.testing.assert_array_equal(ours[4]["_env_return"], done)
            assert all((values[~done] == 0).all() for values in ours[4]["reward_sums"].values())
    assert ends > 2


def assert_same(ours: dict[str, Any], theirs: dict[str, Any], name: str, n: int) -> None:
    """The same rows have it, with the same numbers."""
    mask = ours.get(f"_{name}", np.zeros(n, dtype=bool))
    np.testing.assert_array_equal(mask, theirs.get(f"_{name}", np.zeros(n, dtype=bool)), name)
    if mask.any():
        mine, other = ({"": i[name]} if name[:3] == "env" else i[name] for i in (ours, theirs))
        paths = [path for path in other if f"_{path}" in other or path == ""]
        assert set(mine) == set(paths)
        one, two = (np.array([found[path][mask] for path in paths]) for found in (mine, other))
        wrong = ~np.isclose(one, two, rtol=1e-9, atol=1e-9)
        assert not wrong.any(), {paths[i]: (one[i], two[i]) for i in np.flatnonzero(wrong.any(1))}


def merged(infos: dict[str, Any], n: int) -> dict[str, Any]:
    """Infos with those of the episodes that ended in the same step in their rows."""
    last = infos.get("final_info", {})
    both = {}
    for name in [key for key in {**infos, **last} if key[:1] != "_" and key != "final_info"]:
        if name not in last or name not in infos:
            source = last if name in last else infos
            both[name], both[f"_{name}"] = source[name], source[f"_{name}"]
            continue
        mask = last[f"_{name}"]
        if isinstance(infos[name], dict):
            both[name] = merged({**infos[name], "final_info": last[name]}, n)
        else:
            both[name] = infos[name].copy()
            both[name][mask] = last[name][mask]
        both[f"_{name}"] = infos[f"_{name}"] | mask
    return both


# --- every acting reward of the catalog -----------------------------------------------------------

COLUMNS = {"obs", "next_obs", "action", "env_reward", "terminated", "truncated", "first"}
INFO = {"x", "speed"}
KNOWN = {"env_reward", "count_bonus", "function", "weighted_sum", "weighted_mean", "product", "min"}
KNOWN |= {"scale", "shift", "gate", "clip", "bounded", "symlog", "centered", "running_norm"}
KNOWN |= {"potential_shaping"}


@cache
def catalog(kind: str) -> Reward:
    """All of them as the parts of one sum, after they learned from some steps."""
    parts: dict[str, Reward] = {}
    for name, trees in ACTING.items():
        for i, make in enumerate(trees):
            reward = make()
            if reward.needs <= COLUMNS | INFO and reward.scope == "row":
                parts[f"{name}_{i}"] = reward
    reward = rs.WeightedSum(parts)
    recorder = Recorder(reward)
    env = rs.wrap(makers(kind, 1)[0](), reward, gamma=GAMMA)
    for k in range(2):
        env.reset(seed=k)
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            over = terminated or truncated
            assert env.meter.last is not None
            recorder.add(env.meter.last)
    rollouts = recorder.take()
    assert rollouts is not None
    learn(reward, rollouts)
    return reward


def test_the_catalog_is_nearly_all_there() -> None:
    left_out = {name for name in ACTING if f"{name}_0" not in catalog("dict").parts}
    # Every one that is known by now can be tried.
    assert left_out <= ACTING.keys() - KNOWN


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", WORLDS)
def test_every_reward_in_every_world(kind: str, n: int, mode: AutoresetMode) -> None:
    assert_order_does_not_matter(makers(kind, n), lambda: catalog(kind), n, 14, mode)


# --- what it may break on -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", REWARDS)
def test_the_walk(name: str, mode: AutoresetMode) -> None:
    each = [lambda i=i: Walk(plan=PLAN[i:] + PLAN[:i]) for i in range(3)]
    assert_order_does_not_matter(each, REWARDS[name], 3, 18, mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("as_list", [True, False])
def test_several_objectives(as_list: bool, mode: AutoresetMode) -> None:
    def reward() -> Reward:
        return rs.WeightedSum({"walk": EnvReward(index=0), "time": EnvReward(index=1)})

    each = [
        lambda: Objectives(as_list),
        lambda: Objectives(as_list, plan=PLAN[1:]),
    ]
    assert_order_does_not_matter(each, reward, 2, 12, mode, ObjectivesVector)


@pytest.mark.parametrize("mode", MODES)
def test_text_and_tuples_that_are_observed(mode: AutoresetMode) -> None:
    def rooms(obs: Any, next_obs: Any) -> Any:
        return length(obs) - 2.0 * length(next_obs)

    def length(obs: Any) -> Any:
        return np.char.str_len(obs["mission"])

    def clock(obs: Any, next_obs: Any) -> Any:
        return next_obs[1][:, 0] - 3.0 * obs[1][:, 0]

    for kind, call in (("text", rooms), ("tuple", clock)):
        each = [lambda k=kind, i=i: Walk(plan=PLAN[i:] + PLAN[:i], kind=k) for i in range(2)]
        assert_order_does_not_matter(
            each,  # type: ignore[arg-type]
            lambda call=call: Function(call, step=True),  # type: ignore[misc]
            2,
            14,
            mode,
        )


@pytest.mark.parametrize("mode", MODES)
def test_infos_within_infos_are_columns(mode: AutoresetMode) -> None:
    class Nested(Walk):
        def _info(self) -> dict[str, Any]:
            return {"task": {"x": float(self.t), "name": f"walk {10**self.t}"}}

    def f(task: Any) -> Any:
        return task["x"] + np.char.str_len(np.asarray(task["name"], dtype=str))

    each = [Nested, lambda: Nested(plan=PLAN[1:])]
    assert_order_does_not_matter(each, lambda: Function(f, step=True), 2, 15, mode)


@pytest.mark.parametrize("mode", MODES)
def test_processes_of_their_own(mode: AutoresetMode) -> None:
    each = [Walk, lambda: Walk(plan=PLAN[1:])]

    def processes(makers: Any, autoreset_mode: AutoresetMode) -> AsyncVectorEnv:
        return AsyncVectorEnv(makers, context="fork", autoreset_mode=autoreset_mode)

    for name in ("shaped by info", "look back"):
        assert_order_does_not_matter(each, REWARDS[name], 2, 9, mode, processes)
