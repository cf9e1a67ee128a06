"""Packed rows: unpacking and packing are inverse, and nothing leaks between sequences."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rewardsmith.ops.packing import Packing


@st.composite
def segments(draw) -> Tensor:
    rows, width = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    made = torch.full((rows, width), -1)
    for row in made:
        ids = iter(draw(st.permutations(range(width))))
        at = draw(st.integers(0, 2))
        while at < width:
            length = draw(st.integers(1, 5))
            row[at : at + length] = next(ids)
            at += length + draw(st.integers(0, 2))
    return made


@given(segment=segments())
@settings(max_examples=60)
def test_packing_what_was_unpacked_gives_it_back(segment: Tensor) -> None:
    packing = Packing(segment)
    x = torch.arange(segment.numel(), dtype=torch.float64).reshape(segment.shape) + 1.0
    rows = packing.unpack(x)
    for i, own in enumerate(rows):
        here = segment[packing.row[i]] == packing.id[i]
        assert own[packing.mask[i]].tolist() == x[packing.row[i]][here].tolist()
        assert own[~packing.mask[i]].tolist() == [0.0] * int((~packing.mask[i]).sum())
    assert len(packing) == len(
        {(i, s) for i, r in enumerate(segment.tolist()) for s in r if s >= 0}
    )
    assert torch.equal(packing.pack(rows), torch.where(segment >= 0, x, 0.0))
    assert torch.equal(packing.lengths, packing.mask.sum(dim=1))


def test_a_mean_of_each_sequence_goes_to_its_own_tokens_and_so_do_gradients() -> None:
    packing = Packing(torch.tensor([[0, 0, 1, -1], [5, 5, 5, 5]]))
    x = torch.tensor([[1.0, 3.0, 7.0, torch.nan], [2.0, 2.0, 4.0, 8.0]], requires_grad=True)
    rows = packing.unpack(x)
    mean = rows.sum(dim=1) / packing.lengths
    packed = packing.pack(mean[:, None].expand_as(packing.mask))
    assert packed.tolist() == [[2.0, 2.0, 7.0, 0.0], [4.0, 4.0, 4.0, 4.0]]
    mean.dot(torch.tensor([2.0, 3.0, 4.0])).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, 1.0, 3.0, 0.0], [1.0, 1.0, 1.0, 1.0]]


def test_the_same_number_in_two_rows_is_two_sequences() -> None:
    packing = Packing(torch.tensor([[3, 3], [3, -1]]))
    assert (packing.row.tolist(), packing.id.tolist()) == ([0, 1], [3, 3])
    assert packing.mask.tolist() == [[True, True], [True, False]]


def test_a_batch_without_sequences_is_empty() -> None:
    packing = Packing(torch.full((2, 3), -1))
    assert (len(packing), packing.mask.shape) == (0, (0, 0))
    assert packing.pack(packing.unpack(torch.ones(2, 3))).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("row", [[4, 7, 4], [4, -1, 4]])
def test_a_sequence_in_pieces_is_named(row: list[int]) -> None:
    with pytest.raises(ValueError, match="row 1: the steps of segment 4 do not lie beside"):
        Packing(torch.tensor([[0, 1, 2], row]))


def test_other_shapes_are_refused() -> None:
    packing = Packing(torch.tensor([[0, 0, 1]]))
    with pytest.raises(
        ValueError, match=r"the batch has the shape \[1, 3\], what it holds \[2, 3\]"
    ):
        packing.unpack(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"unpacked rows have the shape \[2, 2\], these \[2, 3\]"):
        packing.pack(torch.ones(2, 3))


def test_lengths_of_one_row_and_positions_give_the_same_sequences() -> None:
    cumulative = torch.tensor([0, 2, 5, 6], dtype=torch.int32)
    packing = Packing.of_lengths(cumulative.diff(), total=8)
    positions = torch.tensor([[0, 1, 0, 1, 2, 0]])
    of_positions = Packing((positions == 0).cumsum(dim=1) - 1)
    assert packing.lengths.tolist() == of_positions.lengths.tolist() == [2, 3, 1]
    assert packing.inside.tolist() == [[True] * 6 + [False] * 2]
    assert repr(packing) == "Packing(3 sequences in 1 row of 8 steps)"
    assert repr(Packing.of_lengths([])) == "Packing(0 sequences in 1 row of 0 steps)"
    with pytest.raises(ValueError, match=r"lengths are \[2, 0\]; integers \[S\] from 1 on"):
        Packing.of_lengths([2, 0])
    with pytest.raises(ValueError, match=r"lengths are \[1\.5\]; integers"):
        Packing.of_lengths(torch.tensor([1.5]))
    with pytest.raises(ValueError, match="the sequences have 5 steps, total is 4"):
        Packing.of_lengths([2, 3], total=4)


@pytest.mark.parametrize("kind", [torch.float32, torch.bool])
def test_segments_that_are_no_integers_are_refused(kind: torch.dtype) -> None:
    with pytest.raises(ValueError, match=rf"segments are of the type {kind} .*; integers"):
        Packing(torch.zeros(1, 3).to(kind))
