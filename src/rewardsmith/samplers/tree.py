"""Trees of answers: rows that branch where the model hesitates, and are pruned where they agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.warn import warn_caller

_FULL = 0.98
"""The share of its branches that a tree needs at the first token to count as full."""


@dataclass(frozen=True)
class Branching:
    """Where a tree branches, what it prunes, and when it ends; see :func:`lookahead_rollouts`.

    Args:
        candidates: m, how many of the likeliest tokens are considered at each step; 1 never
            branches, and warns.
        min_probability: a candidate behind the first needs a probability above this.
        max_gap: and one that is less than this below the likeliest token's.
        distance: a branch is pruned below this edit distance to its parent, per token.
        lookahead: r, how many tokens after its birth a branch is compared; several are several
            comparisons.
        decay: how much sooner a tree counts as full at the last token than at the first.
        until: tokens after which all trees end; None: only with the answers.

    Raises:
        ValueError: one is out of range; the message names it.
    """

    candidates: int = 2
    min_probability: float = 0.25
    max_gap: float = 0.15
    distance: float = 0.4
    lookahead: Sequence[int] = (20, 30, 50)
    decay: float = 0.05
    until: int | None = None

    def __post_init__(self) -> None:
        for name in ("min_probability", "max_gap", "distance", "decay"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"latr: {name} is {getattr(self, name)}, it must lie in [0, 1]")
        for name in ("candidates", "until"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"latr: {name} is {getattr(self, name)}, it must be at least 1")
        if not self.lookahead or min(self.lookahead) < 1:
            raise ValueError(
                f"latr: lookahead is {self.lookahead!r}, one or more numbers of tokens are needed"
            )
        if self.candidates == 1:
            warn_caller(
                "latr: with candidates=1 no tree ever branches, and all its rows are greedy"
            )


@dataclass(frozen=True)
class Branch:
    """One answer, and where it comes from."""

    tokens: list[int]
    """What was generated, the token that ended it included."""
    parent: int | None = None
    """Its parent's place in the group; None for the root of the tree and for ordinary samples."""
    birth: int = 0
    """How many of its first tokens are its parent's."""


@dataclass(eq=False)
class Row:
    """An answer that is being made."""

    tokens: list[int]
    slot: int
    """Its row in the last logits."""
    parent: "Row | None" = None
    birth: int = 0
    ended: bool = False


class Group:
    """The rows of one prompt: a tree with room for ``most``, and ``plain`` ordinary samples."""

    def __init__(self, slot: int, most: int, plain: int) -> None:
        self.most, self.growing = most, most > 0
        self.tree = [Row([], slot)] if most else []
        self.plain = [Row([], slot) for _ in range(plain)]

    def rows(self) -> list[Row]:
        """Those of the tree, its root first, and then the ordinary samples."""
        return self.tree + self.plain

    def sampled(self) -> list[Row]:
        """What goes on as ordinary sampling."""
        return [row for row in (self.plain if self.growing else self.rows()) if not row.ended]

    def close(self) -> None:
        """End the tree, with copies of its root in the places that are left."""
        self.growing, root = False, self.tree[0]
        for _ in range(self.most - len(self.tree)):
            length = len(root.tokens)
            self.tree.append(Row([*root.tokens], root.slot, root, length, root.ended))

    def branches(self) -> list[Branch]:
        """The answers."""
        place = {id(row): i for i, row in enumerate(self.tree)}
        return [
            Branch(row.tokens, None if row.parent is None else place[id(row.parent)], row.birth)
            for row in self.rows()
        ]


def sample(
    rows: list[Row],
    logits: Float[Tensor, "r v"],
    temperature: float,
    generator: torch.Generator,
) -> None:
    """One ordinary token for each row."""
    if not rows:
        return
    p = (logits[[row.slot for row in rows]] / temperature).softmax(-1)
    drawn = torch.multinomial(p, 1, generator=generator)[:, 0].tolist()
    for row, token in zip(rows, drawn, strict=True):
        row.tokens.append(token)


def grow(
    groups: list[Group], logits: Float[Tensor, "r v"], step: int, branching: Branching
) -> None:
    """The likeliest token for each row of each tree, and children with others where it wavers."""
    live = [[row for row in group.tree if not row.ended] for group in groups]
    slots = [row.slot for rows in live for row in rows]
    if not slots:
        return
    top = logits[slots].softmax(-1).topk(min(branching.candidates, logits.shape[-1]))
    near = (top.values > branching.min_probability) & (
        top.values[:, :1] - top.values < branching.max_gap
    )
    tokens, opens = top.indices.tolist(), near.tolist()
    at = count()
    for group, rows in zip(groups, live, strict=True):
        numbers = [next(at) for _ in rows]
        children = [
            Row([*row.tokens, tokens[i][rank]], row.slot, row, step)
            for rank in range(1, top.indices.shape[1])
            for i, row in zip(numbers, rows, strict=True)
            if opens[i][rank]
        ]
        for i, row in zip(numbers, rows, strict=True):
            row.tokens.append(tokens[i][0])
        group.tree += children[: group.most - len(group.tree)]


def prune(group: Group, length: int, branching: Branching) -> None:
    """Drop children that did not become different, and all that descends from them."""
    gone: set[int] = set()
    for row in group.tree:
        parent, r = row.parent, length - row.birth
        if parent is None or r not in branching.lookahead or row.ended or parent.ended:
            continue
        if edit_distance(row.tokens[-r:], parent.tokens[-r:]) / r < branching.distance:
            gone.add(id(row))
    # Parents come before their children.
    for row in group.tree:
        if row.parent is not None and id(row.parent) in gone:
            gone.add(id(row))
    group.tree = [row for row in group.tree if id(row) not in gone]


def over(group: Group, length: int, longest: int, branching: Branching) -> bool:
    """Whether the tree ends here."""
    live = [row for row in group.tree if not row.ended]
    if not live or length >= min(branching.until or longest, longest):
        return True
    full = _FULL - branching.decay * (length - 1) / longest
    looked = all(length - row.birth >= max(branching.lookahead) for row in live)
    return looked and len(group.tree) >= round(group.most * full)


def edit_distance(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens have to be inserted, deleted or replaced to make b of a."""
    above = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
        above = row
    return above[-1]
