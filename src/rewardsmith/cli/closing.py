"""The tables that ``rewardsmith score`` ends with."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ..adapters.files.diff import Change
    from ..adapters.files.tally import Part, Tally

_ERRORS = 5
"""Kinds of errors that are listed, the most frequent first."""
_SHOWN = 20
"""Changed rows that are listed; the others are counted."""


def show_tally(tally: "Tally") -> None:
    """Means, pass@k, latencies and where rows came from, by part; statuses; the slowest rows."""
    console = Console(soft_wrap=True, highlight=False)
    counts = ", ".join(f"{n:,} {status}" for status, n in sorted(tally.statuses.items()))
    console.print(counts)
    # `reward` first, then its parts by path.
    parts = sorted(tally.parts.items())
    ks = _ks(parts)
    table = _table("part", "scored", "mean", *(f"pass@{k}" for k in ks))
    for path, part in parts:
        rates = [_rate(part.pass_at(k)) for k in ks]
        table.add_row(path or "reward", f"{part.scored:,}", f"{part.mean:.4f}", *rates)
    console.print(table)
    timed = [(path, part) for path, part in parts if part.ran or part.twins or part.cached]
    if timed:
        table = _table("part", "ran", "as equal row", "cached", "p50", "p90", "p99")
        for path, part in timed:
            ran = [f"{n:,}" for n in (part.ran, part.twins, part.cached)]
            times = [_seconds(part.percentile(q)) for q in (0.5, 0.9, 0.99)]
            table.add_row(path or "reward", *ran, *times)
        console.print(table)
    for error, n in tally.errors.most_common(_ERRORS):
        console.print(f"{n:,} x {error}", markup=False)
    if len(tally.errors) > _ERRORS:
        console.print(f"and {len(tally.errors) - _ERRORS:,} other errors: see the column error")
    if tally.slowest:
        slow = sorted(tally.slowest, reverse=True)
        told = ", ".join(f"row {s.row} ({s.path or 'reward'}, {_seconds(s.seconds)})" for s in slow)
        console.print(f"slowest: {told}")


def show_changes(changes: "Iterator[Change]", old: Path, rows: int) -> None:
    """The rows whose verdict is another one than in an older file."""
    console = Console(soft_wrap=True, highlight=False)
    table = _table("part", "row", "was", "is")
    found, listed = set(), 0
    for change in changes:
        found.add(change.row)
        if len(found) <= _SHOWN:
            listed = len(found)
            cells = [_verdict(verdict) for verdict in (change.old, change.new)]
            table.add_row(change.part or "reward", str(change.row), *cells)
    console.print(f"against {old}: {len(found):,} of {rows:,} rows changed")
    if found:
        console.print(table)
    if len(found) > listed:
        console.print(f"and {len(found) - listed:,} more")


def _ks(parts: "list[tuple[str, Part]]") -> list[int]:
    """1, 2, 4, ... up to the largest group."""
    largest = max((part.largest_group() for _, part in parts if part.binary), default=0)
    return [2**i for i in range(largest.bit_length())] if largest > 1 else []


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _seconds(value: float) -> str:
    if value != value:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def _verdict(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
