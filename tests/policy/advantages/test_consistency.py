import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.advantages.test_outcome_laws import IDS
from torch import Tensor

from rewardsmith.policy.advantages.consistency import consistency_bonus

NAN = float("nan")


@st.composite
def answers(draw: st.DrawFn) -> tuple[Tensor, Tensor, list]:
    """Accuracies and likelihoods in 64ths, in groups of 2 to 5 rows that lie anyhow."""
    ids = draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True))
    group = draw(st.permutations([i for i in ids for _ in range(draw(st.integers(2, 5)))]))
    n = len(group)
    accuracy = draw(st.lists(st.sampled_from([0.0, 0.0625, 0.5, 1.0]), min_size=n, max_size=n))
    likely = draw(st.lists(st.integers(0, 32), min_size=n, max_size=n))
    return torch.tensor(accuracy), torch.tensor(likely) / 64.0, group


def test_the_published_formula_by_hand():
    accuracy, likelihood = torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.tensor([0.9, 0.5, 0.99, 0.99])
    bonus = consistency_bonus(accuracy, likelihood, ["q"] * 4, margin=0.01, weight=0.5)
    assert bonus.tolist() == [0.5, 0.0, 0.0, 0.5]


@settings(max_examples=60)
@given(
    batch=answers(),
    margin=st.sampled_from([0.0, 0.05, 0.2]),
    weight=st.sampled_from([0.5, 1.0]),
    cap=st.sampled_from([0.2, 0.95]),
)
def test_accurate_rows_that_are_as_sure_as_their_peers_get_it(batch, margin, weight, cap):
    accuracy, likelihood, group = batch
    options = {"margin": margin, "weight": weight, "cap": cap}
    bonus = consistency_bonus(accuracy, likelihood, group, **options)
    assert ((bonus >= 0.0) & (bonus <= weight * accuracy)).all()
    assert (accuracy[bonus > 0.0] > 0.1).all()
    for i, name in enumerate(group):
        rows = [j for j, other in enumerate(group) if other == name]
        mean = float(accuracy[rows].double().mean())
        best = [j for j in rows if float(accuracy[j]) > 0.1 and float(accuracy[j]) >= mean]
        sure = likelihood.double().clamp(max=cap)
        if i not in best:
            assert bonus[i] == 0.0
            continue
        over = float(sure[i] - sure[best].mean()) + margin
        if abs(over) > 1e-9:
            assert float(bonus[i]) == (weight * float(accuracy[i]) if over > 0 else 0.0)


@settings(max_examples=30)
@given(batch=answers(), seed=st.integers(0, 99), shift=st.sampled_from([0.125, 0.375]))
def test_neither_order_nor_a_shift_below_the_cap_changes_it(batch, seed, shift):
    accuracy, likelihood, group = batch
    # No likelihood lies that far below a mean of up to 5 of them, which are 64ths.
    there = consistency_bonus(accuracy, likelihood, group, margin=1 / 1024)
    shifted = consistency_bonus(accuracy, likelihood + shift, group, margin=1 / 1024)
    assert shifted.equal(there)
    order = torch.randperm(len(group), generator=torch.Generator().manual_seed(seed))
    moved = [group[i] for i in order.tolist()]
    assert consistency_bonus(accuracy[order], likelihood[order], moved, margin=1 / 1024).equal(
        there[order]
    )


def test_equal_likelihoods_need_no_margin():
    likelihood = torch.full((3,), 0.1, dtype=torch.float64)
    bonus = consistency_bonus(torch.ones(3), likelihood, [0] * 3, margin=0.0)
    assert bonus.tolist() == [0.5, 0.5, 0.5]
    # 0.35 seven times has a mean above it.
    graded = torch.full((7,), 0.35, dtype=torch.float64)
    assert consistency_bonus(graded, graded, [0] * 7, margin=0.0).min() > 0.0


def test_without_weight_there_is_none_and_with_a_wide_margin_all_accurate_get_it():
    accuracy, likelihood = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.9, 0.1, 0.9, 0.1])
    assert consistency_bonus(accuracy, likelihood, [0] * 4, weight=0.0).tolist() == [0.0] * 4
    wide = consistency_bonus(accuracy, likelihood, [0] * 4, margin=float("inf"))
    assert wide.tolist() == [0.5, 0.5, 0.0, 0.0]


def test_a_group_without_an_accurate_answer_has_no_bonus():
    accuracy = torch.tensor([0.1, 0.05, 1.0, 0.0], dtype=torch.float64)
    bonus = consistency_bonus(accuracy, torch.full((4,), 0.5), list("aabb"))
    assert bonus.tolist() == [0.0, 0.0, 0.5, 0.0]


def test_above_the_cap_all_are_as_sure():
    likelihood = torch.tensor([0.95, 1.0])
    assert consistency_bonus(torch.ones(2), likelihood, [0, 0]).tolist() == [0.5, 0.5]
    assert consistency_bonus(torch.ones(2), likelihood, [0, 0], cap=1.0).tolist() == [0.0, 0.5]


def test_a_row_without_an_answer_counts_in_the_accuracy_alone():
    accuracy, likelihood = torch.tensor([0.5, 1.0, 1.0]), torch.tensor([0.5, 0.5, NAN])
    answered = torch.tensor([True, True, False])
    bonus = consistency_bonus(accuracy, likelihood, [0] * 3, answered=answered)
    assert bonus.tolist() == [0.0, 0.5, 0.0]
    # It would draw the mean likelihood down, which lets the second pass.
    bonus = consistency_bonus(
        torch.ones(3), torch.tensor([0.9, 0.5, 0.0]), [0] * 3, answered=answered
    )
    assert bonus.tolist() == [0.5, 0.0, 0.0]
    # Its wrong answer lets one of 0.5 be accurate.
    accuracy = torch.tensor([0.5, 1.0, 0.0])
    assert consistency_bonus(accuracy, likelihood, [0] * 3, answered=answered)[0] == 0.25


def test_a_row_without_a_score_counts_nowhere():
    keep = torch.tensor([True, True, False, False])
    for garbage in (NAN, 7.0, -1.0):
        accuracy = torch.tensor([0.5, 1.0, garbage, 0.0])
        likelihood = torch.tensor([0.5, 0.5, garbage, garbage])
        bonus = consistency_bonus(accuracy, likelihood, [0] * 4, keep=keep)
        assert bonus.tolist() == [0.0, 0.5, 0.0, 0.0]


def test_a_lone_rollout_is_its_own_mean_and_told_of():
    with pytest.warns(UserWarning, match=r"consistency_bonus: rollouts that are alone"):
        bonus = consistency_bonus(torch.ones(3), torch.tensor([0.9, 0.1, 0.2]), list("aac"))
    assert bonus.tolist() == [0.5, 0.0, 0.5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        consistency_bonus(torch.ones(2), torch.ones(2), [0, 0])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"likelihood": torch.tensor([0.5, -0.7])}, r"row 1 \(group 0\) has the likelihood -0.7"),
        ({"likelihood": torch.tensor([1.5, 0.5])}, r"row 0 .* likelihood 1.5, outside \[0, 1\]"),
        ({"likelihood": torch.tensor([NAN, 0.5])}, "row 0 .* has nan in likelihood"),
        ({"accuracy": torch.tensor([1.0, NAN])}, "row 1 .* has nan in rewards"),
        ({"likelihood": torch.zeros(3)}, r"2 rows of accuracy, likelihood has the shape \[3\]"),
        ({"answered": torch.tensor([True])}, "consistency_bonus: 2 rows, answered has 1 rows"),
        ({"weight": -1.0}, "weight is -1.0, it must be at least 0"),
        ({"weight": float("inf")}, "weight is inf"),
        ({"margin": NAN}, "margin is nan, it must be at least 0"),
        ({"least_accuracy": -0.1}, "least_accuracy is -0.1"),
        ({"cap": 0.0}, r"cap is 0.0, it must lie in \(0, 1\]"),
        ({"cap": 1.1}, "cap is 1.1"),
    ],
)
def test_what_does_not_fit_is_refused(change, told):
    known = {"accuracy": torch.ones(2), "likelihood": torch.ones(2), "group": [0, 0]}
    with pytest.raises(ValueError, match=told):
        consistency_bonus(**(known | change))


def test_accuracies_are_compared_in_their_own_type():
    for kind in (torch.float32, torch.bfloat16, torch.float64):
        accuracy = torch.tensor([0.1, 0.0], dtype=kind)
        assert consistency_bonus(accuracy, torch.ones(2), [0, 0]).tolist() == [0.0, 0.0]
