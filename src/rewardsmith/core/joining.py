"""Batches put together: the rows of one after those of another."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from .columns import Column, mapped
from .rollouts import Rollouts
from .scores import Scores

B = TypeVar("B")


def joined_rollouts(batches: Sequence[Rollouts]) -> Rollouts:
    """The rows of all batches in their order; shorter ones are padded with zeros and masked.

    Groups stay apart: those of one batch are never those of another.

    Raises:
        ValueError: there is no batch, or they differ in columns.
    """
    first = _first(batches)
    if len(batches) == 1:
        return first
    for kind in ("rows", "steps", "spans"):
        named = [sorted(getattr(batch, kind)) for batch in batches]
        if any(names != named[0] for names in named):
            odd = next(names for names in named if names != named[0])
            raise ValueError(f"joined_rollouts: one batch has the {kind} {named[0]}, another {odd}")
    t = max(batch.n_steps for batch in batches)
    groups, begin = [], 0
    for batch in batches:
        groups.append(batch.group + begin)
        begin += int(batch.group.max()) + 1 if len(batch) else 0
    made = Rollouts(
        {name: _stacked([batch.rows[name] for batch in batches]) for name in first.rows},
        {name: _padded([batch.steps[name] for batch in batches], t) for name in first.steps},
        mask=_padded([batch.mask for batch in batches], t),
        action_mask=_padded([batch.action_mask for batch in batches], t),
        group=torch.cat(groups),
        spans={n: _padded([batch.spans[n] for batch in batches], t, -1) for n in first.spans},
    )
    made.grouped = all(batch.grouped for batch in batches)
    return made


def joined_scores(batches: Sequence[Scores]) -> Scores:
    """The scores of all batches in their order, of rewards with the same parts.

    Raises:
        ValueError: there is no batch, or they differ in parts or in granularity.
    """
    first = _first(batches)
    if len(batches) == 1:
        return first
    if len({(batch.granularity, *sorted(batch.parts)) for batch in batches}) > 1:
        raise ValueError("joined_scores: the batches are scores of different rewards")
    errors, begin = {}, 0
    for batch in batches:
        errors.update({begin + row: told for row, told in batch.errors.items()})
        begin += len(batch)
    dense = first.granularity == "dense"
    t = max(batch.values.shape[1] for batch in batches) if dense else 0
    steps = {
        name: _padded([getattr(batch, name) for batch in batches], t)
        for name in ("at", "failed_at")
        if all(getattr(batch, name) is not None for batch in batches)
    }
    values = [batch.values for batch in batches]
    return Scores(
        _padded(values, t) if dense else torch.cat(values),
        torch.cat([batch.status for batch in batches]),
        errors=errors,
        parts={name: joined_scores([b.parts[name] for b in batches]) for name in first.parts},
        info={
            name: _stacked([batch.info[name] for batch in batches])
            for name in first.info
            if all(name in batch.info for batch in batches)
        },
        **steps,
    )


def _first(batches: Sequence[B]) -> B:
    if not batches:
        raise ValueError("there is no batch to join")
    return batches[0]


def _stacked(columns: Sequence[Column]) -> Column:
    """Columns per row, one after the other."""
    if all(isinstance(column, Tensor) for column in columns):
        return torch.cat(list(columns))
    return [value for column in columns for value in column]


def _padded(columns: Sequence[Column], t: int, fill: int = 0) -> Column:
    """Columns per step [N, T_i, ...], each padded to T, one after the other."""
    if isinstance(columns[0], Mapping):
        return {key: _padded([column[key] for column in columns], t, fill) for key in columns[0]}

    def longer(leaf: Tensor) -> Tensor:
        missing = leaf.new_full((leaf.shape[0], t - leaf.shape[1], *leaf.shape[2:]), fill)
        return torch.cat([leaf, missing], dim=1)

    return torch.cat([mapped(longer, column) for column in columns])
