"""The groups of a batch, which may lie across ranks, and the rows that one rank has to score."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.columns import value_at
from ...core.errors import MissingColumn, SpecError
from ...core.reward import Reward
from ...core.rowcall import MISSING
from ..scorer import Row, Scorer

_SAY = (
    "say to_trl(..., num_generations=) as the trainer has it, or name a column that tells groups "
    "apart (columns={'group': ...})"
)


@dataclass(frozen=True)
class Window:
    """Rows to score together, and which of them are this rank's own."""

    rows: Sequence[Row]
    group: list[int] | None
    start: int
    n: int

    @property
    def own(self) -> slice:
        return slice(self.start, self.start + self.n)


def window(
    by_rank: Sequence[Sequence[Row]], rank: int, scorer: Scorer, num_generations: int | None
) -> Window:
    """What a rank scores of everybody's rows: the groups that it has a row of, or all of them.

    Args:
        by_rank: each rank's rows. In their order the rows of a group stand side by side.
        rank: whose.
        scorer: its reward is of scope ``group`` or ``batch``.
        num_generations: rows of a group, where equal prompts do not tell.

    Raises:
        SpecError: groups of different sizes, or equal prompts that do not tell groups apart.
        MissingColumn: a row has no group, where a column says it.

    Warns:
        UserWarning: ``num_generations`` puts rows with different prompts into one group.
    """
    rows = [row for rows in by_rank for row in rows]
    start, n = sum(map(len, by_rank[:rank])), len(by_rank[rank])
    groups = _groups(rows, scorer.columns, num_generations)
    if _compares_groups(scorer.reward):
        _refuse_partial(groups, num_generations)
        if num_generations is None and "group" not in scorer.columns:
            _refuse_untold(groups)
    if scorer.reward.scope != "group" or not n:
        return Window(rows, groups, start, n)
    first = groups.index(groups[start])
    end = start + n
    while end < len(rows) and groups[end] == groups[end - 1]:
        end += 1
    return Window(rows[first:end], groups[first:end], start - first, n)


def _compares_groups(reward: Reward) -> bool:
    """Whether any node does; one that compares the whole batch may stand beside it."""
    return any(isinstance(node, Reward) and node.scope == "group" for _, node in reward.walk())


def _groups(
    rows: Sequence[Row], columns: Mapping[str, str], num_generations: int | None
) -> list[int]:
    """The number of each row's group."""
    by = columns.get("group")
    if by is not None or num_generations is None:
        return _runs([_key(row, by) for row in rows])
    groups = [i // num_generations for i in range(len(rows))]
    _note_prompts(rows, groups, num_generations)
    return groups


def _refuse_partial(groups: list[int], num_generations: int | None) -> None:
    sizes = _sizes(groups)
    whole = num_generations or max(sizes, default=0)
    odd = next((i for i, size in enumerate(sizes) if size != whole), None)
    if odd is not None:
        raise SpecError(
            f"this reward compares the rows of a group, and there are partial groups: group {odd} "
            f"(from row {groups.index(odd)}) has {sizes[odd]} rows where {whole} are a group; "
            f"give whole groups, as TRL's samplers do, or {_SAY}"
        )


def _refuse_untold(groups: list[int]) -> None:
    """Equal prompts are believed only where they make several groups of several rows."""
    sizes = _sizes(groups)
    if len(sizes) == 1:
        raise SpecError(
            f"this reward compares the rows of a group, and all {sizes[0]} rows of the batch have "
            f"the same prompt, which may be one group or many: {_SAY}"
        )
    if sizes and sizes[0] == 1:
        raise SpecError(
            "this reward compares the rows of a group, and neighboring rows have different "
            "prompts, so that each would be a group of its own (resets of environments write into "
            f"prompts): {_SAY}"
        )


def _note_prompts(rows: Sequence[Row], groups: list[int], size: int) -> None:
    for i in range(1, len(rows)):
        if groups[i] == groups[i - 1] and rows[i]["prompt"] != rows[i - 1]["prompt"]:
            warnings.warn(
                f"rows {i - 1} and {i} have different prompts, and num_generations={size} puts "
                "them into one group: right where environments write into prompts, wrong where "
                "the trainer generates another number (num_generations_eval)",
                stacklevel=2,
            )
            return


def _key(row: Row, by: str | None) -> Any:
    if by is None:
        return row["prompt"]
    value = value_at(row, by)
    if value is MISSING:
        raise MissingColumn(by, needed_by="the groups of this reward", present=row)
    return value


def _runs(keys: Sequence[Any]) -> list[int]:
    """Neighbors that are equal are one group; the same again further on is another one."""
    groups: list[int] = []
    for i, key in enumerate(keys):
        groups.append(groups[-1] + bool(key != keys[i - 1]) if i else 0)
    return groups


def _sizes(groups: list[int]) -> list[int]:
    sizes: list[int] = [0] * (groups[-1] + 1 if groups else 0)
    for group in groups:
        sizes[group] += 1
    return sizes
