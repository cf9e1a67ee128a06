"""Rollouts: what was done, as named columns. The input of every reward."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from .columns import Column, below, factorize, leaves, mapped, pad, taken
from .errors import MissingColumn


class Rollouts:
    """N rollouts padded to T steps, with named columns.

    A step is an environment step or a token; a text-only rollout has T = 1. Columns are tensors of
    shape [N, ...] or length-N sequences (``rows``), or tensors [N, T, ...], nested in dicts if the
    observation is (``steps``).

    Args:
        rows: per-rollout columns: ``prompt``, ``completion``, any data set column.
        steps: per-step columns: ``obs``, ``action``, ``env_reward``, ``token``, ``info``, ...
        mask: bool [N, T], the real steps; default all.
        action_mask: bool [N, T] within ``mask``, the steps that the policy chose; default ``mask``.
        group: who is compared with whom in this batch: any hashables, numbered by appearance.
        spans: name -> int64 [N, T], the index of the span that a step lies in, -1 outside.

    Raises:
        ValueError: lengths or shapes that do not agree, or a mask that is not one.
    """

    def __init__(
        self,
        rows: Mapping[str, Column] | None = None,
        steps: Mapping[str, Column] | None = None,
        *,
        mask: Bool[Tensor, "n t"] | None = None,
        action_mask: Bool[Tensor, "n t"] | None = None,
        group: Sequence[Hashable] | Tensor | None = None,
        spans: Mapping[str, Int64[Tensor, "n t"]] | None = None,
    ) -> None:
        self.rows = dict(rows or {})
        self.steps = {
            name: mapped(torch.as_tensor, column) for name, column in (steps or {}).items()
        }
        both = sorted(self.rows.keys() & self.steps.keys())
        if both:
            raise ValueError(f"columns {both} are given both per rollout and per step")
        n, t = _size(self.rows, self.steps, mask)
        self.mask = torch.ones(n, t, dtype=torch.bool) if mask is None else mask
        self.action_mask = self.mask if action_mask is None else action_mask
        self.group = torch.arange(n) if group is None else factorize(group)
        self.grouped = group is not None
        """Whether groups were given; each rollout is one of its own otherwise."""
        self.spans = dict(spans or {})
        self._check(n, t)

    def _check(self, n: int, t: int) -> None:
        for name, column in self.rows.items():
            if isinstance(column, str):
                raise ValueError(f"column {name!r} is one text; give a list, one for each rollout")
            if len(column) != n:
                raise ValueError(f"column {name!r} has {len(column)} rows, the rollouts have {n}")
        for name, column in self.steps.items():
            for leaf in leaves(column):
                if tuple(leaf.shape[:2]) != (n, t):
                    raise ValueError(
                        f"column {name!r} has shape {list(leaf.shape)}, expected [{n}, {t}, ...]"
                    )
        for name, span in self.spans.items():
            if tuple(span.shape) != (n, t):
                raise ValueError(f"span {name!r} has shape {list(span.shape)}, expected {[n, t]}")
        for name, mask in (("mask", self.mask), ("action_mask", self.action_mask)):
            if mask.dtype != torch.bool or tuple(mask.shape) != (n, t):
                raise ValueError(
                    f"{name} is {mask.dtype} {list(mask.shape)}, expected torch.bool {[n, t]}"
                )
        if bool((self.action_mask & ~self.mask).any()):
            raise ValueError("action_mask marks steps that mask says are padding")
        if len(self.group) != n:
            raise ValueError(f"group has {len(self.group)} ids, the rollouts have {n} rows")

    @classmethod
    def from_text(
        cls,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        *,
        group: Sequence[Hashable] | None = None,
        **columns: Column,
    ) -> "Rollouts":
        """Text rollouts: one step each; every keyword is a further per-rollout column."""
        return cls({"prompt": prompts, "completion": completions, **columns}, group=group)

    @classmethod
    def from_episodes(
        cls, episodes: Sequence[Mapping[str, Any]], *, rows: Iterable[str] = ()
    ) -> "Rollouts":
        """Episodes of different lengths, padded to the longest with zeros and masked.

        Args:
            episodes: one mapping per episode: name -> array [T_i, ...] or a dict of such.
            rows: the names that hold one value per episode instead.
        """
        if not episodes:
            raise ValueError("from_episodes needs at least one episode")
        per_row = set(rows)
        names = list(episodes[0])
        for i, episode in enumerate(episodes):
            if set(episode) != set(names):
                raise ValueError(f"episode {i} has columns {sorted(episode)}, not {sorted(names)}")
        first = next((name for name in names if name not in per_row), None)
        if first is None:
            raise ValueError("from_episodes needs at least one column per step")
        lengths = [len(next(leaves(episode[first]))) for episode in episodes]
        t = max(lengths)
        mask = torch.arange(t)[None, :] < torch.tensor(lengths)[:, None]
        steps = {
            name: pad([episode[name] for episode in episodes], lengths, name)
            for name in names
            if name not in per_row
        }
        return cls(
            {name: [episode[name] for episode in episodes] for name in names if name in per_row},
            steps,
            mask=mask,
        )

    def __len__(self) -> int:
        return int(self.mask.shape[0])

    @property
    def n_steps(self) -> int:
        """T, the padded number of steps."""
        return int(self.mask.shape[1])

    @property
    def columns(self) -> list[str]:
        """The names that :meth:`column` knows, with the keys of ``info``."""
        info = self.steps.get("info", {})
        return [*self.rows, *self.steps, *(info if isinstance(info, Mapping) else ())]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Column:
        return self.column(name)

    def column(self, name: str, *, needed_by: str = "") -> Column:
        """A column by name; a name that is no column is looked up among the keys of ``info``.

        ``reward_model.ground_truth`` is what each mapping of the column ``reward_model`` has under
        that key, or MISSING.

        Raises:
            MissingColumn: there is none; the message says who needs it and what is there.
        """
        for table in (self.rows, self.steps, self.steps.get("info", {})):
            if name in table:
                return table[name]
        nested = below(self.rows, name)
        if nested is not None:
            return nested
        raise MissingColumn(name, needed_by=needed_by, present=self.columns)

    def last_action(self) -> Int64[Tensor, " n"]:
        """Index of each rollout's last action step (0 for a rollout without one)."""
        index = torch.arange(self.n_steps, device=self.mask.device)
        return torch.where(self.action_mask, index, -1).amax(dim=1).clamp(min=0)

    def first(self) -> Bool[Tensor, "n t"]:
        """The steps that begin an episode: column ``first``, or else the first of each row."""
        if "first" in self.steps:
            return torch.as_tensor(self.steps["first"], dtype=torch.bool)
        return self.mask & (self.mask.cumsum(dim=1) == 1)

    def select(self, index: Sequence[int] | Tensor) -> "Rollouts":
        """The rows at ``index`` (int64 indices or a bool mask), in that order."""
        index = torch.as_tensor(index)
        # No index at all comes as an empty list, which torch takes for floats.
        index = index.nonzero().flatten() if index.dtype == torch.bool else index.long()
        made = Rollouts(
            {name: taken(column, index) for name, column in self.rows.items()},
            {name: mapped(lambda leaf: leaf[index], c) for name, c in self.steps.items()},
            mask=self.mask[index],
            action_mask=self.action_mask[index],
            group=self.group[index],
            spans={name: span[index] for name, span in self.spans.items()},
        )
        made.grouped = self.grouped
        return made

    def segments(self, span: str) -> "Rollouts":
        """One row per span (turn, step, ...): its steps, left-aligned, with its rollout's columns.

        Column ``rollout`` of the result holds the row that a segment came from, ``segment`` the
        span's index in it; :meth:`Scores.onto` reads both to put scores back.
        """
        ids = self._span(span)
        pairs = [
            (row, int(k))
            for row in range(len(self))
            for k in torch.unique(ids[row][ids[row] >= 0]).tolist()
        ]
        if not pairs:
            raise ValueError(f"span {span!r} holds no segment in any rollout")
        source = torch.tensor([row for row, _ in pairs])
        segment = torch.tensor([k for _, k in pairs])
        inside = (ids[source] == segment[:, None]) & self.mask[source]
        order = torch.argsort((~inside).to(torch.int8), dim=1, stable=True)
        t = max(1, int(inside.sum(dim=1).max()))

        def gather(leaf: Tensor) -> Tensor:
            return leaf[source[:, None], order[:, :t]]

        mask = inside.gather(1, order)[:, :t]
        return Rollouts(
            {
                **{name: taken(column, source) for name, column in self.rows.items()},
                "rollout": source,
                "segment": segment,
            },
            {name: mapped(gather, column) for name, column in self.steps.items()},
            mask=mask,
            action_mask=gather(self.action_mask) & mask,
            group=self.group[source],
            spans={name: gather(s) for name, s in self.spans.items()},
        )

    def _span(self, name: str) -> Tensor:
        if name not in self.spans:
            raise MissingColumn(name, needed_by="a span", present=self.spans)
        return self.spans[name]

    def __repr__(self) -> str:
        return f"Rollouts(n={len(self)}, t={self.n_steps}, columns={sorted(self.columns)})"


def _size(
    rows: Mapping[str, Column], steps: Mapping[str, Column], mask: Tensor | None
) -> tuple[int, int]:
    if mask is not None and mask.ndim != 2:
        raise ValueError(f"mask has shape {list(mask.shape)}, expected [n, t]")
    if mask is not None:
        return int(mask.shape[0]), int(mask.shape[1])
    for name, column in steps.items():
        for leaf in leaves(column):
            if leaf.ndim < 2:
                raise ValueError(f"column {name!r} has shape {list(leaf.shape)}, not [n, t, ...]")
            return int(leaf.shape[0]), int(leaf.shape[1])
    if rows:
        return len(next(iter(rows.values()))), 1
    raise ValueError("rollouts need at least one column or a mask")
