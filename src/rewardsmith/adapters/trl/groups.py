"""The groups of a batch, which may lie across ranks, and the rows that one rank has to score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.columns import value_at
from ...core.errors import MissingColumn, SpecError
from ...core.rowcall import MISSING
from ..scorer import Row, Scorer


@dataclass(frozen=True)
class Window:
    """Rows to score together, and which of them are this rank's own."""

    rows: Sequence[Row]
    group: list[int] | None
    start: int
    n: int


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
        SpecError: groups of different sizes.
        MissingColumn: a row has no group, where a column says it.
    """
    rows = [row for rows in by_rank for row in rows]
    start, n = sum(map(len, by_rank[:rank])), len(by_rank[rank])
    of_groups = scorer.reward.scope == "group"
    groups = _groups(rows, scorer.columns, num_generations, strict=of_groups)
    if not of_groups or not n:
        return Window(rows, groups, start, n)
    first = groups.index(groups[start])
    end = start + n
    while end < len(rows) and groups[end] == groups[end - 1]:
        end += 1
    return Window(rows[first:end], groups[first:end], start - first, n)


def _groups(
    rows: Sequence[Row], columns: Mapping[str, str], num_generations: int | None, strict: bool
) -> list[int]:
    """The number of each row's group, where strict only if all are of one size."""
    by = columns.get("group")
    if by is None and num_generations is not None:
        groups = [i // num_generations for i in range(len(rows))]
        _check_prompts(rows, groups, num_generations)
    else:
        groups = _runs([_key(row, by) for row in rows])
    sizes = _sizes(groups)
    whole = num_generations or max(sizes, default=0)
    odd = next((i for i, size in enumerate(sizes) if size != whole), None)
    if strict and odd is not None:
        raise SpecError(
            f"this reward compares the rows of a group, and there are partial groups: group {odd} "
            f"(from row {groups.index(odd)}) has {sizes[odd]} rows where {whole} are a group; "
            "give whole groups, as TRL's samplers do, or say to_trl(..., num_generations=) where "
            "neighboring groups have equal prompts"
        )
    return groups


def _check_prompts(rows: Sequence[Row], groups: list[int], size: int) -> None:
    for i in range(1, len(rows)):
        if groups[i] == groups[i - 1] and rows[i]["prompt"] != rows[i - 1]["prompt"]:
            raise SpecError(
                f"there are partial groups: rows {i - 1} and {i} have different prompts, and "
                f"num_generations={size} puts them into one group; give the trainer's "
                "num_generations, and none where it generates another number in evaluation"
            )


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
