"""The weights of tests, the two rewards and the advantages: the invariants, and what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from rewardsmith.ops import difficulty
from rewardsmith.ops.difficulty import (
    difficulty_weights,
    local_reward,
    outcome_reward,
    pass_rates,
    rates_in_group,
    weights_of_rates,
)

HARDNESS = st.sampled_from(["linear", "exp", "constant"])
BANDWIDTH = st.sampled_from([None, 0.0, 0.1, 0.5])

# 8 programs, 4 tests that 7, 6, 4 and 1 of them pass.
PASSED = torch.tensor(
    [
        [1, 1, 1, 0],
        [1, 1, 0, 0],
        [1, 0, 0, 1],
        [1, 1, 1, 0],
        [1, 1, 0, 0],
        [0, 0, 0, 0],
        [1, 1, 1, 0],
        [1, 1, 1, 0],
    ],
    dtype=torch.bool,
)


@st.composite
def groups(draw: st.DrawFn, least: int = 2) -> Tensor:
    g, u = draw(st.integers(least, 9)), draw(st.integers(1, 7))
    cells = draw(st.lists(st.booleans(), min_size=g * u, max_size=g * u))
    return torch.tensor(cells).reshape(g, u)


def with_copy(passed: Tensor, j: int, copies: int = 1) -> Tensor:
    return torch.cat([passed, *([passed[:, [j]]] * copies)], dim=1)


# --- the defining property: copies of a test ------------------------------------------------------


@pytest.mark.parametrize(
    ("j", "without"), [(0, 0.052381), (1, 0.098214), (2, 0.126984), (3, 0.166667)]
)
def test_a_copy_of_a_test_changes_nothing_with_density_and_something_without(
    j: int, without: float
) -> None:
    def moved(bandwidth: float | None) -> float:
        before, after = (
            local_reward(p, difficulty_weights(p, bandwidth=bandwidth))
            for p in (PASSED, with_copy(PASSED, j))
        )
        return float((before - after).abs().max())

    assert moved(0.1) == pytest.approx(0.0, abs=1e-15)
    assert moved(None) == pytest.approx(without, abs=1e-6)


def test_sixteen_easy_tests_and_four_hard_ones() -> None:
    easy, hard = PASSED[:, [0]].expand(-1, 16), PASSED[:, [3]].expand(-1, 4)
    passed = torch.cat([easy, hard], dim=1)
    # Rates of 7/8 and 1/8: the hard ones carry 14 of 16 parts as 2 tests, 28 of 44 as 20.
    calibrated = difficulty_weights(passed)
    assert float(calibrated[16:].sum()) == pytest.approx(7 / 8)
    plain = difficulty_weights(passed, bandwidth=None)
    assert float(plain[16:].sum()) == pytest.approx(28 / 44)
    assert float(calibrated.sum()) == pytest.approx(1.0)


@given(groups(), HARDNESS, st.integers(1, 3), st.data())
def test_copies_of_a_test_that_is_alone_in_its_box_change_no_reward(
    passed: Tensor, hardness: difficulty.Hardness, copies: int, data: st.DataObject
) -> None:
    rates = pass_rates(passed)
    j = data.draw(st.integers(0, passed.shape[1] - 1))
    others = torch.cat([rates[:j], rates[j + 1 :]])
    assume(not bool(((others - rates[j]).abs() <= 0.05 + 1e-6).any()))
    copied = with_copy(passed, j, copies)
    for drop in (False, True):
        before, after = (
            local_reward(p, difficulty_weights(p, hardness=hardness, drop_unsolved=drop))
            for p in (passed, copied)
        )
        torch.testing.assert_close(before, after, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:a group of one")
def test_in_a_group_of_one_a_copy_counts() -> None:
    alone = torch.tensor([[True, False]])
    before, after = (local_reward(p, difficulty_weights(p)) for p in (alone, with_copy(alone, 0)))
    assert (before.tolist(), after.tolist()) == ([0.5], [pytest.approx(2 / 3)])


# --- weights --------------------------------------------------------------------------------------


@given(groups(), HARDNESS, BANDWIDTH, st.booleans(), st.data())
def test_nothing_depends_on_the_order_of_programs_and_tests(
    passed: Tensor,
    hardness: difficulty.Hardness,
    bandwidth: float | None,
    drop: bool,
    data: st.DataObject,
) -> None:
    rows = data.draw(st.permutations(range(len(passed))))
    tests = data.draw(st.permutations(range(passed.shape[1])))
    moved = passed[rows][:, tests]
    before, after = (
        difficulty_weights(p, hardness=hardness, bandwidth=bandwidth, drop_unsolved=drop)
        for p in (passed, moved)
    )
    torch.testing.assert_close(after, before[tests])
    torch.testing.assert_close(local_reward(moved, after), local_reward(passed, before)[rows])
    assert torch.equal(outcome_reward(moved), outcome_reward(passed)[rows])


@given(groups(), HARDNESS, BANDWIDTH, st.booleans(), st.sampled_from([1e-4, 0.5, 10.0]))
def test_weights_are_shares(
    passed: Tensor, hardness: difficulty.Hardness, bandwidth: float | None, drop: bool, tau: float
) -> None:
    weights = difficulty_weights(
        passed, hardness=hardness, bandwidth=bandwidth, drop_unsolved=drop, tau=tau
    )
    assert weights.dtype == torch.float64
    assert float(weights.min()) >= 0.0
    assert float(weights.sum()) == pytest.approx(1.0)


@given(groups(), HARDNESS)
def test_without_density_a_harder_test_never_weighs_less(
    passed: Tensor, hardness: difficulty.Hardness
) -> None:
    weights = difficulty_weights(passed, hardness=hardness, bandwidth=None)
    by_rate = weights[torch.argsort(pass_rates(passed))]
    assert bool((by_rate.diff() <= 1e-15).all())


@given(st.integers(1, 7), st.integers(0, 8), HARDNESS, BANDWIDTH, st.integers(0, 999))
def test_tests_that_are_equally_hard_make_the_plain_fraction(
    u: int, solved: int, hardness: difficulty.Hardness, bandwidth: float | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    column = np.arange(8) < solved
    passed = torch.from_numpy(np.stack([rng.permutation(column) for _ in range(u)], axis=1))
    weights = difficulty_weights(passed, hardness=hardness, bandwidth=bandwidth)
    torch.testing.assert_close(local_reward(passed, weights), passed.double().mean(dim=1))


def test_the_three_kinds_of_hardness() -> None:
    rates = torch.tensor([0.0, 0.25, 1.0])
    assert weights_of_rates(rates).tolist() == pytest.approx([4 / 7, 3 / 7, 0.0])
    odds = [1.0, math.exp(-0.5), math.exp(-2.0)]
    found = weights_of_rates(rates, hardness="exp", tau=0.5)
    assert found.tolist() == pytest.approx([x / sum(odds) for x in odds])
    assert weights_of_rates(rates, hardness="constant").tolist() == pytest.approx([1 / 3] * 3)


def test_the_box_reaches_half_its_width() -> None:
    rates = torch.tensor([0.1, 0.2, 0.3, 0.9])
    found = weights_of_rates(rates, hardness="constant", bandwidth=0.2)
    raw = [1 / 2, 1 / 3, 1 / 2, 1.0]
    assert found.tolist() == pytest.approx([x / sum(raw) for x in raw])
    alone = weights_of_rates(rates, hardness="constant", bandwidth=0.19)
    assert alone.tolist() == pytest.approx([0.25] * 4)


def test_equal_weights_where_all_tests_are_passed_by_all() -> None:
    assert weights_of_rates(torch.ones(4)).tolist() == [0.25] * 4
    # Those that nobody passes stay left out of it, unless nothing is left.
    solved = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert weights_of_rates(solved, drop_unsolved=True).tolist() == [0.5, 0.5, 0.0, 0.0]
    assert weights_of_rates(torch.zeros(4), drop_unsolved=True).tolist() == [0.25] * 4


def test_unsolved_tests_keep_their_share_or_are_dropped() -> None:
    rates = torch.tensor([0.0, 0.5, 0.75])
    assert weights_of_rates(rates).tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    dropped = weights_of_rates(rates, drop_unsolved=True)
    assert dropped.tolist() == pytest.approx([0.0, 2 / 3, 1 / 3])
    # They are not there for the density either.
    wide = weights_of_rates(torch.tensor([0.0, 0.1, 0.5]), bandwidth=0.4, drop_unsolved=True)
    assert wide.tolist() == pytest.approx([0.0, 0.9 / 1.4, 0.5 / 1.4])


def test_one_program_says_nothing_about_difficulty() -> None:
    with pytest.warns(UserWarning, match="a group of one program"):
        weights = difficulty_weights(torch.tensor([[True, False, False, True]]))
    assert weights.tolist() == [0.25] * 4
    two = torch.tensor([[True, False], [True, True]])
    assert torch.equal(rates_in_group(two), pass_rates(two))
    assert rates_in_group(two[:1]).tolist() == [0.5, 0.5]


def test_boxes_of_eighths() -> None:
    rates = torch.tensor([1.0, 2.0, 4.0]) / 8

    def weights(bandwidth: float | None) -> list[float]:
        found = weights_of_rates(rates, hardness="constant", bandwidth=bandwidth)
        return [round(weight, 6) for weight in found.tolist()]

    assert weights(0.1) == weights(0.24) == weights(None) == [0.333333] * 3
    assert weights(0.25) == [0.25, 0.25, 0.5]


# --- rewards --------------------------------------------------------------------------------------


@given(groups(), HARDNESS, BANDWIDTH, st.data())
def test_passing_more_never_lowers_the_local_reward(
    passed: Tensor, hardness: difficulty.Hardness, bandwidth: float | None, data: st.DataObject
) -> None:
    weights = difficulty_weights(passed, hardness=hardness, bandwidth=bandwidth)
    more = passed.clone()
    j = data.draw(st.integers(0, passed.shape[1] - 1))
    more[:, j] = True
    assert bool((local_reward(more, weights) >= local_reward(passed, weights)).all())


@given(groups(), HARDNESS, BANDWIDTH, st.sampled_from([0.1, 0.5, 10.0]))
def test_the_local_reward_is_1_exactly_where_the_outcome_is(
    passed: Tensor, hardness: difficulty.Hardness, bandwidth: float | None, tau: float
) -> None:
    weights = difficulty_weights(passed, hardness=hardness, bandwidth=bandwidth, tau=tau)
    local = local_reward(passed, weights)
    outcome = outcome_reward(passed)
    assert torch.equal(local == 1.0, outcome == 1.0)
    assert bool(((local >= 0.0) & (local <= 1.0)).all())
    assert torch.equal(outcome == 1.0, passed.all(dim=1))


def test_dropping_unsolved_tests_makes_1_of_less_than_all() -> None:
    passed = torch.tensor([[True, False], [False, False]])
    local = local_reward(passed, difficulty_weights(passed, drop_unsolved=True))
    assert local.tolist() == [1.0, 0.0]
    assert outcome_reward(passed).tolist() == [0.0, 0.0]


def test_a_small_tau_makes_1_of_less_than_all() -> None:
    passed = torch.tensor([[True, False], [False, True], *[[False, True]] * 6])
    weights = difficulty_weights(passed, hardness="exp", tau=0.02)
    assert 0.0 < float(weights[1]) < 1e-16
    assert local_reward(passed, weights)[0] == 1.0
    assert outcome_reward(passed)[0] == 0.0


def test_criteria_may_be_met_in_part() -> None:
    marks = torch.tensor([[1.0, 0.5], [1.0, 0.0]])
    weights = difficulty_weights(marks)
    assert weights.tolist() == [0.0, 1.0]
    assert local_reward(marks, weights).tolist() == [0.5, 0.0]
    assert outcome_reward(torch.tensor([[1.0, 1.0], [1.0, 0.99]])).tolist() == [1.0, 0.0]


# --- turns ----------------------------------------------------------------------------------------


def test_pass_rates_are_over_the_submissions_of_all_turns() -> None:
    passed = torch.tensor([[[True, False], [True, True]], [[False, False], [True, False]]])
    assert pass_rates(passed).tolist() == [0.75, 0.25]
    mask = torch.tensor([[True, True], [True, False]])
    assert pass_rates(passed[mask]).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert local_reward(passed, weights_of_rates(pass_rates(passed))).shape == (2, 2)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (0, 0), (2, 0, 3)])
def test_no_tests_and_no_programs(shape: tuple[int, ...]) -> None:
    for function in (pass_rates, difficulty_weights, outcome_reward):
        with pytest.raises(ValueError, match="at least one program with one test"):
            function(torch.zeros(shape, dtype=torch.bool))
    with pytest.raises(ValueError, match="at least one program with one test"):
        local_reward(torch.zeros(shape, dtype=torch.bool), torch.ones(3))


@pytest.mark.parametrize("mark", [-0.1, 1.1, float("inf"), float("nan")])
def test_marks_outside_their_range(mark: float) -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\] or is NaN"):
        difficulty_weights(torch.tensor([[mark, 1.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match=r"outside \[0, 1\] or is NaN"):
        weights_of_rates(torch.tensor([mark, 1.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hardness": "cubic"}, "hardness is 'cubic', not one of linear, exp, constant"),
        ({"tau": 0.0}, "tau is 0.0"),
        ({"tau": float("nan")}, "tau is nan"),
        ({"bandwidth": -0.1}, "bandwidth is -0.1"),
        ({"bandwidth": float("inf")}, "bandwidth is inf"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        difficulty.check_options(**{"hardness": "linear", "tau": 0.5, "bandwidth": 0.1} | options)
    if "hardness" not in options:
        for passed in (PASSED, PASSED[:1]):
            with pytest.raises(ValueError, match=message):
                difficulty_weights(passed, **options)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="3 weights for 4 tests"):
        local_reward(PASSED, torch.ones(3) / 3)
