"""Scans over time: the recursion written out is the reference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rewardsmith.ops import scan
from rewardsmith.ops.scan import gae_scan, how, reverse_scan
from rewardsmith.ops.series import Series

WAYS = ["torch", "compiled"]


def ready(way: str) -> None:
    if way == "compiled":
        pytest.importorskip("numba")


def by_loop(x: Tensor, mask: Tensor, c: float, end: Tensor | None = None) -> Tensor:
    out = torch.zeros(x.shape, dtype=torch.float64)
    for i in range(x.shape[0]):
        carry = 0.0 if end is None else float(end[i])
        for t in reversed(range(x.shape[1])):
            if mask[i, t]:
                carry = float(x[i, t]) + c * carry
                out[i, t] = carry
    return out


def gae_by_loop(
    r: Tensor, v: Tensor, mask: Tensor, gamma: float, lam: float, end: Tensor
) -> Tensor:
    out = torch.zeros(r.shape, dtype=torch.float64)
    for i in range(r.shape[0]):
        carry, following = 0.0, float(end[i])
        for t in reversed(range(r.shape[1])):
            if mask[i, t]:
                delta = float(r[i, t]) + gamma * following - float(v[i, t])
                carry, following = delta + gamma * lam * carry, float(v[i, t])
                out[i, t] = carry
    return out


def case(seed: int, n: int, t: int, kind: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    x, v = torch.randn(2, n, t, generator=g, dtype=torch.float64).to(kind)
    mask = torch.rand(n, t, generator=g) < 0.7
    if seed % 2:
        mask = torch.arange(t) < torch.randint(0, t + 1, (n, 1), generator=g)
    return x, v, mask, torch.randn(n, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("way", WAYS)
@given(
    seed=st.integers(0, 99),
    n=st.integers(0, 4),
    t=st.integers(1, 12),
    c=st.sampled_from([0.0, 1e-250, 1e-120, 0.3, 0.95, 1.0]),
)
@settings(max_examples=40)
def test_it_is_the_recursion(way: str, seed: int, n: int, t: int, c: float) -> None:
    ready(way)
    x, _, mask, end = case(seed, n, t)
    with how(way):
        assert torch.allclose(
            reverse_scan(x, mask, c).tensor(), by_loop(x, mask, c), rtol=1e-12, atol=1e-12
        )
        got = reverse_scan(x, mask, c, end=end).tensor()
    assert torch.allclose(got, by_loop(x, mask, c, end), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
@given(
    seed=st.integers(0, 99),
    t=st.integers(1, 12),
    gamma=st.sampled_from([0.0, 0.9, 1.0]),
    lam=st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=40)
def test_gae_is_the_recursion(way: str, seed: int, t: int, gamma: float, lam: float) -> None:
    ready(way)
    r, v, mask, end = case(seed, 3, t)
    with how(way):
        got = gae_scan(r, v, mask, gamma, lam, end=end)
        expected = gae_by_loop(r, v, mask, gamma, lam, end)
        assert torch.allclose(got.tensor(), expected, rtol=1e-12, atol=1e-12)
        scaled = got.tensor(torch.float32, plus=v, shift=0.5, scale=2.0)
    wanted = torch.where(mask, (expected + v - 0.5) * 2.0, 0.0).float()
    assert scaled.dtype == torch.float32
    assert torch.allclose(scaled, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_moments_are_those_of_the_marked_steps_of_each_row(way: str) -> None:
    ready(way)
    r, v, mask, end = case(4, 5, 40)
    mask[2] = False
    with how(way):
        series = gae_scan(r, v, mask, 0.9, 0.8, end=end)
        rows = series.moments()
    for i, y in enumerate(series.tensor()):
        own = y[mask[i]].numpy()
        expected = [own.size, own.mean(), own.var() * own.size] if own.size else [0, 0, 0]
        assert rows[i].tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("c", [0.05, 0.9, 0.999])
def test_long_rows_keep_their_digits_over_blocks_and_chunks(way: str, c: float) -> None:
    ready(way)
    steps = 70_000
    x = torch.rand(3, steps, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, steps, dtype=torch.bool)
    mask[1, ::3] = False
    with how(way):
        got = reverse_scan(x, mask, c).tensor()
    for i in range(3):
        own, y = x[i][mask[i]].numpy(), 0.0
        expected = np.empty(len(own))
        for t in range(len(own) - 1, -1, -1):
            y = own[t] + c * y
            expected[t] = y
        assert np.allclose(got[i][mask[i]].numpy(), expected, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, torch.int64])
def test_what_is_not_marked_is_not_read_and_narrow_types_are_widened_first(
    way: str, kind: torch.dtype
) -> None:
    ready(way)
    x, v, mask, _ = case(6, 4, 30)
    x, v = (x * 9).to(kind), (v * 9).to(kind)
    spoiled = x.double().masked_fill(~mask, torch.nan).to(kind) if kind.is_floating_point else x
    with how(way):
        got = gae_scan(spoiled, v, mask, 0.9, 0.8).tensor()
        plain = reverse_scan(spoiled, mask, 0.9).tensor()
    expected = gae_by_loop(x, v, mask, 0.9, 0.8, torch.zeros(4))
    assert torch.allclose(got, expected, rtol=1e-12, atol=1e-12)
    assert torch.allclose(plain, by_loop(x, mask, 0.9), rtol=1e-12, atol=1e-12)


def test_gradients_flow_and_the_compiled_way_is_not_taken_then(monkeypatch) -> None:
    monkeypatch.setattr(scan, "_WORTH", 1)
    x, _, mask, end = case(8, 2, 6)
    x.requires_grad_()
    end.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, end: reverse_scan(x, mask, 0.9, end=end).tensor(), (x, end)
    )
    pytest.importorskip("numba")
    with how("compiled"), pytest.raises(ValueError, match="let no gradient through"):
        reverse_scan(x, mask, 0.9)
    with how("compiled"), torch.no_grad():
        assert torch.allclose(reverse_scan(x, mask, 0.9).tensor(), by_loop(x, mask, 0.9))


def test_large_batches_are_compiled_where_numba_is(monkeypatch) -> None:
    taken = []
    series = Series(torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1))
    monkeypatch.setattr(scan, "CompiledScan", lambda *given: taken.append(given) or series)
    monkeypatch.setattr(scan, "_numba", lambda: True)
    for n in (2, 3):
        reverse_scan(torch.zeros(n, 2**19), torch.ones(n, 2**19, dtype=torch.bool), 0.9)
    assert len(taken) == 2
    reverse_scan(torch.zeros(1, 2**19), torch.ones(1, 2**19, dtype=torch.bool), 0.9)
    monkeypatch.setattr(scan, "_numba", lambda: False)
    reverse_scan(torch.zeros(2, 2**19), torch.ones(2, 2**19, dtype=torch.bool), 0.9)
    assert len(taken) == 2
    with pytest.raises(ImportError, match="rewardsmith\\[fast\\]"), how("compiled"):
        pass


def test_bad_input_is_named() -> None:
    x, _, mask, end = case(0, 2, 3)
    with pytest.raises(ValueError, match=r"decay is 1\.5, it must lie in"):
        reverse_scan(x, mask, 1.5)
    with pytest.raises(ValueError, match="lam is nan"):
        gae_scan(x, x, mask, 1.0, float("nan"))
    with pytest.raises(ValueError, match=r"2 rows of steps, the end has the shape \[1\]"):
        scan._check(mask, {"x": x}, {}, end[:1])
    with pytest.raises(ValueError, match=r"mask has the shape \[2, 3\], x \[2, 2\]"):
        scan._check(mask, {"x": x[:, :2]}, {}, None)


@pytest.mark.parametrize("way", WAYS)
def test_rows_without_a_step_have_no_moments_and_no_default_device_is_read(way: str) -> None:
    ready(way)
    x, v, mask, end = case(3, 4, 6)
    with how(way):
        expected = gae_scan(x, v, mask, 0.9, 0.8).tensor(plus=v)
        with torch.device("meta"):
            series = gae_scan(x, v, mask, 0.9, 0.8)
            assert torch.equal(series.tensor(plus=v), expected)
            assert series.moments().device.type == "cpu"
        for n in (0, 2):
            empty = reverse_scan(x[:n, :0], mask[:n, :0], 0.9, end=end[:n]).moments()
            assert empty.tolist() == [[0.0, 0.0, 0.0]] * n
