"""Packed rows: several sequences behind each other in one row, and back to one row for each.

Whatever is worked out for rows [N, T] serves a packed batch: unpack, work it out, pack.
"""

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor


class Packing:
    """Where the sequences of a packed batch lie.

    Args:
        segment: [N, T] which sequence of its row a step belongs to, any number from 0; -1 outside.
            Steps of a sequence lie beside each other. The same number in another row is another
            sequence.

    Raises:
        ValueError: a sequence that lies in several pieces; row and number are named.
    """

    def __init__(self, segment: Int64[Tensor, "n t"]) -> None:
        self.shape = segment.shape
        self.inside: Bool[Tensor, "n t"] = segment >= 0
        before = torch.cat([torch.full_like(segment[:, :1], -1), segment[:, :-1]], dim=1)
        first = (self.inside & (segment != before)).flatten()
        start = first.nonzero()[:, 0]
        self.row: Int64[Tensor, " s"] = start // max(segment.shape[1], 1)
        """The packed row that each sequence lies in."""
        self.id: Int64[Tensor, " s"] = segment.flatten()[start]
        """Each sequence's number in ``segment``."""
        self._check_whole()
        # The sequence that each step belongs to, in the order in which they lie.
        number = (first.cumsum(dim=0) - 1)[self.inside.flatten()]
        self.lengths: Int64[Tensor, " s"] = torch.bincount(number, minlength=len(start))
        longest = int(self.lengths.max()) if len(start) else 0
        place = torch.arange(longest, device=segment.device)
        self.mask: Bool[Tensor, "s l"] = place < self.lengths[:, None]
        """[S, L] the steps of each sequence; L is the longest one's length."""
        # Beyond a sequence's end, its first step stands for what is not read.
        self._at = torch.where(self.mask, start[:, None] + place, start[:, None])

    def __len__(self) -> int:
        return len(self.row)

    def unpack(self, x: Shaped[Tensor, "n t"]) -> Shaped[Tensor, "s l"]:
        """One row for each sequence, 0 after its end. Gradients flow.

        Raises:
            ValueError: the shape is not that of the packed batch.
        """
        if x.shape != self.shape:
            raise ValueError(f"the batch has the shape {[*self.shape]}, what it holds {[*x.shape]}")
        return torch.where(self.mask, x.flatten()[self._at], x.new_zeros(()))

    def pack(self, y: Shaped[Tensor, "s l"]) -> Shaped[Tensor, "n t"]:
        """Rows of sequences back where they lie in the batch, 0 outside. Gradients flow.

        A number per sequence goes to all its steps as ``numbers[:, None].expand_as(mask)``.

        Raises:
            ValueError: the shape is not that of unpacked rows.
        """
        if y.shape != self.mask.shape:
            raise ValueError(
                f"unpacked rows have the shape {[*self.mask.shape]}, these {[*y.shape]}"
            )
        blank = torch.zeros(self.shape, dtype=y.dtype, device=y.device)
        # Row by row, the steps inside are in the same order on both sides.
        return blank.masked_scatter(self.inside, y.masked_select(self.mask))

    def _check_whole(self) -> None:
        order = torch.stack([self.row, self.id], dim=1)
        unique, count = torch.unique(order, dim=0, return_counts=True)
        if len(unique) != len(order):
            row, number = unique[count > 1][0].tolist()
            raise ValueError(
                f"row {row}: the steps of segment {number} do not lie beside each other; give each "
                "sequence of a row a number of its own"
            )
