import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.samplers.filtered import FilteredSampler, differing
from rewardsmith.samplers.prompts import PromptSampler, Shuffled

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), max_size=16
)


def arrays(rows):
    group, values, scored = zip(*rows, strict=True) if rows else ((), (), ())
    return np.array(values, dtype=np.float64), list(group), np.array(scored, dtype=np.bool_)


@given(rows=ROWS)
@settings(max_examples=100)
def test_a_group_differs_if_two_of_its_scores_do(rows):
    values, group, scored = arrays(rows)
    wanted = [
        len({v for v, g, s in zip(values, group, scored, strict=True) if g == mine and s}) > 1
        for mine in group
    ]
    assert differing(values, group, scored).tolist() == wanted


@given(rows=ROWS, scale=st.sampled_from([1e-30, 1e-3, 1e3, 1e300]))
@settings(max_examples=50)
def test_the_unit_of_the_scores_does_not_matter(rows, scale):
    values, group, scored = arrays(rows)
    assert (differing(values * scale, group, scored) == differing(values, group, scored)).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0 + 0.9e-8], False),
        ([1.0, 1.0 + 1.1e-8], True),
        ([-1e6, -1e6 - 0.009], False),
        ([-1e6, -1e6 - 0.011], True),
        ([0.0, 1e-12], True),
        ([0.0, -0.0], False),
        ([-1.7e308, 1.7e308], True),
    ],
)
def test_scores_nearer_than_a_hundred_millionth_of_their_size_are_alike(values, expected):
    assert differing(np.array(values), [0, 0]).tolist() == [expected, expected]


def test_what_is_not_scored_is_not_compared_and_may_be_anything():
    values = np.array([1.0, np.nan, 1.0, np.inf, 0.0])
    scored = np.array([True, False, True, False, True])
    assert differing(values, list("aaabb"), scored).tolist() == [False] * 5


@pytest.mark.parametrize("values", [[np.nan, 1.0], [1.0, -np.inf]])
def test_a_score_that_is_no_number_is_refused(values):
    with pytest.raises(ValueError, match=r"row \d is scored -?(nan|inf), a finite number"):
        differing(np.array(values), [0, 0])


def test_lengths_that_disagree_are_refused():
    with pytest.raises(ValueError, match="3 values, 3 flags and 2 ids of groups"):
        differing(np.zeros(3), [0, 1])


def batch(values, group=(0, 0, 1, 1), **parts):
    return Rollouts({"prompt_id": torch.tensor(group)}, group=list(group)), Scores.outcome(
        torch.tensor(values), parts={n: Scores.outcome(torch.tensor(v)) for n, v in parts.items()}
    )


class Notes(PromptSampler):
    """A child that writes down what it sees, and selects the groups it is told to."""

    def __init__(self, selects):
        super().__init__()
        self.selects, self.seen = selects, []

    def choose(self, n):
        return [row for row in range(self.size) if row not in self.taken][: n + 1]

    def observe(self, rollouts, scores):
        self.seen += rollouts["prompt_id"].tolist()
        return {"seen": float(len(self.seen))}

    def select(self, rollouts, scores):
        return torch.tensor([p in self.selects for p in rollouts["prompt_id"].tolist()])


def test_the_child_proposes_sees_every_group_and_has_a_say():
    child = Notes(selects=(0, 1))
    sampler = FilteredSampler(child)
    sampler.over([{}] * 5)
    sampler.begin()
    assert sampler.propose(2) == [0, 1, 2]
    assert sampler.taken == child.taken == [0, 1, 2]
    rollouts, scores = batch([1.0, 1.0, 0.0, 1.0, 0.0, 1.0], (0, 0, 1, 1, 2, 2))
    assert sampler.observe(rollouts, scores) == {"seen": 6.0, "kept": pytest.approx(1 / 3)}
    assert child.seen == [0, 0, 1, 1, 2, 2]
    # The first is constant, and the child does not want the last.
    assert sampler.select(rollouts, scores).tolist() == [False, False, True, True, False, False]
    sampler.begin()
    assert child.taken == []


def test_the_temperature_is_the_childs():
    child = Shuffled()
    child.temperature = 0.7
    assert FilteredSampler(child).temperature == 0.7


def test_a_part_can_be_measured_instead_of_the_total():
    rollouts, scores = batch([0.1, 0.2, 0.3, 0.4], correct=[1.0, 1.0, 0.0, 1.0])
    assert FilteredSampler().select(rollouts, scores).tolist() == [True] * 4
    only = FilteredSampler(measure="correct").select(rollouts, scores)
    assert only.tolist() == [False, False, True, True]


def test_a_part_within_a_part_is_found_by_its_path():
    rollouts, scores = batch([0.0, 0.0, 0.0, 0.0], outer=[0.0, 0.0, 0.0, 0.0])
    scores.parts["outer"].parts["inner"] = Scores.outcome(torch.tensor([0.0, 1.0, 1.0, 1.0]))
    kept = FilteredSampler(measure="outer/inner").select(rollouts, scores)
    assert kept.tolist() == [True, True, False, False]


def test_a_part_that_is_not_there_is_named_with_those_that_are():
    rollouts, scores = batch([0.0] * 4, correct=[0.0] * 4, length=[0.0] * 4)
    with pytest.raises(ValueError, match=r"no part 'corect' to measure.*: correct, length"):
        FilteredSampler(measure="corect").select(rollouts, scores)


def test_rows_without_a_score_are_not_compared_and_go_with_their_group():
    values = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    status = torch.tensor([0, int(Status.FAILED), 0, 0, 0, int(Status.TIMEOUT)], dtype=torch.int8)
    status[status == 0] = int(Status.SCORED)
    rollouts = Rollouts({"prompt": list("abcdef")}, group=[0, 0, 0, 1, 1, 1])
    kept = FilteredSampler().select(rollouts, Scores.outcome(values, status))
    assert kept.tolist() == [False] * 3 + [True] * 3


def test_a_row_whose_measured_part_has_no_score_is_not_compared():
    rollouts, scores = batch([0.0, 1.0, 0.0, 1.0])
    status = torch.tensor([int(Status.SCORED)] * 3 + [int(Status.ABSTAINED)], dtype=torch.int8)
    scores.parts["correct"] = Scores.outcome(torch.tensor([0.0, 1.0, 1.0, 0.0]), status)
    kept = FilteredSampler(measure="correct").select(rollouts, scores)
    assert kept.tolist() == [True, True, False, False]


def test_a_row_that_has_the_measured_part_and_no_score_is_not_compared():
    rollouts, scores = batch([0.0, 1.0, 0.0, 1.0], correct=[0.0, 1.0, 1.0, 0.0])
    scores.status[3] = int(Status.FAILED)
    kept = FilteredSampler(measure="correct").select(rollouts, scores)
    assert kept.tolist() == [True, True, False, False]


def test_the_same_steps_in_another_order_are_alike():
    steps = torch.tensor([[0.1, 1e4, -1e4], [1e4, -1e4, 0.1]])
    rollouts = Rollouts(mask=torch.ones(2, 3, dtype=torch.bool), group=[0, 0])
    scores = Scores.dense(steps, torch.ones(2, 3, dtype=torch.bool))
    # Summed as they are stored, in float32, these differ.
    assert scores.total()[0] != scores.total()[1]
    assert not FilteredSampler().select(rollouts, scores).any()


def test_rollouts_without_groups_are_refused():
    rollouts = Rollouts({"prompt": ["a", "b"]})
    with pytest.raises(ValueError, match="these 2 rollouts have no groups; give them `group`"):
        FilteredSampler().select(rollouts, Scores.outcome(torch.zeros(2)))


def test_a_child_that_generates_is_refused():
    child = Shuffled()
    child.generates = True
    with pytest.raises(ValueError, match="shuffled makes answers itself"):
        FilteredSampler(child)
