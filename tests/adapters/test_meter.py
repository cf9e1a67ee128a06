from typing import Any

import numpy as np
import pytest
from tests.adapters.worlds import Walk, parts, vector

import rewardsmith as rs
from rewardsmith.adapters.blame import blamed
from rewardsmith.adapters.columns import (
    InfoColumns,
    Patched,
    VectorColumns,
    column_of,
    patched,
    put,
    read_by,
)
from rewardsmith.adapters.meter import Meter
from rewardsmith.core.acting import Step
from rewardsmith.core.errors import ScoreError
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping

NO = np.zeros(2, dtype=bool)


def feed(meter: Meter, env_reward: Any, *, live: Any = None, first: Any = None, **info: Any) -> Any:
    values = meter.step(
        action=np.zeros(2),
        next_obs=np.zeros((2, 1)),
        env_reward=env_reward,
        terminated=NO,
        truncated=NO,
        info={name: np.asarray(column) for name, column in info.items()},
        live=None if live is None else np.array(live),
    )
    meter.advance(np.zeros((2, 1)), info, None if first is None else np.array(first))
    return values.tolist()


def started(reward: Reward, **kwargs: Any) -> Meter:
    meter = Meter(reward, 2, **kwargs)
    meter.reset(np.zeros((2, 1)), {"x": np.zeros(2)})
    return meter


def test_sums_begin_anew_where_an_episode_does() -> None:
    meter = started(parts())
    feed(meter, [1, 2])
    feed(meter, [1, 2], first=[True, False])
    feed(meter, [5, 5])
    assert meter.sums["env"].tolist() == [5, 9]
    assert list(meter.sums) == list(meter.terms) == ["env", "thrift", "total"]


def test_what_was_paid_is_summed_beside_the_parts() -> None:
    meter = started(EnvReward("x"), missing=0.0)
    assert meter.paid.tolist() == [0, 0]
    feed(meter, [1, 2], x=[0, 0], first=[False, True])
    feed(meter, [1, 2], x=[0, np.nan], live=[True, False])
    assert meter.paid.tolist() == [2, 0]
    sums, paid = meter.sums_where(np.array([True, False]))
    feed(meter, [1, 2], x=[0, 0])
    assert meter.paid.tolist() == [3, 2]
    assert paid.tolist() == [2, 0]
    assert {name: values.tolist() for name, values in sums.items()} == {"total": [0, 0]}


def test_several_objectives_are_summed_apart() -> None:
    meter = started(rs.WeightedSum({"a": EnvReward(index=0), "bad": breaks_on(1)}), missing=0.0)
    feed(meter, [[1, 10], [2, 20]])
    assert meter.paid.tolist() == [[1, 10], [2, 20]]
    # Parts that show up late move nothing.
    feed(meter, [[1, 10], [2, 20]], first=[True, False])
    feed(meter, [[1, 10], [2, 20]])
    assert meter.paid.tolist() == [[1, 10], [6, 60]]
    assert meter.sums["a"].tolist() == [1, 6]
    assert meter.sums_where(np.array([False, True]))[1].tolist() == [[0, 0], [6, 60]]


@pytest.mark.parametrize("paid", [[1.0], [[1.0]], 1.0, [[[1.0]], [[2.0]]]])
def test_pay_of_another_shape_is_refused(paid: Any) -> None:
    with pytest.raises(ValueError, match=r"pays an array of shape .*, expected \[2\]"):
        feed(started(EnvReward()), paid)


def test_a_few_rows_begin_anew() -> None:
    reward = PotentialShaping(EnvReward(), lambda x, action: x, advice="look_back")
    meter = started(reward, gamma=0.5)
    feed(meter, [1, 2], x=np.array([1.0, 1.0]))
    feed(meter, [1, 2], x=np.array([2.0, 2.0]))
    meter.reset(np.ones((2, 1)), {"x": np.array([5.0, 0.0])}, np.array([True, False]))
    assert meter.sums["of"].tolist() == [0, 4]
    assert meter.paid.tolist() == [0, 4]
    # Row 0 has no potential before it, row 1 the one of the state that it left, x = 1.
    assert feed(meter, [1, 2], x=np.array([6.0, 3.0])) == [1 + 5, 2 + 2 - 1 / 0.5]
    assert meter.last is not None
    assert meter.last.first.tolist() == [True, False]


def test_a_child_may_be_replaced_while_acting() -> None:
    reward = rs.WeightedSum({"a": EnvReward(), "b": rs.Scale(EnvReward(), 2.0)})
    meter = started(reward)
    assert feed(meter, [1, 2]) == [3, 6]
    reward.parts["a"] = rs.Scale(EnvReward(), 10.0)
    assert feed(meter, [1, 2]) == [12, 24]
    reward.parts["b"].of = EnvReward("x")  # type: ignore[union-attr]
    assert feed(meter, [1, 2], x=[3, 4]) == [16, 28]


def breaks_on(*times: int) -> Function:
    calls = iter(range(99))

    def f(action: Any) -> Any:
        if next(calls) in times:
            raise RuntimeError("down")
        return np.ones(len(action))

    return Function(f, step=True)


def test_a_broken_step_counts_as_the_number_given_and_its_parts_as_nothing() -> None:
    reward = rs.WeightedSum({"env": EnvReward(), "bad": breaks_on(1, 3)})
    meter = started(reward, missing=-1.0)
    assert feed(meter, [1, 2]) == [2, 3]
    assert feed(meter, [1, 2], first=[True, True]) == [-1, -1]
    assert np.isnan(meter.terms["bad"]).all()
    assert meter.sums["bad"].tolist() == [1, 1]
    assert meter.sums["total"].tolist() == [1, 2]
    # The sum of a part that says nothing at an episode's start is not that of the last episode.
    feed(meter, [1, 2], first=[True, True])
    assert feed(meter, [1, 2]) == [-1, -1]
    assert meter.sums["bad"].tolist() == [0, 0]
    assert meter.sums["total"].tolist() == [-1, -1]


def test_parts_that_show_up_late_have_a_place_in_the_account() -> None:
    reward = rs.WeightedSum({"env": EnvReward(), "bad": breaks_on(0)})
    meter = started(reward, missing=0.0)
    assert feed(meter, [1, 2]) == [0, 0]
    assert feed(meter, [1, 2]) == [2, 3]
    assert {name: values.tolist() for name, values in meter.sums.items()} == {
        "env": [2, 4],
        "total": [2, 3],
        "bad": [1, 1],
    }


def test_one_row_that_is_no_number_leaves_the_others() -> None:
    meter = started(parts(), missing=7.0)
    assert feed(meter, [np.nan, 2]) == [7, 2]
    assert meter.sums["env"].tolist() == [0, 2]
    assert meter.sums["total"].tolist() == [7, 2]


def test_a_wrong_shape_counts_as_the_number_given() -> None:
    meter = started(Function(lambda x: x, step=True), missing=3.0)
    assert feed(meter, [1, 2], x=[1, 2, 3]) == [3, 3]
    meter = started(EnvReward("x"), missing=3.0)
    assert feed(meter, [1, 2], x=[1, 2, 3]) == [3, 3]


def test_a_carry_starts_afresh_though_the_first_step_broke() -> None:
    calls = iter(range(9))

    def potential(x: Any, action: Any) -> Any:
        if next(calls) == 2:
            raise RuntimeError("down")
        return np.full(2, 4.0)

    meter = started(
        PotentialShaping(EnvReward(), potential, advice="look_back"), gamma=0.5, missing=0.0
    )
    x = np.zeros(2)
    assert feed(meter, [0, 0], x=x) == [4, 4]
    assert feed(meter, [0, 0], x=x, first=[True, False]) == [-4, -4]
    assert feed(meter, [0, 0], x=x) == [0, 0]
    # Row 0 began an episode in the step that broke: nothing of the last one is taken back.
    assert feed(meter, [0, 0], x=x) == [4, -4]
    assert feed(meter, [0, 0], x=x) == [-4, -4]


def test_only_the_part_may_be_infinite() -> None:
    """Behind a closed gate nobody reads it."""
    reward = rs.Gate(EnvReward(), EnvReward("x"), threshold=1.0)
    meter = started(reward)
    assert feed(meter, [0, 1], x=[np.nan, 5.0]) == [0, 5]


def test_large_numbers_are_numbers() -> None:
    assert feed(started(EnvReward()), [1e300, -1e300]) == [1e300, -1e300]


def test_a_part_of_another_shape_is_told_though_the_whole_is_right() -> None:
    class First(Reward):
        """Pays the first row's value to all."""

        def __init__(self, of: Reward) -> None:
            super().__init__()
            self.of = of

        def step(self, s: Any, carry: Any, out: Any) -> Any:
            values, carry = self.step_children(s, carry, out)
            return np.full(len(s.first), values["of"].flat[0]), carry

    meter = started(First(EnvReward("x")))
    assert feed(meter, [0, 0], x=[4, 5]) == [4, 4]
    with pytest.raises(ScoreError, match=r"part 'of': bad_value: values of shape \[3\]"):
        feed(meter, [0, 0], x=[4, 5, 6])
    with pytest.raises(ScoreError, match=r"part 'of'"):
        feed(started(First(EnvReward("x"))), [0, 0], x=[4, 5, 6])


def test_the_blame_reads_dicts_and_tuples_of_observations() -> None:
    def f(obs: Any, action: Any, x: Any, mood: Any = None) -> Any:
        if (obs["a"][0] + action["b"] + x == 3).any():
            raise ValueError("three")
        return x

    step = Step(
        obs={"a": (np.zeros(3), np.ones(3))},
        action={"b": np.array([0, 1, 2])},
        next_obs=None,
        env_reward=np.zeros(3),
        terminated=np.zeros(3, dtype=bool),
        truncated=np.zeros(3, dtype=bool),
        first=np.ones(3, dtype=bool),
        live=np.ones(3, dtype=bool),
        info={"x": np.ones(3)},
    )
    step.next_obs = step.obs
    error = blamed(ScoreError("three"), Function(f, step=True), step)
    assert error.row == 2


def test_a_search_for_the_guilty_hides_no_error() -> None:
    """Alone, or without its carry, a part may raise something else."""

    class Together(Reward):
        def step(self, s: Any, carry: Any, out: Any) -> Any:
            if len(s.first) == 1:
                raise IndexError("alone")
            raise ScoreError("together", part="x")

    with pytest.raises(ScoreError, match=r"part 'x': together$"):
        blame_one(Together())


def blame_one(reward: Reward) -> None:
    reward.declare(granularity="dense")
    feed(started(reward), [1, 2])


def test_what_is_missing_cannot_count_as_something_missing() -> None:
    with pytest.raises(ValueError, match="finite"):
        Meter(parts(), 2, missing=np.nan)


# --- columns --------------------------------------------------------------------------------------


def test_a_list_of_infos_as_columns() -> None:
    columns = InfoColumns([{"a": 1, "b": "x", "c": {"d": 1.0, "e": 0}}, {"a": 2, "c": {"d": 2.0}}])
    assert list(columns) == ["a", "c"]
    assert len(columns) == 2
    assert columns["a"].tolist() == [1, 2]
    assert columns["a"] is columns["a"]
    assert {key: column.tolist() for key, column in columns["c"].items()} == {"d": [1.0, 2.0]}
    with pytest.raises(KeyError):
        columns["b"]


def test_values_of_different_shapes_are_objects() -> None:
    column = column_of([[1, 2], [3]])
    assert column.dtype == object
    assert list(column) == [[1, 2], [3]]


def test_vector_infos_as_columns() -> None:
    info = {
        "a": np.array([1, 0]),
        "_a": np.array([True, False]),
        "b": np.array(["x", None], dtype=object),
        "_b": np.array([True, False]),
        "plain": np.array([1, 2]),
        "_own": 3,
        "c": {"d": np.array([1.0, 0.0]), "_d": np.array([True, False])},
        "_c": np.array([True, False]),
    }
    both, one = (
        VectorColumns(info, np.array([True, True])),
        VectorColumns(info, np.array([True, False])),
    )
    assert list(both) == ["plain", "_own"]
    assert list(one) == ["a", "b", "plain", "_own", "c"]
    assert len(one) == 5
    assert one["b"].tolist() == ["x", "x"]
    assert list(one["c"]) == ["d"]
    with pytest.raises(KeyError):
        both["a"]


def test_what_is_read_includes_what_is_read_if_it_is_there() -> None:
    reward = rs.WeightedSum(
        {"a": EnvReward("x"), "b": Function(lambda obs, y=None: obs, step=True)}
    )
    assert read_by(reward) == {"x", "obs", "y"}


def test_rows_from_another_source() -> None:
    rows = np.array([False, True])
    columns = {"a": np.array([1, 2]), "t": np.array(["x", "y"]), "d": {"e": np.zeros(2)}, "o": 0}
    source = {"a": np.array([3, 4.5]), "t": np.array(["", "long"]), "d": {"e": np.ones(2)}}
    both = Patched(columns, source, rows)
    assert list(both) == ["a", "t", "d"]
    assert len(both) == 3
    assert both["a"].tolist() == [1, 4.5]
    assert both["t"].tolist() == ["x", "long"]
    assert both["d"]["e"].tolist() == [0, 1]
    assert columns["a"].tolist() == [1, 2]  # type: ignore[attr-defined]
    with pytest.raises(KeyError):
        both["o"]
    assert patched({}, source, np.array([True, True])) is source


def test_rows_of_observations_keep_their_type() -> None:
    obs = {"a": np.zeros((2, 3), np.float32), "b": (np.zeros(2, np.uint8), np.array(["", ""]))}
    new = put(obs, np.array([True, False]), [{"a": np.ones(3), "b": (7, "seven")}])
    assert new["a"].dtype == np.float32
    assert new["a"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert new["b"][0].tolist() == [7, 0]
    assert new["b"][1].tolist() == ["seven", ""]
    assert obs["a"].max() == 0  # type: ignore[union-attr]


def test_only_the_innermost_part_that_cannot_act_is_blamed() -> None:
    outcome = rs.reward(lambda completion: 1.0)
    tree = 2 * rs.Product({"a": EnvReward(), "b": outcome})
    with pytest.raises(
        ValueError, match=r"because of of/b: function\([^;]*\)\. Outcomes .*step: true"
    ):
        Meter(tree, 1)


def test_a_plain_function_is_no_reward() -> None:
    with pytest.raises(TypeError, match=r"got function; .*rs\.reward\(step=True\)\(function\)"):
        Meter(lambda obs: obs, 1)


def test_what_the_agent_sees_cannot_be_overwritten() -> None:
    """Observations are the learner's, whatever a reward tries to do with them in place."""

    def near(next_obs: Any) -> Any:
        next_obs /= 10.0
        return next_obs[:, 0]

    for env in (Walk(), vector(2)):
        wrapped = rs.wrap(env, Function(near, step=True))
        wrapped.reset(seed=0)
        with pytest.raises(ScoreError, match="read-only"):
            wrapped.step(wrapped.action_space.sample())
        safe = rs.wrap(env, Function(near, step=True), missing=0.0)
        safe.reset(seed=0)
        obs = safe.step(safe.action_space.sample())[0]
        assert np.asarray(obs).flags.writeable
        assert np.all(np.asarray(obs) == 1.0)
