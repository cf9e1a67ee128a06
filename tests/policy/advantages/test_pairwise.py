import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.advantages.bandit import PI, REWARD, expected_gradient
from tests.policy.advantages.test_outcome_laws import batches
from torch import Tensor

from rewardsmith.core.advantages import Advantages
from rewardsmith.core.outcome import Status
from rewardsmith.core.preferences import Preferences
from rewardsmith.policy.advantages.pairwise import brpo, reference_pairs


def judged(a: Tensor, b: Tensor, quality: Tensor) -> Preferences:
    """An antisymmetric judge: the better of two wins, equals tie."""
    return Preferences(a, b, 0.5 + 0.5 * torch.sign(quality[a] - quality[b]))


def asked(
    quality: Tensor, group: list, seed: int = 0, judge: Callable[..., Preferences] = judged, **more
) -> Advantages:
    refs, rng = more.pop("refs", "one"), np.random.default_rng(seed)
    a, b, reference = reference_pairs(group, rng=rng, refs=refs)
    return brpo(judge(a, b, quality), group, reference, **more)


# --- which questions ------------------------------------------------------------------------------


@settings(max_examples=40)
@given(batch=batches(), seed=st.integers(0, 99), both=st.booleans())
def test_every_other_row_is_compared_with_one_of_its_group(batch, seed, both):
    _, group, _ = batch
    rng = np.random.default_rng(seed)
    a, b, reference = reference_pairs(group, rng=rng, both_orders=both)
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    assert len(pairs) == len(a)
    expected = set()
    for name in set(group):
        rows = [row for row, other in enumerate(group) if other == name]
        (one,) = [row for row in rows if reference[row]]
        expected |= {(row, one) for row in rows if row != one}
    assert pairs == expected | ({(j, i) for i, j in expected} if both else set())


@settings(max_examples=25)
@given(batch=batches())
def test_all_references_are_all_pairs(batch):
    _, group, _ = batch
    rng = np.random.default_rng(0)
    a, b, reference = reference_pairs(group, rng=rng, refs="all", both_orders=False)
    n = range(len(group))
    expected = {(i, j) for i in n for j in n if i < j and group[i] == group[j]}
    assert set(zip(a.tolist(), b.tolist(), strict=True)) == expected
    assert len(a) == len(expected)
    assert reference is None


def test_a_seed_draws_the_same_references_and_all_rows_are_drawn_as_often():
    group = [g for g in range(600) for _ in range(3)]
    one, again = (reference_pairs(group, rng=np.random.default_rng(7))[2] for _ in range(2))
    assert one.equal(again)
    drawn = one.reshape(600, 3).sum(dim=0)
    assert drawn.sum() == 600
    assert (drawn - 200).abs().max() < 60


def test_rows_that_are_not_kept_are_in_no_question():
    keep = torch.tensor([False, True, True, False, True])
    a, b, reference = reference_pairs(
        list("xxxyy"), rng=np.random.default_rng(0), keep=keep, both_orders=False
    )
    assert sorted([*a.tolist(), *b.tolist()]) == [1, 2]
    assert reference[[0, 3]].tolist() == [False, False]


# --- advantages -----------------------------------------------------------------------------------


@settings(max_examples=50)
@given(batch=batches(), seed=st.integers(0, 99))
def test_it_is_the_sign_of_the_verdict_against_the_reference(batch, seed):
    quality, group, _ = batch
    _, _, reference = reference_pairs(group, rng=np.random.default_rng(seed))
    advantages = asked(quality, group, seed, skew=1.0)
    for name in set(group):
        rows = [row for row, other in enumerate(group) if other == name]
        (one,) = [row for row in rows if reference[row]]
        expected = torch.sign(quality[rows] - quality[one])
        assert advantages.values[rows].equal(expected)
        assert advantages.keep[rows].tolist() == [bool(expected.any())] * len(rows)


@settings(max_examples=50)
@given(batch=batches())
def test_all_references_give_wins_less_losses_which_is_the_mean_over_them(batch):
    quality, group, _ = batch
    values = asked(quality, group, refs="all").values
    for name in set(group):
        rows = [row for row, other in enumerate(group) if other == name]
        signs = torch.sign(quality[rows][:, None] - quality[rows][None, :])
        assert values[rows].tolist() == pytest.approx(signs.mean(dim=1).tolist())
        assert float(values[rows].sum()) == pytest.approx(0.0, abs=1e-12)
        by_reference = []
        for one in rows:
            others = [row for row in rows if row != one]
            pairs = torch.tensor(others), torch.full((len(others),), one)
            reference = torch.arange(len(group)) == one
            by_reference.append(brpo(judged(*pairs, quality), group, reference, skew=1.0).values)
        mean = torch.stack(by_reference).mean(dim=0)
        assert mean[rows].tolist() == pytest.approx(values[rows].tolist())


@settings(max_examples=25)
@given(batch=batches(), refs=st.sampled_from(["one", "all"]), seed=st.integers(0, 9))
def test_only_the_order_of_qualities_matters(batch, refs, seed):
    quality, group, _ = batch
    there = asked(quality, group, seed, refs=refs)
    bent = asked(torch.exp(2.0 * quality) - 7.0, group, seed, refs=refs)
    assert bent.values.equal(there.values)
    assert bent.keep.equal(there.keep)


@pytest.mark.parametrize("refs", ["one", "all"])
@pytest.mark.parametrize("n", [2, 3])
def test_without_skipping_it_is_unbiased_up_to_n_minus_1_over_n(refs, n):
    quality = torch.from_numpy(REWARD)

    def estimator(rewards: Tensor, group: list[int], arms: Tensor) -> Tensor:
        if refs == "all":
            return asked(quality[arms], group, refs="all").values
        # Every row is the reference in turn, with the same chance.
        total = torch.zeros(len(arms), dtype=torch.float64)
        for turn in range(n):
            reference = torch.arange(len(arms)) % n == turn
            a = torch.arange(len(arms))[~reference]
            b = a - a % n + turn
            total += brpo(judged(a, b, quality[arms]), group, reference, skew=1.0).values
        return total / n

    wins = np.sign(REWARD[:, None] - REWARD[None, :]) @ PI
    true = PI * (wins - PI @ wins)
    np.testing.assert_allclose(expected_gradient(estimator, n) / n, true * (n - 1) / n, rtol=1e-12)


def test_both_orders_have_to_agree():
    a, b = torch.tensor([1, 0, 2, 0, 3, 0]), torch.tensor([0, 1, 0, 2, 0, 3])
    reference = torch.tensor([True, False, False, False])
    # Row 1 wins in both orders, row 2 wherever it is named first, row 3 in one and ties in one.
    p = torch.tensor([0.9, 0.2, 0.8, 0.8, 0.6, 0.5])
    advantages = brpo(Preferences(a, b, p), [0] * 4, reference)
    assert advantages.values.tolist() == [0.0, 1.0, 0.0, 0.0]
    assert advantages.keep.all()
    assert advantages.metrics["inconsistent"] == pytest.approx(2 / 3)
    # The leads of the side named first: 0, 1 and a half.
    assert advantages.metrics["position_bias"] == pytest.approx(0.5)


def test_a_judge_that_always_takes_the_first_says_nothing_and_is_found_out():
    def first(a: Tensor, b: Tensor, quality: Tensor) -> Preferences:
        return Preferences(a, b, torch.ones(len(a)))

    advantages = asked(torch.randn(8), [0] * 8, judge=first)
    assert not advantages.keep.any()
    assert advantages.metrics["position_bias"] == 1.0
    assert advantages.metrics["tied_groups"] == 1.0
    fair = asked(torch.randn(8), [0] * 8)
    assert fair.metrics["position_bias"] == 0.0
    once = brpo(
        Preferences(torch.tensor([1]), torch.tensor([0]), torch.tensor([1.0])),
        [0, 0],
        torch.tensor([True, False]),
    )
    assert math.isnan(once.metrics["position_bias"])


def test_a_group_whose_reference_is_an_outlier_is_skipped_and_counted():
    # The references are rows 0 and 5; the first is worst of 5, the second in the middle of 5.
    quality = torch.tensor([0.0, 1, 2, 3, 4, 2, 0, 1, 3, 4])
    group = ["a"] * 5 + ["b"] * 5
    reference = torch.zeros(10, dtype=torch.bool)
    reference[[0, 5]] = True
    a = torch.tensor([1, 2, 3, 4, 6, 7, 8, 9])
    b = torch.tensor([0, 0, 0, 0, 5, 5, 5, 5])
    advantages = brpo(judged(a, b, quality), group, reference)
    assert advantages.keep.tolist() == [False] * 5 + [True] * 5
    assert advantages.values.tolist() == [0.0] * 5 + [0.0, -1.0, -1.0, 1.0, 1.0]
    assert advantages.metrics["skewed_groups"] == 0.5
    at_the_bound = brpo(judged(a, b, quality), group, reference, skew=0.8)
    assert at_the_bound.keep.all()
    assert at_the_bound.metrics["skewed_groups"] == 0.0


def test_of_two_one_wins_and_ties_are_skipped():
    values = asked(torch.tensor([2.0, 1.0]), ["x", "x"]).values.abs()
    assert sorted(values.tolist()) == [0.0, 1.0]
    tied = asked(torch.zeros(6), [0] * 6, refs="all")
    assert not tied.keep.any()
    assert tied.metrics["tied_groups"] == 1.0


def test_a_verdict_that_is_missing_is_no_tie():
    a, b = torch.tensor([1, 0, 2, 0, 3]), torch.tensor([0, 1, 0, 2, 0])
    status = torch.zeros(5, dtype=torch.int8)
    status[1] = int(Status.FAILED)
    preferences = Preferences(a, b, torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0]), status=status)
    reference = torch.tensor([True, False, False, False, False])
    advantages = brpo(preferences, [0] * 5, reference)
    # Row 1 lacks one of two verdicts, row 4 was not asked about.
    assert advantages.values.tolist() == [0.0, 0.0, 1.0, -1.0, 0.0]
    assert advantages.keep.tolist() == [True, False, True, True, False]
    assert advantages.metrics["unjudged"] == pytest.approx(2 / 5)


def test_a_group_without_any_verdict_does_not_train():
    status = torch.full((1,), int(Status.TIMEOUT), dtype=torch.int8)
    pair = torch.tensor([1]), torch.tensor([0])
    preferences = Preferences(*pair, torch.tensor([1.0]), status=status)
    for reference in (torch.tensor([True, False]), None):
        advantages = brpo(preferences, [0, 0], reference)
        assert not advantages.keep.any()
        assert advantages.values.tolist() == [0.0, 0.0]
        assert advantages.metrics["unjudged"] == 1.0
        assert advantages.metrics["tied_groups"] == 0.0


def test_of_all_references_those_count_that_gave_a_verdict():
    # Row 2 lost to row 0 and was not compared with row 1.
    pairs = torch.tensor([0, 0]), torch.tensor([1, 2])
    advantages = brpo(Preferences(*pairs, torch.tensor([1.0, 1.0])), [0] * 3)
    assert advantages.values.tolist() == pytest.approx([2 / 3, -1 / 2, -1 / 2])
    assert advantages.keep.all()


def test_rows_that_are_not_kept_count_for_nobody():
    keep = torch.tensor([True, True, False])
    a, b = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
    advantages = brpo(Preferences(a, b, torch.tensor([1.0, 0.0, 0.0])), [0] * 3, keep=keep)
    assert advantages.values.tolist() == [0.5, -0.5, 0.0]
    assert advantages.keep.equal(keep)
    assert advantages.metrics["unjudged"] == 0.0


PAIR = Preferences(torch.tensor([1]), torch.tensor([0]), torch.tensor([1.0]))
FIRST = torch.tensor([True, False, False, False])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"skew": 0.0}, r"brpo: skew is 0.0, it must lie in \(0, 1\]"),
        ({"skew": 1.5}, "brpo: skew is 1.5"),
        ({"skew": float("nan")}, "brpo: skew is nan"),
        ({"group": ["a", "a", "a", "b"]}, r"brpo: row 3 is alone in its group \('b'\)"),
        ({"group": ["a", "b", "a", "b"]}, "rows 0 and 1 are compared, of groups 'a' and 'b'"),
        ({"reference": FIRST[:3]}, "brpo: 4 ids in group, reference has 3 rows"),
        ({"keep": FIRST[:3]}, "brpo: 4 ids in group, keep has 3 rows"),
        ({"reference": FIRST.flip(0)}, "rows 0 and 1 are compared, neither is the reference of"),
        ({"reference": FIRST | FIRST.flip(0)}, "group 'a' has several references, it needs one"),
        ({"keep": ~FIRST}, "row 0 is a reference and is not kept"),
        (
            {"preferences": Preferences(torch.tensor([4]), torch.tensor([0]), torch.tensor([1.0]))},
            "comparison 0 is of rows 4 and 0, group has 4 rows",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, told):
    known = {"preferences": PAIR, "group": ["a"] * 4, "reference": FIRST}
    with pytest.raises(ValueError, match=told):
        brpo(**(known | change))


def test_questions_that_cannot_be_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"reference_pairs: row 1 is alone in its group \('b'\)"):
        reference_pairs(["a", "b", "a"], rng=rng)
    with pytest.raises(ValueError, match="reference_pairs: refs is 'two', not one of one, all"):
        reference_pairs(["a", "a"], rng=rng, refs="two")
    with pytest.raises(ValueError, match="reference_pairs: 2 ids in group, keep has 3"):
        reference_pairs(["a", "a"], rng=rng, keep=torch.ones(3, dtype=torch.bool))


def test_no_rows_are_no_questions_and_no_advantages():
    a, b, reference = reference_pairs([], rng=np.random.default_rng(0))
    assert len(a) == len(b) == len(reference) == 0


def test_a_verdict_is_a_sign_whatever_its_weight_and_margin():
    plain = Preferences(torch.tensor([0]), torch.tensor([1]), torch.tensor([0.9]))
    heavy = replace(plain, weight=torch.tensor([9.0]), margin=torch.tensor([4.0]))
    given = (["a", "a"], torch.tensor([False, True]))
    there, made = brpo(plain, *given, skew=1.0), brpo(heavy, *given, skew=1.0)
    assert made.values.tolist() == there.values.tolist() == [1.0, 0.0]
    # A group that is skipped is no group whose rewards are all the same.
    assert "constant_groups" not in made.metrics
