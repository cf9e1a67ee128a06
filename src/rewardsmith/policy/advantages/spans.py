"""Spans of steps: which one of its row a step lies in, counted from 0."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


def numbered(
    method: str, span: str, ids: Int64[Tensor, "n t"], mask: Bool[Tensor, "n t"]
) -> tuple[Int64[Tensor, "n t"], Int64[Tensor, " n"]]:
    """The number of each marked step's span among those of its row, and how many a row has.

    Spans without a marked step do not count: of turns, those of the opponent.

    Args:
        method: who asks; errors begin with it.
        span: what the spans are called, such as ``"turn"``.
        ids: [N, T] the span that a step lies in, -1 outside; ids grow along a row.
        mask: [N, T] the steps that are looked at.

    Returns:
        Numbers [N, T], -1 where ``mask`` is not, and counts [N].

    Raises:
        ValueError: shapes that disagree, a marked step that lies in no span, or a span that comes
            back after another began.
    """
    if ids.shape != mask.shape:
        raise ValueError(
            f"{method}: span {span!r} has the shape {[*ids.shape]}, the mask {[*mask.shape]}"
        )
    outside = mask & (ids < 0)
    if bool(outside.any()):
        row, step = outside.nonzero()[0].tolist()
        raise ValueError(
            f"{method}: row {row}, step {step} lies in no span {span!r}; every step that the "
            "policy chose needs one"
        )
    if ids.shape[1] == 0:
        return ids.clone(), ids.new_zeros(len(ids))
    seen = torch.where(mask, ids, -1).cummax(dim=1).values
    before = torch.cat([seen.new_full((len(seen), 1), -1), seen[:, :-1]], dim=1)
    back = mask & (ids < before)
    if bool(back.any()):
        row, step = back.nonzero()[0].tolist()
        raise ValueError(
            f"{method}: row {row} is in {span} {int(ids[row, step])} again at step {step}, after "
            f"{span} {int(before[row, step])} began; ids of spans grow along a row"
        )
    number = (mask & (ids > before)).cumsum(dim=1) - 1
    return torch.where(mask, number, -1), number[:, -1] + 1
