"""From a loss per token to one number: which mean of it an update descends."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...ops.ranks import Ranks, summed

Mode: TypeAlias = Literal[
    "token-mean",
    "seq-mean-token-mean",
    "seq-mean-token-sum",
    "seq-mean-token-sum-norm",
    "seq-sum-token-mean",
    "token-sum",
]


@dataclass(frozen=True)
class Aggregation:
    """How losses [N, T] become one, over the tokens that ``mask`` marks.

    ========================= ============================ =================================
    mode                      loss                         as in
    ========================= ============================ =================================
    token-mean                sum_it L_it / #tokens        DAPO; TRL ``dapo``, ``bnpo``
    seq-mean-token-mean       mean_i mean_t L_it           GRPO, GSPO; TRL ``grpo``, ``sapo``
    seq-mean-token-sum        mean_i sum_t L_it            the policy gradient; TRL ``luspo``
    seq-mean-token-sum-norm   mean_i sum_t L_it / length   Dr. GRPO; TRL ``dr_grpo``
    seq-sum-token-mean        sum_i mean_t L_it            DCPO
    token-sum                 sum_it L_it                  sums over micro-batches
    ========================= ============================ =================================

    A sequence without a token counts in no mean (TRL's means are over all rows: for those give
    ``sequences=N``); a batch without one has the loss 0.

    Where a batch comes in several pieces (micro-batches, ranks), each piece's own mean weighs
    tokens by the piece that they are in. With the whole batch's ``tokens`` and ``sequences`` as the
    denominators, the pieces' losses add up to the batch's: :meth:`of_batch` counts them.

    Args:
        mode: one of the above.
        tokens: the denominator in the place of the number of tokens here; of ``token-sum``, in
            the place of 1.
        sequences: likewise, of the number of sequences here that have a token; of
            ``seq-sum-token-mean``, in the place of 1.
        length: of ``seq-mean-token-sum-norm``, the same number in every update: the most tokens
            that an answer may have.

    Raises:
        ValueError: an unknown mode, a denominator that the mode does not have or that is not
            positive, or no length.
    """

    mode: Mode = "token-mean"
    tokens: float | None = None
    sequences: float | None = None
    length: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"aggregation {self.mode!r} is none of {', '.join(get_args(Mode))}")
        for name in ("tokens", "sequences", "length"):
            value = getattr(self, name)
            if value is not None and name not in _DENOMINATORS[self.mode]:
                raise ValueError(f"aggregation {self.mode!r} does not divide by {name}")
            if value is not None and not value > 0:
                raise ValueError(f"aggregation: {name} is {value}, it must be positive")
        if self.mode == "seq-mean-token-sum-norm" and self.length is None:
            raise ValueError(
                "aggregation 'seq-mean-token-sum-norm' divides by a fixed length; give the most "
                "tokens that an answer may have: Aggregation('seq-mean-token-sum-norm', length=...)"
            )

    @classmethod
    def of_batch(
        cls,
        mode: Mode,
        mask: Bool[Tensor, "n t"],
        *,
        length: float | None = None,
        ranks: Ranks = None,
    ) -> "Aggregation":
        """With the denominators of a whole batch, of which micro-batches are then taken.

        A loss leaves out the rows that its ``Advantages`` do not keep, so they must not count here
        either: ``of_batch(mode, advantages.masked(mask))``.

        Args:
            mode: as above.
            mask: [N, T] the tokens that train, of all micro-batches of this process.
            length: as above.
            ranks: processes whose gradients are *averaged*, as data-parallel training does. The
                denominators are then the mean over ranks (for a sum, 1 / the number of ranks), so
                that averaged gradients are those of the whole batch.

        Raises:
            ValueError: as :class:`Aggregation`.
        """
        mask, known = mask.bool(), _DENOMINATORS.get(mode, ())
        here = [mask.sum(), mask.any(dim=1).sum(), mask.new_ones((), dtype=torch.int64)]
        total = summed(torch.stack(here).to(torch.float64), ranks).tolist()
        counts = dict(zip(("tokens", "sequences"), total, strict=False))
        if mode in _SUMS:
            counts = dict.fromkeys(counts, 1.0)
        # The mean over ranks may be less than 1: four ranks with one sequence each, one of them
        # masked out. Only a batch without any token has nothing to divide by.
        needed = {name: (of / total[2]) or 1.0 for name, of in counts.items() if name in known}
        return cls(mode, length=length, **needed)

    def __call__(self, loss: Float[Tensor, "n t"], mask: Bool[Tensor, "n t"]) -> Float[Tensor, ""]:
        """The loss of these tokens; those that ``mask`` leaves out may be anything."""
        # Counts and sums do not fit into half precision.
        loss, mask = loss.to(torch.promote_types(loss.dtype, torch.float32)), mask.bool()
        count = mask.sum(dim=1).to(loss.dtype)
        sums = torch.where(mask, loss, 0.0).sum(dim=1)
        if self.mode.endswith("-token-mean"):
            sums = sums / count.clamp(min=1.0)
        by_token = "tokens" in _DENOMINATORS[self.mode]
        given = self.tokens if by_token else self.sequences
        if given is None and self.mode not in _SUMS:
            counted = count.sum() if by_token else (count > 0).to(loss.dtype).sum()
            mean = sums.sum() / counted.clamp(min=1.0)
        else:
            mean = sums.sum() / (given or 1.0)
        return mean if self.length is None else mean / self.length


_DENOMINATORS: dict[str, tuple[str, ...]] = {
    "token-mean": ("tokens",),
    "seq-mean-token-mean": ("sequences",),
    "seq-mean-token-sum": ("sequences",),
    "seq-mean-token-sum-norm": ("sequences", "length"),
    "seq-sum-token-mean": ("sequences",),
    "token-sum": ("tokens",),
}
_SUMS = ("seq-sum-token-mean", "token-sum")


def aggregation_of(how: Aggregation | Mode) -> Aggregation:
    """A mode's name stands for it with its own denominators."""
    return how if isinstance(how, Aggregation) else Aggregation(how)
