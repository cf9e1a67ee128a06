import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Tuple
from gymnasium.utils.env_checker import check_env
from tests.adapters.sb3.toys import Reuses, first_of
from tests.adapters.worlds import GAMMA, PLAN, Walk, half, level, parts, shaped_by_info, thrift

import rewardsmith as rs
from rewardsmith.adapters.gymnasium import RewardWrapper, VectorRewardWrapper
from rewardsmith.core.errors import MissingColumn, ScoreError, SpecError
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping


def played(env: gymnasium.Env[Any, Any], episodes: int) -> list[list[tuple[Any, ...]]]:
    """Whole episodes of (obs, reward, terminated, truncated, info), with actions 0, 1, 2, 0, ..."""
    found: list[list[tuple[Any, ...]]] = []
    for k in range(episodes):
        env.reset(seed=0 if k == 0 else None)
        found.append([])
        while not found[-1] or not (found[-1][-1][2] or found[-1][-1][3]):
            found[-1].append(env.step(len(found[-1]) % 3))
    return found


def test_pays_the_sum_and_tells_the_parts_and_their_sums() -> None:
    env = rs.wrap(Walk(), parts())
    assert isinstance(env, RewardWrapper)
    first, second = played(env, 2)
    # t * (1 + action) - action, with actions 0, 1, 2.
    assert [step[1] for step in first] == [1.0, 2 * 2 - 1.0, 3 * 3 - 2.0]
    assert [step[4]["env_reward"] for step in first] == [1.0, 4.0, 9.0]
    assert first[1][4]["reward_terms"] == {"env": 4.0, "thrift": -0.5, "total": 3.0}
    assert ["reward_sums" in step[4] for step in first] == [False, False, True]
    assert first[-1][4]["reward_sums"] == {"env": 14.0, "thrift": -1.5, "total": 11.0}
    # The account begins anew with the episode.
    assert second[-1][4]["reward_sums"] == {"env": 5.0, "thrift": -0.5, "total": 4.0}
    assert all(type(step[1]) is float for step in first)


def test_the_wrapped_environments_info_is_left_alone() -> None:
    class Same(Walk):
        """Reports in one dict that it writes again and again, as some environments do."""

        def __init__(self) -> None:
            super().__init__()
            self.told: dict[str, Any] = {}

        def _info(self) -> dict[str, Any]:
            self.told.update(super()._info())
            return self.told

    inner = Same()
    env = rs.wrap(inner, PotentialShaping(EnvReward(), half), gamma=1.0)
    steps = played(env, 1)[0]
    assert [step[4]["reward_terms"]["shaping"] for step in steps] == [0.5, 0.5, -1.0]
    assert "reward_terms" not in inner.told


def test_an_environment_may_write_an_array_of_its_info_again() -> None:
    env = rs.wrap(Reuses(), PotentialShaping(EnvReward(), first_of), gamma=1.0)
    shaping = [step[4]["reward_terms"]["shaping"] for step in played(env, 1)[0]]
    assert shaping == [0.5, 0.5, -1.0]


def test_an_environment_may_change_an_object_of_its_info() -> None:
    class Holds(Walk):
        def __init__(self) -> None:
            super().__init__()
            self.held: set[int] = set()

        def _info(self) -> dict[str, Any]:
            self.held.clear()
            self.held.update(range(self.t))
            return {"room": {"x": self.held}}

    def size(room: Any) -> Any:
        return np.array([float(len(held)) for held in room["x"]])

    env = rs.wrap(Holds(), PotentialShaping(EnvReward(), size), gamma=1.0)
    shaping = [step[4]["reward_terms"]["shaping"] for step in played(env, 1)[0]]
    assert shaping == [1.0, 1.0, -2.0]


def test_an_environment_may_write_its_observation_again() -> None:
    class Buffer(Walk):
        def __init__(self) -> None:
            super().__init__()
            self.buffer = np.zeros(1, dtype=np.float32)

        def _obs(self) -> Any:
            self.buffer[0] = self.position
            return self.buffer

    env = rs.wrap(Buffer(), PotentialShaping(EnvReward(), level), gamma=1.0)
    assert [s[4]["reward_terms"]["shaping"] for s in played(env, 1)[0]] == [1.0, 1.0, -2.0]


@pytest.mark.parametrize("kind", ["box", "dict", "image"])
def test_observations_of_any_kind(kind: str) -> None:
    env = rs.wrap(Walk(kind=kind), PotentialShaping(EnvReward(), level), gamma=1.0)
    assert [s[4]["reward_terms"]["shaping"] for s in played(env, 1)[0]] == [1.0, 1.0, -2.0]


def test_observations_that_are_tuples() -> None:
    class Pairs(Walk):
        def _obs(self) -> Any:
            return np.zeros(3), np.array([self.position, 0.0])

    env = Pairs()
    box = Box(-1.0, 1.0, (3,))
    env.observation_space = Tuple((box, Box(-1.0, 1e3, (2,))))
    reward = Function(lambda next_obs: next_obs[1][:, 0], step=True)
    assert [s[1] for s in played(rs.wrap(env, reward), 1)[0]] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("make", [shaped_by_info, lambda: PotentialShaping(parts(), level)])
def test_shaping_adds_up_to_what_no_policy_can_change(make: Any) -> None:
    env = rs.wrap(Walk(), make(), gamma=GAMMA)
    potential = 0.5 if make is shaped_by_info else 1.0
    for k, (steps, (length, end)) in enumerate(zip(played(env, 4), PLAN, strict=True)):
        shaping = [step[4]["reward_terms"]["shaping"] for step in steps]
        discounted = sum(GAMMA**t * value for t, value in enumerate(shaping))
        start, last = potential * 10 * k, potential * (10 * k + length)
        left = GAMMA**length * last if end == "truncated" else 0.0
        assert discounted == pytest.approx(left - start, abs=1e-9)


def test_gamma_is_handed_to_the_reward_and_another_one_refused() -> None:
    reward = PotentialShaping(EnvReward(), half)
    rs.wrap(Walk(), reward, gamma=0.5)
    assert reward.discount == 0.5
    with pytest.raises(SpecError, match="another gamma"):
        rs.wrap(Walk(), PotentialShaping(EnvReward(), half, gamma=0.9), gamma=0.8)


def test_an_unknown_gamma_is_told_at_the_first_step() -> None:
    env = rs.wrap(Walk(), shaped_by_info())
    env.reset(seed=0)
    with pytest.raises(SpecError, match="gamma"):
        env.step(0)


def test_what_does_not_act_is_refused_by_name() -> None:
    def length(completion: str) -> float:
        return float(len(completion))

    reward = rs.WeightedSum({"env": EnvReward(), "length": Function(length)})
    with pytest.raises(ValueError, match=r"length: function\(call=.*length.*step=True"):
        rs.wrap(Walk(), reward)
    with pytest.raises(ValueError, match="the root: function"):
        rs.wrap(Walk(), Function(length))


def test_a_missing_key_names_who_needs_it_and_what_is_there() -> None:
    env = rs.wrap(Walk(), rs.WeightedSum({"env": EnvReward(), "speed": EnvReward("speed")}))
    env.reset(seed=0)
    with pytest.raises(MissingColumn, match=r"'speed', needed by env_reward.*gain.*room.*x"):
        env.step(0)


def test_a_potential_needs_its_key_at_the_reset_too() -> None:
    env = rs.wrap(Walk(), PotentialShaping(EnvReward(), lambda gain: gain), gamma=1.0)
    env.reset(seed=0)
    with pytest.raises(MissingColumn, match="'gain', needed by the potential"):
        env.step(0)


def test_a_key_that_comes_and_goes() -> None:
    env = rs.wrap(Walk(rare=True), EnvReward("rare"))
    env.reset(seed=0)
    with pytest.raises(MissingColumn, match="'rare'"):
        env.step(0)
    # A function that can do without it says so by a default.
    reward = Function(lambda x, rare=None: x if rare is None else rare, step=True)
    assert [s[1] for s in played(rs.wrap(Walk(rare=True), reward), 1)[0]] == [0.5, 7.0, 1.5]


def test_passes_gymnasiums_own_checks() -> None:
    with warnings.catch_warnings():
        # It warns of wide spaces, and that it looks at a wrapper.
        warnings.simplefilter("ignore")
        check_env(rs.wrap(gymnasium.make("CartPole-v1"), parts()), skip_render_check=True)


def test_the_environments_own_account_is_kept() -> None:
    env = rs.wrap(gymnasium.make("CartPole-v1"), parts())
    assert env.spec is not None
    assert env.spec.additional_wrappers[-1].name == "RewardWrapper"
    again = gymnasium.make(env.spec)
    again.reset(seed=0)
    assert again.step(1)[1] == 1.0 - 1.0


def test_no_goals_to_relabel() -> None:
    env = rs.wrap(Walk(), parts())
    with pytest.raises(AttributeError, match="has no compute_reward"):
        env.get_wrapper_attr("compute_reward")(None, None, {})


def test_steps_without_a_number_count_as_the_number_given() -> None:
    def broken(next_obs: Any) -> Any:
        return np.where(next_obs[:, 0] == 2.0, np.nan, 1.0)

    steps = played(rs.wrap(Walk(), Function(broken, step=True), missing=-7.0), 1)[0]
    assert [step[1] for step in steps] == [1.0, -7.0, 1.0]
    assert steps[-1][4]["reward_sums"] == {"total": -5.0}


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (lambda n: np.full(n, np.nan), "nan is not a finite number"),
        (lambda n: np.full(n, np.inf), "(inf|nan) is not a finite number"),
        (lambda n: np.zeros(n + 1), r"shape \[2\], expected \[1\]"),
        (lambda n: None, "returned NoneType None, not 1 numbers"),
        (lambda n: [None] * n, r"returned list \[None\], not 1 numbers"),
        (lambda n: "much", "returned str 'much', not 1 numbers"),
        (lambda n: 1 / 0, "raised ZeroDivisionError"),
    ],
)
@pytest.mark.parametrize("where", ["step function", "potential"])
def test_what_is_no_number_is_told_by_row_and_part(returned: Any, told: str, where: str) -> None:
    def call(obs: Any) -> Any:
        return returned(len(obs))

    reward: Reward = PotentialShaping(EnvReward(), call)
    part = "shaping"
    if where == "step function":
        reward, part = rs.Scale(rs.WeightedSum({"bad": Function(call, step=True)}), 2.0), "of/bad"
    env = rs.wrap(Walk(), reward, gamma=1.0)
    env.reset(seed=0)
    with pytest.raises(ScoreError, match=told) as caught:
        env.step(0)
    assert (caught.value.row, caught.value.part) == (0, part)
    assert str(caught.value).startswith(f"part '{part}', row 0: ")


def test_the_cause_of_a_failure_is_kept() -> None:
    env = rs.wrap(Walk(), Function(lambda obs: 1 / 0, step=True))
    env.reset(seed=0)
    with pytest.raises(ScoreError) as caught:
        env.step(0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_one_reward_in_two_environments() -> None:
    reward = PotentialShaping(EnvReward(), lambda x, action: x + action, advice="look_back")
    alone = [s[1] for s in played(rs.wrap(Walk(), reward, gamma=GAMMA), 1)[0]]
    one, two = rs.wrap(Walk(), reward, gamma=GAMMA), rs.wrap(Walk(), reward, gamma=GAMMA)
    one.reset(seed=0)
    found = []
    for t in range(3):
        found.append(one.step(t)[1])
        # The other is reset and stepped in between.
        two.reset(seed=0)
        two.step(2)
    assert found == alone


def test_the_choice_of_wrapper() -> None:
    assert isinstance(rs.wrap(gymnasium.make_vec("CartPole-v1", 2), parts()), VectorRewardWrapper)
    assert isinstance(rs.wrap(Walk(), Function(thrift, step=True)), RewardWrapper)
