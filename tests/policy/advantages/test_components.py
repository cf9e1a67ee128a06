import math
import warnings

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.advantages.test_outcome_laws import batches
from torch import Tensor

from rewardsmith.policy.advantages.components import gdpo
from rewardsmith.policy.advantages.group_relative import grpo

NAN = float("nan")


@st.composite
def two_parts(draw: st.DrawFn) -> tuple[dict[str, Tensor], list, dict[str, Tensor], Tensor]:
    """Two parts of the same rows, of which each lacks some, and lengths."""
    one, group, lengths = draw(batches())
    n = len(group)
    eighths = st.lists(st.integers(-16, 16), min_size=n, max_size=n)
    parts = {"a": one, "b": torch.tensor(draw(eighths), dtype=torch.float64) * 10.0}
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    keep = {name: torch.tensor(draw(flags)) for name in parts}
    return parts, group, keep, lengths


def by_hand(
    parts: dict[str, Tensor],
    group: list,
    keep: dict[str, Tensor],
    weights: dict[str, float],
    eps: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The weighted sum of standardized parts, row by row; and which rows have any part."""
    total, some = np.zeros(len(group)), np.zeros(len(group), dtype=bool)
    for name, part in parts.items():
        for i in range(len(group)):
            if not keep[name][i]:
                continue
            some[i] = True
            rows = [j for j, other in enumerate(group) if other == group[i] and keep[name][j]]
            r = part[rows].numpy()
            if len(rows) > 1 and r.min() != r.max():
                z = (float(part[i]) - r.mean()) / (r.std(ddof=1) + eps)
                total[i] += weights[name] * z
    return total, some


@settings(max_examples=60)
@given(batch=two_parts(), eps=st.sampled_from([1e-6, 1e-4]), heavy=st.sampled_from([1.7, 0.3]))
def test_it_standardizes_parts_in_groups_then_divides_their_sum_in_the_batch(batch, eps, heavy):
    parts, group, keep, _ = batch
    weights = {"a": 1.0, "b": heavy}
    total, some = by_hand(parts, group, keep, weights, eps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torn = {name: torch.where(keep[name], part, NAN) for name, part in parts.items()}
        plain = gdpo(torn, group, keep=keep, weights=weights, eps=eps, whiten="none")
        full = gdpo(torn, group, keep=keep, weights=weights, eps=eps)
    np.testing.assert_allclose(plain.values, total, atol=1e-9)
    assert plain.keep.tolist() == some.tolist()
    if some.sum() > 1 and np.abs(total).max() > 1e-9:
        np.testing.assert_allclose(full.values, total / (total[some].std(ddof=1) + eps), atol=1e-8)


@pytest.mark.filterwarnings("ignore:gdpo. the parts cancel")
@settings(max_examples=40)
@given(batch=two_parts())
def test_tokens_weigh_each_rollout_by_its_length(batch):
    parts, group, _, lengths = batch
    plain = gdpo(parts, group, whiten="none").values.numpy()
    values = gdpo(parts, group, lengths, whiten="tokens").values.numpy()
    tokens = np.repeat(plain, lengths.numpy())
    expected = (plain - tokens.mean()) / math.sqrt(tokens.var(ddof=1) + 1e-8)
    if np.abs(plain).max() > 0:
        np.testing.assert_allclose(values, expected, atol=1e-9)


@pytest.mark.filterwarnings("ignore:gdpo. the parts cancel")
@settings(max_examples=30)
@given(batch=two_parts(), factor=st.sampled_from([0.01, 100.0]))
def test_the_unit_of_a_part_does_not_matter(batch, factor):
    parts, group, _, _ = batch
    there = gdpo(parts, group, eps=0.0).values
    scaled = gdpo({**parts, "b": parts["b"] * factor + 3.0}, group, eps=0.0).values
    np.testing.assert_allclose(scaled, there, atol=1e-6)


def test_one_part_is_grpo_but_for_the_batchs_deviation():
    rewards, group = torch.tensor([1.0, 0.0, 3.0, 1.0, 4.0]), ["a", "b", "a", "b", "a"]
    alone = gdpo({"r": rewards}, group, whiten="none")
    assert alone.values.tolist() == pytest.approx(grpo(rewards, group).values.tolist())


@pytest.mark.parametrize(("right", "wrong"), [(1.0, 0.0), (0.3, 0.7), (1e3 + 0.3, -7.1)])
@pytest.mark.parametrize("eps", [0.0, 1e-6])
def test_parts_whose_sum_is_constant_cancel_exactly_and_are_told_of(right, wrong, eps):
    which = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0])
    parts = {
        "long": right * which + wrong * (1 - which),
        "short": wrong * which + right * (1 - which),
    }
    group = ["q"] * 5
    with pytest.warns(UserWarning, match=r"gdpo: the parts cancel in groups"):
        advantages = gdpo(parts, group, eps=eps)
    assert advantages.values.tolist() == [0.0] * 5
    assert advantages.metrics["cancelled"] == 1.0
    assert advantages.metrics["constant_groups"] == 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = gdpo(parts, group, weights={"long": 1.0, "short": 0.5}, eps=eps)
    assert other.values.abs().min() > 0.1
    assert other.metrics["cancelled"] == 0.0


@pytest.mark.filterwarnings("ignore:gdpo. the parts cancel")
def test_what_rounding_leaves_of_parts_that_cancel_is_not_blown_up():
    long = torch.tensor([0.1, 0.2, 0.45, 0.7, 0.93, 0.3, 0.6])
    assert gdpo({"long": long, "short": 1.0 - long}, [0] * 7, eps=0.0).values.tolist() == [0.0] * 7


def test_rows_that_cancel_in_a_group_that_does_not_are_counted_without_a_warning():
    parts = {
        "a": torch.tensor([1.0, 0.0, 1.0, 0.0, 5.0, 5.0]),
        "b": torch.tensor([1.0, 1.0, 0.0, 0.0, 2.0, 2.0]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        advantages = gdpo(parts, list("xxxxyy"))
    assert advantages.metrics["cancelled"] == pytest.approx(2 / 6)
    assert advantages.metrics["constant_groups"] == 0.5
    assert advantages.values[1:3].tolist() == [0.0, 0.0]
    assert advantages.values[4:].tolist() == [0.0, 0.0]


def test_an_abstention_neither_counts_nor_leaks():
    parts = {"a": torch.tensor([1.0, 0.0, NAN, NAN]), "b": torch.tensor([NAN, 2.0, 4.0, NAN])}
    keep = {name: ~part.isnan() for name, part in parts.items()}
    advantages = gdpo(parts, [0] * 4, keep=keep, whiten="none")
    h = 0.5**0.5
    assert advantages.values.tolist() == pytest.approx([h, -2 * h, h, 0.0], abs=1e-5)
    assert advantages.keep.tolist() == [True, True, True, False]
    assert gdpo(parts, [0] * 4, keep=keep).values.isfinite().all()


def test_what_a_row_that_is_not_kept_has_for_a_length_does_not_matter():
    parts, keep = {"a": torch.tensor([1.0, 0.0, 7.0])}, {"a": torch.tensor([True, True, False])}
    values = gdpo(parts, [0] * 3, torch.tensor([2, 2, -9]), keep=keep, whiten="tokens").values
    there = gdpo({"a": parts["a"][:2]}, [0] * 2, torch.tensor([2, 2]), whiten="tokens").values
    assert values.tolist() == [*there.tolist(), 0.0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"parts": {}}, "gdpo: there are no parts"),
        ({"weights": {"a": 1.0}}, "gdpo: weights has nothing for the part 'b'"),
        (
            {"weights": {"a": 1.0, "b": 1.0, "c": 1.0}},
            "weights names 'c', which is no part; they are a, b",
        ),
        ({"weights": {"a": 1.0, "b": NAN}}, "the weight of part 'b' is nan, not a finite number"),
        ({"keep": {"a": torch.tensor([True, True])}}, "gdpo: keep has nothing for the part 'b'"),
        ({"whiten": "tokens"}, 'gdpo: whiten="tokens" needs lengths'),
        ({"whiten": "batch"}, "gdpo: whiten is 'batch', not one of rollouts, tokens, none"),
        ({"eps": -1.0}, "eps is -1.0, it must be at least 0"),
        (
            {"parts": {"a": torch.zeros(2), "b": torch.tensor([0.0, NAN])}},
            r"gdpo: row 1 \(group 0\) has nan in part 'b'",
        ),
        (
            {"parts": {"a": torch.zeros(3)}},
            r"part 'a' must be a tensor \[N\], this is \[3\], group has 2 rows",
        ),
        (
            {"lengths": torch.tensor([1, -1]), "whiten": "tokens"},
            r"gdpo: row 1 \(group 0\) has the length -1",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, told):
    known = {"parts": {"a": torch.tensor([1.0, 0.0]), "b": torch.zeros(2)}, "group": [0, 0]}
    with pytest.raises(ValueError, match=told):
        gdpo(**(known | change))


@pytest.mark.filterwarnings("ignore:gdpo. the parts cancel")
@pytest.mark.parametrize("eps", [0.0, 1e-6, 1e-2, 0.1])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_parts_of_unequal_spread_cancel_whatever_epsilon_is(eps, kind):
    correct = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=kind)
    parts = {"correct": correct, "brief": 1.0 - 0.3 * correct}
    for group in ("aaaa", "aabb"):
        made = gdpo(parts, list(group), eps=eps)
        assert made.values.tolist() == [0.0] * 4
        assert made.metrics["cancelled"] == 1.0


def test_groups_that_cancel_get_zero_beside_groups_that_do_not():
    correct = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    brief = torch.tensor([0.7, 1.0, 0.3, 0.1, 0.5], dtype=torch.float64)
    with pytest.warns(UserWarning, match="gdpo: the parts cancel in groups"):
        made = gdpo({"correct": correct, "brief": brief}, list("aabbb"), eps=1e-3)
    assert made.values[:2].tolist() == [0.0, 0.0]
    assert made.values[2:].abs().min() > 0.1
    assert made.metrics["cancelled"] == pytest.approx(2 / 5)


def test_parts_that_nearly_cancel_are_left_alone():
    one = torch.tensor([0.0, 1.0, 2.0, 4.0], dtype=torch.float64)
    other = -one + 0.01 * torch.tensor([0.0, 1.0, -1.0, 0.0], dtype=torch.float64)
    made = gdpo({"a": one, "b": other}, [0] * 4)
    assert made.metrics["cancelled"] == 0.0
    assert made.values.abs().min() > 0.0


def test_a_part_that_epsilon_silences_cancels_nothing():
    """What rounding leaves of a constant part opposes the other one in a group of two."""
    parts = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([0.3, 0.1 + 0.2 + 3e-8])}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = gdpo(parts, [0, 0])
    assert made.values[0] > 0.5


def test_one_keep_is_for_all_parts():
    parts = {"a": torch.tensor([1.0, 0.0, 3.0, NAN]), "b": torch.tensor([1.0, 5.0, 4.0, NAN])}
    keep = torch.tensor([True, True, True, False])
    there = gdpo(parts, [0] * 4, keep={"a": keep, "b": keep})
    assert torch.equal(gdpo(parts, [0] * 4, keep=keep).values, there.values)


def test_integer_parts_keep_their_digits():
    large = 2**30 + torch.arange(3)
    made = gdpo({"a": large, "b": torch.zeros(3)}, [0] * 3, whiten="none").values
    assert made.tolist() == pytest.approx([-1.0, 0.0, 1.0], rel=1e-5)


def test_several_parts_warn_once_of_rows_that_are_alone():
    parts = {name: torch.tensor([1.0, 0.0, 3.0]) for name in "abc"}
    with pytest.warns(UserWarning, match="gdpo: rollouts that are alone") as told:
        made = gdpo(parts, ["q", "q", "r"])
    assert len(told) == 1
    assert made.metrics["alone"] == 1.0


@pytest.mark.parametrize("parts", [[torch.zeros(2)], torch.zeros(2, 2)])
def test_parts_without_names_are_refused(parts):
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match="gdpo: parts must be a mapping of a name to a tensor"):
            gdpo(parts, [0, 0])
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_a_name_that_is_no_part_is_told_before_one_that_is_missing():
    parts = {"a": torch.zeros(2), "b": torch.zeros(2)}
    with pytest.raises(ValueError, match="weights names 'c', which is no part; they are a, b"):
        gdpo(parts, [0, 0], weights={"a": 1.0, "c": 1.0})
