"""Whitening: moments of all marked steps, in float64."""

import numpy as np
import pytest
import torch

from rewardsmith.policy.advantages.whitening import whiten


def case() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return 3.0 + torch.randn(5, 9, generator=g, dtype=torch.float64), torch.rand(
        5, 9, generator=g
    ) < 0.6


@pytest.mark.parametrize("ddof", [0, 1])
def test_marked_steps_are_the_formula_and_others_zero(ddof: int) -> None:
    values, mask = case()
    own = values[mask].numpy()
    expected = (own - own.mean()) / np.sqrt(own.var(ddof=ddof) + 0.5)
    spoiled = values.masked_fill(~mask, torch.inf)
    got = whiten(spoiled, mask, eps=0.5, ddof=ddof)
    assert got[mask].tolist() == pytest.approx(expected.tolist(), rel=1e-12)
    assert bool((got[~mask] == 0.0).all())
    scaled = whiten(spoiled, mask, eps=0.5, ddof=ddof, shift=False)
    assert scaled[mask].tolist() == pytest.approx((expected + own.mean()).tolist(), rel=1e-12)
    assert bool((scaled[~mask] == 0.0).all())


def test_a_variance_below_the_floor_is_raised_to_it() -> None:
    values, mask = case()
    small = values * 1e-6
    own = small[mask].numpy()
    got = whiten(small, mask, ddof=0, eps=0.0, floor=1e-8)
    assert got[mask].tolist() == pytest.approx(((own - own.mean()) * 1e4).tolist(), rel=1e-9)
    plain = whiten(values, mask, ddof=0, eps=0.0, floor=1e-8)
    assert float(plain[mask].var(correction=0)) == pytest.approx(1.0, rel=1e-12)


def test_values_that_are_all_the_same_give_exactly_zero() -> None:
    mask = torch.rand(6, 7, generator=torch.Generator().manual_seed(1)) < 0.7
    assert whiten(torch.full((6, 7), 0.1), mask, eps=0.0).tolist() == [[0.0] * 7] * 6
    many = torch.arange(7) < torch.arange(16384)[:, None] % 8
    for value in (0.1, 1e9 / 3, -1e-7 / 3):
        same = torch.full((16384, 7), value, dtype=torch.float64)
        assert not whiten(same, many, eps=0.0).any()
        kept = whiten(same, many, eps=0.0, shift=False)
        assert torch.equal(kept, torch.where(many, same, 0.0))


def test_a_spread_of_rounding_is_none_and_a_larger_one_is_whitened() -> None:
    one = torch.ones(1, 2, dtype=torch.bool)
    rounded = torch.tensor([[0.1 + 0.2, 0.3]], dtype=torch.float64)
    assert not whiten(rounded, one, eps=0.0).any()
    near = torch.tensor([[0.3 + 1e-12, 0.3]], dtype=torch.float64)
    assert whiten(near, one, eps=0.0)[0].tolist() == pytest.approx([0.5**0.5, -(0.5**0.5)])


def test_no_gradient_flows_and_a_mask_of_0_and_1_is_a_mask() -> None:
    values, mask = case()
    white = whiten(values.clone().requires_grad_(), mask.long())
    assert not white.requires_grad
    assert torch.equal(white, whiten(values, mask))


def test_a_large_mean_does_not_drown_the_spread() -> None:
    values, mask = case()
    small = whiten(values, mask, eps=0.0)
    large = whiten(values + 1e8, mask, eps=0.0)
    assert torch.allclose(small, large, rtol=1e-6, atol=1e-6)


def test_many_chunks_give_the_moments_of_the_whole() -> None:
    values = torch.randn(700, 500, generator=torch.Generator().manual_seed(2)) + 5.0
    mask = torch.arange(500) < torch.randint(0, 501, (700, 1))
    own = values[mask].double()
    got = whiten(values, mask)
    assert torch.allclose(got[mask].double(), (own - own.mean()) / own.std(), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64,) * 2],
)
def test_the_result_is_in_the_type_of_values_or_float32(
    kind: torch.dtype, expected: torch.dtype
) -> None:
    values, mask = case()
    assert whiten(values.to(kind), mask).dtype == expected


def test_bad_input_is_named() -> None:
    values, mask = case()
    with pytest.raises(ValueError, match="mine: no step is marked, whitening is undefined"):
        whiten(values, mask & False, method="mine")
    one = torch.zeros_like(mask)
    one[3, 2] = True
    with pytest.raises(ValueError, match=r"only one step is marked.*or give ddof=0"):
        whiten(values, one)
    assert whiten(values, one, ddof=0).abs().sum() == 0.0
    values[3, 2] = torch.nan
    with pytest.raises(ValueError, match="whiten: row 3 has nan in values at step 2"):
        whiten(values, mask | one)
    values = values.nan_to_num()
    for option in ("eps", "floor"):
        for number in (-1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=rf"{option} is {number}, it must be finite and"):
                whiten(values, mask, **{option: number})
    with pytest.raises(ValueError, match="ddof is 2, it must be 0 or 1"):
        whiten(values, mask, ddof=2)
    with pytest.raises(ValueError, match=r"values have the shape \[5, 9\], mask \[5, 8\]"):
        whiten(values, mask[:, 1:])
    with pytest.raises(ValueError, match=r"values have the shape \[9\], mask \[9\]; both have"):
        whiten(values[0], mask[0])
    with pytest.raises(ValueError, match="whiten: the variance of finite numbers overflows"):
        whiten(torch.tensor([[1e200], [-1e200]], dtype=torch.float64), torch.ones(2, 1) > 0)
