"""VeRPO as a reward: marks in, two parts out, statuses kept, pass rates remembered by task."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rewardsmith as rs
from rewardsmith.core.errors import MissingColumn
from rewardsmith.core.learning import learn
from rewardsmith.core.outcome import Status
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rows import RowReward
from rewardsmith.core.scores import Scores
from rewardsmith.core.spec import dumps, loads
from rewardsmith.ops.difficulty import (
    difficulty_weights,
    local_reward,
    outcome_reward,
)
from rewardsmith.policy.advantages import discounted_returns
from rewardsmith.rules.verdict import Verdict
from rewardsmith.signals import VeRPO
from rewardsmith.signals._groups import Reading


def grade(completion: str) -> Any:
    """The completion says what its tests will do."""
    if completion == "broken":
        raise RuntimeError("no sandbox")
    if completion == "slow":
        raise TimeoutError
    if completion == "nothing":
        return None
    if completion == "mute":
        return 1.0
    return Verdict(float(set(completion) == {"."}), f"{completion} as it says")


class Tests(RowReward):
    """A reward that tells marks."""

    __test__ = False

    def __init__(self) -> None:
        super().__init__()
        self.by_row(grade, ("completion",))


def rollouts(completions: list[str], group: list[Any] | None = None, **columns: Any) -> Rollouts:
    group = [0] * len(completions) if group is None else group
    return Rollouts({"completion": completions, **columns}, group=group)


def passed(completions: list[str]) -> torch.Tensor:
    return torch.tensor([[mark == "." for mark in row] for row in completions])


def rates(reward: VeRPO) -> dict[Any, list[float]]:
    return {task: known.rates for task, known in reward.memory.items()}


SAID = ["...F", "..FF", ".FF.", "...T", "..CF", "FFFF", "....", "...F"]


# --- values ---------------------------------------------------------------------------------------


def test_it_is_the_outcome_plus_the_weight_of_passed_tests() -> None:
    scores = VeRPO(Tests(), beta=0.5)(rollouts(SAID))
    marks = passed(SAID)
    weights = difficulty_weights(marks)
    local, outcome = local_reward(marks, weights), outcome_reward(marks)
    torch.testing.assert_close(scores.values.double(), outcome + 0.5 * local, rtol=0, atol=1e-6)
    assert scores.parts["global"].values.tolist() == outcome.tolist() == [0.0] * 6 + [1.0, 0.0]
    torch.testing.assert_close(scores.parts["local"].values, local.float())
    assert scores.parts["tests"].info["why"][3] == "...T as it says"
    assert scores.info["timeouts"].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert all(told == weights.tolist() for told in scores.info["test_weights"])


def test_groups_are_weighed_apart_wherever_their_rows_lie() -> None:
    first, second = SAID, ["FF", ".F", ".F", ".."]
    mixed = [*first[:3], second[0], second[1], *first[3:], *second[2:]]
    group = ["a"] * 3 + ["b"] * 2 + ["a"] * 5 + ["b"] * 2
    reward = VeRPO(Tests(), beta=2.0, hardness="exp", tau=0.3, bandwidth=None)
    together = reward(rollouts(mixed, group))
    where = torch.tensor([name == "a" for name in group])
    assert torch.equal(together.values[where], reward(rollouts(first)).values)
    assert torch.equal(together.values[~where], reward(rollouts(second)).values)


def test_options_reach_the_weights() -> None:
    for options in (
        {"bandwidth": None},
        {"hardness": "constant"},
        {"hardness": "exp", "tau": 0.1},
        {"drop_unsolved": True},
    ):
        said = ["..F", ".FF", ".FF", "..F"]
        local = VeRPO(Tests(), **options)(rollouts(said)).parts["local"].values
        marks = passed(said)
        expected = local_reward(marks, difficulty_weights(marks, **options))
        torch.testing.assert_close(local, expected.float())


@given(st.permutations(range(12)), st.permutations(range(4)), st.booleans())
def test_nothing_depends_on_the_order_of_rows_and_tests(
    rows: list[int], tests: list[int], drop: bool
) -> None:
    said = [*SAID, "..F.", "FF.F", "...F", "F..F"]
    group = [0, 1, 0, 1, 0, 1, 0, 1, 2, 2, 2, 2]
    moved = ["".join(said[row][j] for j in tests) for row in rows]
    reward = VeRPO(Tests(), drop_unsolved=drop)
    before = reward(rollouts(said, group))
    after = reward(rollouts(moved, [group[row] for row in rows]))
    torch.testing.assert_close(after.values, before.values[rows])
    for i, row in enumerate(rows):
        weights = before.info["test_weights"][row]
        assert after.info["test_weights"][i] == pytest.approx([weights[j] for j in tests])


def test_it_lies_between_0_and_1_and_beta() -> None:
    values = VeRPO(Tests(), beta=3.0)(rollouts(SAID)).values
    assert (float(values.min()), float(values.max())) == (0.0, 4.0)


def test_it_asks_for_whole_groups() -> None:
    reward = VeRPO(Tests())
    assert (reward.scope, reward.granularity) == ("group", "outcome")
    assert reward.needs == {"completion"}
    reward = VeRPO(Tests(), momentum=0.5, task="problem", names="tests")
    assert reward.needs == {"completion", "problem", "tests"}


def test_it_is_written_and_read_back() -> None:
    tests = rs.WeightedMean({"a": rs.signals.Pattern("x"), "b": rs.signals.Pattern("y")})
    reward = VeRPO(tests, beta=0.25, hardness="exp", bandwidth=None, momentum=0.9)
    again = loads(dumps(reward))
    assert dumps(again) == dumps(reward)
    data = rollouts(["x", "y", "xy", ""], task=["t"] * 4)
    assert torch.equal(again(data).values, reward(data).values)


# --- rubrics: criteria for tests ------------------------------------------------------------------


def test_the_criteria_of_a_rubric_are_weighed_as_tests_are() -> None:
    criteria = {name: rs.signals.Pattern(name) for name in ("polite", "short", "cited", "balanced")}
    said = ["polite short cited", "polite short", "polite", "polite balanced", "polite short"]
    scores = VeRPO(rs.WeightedMean(criteria))(rollouts(said))
    marks = torch.tensor([[name in text for name in criteria] for text in said])
    expected = local_reward(marks, difficulty_weights(marks))
    torch.testing.assert_close(scores.parts["local"].values, expected.float())
    # What everybody does is worth nothing; what one in five does is worth most.
    assert scores.info["test_weights"][0][0] == 0.0
    assert scores.parts["tests"].parts["cited"].values.tolist() == [1.0, 0, 0, 0, 0]


def test_a_criterion_may_be_met_in_part_but_not_beyond_it() -> None:
    def met(completion: str) -> float:
        return {"none": 0.0, "half": 0.5, "full": 1.0, "over": 1.5}[completion]

    rubric = rs.WeightedSum({"met": rs.reward(met), "any": rs.signals.Pattern(".")})
    scores = VeRPO(rubric)(rollouts(["none", "half", "full", "over"]))
    assert scores.parts["local"].values[:3].tolist() == [0.0, 0.5, 1.0]
    assert scores.parts["global"].values[:3].tolist() == [0.0, 0.0, 1.0]
    assert scores.status.tolist() == [0, 0, 0, Status.BAD_VALUE]
    assert scores.errors[3] == ("", "criterion 'met' is 1.5, not within 0 and 1")


def test_a_row_without_one_of_its_criteria_is_not_compared() -> None:
    def judged(completion: str) -> float | None:
        return None if completion == "b" else 1.0

    rubric = rs.WeightedMean({"judged": rs.reward(judged), "a": rs.signals.Pattern("a")})
    scores = VeRPO(rubric)(rollouts(["a", "b", "c"]))
    assert scores.status.tolist() == [0, Status.ABSTAINED, 0]
    assert not scores.errors
    assert scores.info["test_weights"][1] is None
    assert scores.info["test_weights"][0] == [0.0, 1.0]


def test_positive_weights_of_a_rubric_have_no_say() -> None:
    parts = {"a": rs.signals.Pattern("a"), "b": rs.signals.Pattern("b")}
    data = rollouts(["a", "b", "ab", "a"])
    plain = VeRPO(rs.WeightedMean(parts))(data).values
    for kind in (rs.WeightedMean, rs.WeightedSum):
        assert torch.equal(VeRPO(kind(parts, {"a": 5.0, "b": 0.1}))(data).values, plain)


@pytest.mark.parametrize("weight", [-1.0, 0.0])
def test_a_criterion_that_takes_away_is_refused(weight: float) -> None:
    parts = {"correct": rs.signals.Pattern("a"), "penalty": rs.signals.Pattern("b")}
    rubric = rs.WeightedSum(parts, {"correct": 1.0, "penalty": weight})
    with pytest.raises(ValueError, match=f"criterion 'penalty' has the weight {weight:g}"):
        VeRPO(rubric)
    # A penalty that is turned round is a criterion: what does not say b is better.
    turned = rs.WeightedSum({"correct": parts["correct"], "clean": 1.0 - parts["penalty"]})
    scores = VeRPO(turned)(rollouts(["a", "ab", "b", ""]))
    assert scores.values.tolist() == pytest.approx([1.5, 0.25, 0.0, 0.25])


def test_all_faults_of_a_rubric_in_one_batch() -> None:
    def first(completion: str) -> float | None:
        return {"n": None, "x": 2.0, "z": float("nan")}.get(completion, 0.5)

    def second(completion: str) -> float | None:
        return {"n": -1.0, "y": -0.5, "q": None}.get(completion, 1.0)

    rubric = rs.WeightedMean({"first": rs.reward(first), "second": rs.reward(second)})
    scores = VeRPO(rubric)(rollouts(["a", "n", "x", "y", "z", "q", "b"]))
    bad, no = Status.BAD_VALUE, Status.ABSTAINED
    assert scores.status.tolist() == [0, no, bad, bad, bad, no, 0]
    assert scores.errors == {
        2: ("", "criterion 'first' is 2, not within 0 and 1"),
        3: ("", "criterion 'second' is -0.5, not within 0 and 1"),
        4: ("tests/first", "returned nan"),
    }
    assert scores.info["test_weights"][6] == [1.0, 0.0]


# --- rows without marks ---------------------------------------------------------------------------


def test_rows_that_could_not_be_tested_are_missing_and_count_in_no_rate() -> None:
    said = [*SAID, "broken", "slow", "nothing", "..?."]
    scores = VeRPO(Tests())(rollouts(said))
    assert scores.status.tolist() == [0] * 8 + [
        Status.FAILED,
        Status.TIMEOUT,
        Status.ABSTAINED,
        Status.FAILED,
    ]
    assert torch.equal(scores.values[:8], VeRPO(Tests())(rollouts(SAID)).values)
    assert scores.errors[8] == ("tests", "raised RuntimeError: no sandbox")
    assert scores.errors[11] == ("", "test 3 could not be run")
    assert scores.info["test_weights"][8] is None
    # The child's own scores stay as they were.
    assert scores.parts["tests"].status[11] == Status.SCORED
    for part in ("global", "local"):
        assert torch.equal(scores.parts[part].status, scores.status)


def test_a_reward_that_tells_no_marks_fails_its_rows() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = VeRPO(Tests())(rollouts(["mute", "mute"]))
        clipped = VeRPO(rs.transforms.Clip(Tests()))(rollouts(["..", ".F"]))
    for found in (scores, clipped):
        assert found.status.tolist() == [Status.FAILED] * 2
        assert found.errors[0][1].startswith("`tests` tells no marks: ")


def test_a_group_with_different_numbers_of_tests_fails() -> None:
    scores = VeRPO(Tests())(rollouts(["..", "...", ".F", "F."], ["a", "a", "b", "b"]))
    assert scores.status.tolist() == [Status.FAILED] * 2 + [0, 0]
    message = "the rows of its group have different numbers of tests, 2 and 3"
    assert scores.errors == {0: ("", message), 1: ("", message)}


def test_a_group_with_different_tests_fails_where_they_are_named() -> None:
    data = rollouts(
        ["..", ".F", ".F", "F."], ["a", "a", "b", "b"], tests=[[1, 2], [1, 3], [4], [4]]
    )
    assert VeRPO(Tests())(data).status.tolist() == [0] * 4
    scores = VeRPO(Tests(), names="tests")(data)
    assert scores.status.tolist() == [Status.FAILED] * 2 + [0, 0]
    assert scores.errors[0] == ("", "the rows of its group have different tests")
    with pytest.raises(MissingColumn, match=r"no column 'nope', needed by verpo\("):
        VeRPO(Tests(), names="nope")(data)


def test_a_group_of_one_weighs_all_tests_the_same_and_warns() -> None:
    with pytest.warns(UserWarning, match="2 of 3 groups have one row with a score"):
        scores = VeRPO(Tests())(
            rollouts(["..F.", "F.", "broken", ".F", ".."], ["a", "b", "b", "c", "c"])
        )
    assert scores.parts["local"].values.tolist() == [0.75, 0.5, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    "score",
    [
        lambda reward, data: reward(data),
        lambda reward, data: (reward + 1.0)(data),
        lambda reward, data: rs.WeightedSum({"a": reward + 1.0, "b": Tests()})(data),
        learn,
    ],
)
def test_the_warning_names_the_line_that_scored(score: Any) -> None:
    with pytest.warns(UserWarning, match="1 of 1 groups") as told:
        score(VeRPO(Tests()), rollouts([".F"]))
    assert [warning.filename for warning in told] == [__file__]


def test_nothing_to_compare() -> None:
    scores = VeRPO(Tests())(rollouts(["broken", "broken"]))
    assert scores.status.tolist() == [Status.FAILED] * 2


# --- by turn --------------------------------------------------------------------------------------


def test_turns_are_scored_by_segments() -> None:
    """Two rollouts of two turns, two steps each; what is tested is what a turn wrote."""
    spans = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1]])
    data = Rollouts(
        {"rollout_id": [0, 1]},
        {"token": torch.zeros(2, 4)},
        group=["a", "a"],
        spans={"turn": spans},
    )
    segments = data.segments("turn")
    said = {(0, 0): ".F", (0, 1): "..", (1, 0): "FF", (1, 1): ".F"}
    pairs = zip(segments["rollout"].tolist(), segments["segment"].tolist(), strict=True)
    segments.rows["completion"] = [said[pair] for pair in pairs]
    scores = VeRPO(Tests(), beta=1.0)(segments)
    dense = scores.parts["local"].onto(data, "turn")
    # Pass rates of 3/4 and 1/4 over the four submissions.
    assert dense.values.tolist() == [[0.0, 0.25, 0.0, 1.0], [0.0, 0.0, 0.0, 0.25]]
    assert dense.at is not None
    assert dense.at.tolist() == [[False, True, False, True]] * 2
    lent = discounted_returns(dense.values, dense.at, gamma=0.5)
    assert lent.tolist() == [[0.0, 0.75, 0.0, 1.0], [0.0, 0.125, 0.0, 0.25]]


# --- what is remembered of a task -----------------------------------------------------------------


def test_pass_rates_of_a_task_outlive_the_batch() -> None:
    reward = VeRPO(Tests(), momentum=0.75)
    first = rollouts([".F", ".F", "..", "FF"], task=["t"] * 4)
    scores, metrics = learn(reward, first)
    assert torch.equal(scores.values, VeRPO(Tests())(first).values)
    assert rates(reward) == {"t": [0.75, 0.25]}
    assert metrics == {"pass_rate": 0.5, "unsolved": 0.0}
    second = rollouts(["F.", "F."], task=["t"] * 2)
    scores, metrics = learn(reward, second)
    # 3/4 of what was, 1/4 of what is: rates 9/16 and 7/16.
    assert rates(reward)["t"] == pytest.approx([0.5625, 0.4375])
    assert scores.info["test_weights"][0] == pytest.approx([0.4375, 0.5625])
    assert metrics == {"pass_rate": 0.5, "unsolved": 0.5}
    # Scoring alone changes nothing.
    before = rates(reward)
    assert torch.equal(reward(first).values, reward(first).values)
    assert rates(reward) == before


def test_without_momentum_nothing_is_remembered() -> None:
    reward = VeRPO(Tests())
    learn(reward, rollouts(SAID))
    assert rates(reward) == {}
    assert reward.get_extra_state() == {}


def test_what_is_remembered_gives_a_group_of_one_its_weights() -> None:
    reward = VeRPO(Tests(), momentum=0.5)
    learn(reward, rollouts([".F", ".F", "..", ".F"], task=["t"] * 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = reward(rollouts([".F"], task=["t"]))
    assert scores.info["test_weights"][0] == pytest.approx([0.0, 1.0])
    with pytest.warns(UserWarning, match="1 of 1 groups"):
        reward(rollouts([".F"], task=["other"]))


def test_groups_of_one_task_are_remembered_together() -> None:
    reward = VeRPO(Tests(), momentum=0.5)
    data = rollouts([".F", ".F", "FF", "FF"], ["a", "a", "b", "b"], task=[5, 5, 5, 5])
    learn(reward, data)
    assert rates(reward) == {5: [0.5, 0.0]}
    tensor = rollouts([".F", ".F", "FF", "FF"], ["a", "a", "b", "b"], task=torch.tensor([5] * 4))
    assert torch.equal(reward(tensor).values, reward(data).values)


def test_the_memory_is_saved_and_read_back() -> None:
    reward, again = (VeRPO(Tests(), momentum=0.5) for _ in range(2))
    data = rollouts(SAID, task=["t"] * 8)
    learn(reward, data)
    again.load_state_dict(reward.state_dict())
    assert rates(again) == rates(reward)
    other = rollouts(["F..."] * 8, task=["t"] * 8)
    learn(reward, other)
    # A copy, which did not move along.
    assert rates(again) != rates(reward)
    learn(again, other)
    assert rates(again) == rates(reward)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (["t", "s"], "the rows of its group have different tasks"),
        ([1.5, 1.5], "its task is float 1.5, not a text or an integer"),
        ([["t"], ["t"]], "its task is list ['t'], not a text or an integer"),
        (["t", "t"], "task 't' has 2 tests here and had 3 before"),
    ],
)
def test_tasks_that_cannot_be_remembered_fail_their_group(tasks: list[Any], message: str) -> None:
    reward = VeRPO(Tests(), momentum=0.5)
    learn(reward, rollouts(["...", "..F"], task=["t"] * 2))
    scores, _ = learn(reward, rollouts([".F", "F."], task=tasks))
    assert scores.status.tolist() == [Status.FAILED] * 2
    assert scores.errors[0] == ("", message)
    assert rates(reward) == {"t": [1.0, 1.0, 0.5]}


def test_a_task_has_one_number_of_tests_in_a_batch() -> None:
    reward = VeRPO(Tests(), momentum=0.5)
    data = rollouts([".F", "..", "...", "..."], ["a", "a", "b", "b"], task=["t"] * 4)
    scores, _ = learn(reward, data)
    assert scores.status.tolist() == [0, 0, Status.FAILED, Status.FAILED]
    assert rates(reward) == {"t": [1.0, 0.5]}


def named(completions: list[str], tests: Any, group: list[Any] | None = None) -> Rollouts:
    n = len(completions)
    tests = tests if isinstance(tests, list) else [tests] * n
    return rollouts(completions, group, task=["t"] * n, tests=tests)


def test_other_tests_of_a_task_begin_its_memory_anew() -> None:
    reward = VeRPO(Tests(), momentum=0.5, names="tests")
    learn(reward, named([".F", ".F", "..", "FF"], "abc"))
    assert rates(reward) == {"t": [0.75, 0.25]}
    same = reward(named(["F."] * 2, "abc"))
    assert same.info["test_weights"][0] == pytest.approx([0.625 / 1.0, 0.375 / 1.0])
    other = named(["F.", "..", "FF", "FF"], "xyz")
    scores, _ = learn(reward, other)
    assert torch.equal(scores.values, VeRPO(Tests())(other).values)
    assert rates(reward) == {"t": [0.25, 0.5]}
    # As many as the new tests are is no matter either.
    learn(reward, named(["...", "..F"], "four"))
    assert rates(reward) == {"t": [1.0, 1.0, 0.5]}
    # A group of one has no weights of tests that are not its own.
    with pytest.warns(UserWarning, match="1 of 1 groups"):
        reward(named(["..F"], "five"))
    again = VeRPO(Tests(), momentum=0.5, names="tests")
    again.load_state_dict(reward.state_dict())
    assert again.memory == reward.memory
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again(named(["..F"], "four"))


def test_without_names_tests_are_told_by_their_number_only() -> None:
    reward = VeRPO(Tests(), momentum=0.5)
    learn(reward, named([".F", ".F", "..", "FF"], "abc"))
    learn(reward, named(["F.", "..", "FF", "FF"], "xyz"))
    assert rates(reward) == {"t": [0.5, 0.375]}


def test_a_task_has_one_set_of_tests_in_a_batch() -> None:
    reward = VeRPO(Tests(), momentum=0.5, names="tests")
    tests = [[1, 2], [1, 2], [1, 3], [1, 3]]
    scores, _ = learn(reward, named([".F", "..", "..", ".."], tests, ["a", "a", "b", "b"]))
    assert scores.status.tolist() == [0, 0, Status.FAILED, Status.FAILED]
    message = "task 't' has other tests here than in another group of the batch"
    assert scores.errors[2] == ("", message)
    assert rates(reward) == {"t": [1.0, 0.5]}
    # What the memory refuses is not what the other groups of the batch are held to.
    data = named(["...", "...", "..", ".."], [[1, 2]] * 4, ["a", "a", "b", "b"])
    assert reward(data).status.tolist() == [Status.FAILED, Status.FAILED, 0, 0]


def test_rows_that_lack_their_task_fail() -> None:
    data = Rollouts({"completion": [".F", ".."], "meta": [{"task": "t"}, {}]}, group=[0, 0])
    scores = VeRPO(Tests(), momentum=0.5, task="meta.task")(data)
    assert scores.errors[0] == ("", "a row of its group does not name its tasks")


# --- what is refused ------------------------------------------------------------------------------


class Dense(Reward):
    """Scores steps."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(granularity="dense")

    def forward(self, rollouts: Rollouts) -> Scores:
        return Scores.dense(torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -0.5}, r"beta is -0\.5"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"tau": 0.0}, r"tau is 0\.0"),
        ({"bandwidth": -1.0}, r"bandwidth is -1\.0"),
        ({"momentum": 1.0}, r"momentum is 1\.0"),
        ({"momentum": float("nan")}, "momentum is nan"),
        ({"tests": Dense()}, "scores steps"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VeRPO(**{"tests": Tests()} | options)


def test_it_scales() -> None:
    rng = np.random.default_rng(0)
    said = ["".join(rng.choice([".", "F"], 40)) for _ in range(4000)]
    scores = VeRPO(Tests())(rollouts(said, [i // 8 for i in range(4000)]))
    assert scores.scored.all()


def test_a_rubric_is_read_by_criteria_and_not_by_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    rubric = rs.WeightedMean({name: rs.signals.Pattern(name) for name in "abc"})
    data = rollouts(["a", "b", "ab", "abc"] * 50, [i // 4 for i in range(200)])
    scores, asked = rubric(data), []
    total = Scores.total
    monkeypatch.setattr(Scores, "total", lambda self: asked.append(self) or total(self))
    read = Reading(rubric, scores)
    assert len(asked) == 3
    assert [read.marks[row] for row in (0, 3)] == [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
