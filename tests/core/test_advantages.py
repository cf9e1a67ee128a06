import warnings

import pytest
import torch

from rewardsmith.core.advantages import Advantages

MASK = torch.tensor([[1, 1, 0], [1, 0, 1], [1, 1, 1]]).bool()
KEEP = torch.tensor([True, False, True])


def test_by_step_stands_at_the_steps_that_train():
    made = Advantages(torch.tensor([2.0, float("nan"), -1.0]), KEEP)
    assert made.by_step(MASK).tolist() == [[2, 2, 0], [0, 0, 0], [-1, -1, -1]]
    assert made.masked(MASK).tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]


def test_weights_multiply():
    weight = torch.tensor([[1.0, 3.0, 9.0]] * 3)
    made = Advantages(torch.tensor([2.0, 1.0, 0.5]), KEEP, weight)
    assert made.by_step(MASK).tolist() == [[2, 6, 0], [0, 0, 0], [0.5, 1.5, 4.5]]


@pytest.mark.parametrize(
    "rows", [[2, 0], slice(1, 3), torch.tensor([True, False, True])], ids=["list", "slice", "mask"]
)
def test_rows_are_selected_with_all_that_is_theirs(rows):
    weight = torch.arange(9.0).view(3, 3)
    made = Advantages(torch.tensor([2.0, 1.0, 0.5]), KEEP, weight, {"told": 1.0})
    some = made.select(rows)
    assert torch.equal(some.values, made.values[rows])
    assert torch.equal(some.keep, made.keep[rows])
    assert torch.equal(some.weight, weight[rows])
    assert some.metrics == {"told": 1.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_trains_is_finite(value, dtype):
    with pytest.raises(ValueError, match="row 2 trains on an advantage that is not finite"):
        Advantages(torch.tensor([1.0, value, value], dtype=dtype), KEEP)
    with pytest.raises(ValueError, match="row 2 trains"):
        Advantages(torch.tensor([[1.0, 1.0], [1.0, value], [value, 0.0]], dtype=dtype), KEEP)
    Advantages(torch.tensor([1.0, value, 2.0], dtype=dtype), KEEP)


def test_values_may_carry_a_gradient_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for shape in (2, (2, 3)):
            Advantages(torch.ones(shape, requires_grad=True), torch.ones(2, dtype=torch.bool))


def test_a_sum_that_overflows_is_no_fault():
    Advantages(torch.full((2, 2), 3e38), torch.ones(2, dtype=torch.bool))


@pytest.mark.parametrize(
    ("values", "weight"), [([2], [2]), ([2], [3, 2]), ([2, 2], [2, 3]), ([2], [2, 2, 2])]
)
def test_a_weight_is_one_for_each_step(values, weight):
    made = Advantages(torch.ones(values), torch.ones(2, dtype=torch.bool))
    made.weight = torch.ones(weight)
    with pytest.raises(ValueError, match=r"their weights \[.*; a weight is one for each step"):
        made.__post_init__()  # beside the types, which the tests check before it


def test_what_stands_outside_the_mask_may_be_anything():
    nan = float("nan")
    made = Advantages(torch.tensor([1.0, 2.0]), KEEP[:2], torch.tensor([[2.0, nan], [nan, nan]]))
    assert made.by_step(torch.tensor([[True, False], [True, True]])).tolist() == [[2, 0], [0, 0]]
    narrow = Advantages(torch.ones(1).bfloat16(), KEEP[:1], torch.tensor([[1.001]]))
    assert narrow.by_step(KEEP[None, :1]).item() == pytest.approx(1.001)
