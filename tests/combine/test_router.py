"""The router: which part scores a row, what is not read, and rows without a part."""

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.laws import ABSTAINED, FAILED, SCORED, dense, outcome

from rewardsmith.combine import Router, gap_weights
from rewardsmith.core.algebra import WeightedSum
from rewardsmith.core.errors import MissingColumn, SpecError
from rewardsmith.core.fingerprint import fingerprint
from rewardsmith.core.function import Function
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.rowcall import MISSING
from rewardsmith.core.rows import RowReward
from rewardsmith.core.scores import Scores
from rewardsmith.core.spec import dumps, loads

TAGS = ("sum", "box", "essay")


def half(x: float) -> float | None:
    if x < 0:
        return None
    if x > 8:
        raise ValueError("too large")
    return x / 2


def square(x: float) -> float:
    return x * x


def third(x: float) -> float:
    return x / 3


def plain(**options: Any) -> Router:
    return Router({"sum": Function(half), "box": Function(square)}, **options)


def rows(tags: list[Any], x: list[float], **columns: Any) -> Rollouts:
    return Rollouts({"task": tags, "x": x, **columns})


class Seen(Reward):
    """Scores each row with its x, and notes the rollouts that it was given."""

    def __init__(self, reads: Any = "row") -> None:
        super().__init__()
        self.reads = reads
        self.seen: list[list[float]] = []
        self.declare(granularity="outcome", scope=reads)

    def forward(self, rollouts: Rollouts) -> Scores:
        self.seen.append(list(rollouts["x"]))
        return Scores.outcome(torch.tensor(rollouts["x"]))


# --- which part -----------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(TAGS), st.integers(-4, 12)), min_size=1, max_size=8))
def test_every_row_is_scored_as_its_part_alone_scores_it(table: list[tuple[str, int]]) -> None:
    parts = {"sum": Function(half), "box": Function(square), "essay": Function(third)}
    rollouts = rows([tag for tag, _ in table], [float(x) for _, x in table])
    scores = Router(parts)(rollouts)
    for i, (tag, _) in enumerate(table):
        alone = parts[tag](rollouts.select([i]))
        assert scores.status[i] == alone.status[0]
        assert scores.values[i] == alone.values[0]
        for name, part in scores.parts.items():
            assert part.status[i] == (alone.status[0] if name == tag else ABSTAINED)
    # The parts are the same, whatever tags a batch holds.
    assert tuple(scores.parts) == TAGS


def test_a_part_is_asked_about_its_own_rows_only() -> None:
    a, b, c = Seen(), Seen(), Seen()
    Router({"sum": a, "box": b, "essay": c})(rows(["sum", "box", "sum"], [1.0, 2.0, 3.0]))
    assert (a.seen, b.seen, c.seen) == ([[1.0, 3.0]], [[2.0]], [])


def test_where_all_rows_are_its_own_a_shared_part_is_evaluated_once() -> None:
    shared = Seen()
    tree = WeightedSum({"whole": shared, "routed": Router({"sum": shared})})
    assert tree(rows(["sum", "sum"], [1.0, 2.0])).values.tolist() == [2.0, 4.0]
    assert shared.seen == [[1.0, 2.0]]


def test_the_row_takes_its_parts_status_and_reason() -> None:
    scores = plain()(rows(["sum", "sum", "sum", "box"], [4.0, -1.0, 9.0, 3.0]))
    assert scores.status.tolist() == [SCORED, ABSTAINED, FAILED, SCORED]
    assert scores.values.tolist() == [2.0, 0.0, 0.0, 9.0]
    assert scores.errors == {2: ("sum", "raised ValueError: too large")}
    assert scores.part("sum").errors == {2: ("", "raised ValueError: too large")}


@pytest.mark.parametrize("tag", ["sums", "", None, 7, 1.0, True, ["sum"]])
def test_a_tag_without_a_part_fails_its_row_and_tells_the_known_ones(tag: Any) -> None:
    # What is no tag is not found under what it is written as.
    written = {"None": "box", "True": "box", "1.0": "box", 1: "box"}
    scores = plain(routes=written)(rows(["sum", tag], [4.0, 3.0]))
    assert scores.status.tolist() == [SCORED, FAILED]
    assert scores.errors[1][0] == ""
    assert repr(tag) in scores.errors[1][1]
    known = "'sum', 'box', 'None', 'True', '1.0', '1'"
    assert scores.errors[1][1].endswith(f"in column 'task'; known tags: {known}")
    by_default = plain(routes=written, default="box")(rows(["sum", tag], [4.0, 3.0]))
    assert by_default.status.tolist() == [SCORED, SCORED]
    assert by_default.values.tolist() == [2.0, 9.0]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_tags_may_be_numbers_and_several_may_share_a_part(kind: Any) -> None:
    router = plain(by="source", routes={0: "sum", 3: "box", 5: "sum"})
    scores = router(Rollouts({"source": kind([0, 3, 5, 3]), "x": [2.0, 2.0, 6.0, 1.0]}))
    assert scores.values.tolist() == [1.0, 4.0, 3.0, 1.0]
    slashed = plain(by="source", routes={"openai/gsm8k": "box"})
    texts = ["openai/gsm8k", "sum"]
    assert slashed(Rollouts({"source": texts, "x": [3.0, 3.0]})).values.tolist() == [9.0, 1.5]


def test_a_nested_column_may_name_the_part() -> None:
    rollouts = Rollouts({"extra": [{"kind": "sum"}, {"kind": "box"}, {}], "x": [2.0, 2.0, 2.0]})
    scores = plain(by="extra.kind")(rollouts)
    assert scores.values.tolist() == [1.0, 4.0, 0.0]
    assert scores.status.tolist() == [SCORED, SCORED, FAILED]


def test_no_rows_are_no_scores() -> None:
    assert len(plain()(rows([], []))) == 0


# --- weights --------------------------------------------------------------------------------------


def test_weights_multiply_and_ones_change_nothing() -> None:
    rollouts = rows(["sum", "box", "sum"], [4.0, 3.0, -1.0])
    scores = plain(weights={"sum": 0.5, "box": 2.0})(rollouts)
    assert scores.values.tolist() == [1.0, 18.0, 0.0]
    assert scores.part("box").values.tolist() == [0.0, 9.0, 0.0]
    plainly = plain()(rollouts)
    neutral = plain(weights=gap_weights({"sum": 0.1, "box": 0.9}, kappa=0.0))(rollouts)
    assert torch.equal(neutral.values, plainly.values)
    assert torch.equal(neutral.status, plainly.status)


accuracies = st.dictionaries(st.sampled_from("abcdefg"), st.floats(0, 1), min_size=1)


@given(accuracies, st.floats(0, 100))
def test_gap_weights_have_mean_one_and_favor_the_weak(
    accuracy: dict[str, float], kappa: float
) -> None:
    weights = gap_weights(accuracy, kappa)
    assert np.mean([*weights.values()]) == pytest.approx(1.0)
    assert all(weight > 0 for weight in weights.values())
    for a in accuracy:
        for b in accuracy:
            if accuracy[a] < accuracy[b]:
                assert weights[a] >= weights[b]
    if kappa == 0:
        assert set(weights.values()) == {1.0}


def test_gap_weights_by_hand() -> None:
    # 1.5 and 2 over their mean 1.75.
    assert gap_weights({"a": 0.5, "b": 0.0}) == pytest.approx({"a": 6 / 7, "b": 8 / 7})


@pytest.mark.parametrize(
    ("accuracy", "kappa", "message"),
    [
        ({}, 1.0, "at least one type"),
        ({"a": 1.01}, 1.0, "accuracy of 'a' is 1.01"),
        ({"a": -0.1}, 1.0, "accuracy of 'a' is -0.1"),
        ({"a": math.nan}, 1.0, "accuracy of 'a' is nan"),
        ({"a": 0.5}, -1.0, "kappa is -1.0"),
        ({"a": 0.5}, math.inf, "kappa is inf"),
    ],
)
def test_gap_weights_refuse(accuracy: dict[str, float], kappa: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gap_weights(accuracy, kappa)


# --- granularity and scope ------------------------------------------------------------------------


class Steps(Reward):
    """Scores every step with its row's x."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(granularity="dense")

    def forward(self, rollouts: Rollouts) -> Scores:
        values = torch.tensor(rollouts["x"])[:, None].expand(-1, rollouts.n_steps)
        return Scores.dense(values, rollouts.mask)


def test_an_outcome_among_dense_parts_lies_on_the_last_action_step() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    columns = {"task": ["sum", "steps", "sum"], "x": [4.0, 1.0, -1.0]}
    router = Router({"sum": Function(half), "steps": Steps()}, weights={"sum": 1.0, "steps": 2.0})
    scores = router(Rollouts(columns, mask=mask))
    assert scores.values.tolist() == [[0.0, 2.0, 0.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]]
    assert scores.at is not None
    assert scores.at.tolist() == [[False, True, False], [True] * 3, [False] * 3]
    assert scores.status.tolist() == [SCORED, SCORED, ABSTAINED]


def test_the_shape_does_not_depend_on_the_tags_of_a_batch() -> None:
    router = Router(
        {"sum": Function(half), "steps": WeightedSum({"each": Steps(), "end": Function(half)})}
    )
    assert router.granularity == "dense"
    only = router(Rollouts({"task": ["sum"], "x": [4.0]}, mask=torch.ones(1, 2, dtype=torch.bool)))
    assert only.values.tolist() == [[0.0, 2.0]]
    both = router(rows(["sum", "steps"], [4.0, 4.0]))
    assert [*dict(only.walk())] == [*dict(both.walk())]
    assert only.part("steps").status.tolist() == [ABSTAINED]
    assert only.part("steps/end").granularity == "outcome"


def test_groups_split_over_parts_fail_where_a_part_compares_them() -> None:
    ranked = Seen("group")
    router = Router({"ranked": ranked, "box": Function(square)})
    assert router.scope == "group"
    tags = ["ranked", "box", "ranked", "ranked", "box"]
    rollouts = Rollouts({"task": tags, "x": [1.0, 2.0, 3.0, 4.0, 5.0]}, group=[7, 7, 8, 8, 9])
    scores = router(rollouts)
    # Group 7 is not whole; its row of the other part compares nothing and keeps its score.
    assert scores.status.tolist() == [FAILED, SCORED, SCORED, SCORED, SCORED]
    assert scores.values.tolist() == [0.0, 4.0, 3.0, 4.0, 25.0]
    assert "part 'ranked' compares the rows of a group" in scores.errors[0][1]
    assert ranked.seen == [[3.0, 4.0]]


def test_a_step_that_failed_is_told_at_its_row() -> None:
    def lame(x: Any) -> Any:
        if x[0] > 1:
            raise ValueError("lame")
        return x

    steps = Function(lame, step=True, on_step_failure="skip")
    x = torch.tensor([[1.0, 1.0], [1.0, 2.0]])
    rollouts = Rollouts({"task": ["other", "steps"], "y": [5.0, 5.0]}, {"x": x})
    scores = Router({"steps": steps, "other": Function(_y)})(rollouts)
    assert scores.failed_at is not None
    assert scores.failed_at.tolist() == [[False, False], [False, True]]
    assert scores.values.tolist() == [[0.0, 5.0], [1.0, 0.0]]


def _y(y: float) -> float:
    return y


def test_diagnostics_of_rows_that_a_part_did_not_see_say_nothing() -> None:
    class Row(RowReward):
        def __init__(self) -> None:
            super().__init__()
            self.by_row(half, ("x",))

    class Told(Seen):
        def forward(self, rollouts: Rollouts) -> Scores:
            scores = super().forward(rollouts)
            n = len(rollouts)
            scores.info = {"flag": np.ones(n, bool), "words": ["a"] * n, "t": torch.ones(n)}
            return scores

    tags = ["sum", "box", "box"]
    scores = Router({"sum": Row(), "box": Told()})(rows(tags, [4.0, 3.0, 2.0]))
    info = scores.part("sum").info
    assert info["origin"].tolist() == [0, -1, -1]
    assert np.isnan(info["seconds"]).tolist() == [False, True, True]
    info = scores.part("box").info
    assert info["flag"].tolist() == [False, True, True]
    assert info["words"] == [None, "a", "a"]
    assert np.isnan(info["t"]).tolist() == [True, False, False]


def test_a_part_surveys_its_own_rows() -> None:
    class Surveyor(Seen):
        def survey(self, rollouts: Rollouts) -> None:
            self.seen.append(list(rollouts["x"]))

    a, b = Surveyor("dataset"), Surveyor("dataset")
    router = WeightedSum({"routed": Router({"a": a, "b": b, "c": Surveyor("dataset")})})
    router.survey(rows(["a", "b", "?", "a"], [1.0, 2.0, 3.0, 4.0]))
    router.survey(rows(["b"], [5.0]))
    assert (a.seen, b.seen) == ([[1.0, 4.0]], [[2.0], [5.0]])


def test_gradients_reach_the_part_that_scored() -> None:
    class Learned(Seen):
        def __init__(self, weight: float) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(weight))

        def forward(self, rollouts: Rollouts) -> Scores:
            return Scores.outcome(self.weight * torch.tensor(rollouts["x"]))

    parts = {"a": Learned(1.0), "b": Learned(1.0)}
    Router(parts)(rows(["a", "b", "a"], [2.0, 5.0, 3.0])).values.sum().backward()
    assert [part.weight.grad for part in parts.values()] == [5.0, 5.0]


# --- the node -------------------------------------------------------------------------------------


def test_its_facts() -> None:
    router = plain()
    assert router.needs == {"task", "x"}
    assert (router.granularity, router.scope, router.acts) == ("outcome", "row", False)
    with pytest.raises(MissingColumn, match="no column 'task', needed by router"):
        router(Rollouts({"x": [1.0]}))


def test_a_tag_per_step_is_refused() -> None:
    steps = Rollouts({"x": [1.0]}, {"task": torch.zeros(1, 1, dtype=torch.int64)})
    with pytest.raises(SpecError, match="column 'task' is per step; a row needs one tag"):
        plain()(steps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"default": "none"}, "no part 'none' to route to; there are"),
        ({"routes": {"a": "none"}}, "no part 'none' to route to"),
        ({"weights": {"sum": 1.0}}, "give each part one"),
        ({"weights": {"sum": 1.0, "box": math.nan}}, "weight of part 'box' is nan"),
    ],
)
def test_what_it_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plain(**options)
    with pytest.raises(ValueError, match="at least one part"):
        Router({})


def test_it_is_written_down_and_travels() -> None:
    router = plain(
        by="source",
        default="sum",
        weights={"sum": 1.0, "box": 2.0},
        routes={3: "box", "a/b": "box"},
    )
    rollouts = Rollouts({"source": [3, "a/b", "?", "3"], "x": [2.0, 3.0, 4.0, 2.0]})
    expected = [8.0, 18.0, 2.0, 8.0]
    again = loads(dumps(router))
    assert repr(again) == repr(router)
    assert fingerprint(again) == fingerprint(router)
    for tree in (router, again, copy.deepcopy(router), pickle.loads(pickle.dumps(router))):
        assert tree(rollouts).values.tolist() == expected


def test_values_behind_another_branch_are_not_read() -> None:
    broken = outcome([1.0], [FAILED])
    broken.scores.values[:] = math.nan
    steps = dense([[1.0]], status=[FAILED])
    router = Router({"good": Function(square), "broken": broken, "steps": steps})
    scores = router(rows(["good", "broken", "steps"], [3.0, 1.0, 1.0]))
    assert scores.total().tolist() == [9.0, 0.0, 0.0]
    assert scores.status.tolist() == [SCORED, FAILED, FAILED]
    assert scores.errors == {1: ("broken", "broke 3"), 2: ("steps", "broke 3")}


# --- rows without the column, routes that contradict ----------------------------------------------


@pytest.mark.parametrize("default", [None, "box"])
@pytest.mark.parametrize("kind", [list, lambda tags: np.array(tags, dtype=object)])
def test_a_row_without_the_column_fails_alone(default: str | None, kind: Any) -> None:
    tags = kind(["sum", MISSING, "box"])
    scores = plain(default=default)(rows(tags, [4.0, 4.0, 4.0]))
    assert scores.status.tolist() == [SCORED, FAILED, SCORED]
    assert scores.values.tolist() == [2.0, 0.0, 16.0]
    assert scores.errors == {1: ("", "this row has no column 'task'")}
    assert scores.part("box").status[1] == ABSTAINED


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ({"sum": "box"}, "'sum', which is a part's own name, to part 'box'"),
        ({"7": "box", 7: "sum"}, "the tag '7' twice"),
        ({7: "box", "7": "box"}, "the tag '7' twice"),
    ],
)
def test_routes_that_contradict_are_refused(routes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plain(routes=routes)


def test_a_route_to_a_parts_own_name_changes_nothing() -> None:
    assert plain(routes={"sum": "sum"})(rows(["sum", "box"], [4.0, 3.0])).values.tolist() == [2, 9]
