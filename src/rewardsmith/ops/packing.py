"""Packed rows: several sequences behind each other in one row, and back to one row for each.

Whatever is worked out for rows [N, T] serves a packed batch: unpack, work it out, pack.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor
from torch.nn.functional import pad

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class Packing:
    """Where the sequences of a packed batch lie.

    >>> packing = Packing.of_lengths([2, 3], total=6)
    >>> packing
    Packing(2 sequences in 1 row of 6 steps)
    >>> rows = packing.unpack(torch.tensor([[1, 2, 3, 4, 5, 0]]))
    >>> rows.tolist()
    [[1, 2, 0], [3, 4, 5]]
    >>> packing.pack(rows.cumsum(dim=1)).tolist()
    [[1, 3, 3, 7, 12, 0]]

    Args:
        segment: [N, T] which sequence of its row a step belongs to, any number from 0; -1 outside.
            Steps of a sequence lie beside each other. The same number in another row is another
            sequence. Of positions that begin anew with each sequence, it is
            ``(position_ids == 0).cumsum(dim=1) - 1``.

    Raises:
        ValueError: numbers that are not integers [N, T], or a sequence that lies in several pieces;
            row and number are named.
    """

    def __init__(self, segment: Shaped[Tensor, "n t"]) -> None:
        if segment.ndim != 2 or segment.dtype not in _INTEGERS:
            raise ValueError(
                f"segments are of the type {segment.dtype} and the shape {[*segment.shape]}; "
                "integers [N, T] are needed"
            )
        segment = segment.long()
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

    @classmethod
    def of_lengths(
        cls, lengths: Shaped[Tensor, " s"] | Sequence[int], total: int | None = None
    ) -> "Packing":
        """Sequences behind each other in one row, such as those of ``cu_seqlens.diff()``.

        Args:
            lengths: [S] how many steps each sequence has, at least 1.
            total: steps of the row, with the padding at its end; the sum of lengths if not given.

        Raises:
            ValueError: a length below 1 or that is no integer, or more steps than ``total``.
        """
        given = torch.as_tensor(lengths, device=getattr(lengths, "device", "cpu"))
        steps = given.long()
        if given.ndim != 1 or bool(((steps < 1) | (steps != given)).any()):
            raise ValueError(f"lengths are {given.tolist()}; integers [S] from 1 on are needed")
        inside = torch.arange(len(steps), device=steps.device).repeat_interleave(steps)
        width = len(inside) if total is None else total
        if width < len(inside):
            raise ValueError(f"the sequences have {len(inside)} steps, total is {total}")
        return cls(pad(inside, (0, width - len(inside)), value=-1)[None])

    def __len__(self) -> int:
        return len(self.row)

    def __repr__(self) -> str:
        (n, steps), s = self.shape, "" if self.shape[0] == 1 else "s"
        return f"Packing({len(self)} sequences in {n} row{s} of {steps} steps)"

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
