"""Tiers: their formula and order, the statuses, and the measures of quality."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from tests import laws
from tests.laws import ABSTAINED, FAILED, outcome

from rewardsmith.core.spec import dump
from rewardsmith.signals.length import Length
from rewardsmith.transforms.tiers import Tiers, gaussian_zone, grid_match, levels, tiered

shares = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8)
ladders = st.tuples(st.integers(1, 8), st.floats(1, 4), st.floats(0, 0.99))


def scored(correct: list[float], quality: list[float], **arguments: Any) -> list[float]:
    made = Tiers(outcome(correct), outcome(quality), **arguments)
    values: list[float] = made(laws.text(len(correct))).values.tolist()
    return values


def test_by_hand() -> None:
    quality = [0.0, 0.2, 0.25, 0.5, 0.75, 1.0]
    assert scored([0.0] * 6, quality) == pytest.approx([0, 0, 1 / 6, 1 / 3, 0.5, 0.5])
    assert scored([1.0] * 6, quality, rho=2.0) == pytest.approx(
        [1, 1, 1 + 0.5 / 9, 1 + 2 / 9, 1.5, 1.5]
    )
    given_borders = {"zones": 3, "thresholds": [0.7, 0.9]}
    # Borders belong to the zone above, in the precision that scores have.
    assert scored([0.0] * 3, [0.69, 0.7, 0.9], **given_borders) == pytest.approx([0, 0.25, 0.5])


@given(ladders, shares, st.data())
@settings(max_examples=60)
def test_every_correct_rollout_beats_every_incorrect_one(
    ladder: tuple[int, float, float], quality: list[float], data: st.DataObject
) -> None:
    zones, rho, alpha = ladder
    correct = [data.draw(st.sampled_from([0.0, 1.0])) for _ in quality]
    values = scored(correct, quality, zones=zones, rho=rho, alpha=alpha)
    right = [v for v, c in zip(values, correct, strict=True) if c == 1]
    wrong = [v for v, c in zip(values, correct, strict=True) if c == 0]
    if right and wrong:
        assert min(right) > max(wrong)
    order = sorted(zip(quality, values, correct, strict=True))
    for c in (0, 1):
        same = [v for _, v, kind in order if kind == c]
        assert same == sorted(same)


@given(shares)
@settings(max_examples=40)
def test_one_zone_or_no_weight_is_binary_and_many_zones_are_continuous(
    quality: list[float],
) -> None:
    correct = [float(i % 2) for i in range(len(quality))]
    assert scored(correct, quality, zones=1) == correct
    assert scored(correct, quality, alpha=0.0) == correct
    fine = scored(correct, quality, zones=1001)
    expected = [c + 0.5 * q for c, q in zip(correct, quality, strict=True)]
    assert fine == pytest.approx(expected, abs=1e-3)


@given(st.integers(2, 9), st.floats(1, 5))
def test_levels_are_convex(zones: int, rho: float) -> None:
    found = levels(zones, rho)
    assert (found[0], found[-1]) == (0.0, 1.0)
    steps = [b - a for a, b in pairwise(found)]
    assert all(b >= a - 1e-12 for a, b in pairwise(steps))


def test_a_part_without_a_score_leaves_none() -> None:
    correct = outcome([1.0, 1.0, 1.0, 1.0], [0, ABSTAINED, 0, FAILED])
    quality = outcome([1.0, 1.0, 1.0, 1.0], [0, 0, FAILED, ABSTAINED])
    scores = Tiers(correct, quality)(laws.text(4))
    assert scores.status.tolist() == [0, ABSTAINED, FAILED, FAILED]
    assert scores.values.tolist() == [1.5, 0.0, 0.0, 0.0]
    assert scores.errors == {2: ("quality", "broke 3"), 3: ("correct", "broke 3")}
    assert list(scores.parts) == ["correct", "quality"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"alpha": 1.0}, "an incorrect rollout could earn as much"),
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"zones": 0}, "zones is 0"),
        ({"rho": 0.5}, "rho is 0.5"),
        ({"rho": math.inf}, "rho is inf"),
        ({"zones": 3, "thresholds": [0.5, 0.5]}, "do not increase"),
        ({"zones": 3, "thresholds": [0.5, 0.2]}, "do not increase"),
        ({"zones": 2, "thresholds": [math.nan]}, "do not increase"),
        ({"zones": 2, "thresholds": [math.inf]}, "do not increase"),
        ({"zones": 3, "thresholds": [0.5]}, "3 zones have 2 thresholds, not 1"),
    ],
)
def test_what_it_refuses(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Tiers(outcome([1.0]), outcome([1.0]), **arguments)


def test_it_takes_outcomes_only() -> None:
    for parts in ((outcome([1.0]), laws.dense([[1.0]])), (laws.dense([[1.0]]), outcome([1.0]))):
        with pytest.raises(ValueError, match="scores steps; it takes outcomes"):
            Tiers(*parts)


def test_a_single_zone_may_weigh_anything() -> None:
    assert scored([0.0, 1.0], [1.0, 0.0], zones=1, alpha=7.0) == [0.0, 1.0]


def test_it_is_written_down() -> None:
    made = Tiers(Length(low=1), Length(low=9), thresholds=[0.5, 0.7, 0.9])
    assert dump(made)["tiers"]["thresholds"] == [0.5, 0.7, 0.9]


def test_gradients_pass_to_correctness() -> None:
    correct = outcome([0.3, 0.9])
    correct.scores.values.requires_grad_()
    Tiers(correct, outcome([0.3, 0.9]))(laws.text(2)).values.sum().backward()
    assert correct.scores.values.grad.tolist() == [1.0, 1.0]
    assert tiered(torch.tensor([[0.3], [0.9]]), [0.5], [0.0, 1.0]).tolist() == [[0.0], [1.0]]


coordinates = st.floats(-50, 50)
sizes = st.floats(0.5, 50)


@given(coordinates, coordinates, sizes, sizes, coordinates, coordinates, sizes, sizes)
@settings(max_examples=60)
def test_zones_of_clicks(
    x: float, y: float, w: float, h: float, dx: float, dy: float, sx: float, sy: float
) -> None:
    box = torch.tensor([[x, y, x + w, y + h]], dtype=torch.float64)
    point = torch.tensor([[x + 0.3 * w, y + 0.9 * h]], dtype=torch.float64)
    found = gaussian_zone(point, box, sharpness=2.0)
    assert float(found) == pytest.approx(math.exp(-2 * (0.4**2 + 0.8**2) / 2), rel=1e-6)
    scale = torch.tensor([sx, sy], dtype=torch.float64)
    shift = torch.tensor([dx, dy], dtype=torch.float64)
    moved = gaussian_zone(
        point * scale + shift, box * scale.repeat(2) + shift.repeat(2), sharpness=2.0
    )
    assert float(moved) == pytest.approx(float(found), rel=1e-6)
    middle = torch.tensor([[x + w / 2, y + h / 2]], dtype=torch.float64)
    assert float(gaussian_zone(middle, box)) == pytest.approx(1.0)


@pytest.mark.parametrize("box", [[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0], [2.0, 0.0, 1.0, 1.0]])
def test_degenerate_boxes(box: list[float]) -> None:
    with pytest.raises(ValueError, match=r"box 0, .*has no width or height"):
        gaussian_zone(torch.zeros(1, 2), torch.tensor([box]))


def test_sharpness_is_positive() -> None:
    with pytest.raises(ValueError, match="sharpness is 0"):
        gaussian_zone(torch.zeros(1, 2), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 0.0)


def test_grids() -> None:
    truth = torch.arange(16).reshape(1, 4, 4)
    found = truth.clone()
    found[0, 0, 0], found[0, 1, 1] = 99, 99
    assert grid_match(found, truth).tolist() == [14 / 16]
    # Both errors lie in one of the four blocks.
    assert grid_match(found, truth, 2).tolist() == [0.75]
    order = torch.tensor([1, 0, 2, 3])
    assert grid_match(found[:, order], truth[:, order], 2).tolist() == [0.75]
    for other, block in ((found[:, :2], 1), (found, 3), (found, 0)):
        with pytest.raises((ValueError, TypeCheckError), match="grid_match"):
            grid_match(other, truth, block)
