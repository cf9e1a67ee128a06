from typing import Any

import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv, VectorWrapper
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics
from tests.adapters.worlds import (
    GAMMA,
    PLAN,
    REWARDS,
    Walk,
    half,
    level,
    parts,
    run,
    shaped_by_info,
    vector,
)

import rewardsmith as rs
from rewardsmith.core.errors import MissingColumn, ScoreError
from rewardsmith.core.function import Function
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping


def test_dummy_steps_pay_nothing_and_are_in_no_account() -> None:
    # Environment 0 takes 3 steps and terminates, environment 1 takes 2 and is truncated.
    env = rs.wrap(vector(2), parts())
    steps = run(env, 4)
    # t * (1 + action) - action; actions are t - 1 and t modulo 3.
    assert [step[1].tolist() for step in steps] == [[1, 1], [3, 4], [7, 0], [0, 1]]
    live = [[True, True], [True, True], [True, False], [False, True]]
    assert [step[4]["_reward_terms"].tolist() for step in steps] == live
    assert [step[4]["_env_reward"].tolist() for step in steps] == live
    assert [step[4]["env_reward"].tolist() for step in steps] == [[1, 2], [4, 6], [9, 0], [0, 2]]
    thrift = [step[4]["reward_terms"]["thrift"].tolist() for step in steps]
    assert thrift == [[0, -0.5], [-0.5, -1], [-1, 0], [0, -0.5]]
    sums = [step[4].get("reward_sums") for step in steps]
    assert sums[0] is None
    assert sums[3]["total"].tolist() == [0, 1]  # its second episode is over after one step
    assert sums[1]["env"].tolist() == [0, 8]
    assert sums[1]["total"].tolist() == [0, 5]
    assert sums[2]["total"].tolist() == [11, 0]
    assert steps[2][4]["_reward_sums"].tolist() == [True, False]


@pytest.mark.parametrize("make", [shaped_by_info, lambda: PotentialShaping(EnvReward(), level)])
def test_shaping_adds_up_to_what_no_policy_can_change(make: Any) -> None:
    env = rs.wrap(vector(3), make(), gamma=GAMMA)
    obs, info = env.reset(seed=0)
    phi = (lambda o, i: i["x"]) if make is shaped_by_info else (lambda o, i: o[:, 0])
    start, discounted, length = phi(obs, info).copy(), np.zeros(3), np.zeros(3)
    dummy, ends = np.zeros(3, dtype=bool), []
    for _ in range(20):
        obs, _, terminated, truncated, info = env.step(np.ones(3, dtype=int))
        now = phi(obs, info)
        start[dummy], discounted[dummy], length[dummy] = now[dummy], 0.0, -1
        discounted += GAMMA ** np.maximum(length, 0) * info["reward_terms"]["shaping"]
        length += 1
        for i in np.flatnonzero(terminated | truncated):
            left = 0.0 if terminated[i] else GAMMA ** length[i] * now[i]
            assert discounted[i] == pytest.approx(left - start[i], abs=1e-9)
            ends.append(bool(terminated[i]))
        dummy = terminated | truncated
    assert True in ends
    assert False in ends


def test_all_environments_may_end_together() -> None:
    """The infos of that dummy step are those of resets: no column of a step is there."""
    env = rs.wrap(SyncVectorEnv([Walk] * 2), EnvReward("gain"))
    steps = run(env, 5)
    assert [step[1].tolist() for step in steps] == [
        [0, 0.25],
        [0.25, 0.5],
        [0.5, 0],
        [0, 0],
        [0.25, 0.5],
    ]
    assert steps[3][4]["reward_terms"]["total"].tolist() == [0, 0]
    assert not steps[3][4]["_reward_terms"].any()


def test_what_gymnasium_fills_in_is_not_read() -> None:
    """Where one environment lacks a key, Gymnasium writes a 0 into its row."""
    apart = [lambda: Walk(rare=True), lambda: Walk(rare=False)]
    env = rs.wrap(SyncVectorEnv(apart), EnvReward("rare"))
    env.reset(seed=0)
    with pytest.raises(MissingColumn, match=r"'rare', needed by env_reward"):
        env.step(np.zeros(2, dtype=int))
    _, info = env.env.reset(seed=0)
    assert info["rare"].tolist() == [7.0, 0.0]
    env = rs.wrap(SyncVectorEnv(apart), PotentialShaping(EnvReward(), lambda rare: rare), gamma=1.0)
    env.reset(seed=0)
    with pytest.raises(MissingColumn, match=r"'rare', needed by the potential; .*\bx$"):
        env.step(np.zeros(2, dtype=int))


def test_text_and_flags_of_dummy_rows_are_not_read() -> None:
    """Gymnasium keeps them as objects, with None where an environment says nothing."""

    class Mute(Walk):
        def _info(self) -> dict[str, Any]:
            return super()._info() if self.t else {"x": 0.0}

    env = rs.wrap(SyncVectorEnv([Mute, lambda: Mute(plan=PLAN[1:])]), REWARDS["texts"]())
    steps = run(env, 4)
    assert [step[1].tolist() for step in steps] == [[1, 1], [0, 0], [1, 0], [0, 2]]


def test_overwritten_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="copy=True"):
        rs.wrap(SyncVectorEnv([Walk], copy=False), parts())


def test_a_reset_begins_all_accounts_anew() -> None:
    env = rs.wrap(vector(2), REWARDS["look back"](), gamma=GAMMA)
    first = run(env, 2)
    env.step(np.zeros(2, dtype=int))
    second = run(env, 2)
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours[1], theirs[1])
        assert str(ours[4]["reward_terms"]) == str(theirs[4]["reward_terms"])
    assert second[1][4]["reward_sums"]["of"].tolist() == [0, 8]


def test_the_environment_that_broke_is_named() -> None:
    def breaks(next_obs: Any) -> Any:
        if (next_obs[:, 0] == 2.0).any():
            raise RuntimeError("two")
        return np.zeros(len(next_obs))

    def nan(obs: Any) -> Any:
        return np.where(np.arange(len(obs)) == 1, np.nan, 0.0)

    apart = [lambda: Walk(plan=[(9, "terminated")]), Walk, lambda: Walk(plan=[(1, "terminated")])]
    env = rs.wrap(SyncVectorEnv(apart), rs.WeightedSum({"bad": Function(breaks, step=True)}))
    env.reset(seed=[0, 1, 2])
    env.unwrapped.envs[1].t = 1  # type: ignore[attr-defined]
    with pytest.raises(ScoreError, match="raised RuntimeError: two") as caught:
        env.step(np.zeros(3, dtype=int))
    assert (caught.value.row, caught.value.part) == (1, "bad")

    env = rs.wrap(vector(3), PotentialShaping(EnvReward(), nan), gamma=1.0)
    env.reset(seed=0)
    with pytest.raises(ScoreError) as caught:
        env.step(np.zeros(3, dtype=int))
    assert (caught.value.row, caught.value.part) == (1, "shaping")

    # Where it breaks for all, no environment is to blame.
    env = rs.wrap(vector(3), Function(lambda obs: np.zeros(7), step=True))
    env.reset(seed=0)
    with pytest.raises(ScoreError, match=r"shape \[7\], expected \[3\]") as caught:
        env.step(np.zeros(3, dtype=int))
    assert caught.value.row is None


def test_a_column_of_another_length_is_told_by_part() -> None:
    class Wide(VectorWrapper):
        def step(self, actions: Any) -> Any:
            *rest, info = self.env.step(actions)
            return *rest, {**info, "x": np.zeros(3)}

    env = rs.wrap(Wide(vector(2)), rs.Scale(EnvReward("x"), 2.0))
    env.reset(seed=0)
    with pytest.raises(ScoreError, match=r"part 'of'.*shape \[3\], expected \[2\]"):
        env.step(np.zeros(2, dtype=int))


def test_infinity_on_a_dummy_row_is_nobodys_business() -> None:
    def bad_on_arrival(obs: Any, next_obs: Any) -> Any:
        # From an episode's end to the next one's start.
        return np.where(np.abs(next_obs - obs)[:, 0] > 2, np.inf, 1.0)

    steps = run(rs.wrap(vector(2), Function(bad_on_arrival, step=True)), 8)
    assert all(np.isfinite(step[1]).all() for step in steps)
    assert all(np.isfinite(step[4]["reward_terms"]["total"]).all() for step in steps)


def test_wrappers_of_gymnasium_go_around_it() -> None:
    env = DictInfoToList(RecordEpisodeStatistics(rs.wrap(vector(2), parts())))
    env.reset(seed=0)
    infos = [env.step(np.full(2, t))[4] for t in range(3)]
    assert infos[0][0]["reward_terms"] == {"env": 1.0, "thrift": 0.0, "total": 1.0}
    assert infos[1][1]["reward_sums"]["total"] == infos[1][1]["episode"]["r"] == 4.0
    assert "reward_terms" not in infos[2][1]  # a dummy step


def test_a_wrapper_around_it_may_rescale_in_place() -> None:
    env = rs.wrap(vector(2), EnvReward())
    env.reset(seed=0)
    _, reward, _, _, info = env.step(np.zeros(2, dtype=int))
    reward *= 100.0
    assert info["env_reward"].tolist() == info["reward_terms"]["total"].tolist() == [1.0, 1.0]


def test_a_potential_of_info_reads_the_resets() -> None:
    reward = PotentialShaping(EnvReward(), half)
    env = rs.wrap(SyncVectorEnv([lambda: Walk(plan=[(1, "truncated")])]), reward, gamma=1.0)
    steps = run(env, 6)
    shaping = [step[4]["reward_terms"]["shaping"][0] for step in steps]
    assert shaping == [0.5, 0.0, 0.5, 0.0, 0.5, 0.0]


def test_whole_numbers_of_one_environment_round_no_other() -> None:
    """Gymnasium takes an info's type from the first environment that has it."""

    class Whole(Walk):
        def step(self, action: Any) -> Any:
            obs, reward, *rest = super().step(action)
            return obs, int(reward), *rest

    class Half(Walk):
        def step(self, action: Any) -> Any:
            obs, reward, *rest = super().step(action)
            return obs, 0.25 * reward, *rest

    env = SyncVectorEnv([lambda: rs.wrap(Whole(), parts()), lambda: rs.wrap(Half(), parts())])
    assert run(env, 1)[0][4]["env_reward"].tolist() == [1, 0.5]
    assert run(env, 3)[2][4]["env_return"].tolist() == [14, 0.25 * (2 + 2 * 3 + 3 * 1)]
