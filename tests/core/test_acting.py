"""The law of acting, for every reward of the catalog that claims to act."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from tests import laws

from rewardsmith.core import algebra, gate
from rewardsmith.core.acting import Step, Terms, check_finite, scan, step_of
from rewardsmith.core.catalog import find, methods
from rewardsmith.core.errors import MissingColumn, ScoreError
from rewardsmith.core.function import Function
from rewardsmith.core.outcome import Status
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.pointwise import Bounded, Clip, Symlog
from rewardsmith.transforms.potential import PotentialShaping

pytestmark = pytest.mark.filterwarnings(laws.TYPE_CHECKS)
CASES = [(name, i) for name, trees in laws.ACTING.items() for i in range(len(trees))]


@pytest.mark.parametrize(("name", "i"), CASES)
@example(laws.mixed_rollouts("dict"), laws.mixed_rollouts("dict", 1))
@given(rollouts=laws.control_rollouts(), earlier=laws.control_rollouts())
@settings(max_examples=5)
def test_scanning_step_equals_forward(
    name: str, i: int, rollouts: Rollouts, earlier: Rollouts
) -> None:
    laws.assert_step_equals_forward(laws.prepared(laws.ACTING[name][i](), earlier), rollouts)


@given(
    reward=laws.acting_trees(),
    rollouts=laws.control_rollouts(),
    earlier=laws.control_rollouts(),
)
@settings(max_examples=30)
def test_scanning_step_equals_forward_in_nested_trees(
    reward: Reward, rollouts: Rollouts, earlier: Rollouts
) -> None:
    laws.assert_step_equals_forward(laws.prepared(reward, earlier), rollouts)


def test_every_acting_method_is_held_to_the_law() -> None:
    acting = {
        entry.name
        for entry in methods()
        if isinstance(kind := find(entry.name), type)
        and issubclass(kind, Reward)
        and kind.step is not Reward.step
    }
    assert acting == laws.ACTING.keys()


@pytest.mark.parametrize(("name", "i"), CASES)
def test_the_cases_are_what_they_say(name: str, i: int) -> None:
    reward = laws.ACTING[name][i]()
    assert reward.method_name == name
    assert reward.acts


def one_row(**steps: list[float]) -> Rollouts:
    return Rollouts(steps={name: torch.tensor([column]) for name, column in steps.items()})


@pytest.mark.parametrize(
    "tree",
    [
        laws.outcome([1.0]),
        algebra.WeightedSum({"a": EnvReward(), "b": laws.outcome([1.0])}),
        algebra.Product({"a": EnvReward(), "b": laws.outcome([1.0])}),
        gate.Gate(laws.outcome([1.0]), EnvReward(), 0.0),
        PotentialShaping(EnvReward(), laws.with_action, 1.0, "look_ahead"),
        Function(lambda completion: 1.0),
    ],
    ids=lambda tree: tree.label(),
)
def test_what_cannot_act_says_so(tree: Reward) -> None:
    assert not tree.acts
    with pytest.raises(ValueError, match="cannot be computed while acting"):
        scan(tree, one_row(env_reward=[1.0]))


def test_the_deepest_part_that_is_not_finite_is_named() -> None:
    bad = Function(lambda env_reward: np.log(env_reward - 1.0), step=True)
    tree = algebra.WeightedSum({"fine": EnvReward(), "sub": algebra.Scale(Clip(bad), 2.0)})
    rollouts = Rollouts(steps={"env_reward": torch.tensor([[2.0, 3.0], [2.0, 0.5]])})
    with np.errstate(all="ignore"), pytest.raises(ScoreError) as caught:
        scan(tree, rollouts)
    assert (caught.value.part, caught.value.row) == ("sub/of/of", 1)
    assert str(caught.value).startswith("part 'sub/of/of', row 1: bad_value: nan")


def test_a_root_that_is_not_finite_is_named_where_its_parts_are() -> None:
    out = Terms()
    out["a"] = np.ones(2)
    with pytest.raises(ScoreError, match="the reward, row 1: bad_value: inf"):
        check_finite(np.array([1.0, np.inf]), out, np.ones(2, dtype=bool))


def test_what_dummy_steps_give_is_not_looked_at() -> None:
    out = Terms()
    check_finite(np.array([1.0, np.nan]), out, np.array([True, False]))


def test_a_function_that_raises_while_acting_tells_its_part() -> None:
    def broken(action: object) -> object:
        raise KeyError("door")

    def short(action: np.ndarray) -> np.ndarray:
        return action[:0]

    for call, told in ((broken, "failed: raised KeyError: 'door'"), (short, "array of shape [0]")):
        tree = algebra.Scale(Function(call, step=True), 2.0)
        with pytest.raises(ScoreError) as caught:
            scan(tree, one_row(action=[1.0]))
        assert caught.value.part == "of"
        assert told in str(caught.value)


@pytest.mark.parametrize(
    ("reward", "name"),
    [
        (EnvReward(), "env_reward"),
        (EnvReward("speed"), "speed"),
        (laws.ACTING["count_bonus"][0](), "next_obs"),
        (laws.ACTING["count_bonus"][1](), "x"),
        (Function(laws.effort, step=True), "action"),
        (Function(laws.progress, step=True), "x"),
        (PotentialShaping(EnvReward(), laws.height, 1.0), "terminated"),
        (algebra.Scale(EnvReward("depth"), 2.0), "depth"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.label(),
)
def test_a_missing_column_is_named_on_both_ways(reward: Reward, name: str) -> None:
    present = {"truncated": torch.zeros(2, 3, dtype=torch.bool)}
    if name not in ("env_reward",):
        present["env_reward"] = torch.zeros(2, 3)
    rollouts = Rollouts(steps=present)
    for score in (reward, lambda r: scan(reward, r)):
        with pytest.raises(MissingColumn) as caught:
            score(rollouts)
        assert caught.value.name == name
        assert caught.value.needed_by
        assert "truncated" in caught.value.present


def test_optional_columns_are_read_only_if_they_are_there() -> None:
    def pay(env_reward: np.ndarray, action: np.ndarray | None = None) -> np.ndarray:
        return env_reward if action is None else env_reward + action

    reward = Function(pay, step=True)
    bare, full = one_row(env_reward=[1.0, 2.0]), one_row(env_reward=[1.0, 2.0], action=[3.0, 4.0])
    for score in (reward, lambda r: scan(reward, r)):
        assert score(bare).values.tolist() == [[1.0, 2.0]]
        assert score(full).values.tolist() == [[4.0, 6.0]]


def test_any_column_per_step_can_be_read_while_stepping() -> None:
    # Columns that no environment step has a field for: of language models, or of a data set.
    reward = algebra.WeightedSum(
        {"logprob": Function(lambda logprob: -logprob, step=True), "col": EnvReward("margin")}
    )
    laws.assert_step_equals_forward(reward, one_row(logprob=[-1.0, -2.0], margin=[0.5, 0.25]))


def test_a_step_knows_both_moments() -> None:
    rollouts = Rollouts(
        steps={
            "obs": torch.tensor([[1, 2]]),
            "next_obs": torch.tensor([[2, 3]]),
            "info": {"x": torch.tensor([[5, 6]])},
            "prev_info": {"x": torch.tensor([[4, 5]])},
        }
    )
    s = step_of(rollouts, 1)
    assert isinstance(s, Step)
    assert (s.before("obs"), s.after("obs"), s.before("x"), s.after("x")) == (2, 3, 5, 6)
    assert s.column("x") == 6
    with pytest.raises(MissingColumn, match="no column 'y', needed by me; columns present: "):
        s.after("y", needed_by="me")


def test_read_only_arrays_do_not_warn() -> None:
    # What np.broadcast_to and environments on other array libraries return.
    half = Function(lambda action: np.broadcast_to(0.5, action.shape), step=True)
    values = scan(Clip(half, -1.0, 0.25), one_row(action=[1.0, 2.0])).values
    assert values.tolist() == [[0.25, 0.25]]


HIDING = {
    "gate": lambda bad: gate.Gate(bad, EnvReward(), 0.5),
    "open gate": lambda bad: gate.Gate(bad, EnvReward(), -0.5, accumulate=True),
    "min": lambda bad: algebra.Min({"bad": bad, "env": EnvReward()}),
    "clip": lambda bad: Clip(bad, -1.0, 1.0),
    "bounded": lambda bad: Bounded(bad),
    "symlog": lambda bad: Symlog(bad),
    "sum": lambda bad: algebra.WeightedSum({"bad": bad, "env": EnvReward()}),
}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", HIDING)
def test_what_is_no_number_stays_none(name: str, number: float) -> None:
    """A clip of infinity, or a gate that NaN does not open, would be an ordinary reward."""

    def bad(env_reward: Any) -> Any:
        return np.where(env_reward > 0, number, 1.0)

    reward = HIDING[name](Function(bad, step=True))
    rollouts = Rollouts(steps={"env_reward": torch.tensor([[0.0, 1.0], [0.0, 0.0]])})
    assert reward(rollouts).status.tolist() == [Status.BAD_VALUE, Status.SCORED]
    values, _ = reward.step(step_of(rollouts, 1), reward.start(2), Terms())
    assert np.isfinite(values).tolist() == [False, True]


def test_a_closed_gate_reads_nothing_behind_it() -> None:
    """As on whole rollouts, what broke behind a closed gate does no harm."""
    broken = Function(lambda env_reward: np.full(len(env_reward), np.nan), step=True)
    reward = gate.Gate(EnvReward(), broken, 0.5)
    rollouts = Rollouts(steps={"env_reward": torch.zeros(2, 1)})
    assert reward(rollouts).status.tolist() == [Status.SCORED] * 2
    assert reward.step(step_of(rollouts, 0), reward.start(2), Terms())[0].tolist() == [0.0, 0.0]


def test_a_function_of_the_wrong_axis_scores_nothing() -> None:
    """Four numbers of four rows, and none of them a row's own."""
    rollouts = Rollouts(steps={"obs": torch.arange(9.0).reshape(3, 1, 3)})
    for node in (
        Function(lambda obs: obs[1], step=True),
        PotentialShaping(EnvReward("obs", index=0), lambda obs: obs[1], 0.9),
    ):
        if isinstance(node, PotentialShaping):
            ends = {"terminated": torch.zeros(3, 1, dtype=torch.bool), "next_obs": rollouts["obs"]}
            rollouts = Rollouts(steps={**rollouts.steps, **ends})
        scores = node(rollouts)
        assert scores.status.tolist() == [Status.BAD_VALUE] * 3
        assert "write obs[:, 2], not obs[2]" in scores.errors[0][1]
    right = Function(lambda obs: obs[:, 1], step=True)(rollouts)
    assert right.values[:, 0].tolist() == [1.0, 4.0, 7.0]


@pytest.mark.parametrize("policy", ["row", "skip"])
def test_a_row_whose_every_step_broke_has_not_abstained(policy: Any) -> None:
    def judge(env_reward: Any) -> Any:
        if (env_reward > 0).any():
            raise RuntimeError("no answer")
        return env_reward

    rollouts = Rollouts(steps={"env_reward": torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])})
    scores = Function(judge, step=True, on_step_failure=policy)(rollouts)
    skipped = Status.SCORED if policy == "skip" else Status.FAILED
    assert scores.status.tolist() == [Status.FAILED, skipped, Status.SCORED]
    assert "no answer" in scores.errors[0][1]
