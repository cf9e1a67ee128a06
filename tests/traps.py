"""Small batches that estimators and losses get wrong, and the table of who makes what of them.

The table is docs/traps.md. Every column of it is checked by a test that runs the code of that
column (:func:`column`); ``TRAPS=write`` in the environment writes what came instead.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

PAGE = Path(__file__).resolve().parents[1] / "docs" / "traps.md"
COLUMNS = ("ours", "verl loop", "verl vectorized", "TRL", "OpenRLHF")
INF, NAN = float("inf"), float("nan")
_LONG = 100


@dataclass(frozen=True)
class Trap:
    """A batch, and what is asked of it."""

    name: str
    kind: Literal["grpo", "rloo", "gdpo", "whitened", "mean loss"]
    rewards: Tensor
    """[N], of ``gdpo`` [N, K]; of ``mean loss`` losses [N, T]."""
    group: tuple[Any, ...] = ()
    mask: tuple[tuple[int, ...], ...] = ()
    """Of ``mean loss``."""

    @property
    def size(self) -> int:
        """The rows of the first group, which are all groups' where they are equal."""
        return sum(i == self.group[0] for i in self.group)


def _of(*rewards: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.tensor(rewards, dtype=dtype)


SPARSE = 1_000_000
TRAPS = (
    Trap("one inf", "grpo", _of(1, 0, INF, 0), ("a", "a", "b", "b")),
    Trap("one NaN", "grpo", _of(1, 0, NAN, 0), ("a", "a", "b", "b")),
    Trap("singleton groups", "grpo", _of(3, 1), ("a", "b")),
    Trap("seven of 0.1: a constant group", "grpo", _of(*[0.1] * 7), ("a",) * 7),
    Trap("two in a group, leave one out", "rloo", _of(1, 0), ("a", "a")),
    Trap("seven of 0.35 and 0.95, leave one out", "rloo", _of(*[0.35] * 7, 0.95), ("a",) * 8),
    Trap(
        "components of a constant sum",
        "gdpo",
        torch.tensor([[0.1, 0.9], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]),
        ("a",) * 5,
    ),
    Trap("groups of two and three", "grpo", _of(1, 0, 1, 0, 0), ("a", "a", "b", "b", "b")),
    Trap("string ids, rows apart", "grpo", _of(1, 5, 0, 5), ("a", "b", "a", "b")),
    Trap("integer ids far apart", "grpo", _of(1, 0, 3, 5), (7, 7, SPARSE, SPARSE)),
    Trap(
        "a row without a token, mean over rows",
        "mean loss",
        torch.tensor([[1.0, 3.0], [4.0, 9.0], [9.0, 9.0]]),
        mask=((1, 1), (1, 0), (0, 0)),
    ),
    Trap("one token in all, whitened", "whitened", _of(2), ("a",)),
    Trap("1e6 in steps of 0.1, float32", "grpo", 1e6 + 0.1 * torch.arange(4.0).float(), ("a",) * 4),
    Trap(
        "two neighbours in bfloat16",
        "grpo",
        _of(1, 1.0078125, 1, 1.0078125, dtype=torch.bfloat16),
        ("a",) * 4,
    ),
)


def by_place(trap: Trap, found: Tensor) -> Tensor | str:
    """What a peer makes that takes equal groups in a row, without ids."""
    if "ids" in trap.name:
        return "by place: " + cell(lambda _: found, trap)
    return found


def cell(solve: Callable[[Trap], Any], trap: Trap) -> str:
    """What comes of a trap: numbers, the error in short, or what there is to say in its place."""
    try:
        found = solve(trap)
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is what is told
        text = " ".join(str(error).replace("|", "/").split())
        text = text if len(text) <= _LONG else text[:_LONG].rstrip() + "…"
        return f"{type(error).__name__}: {text}"
    if isinstance(found, str):
        return found
    numbers = torch.as_tensor(found).detach().double().reshape(-1).tolist()
    runs = [(text, len(list(same))) for text, same in groupby(_number(n) for n in numbers)]
    told = [f"{n} x {text}" if n > 2 else ", ".join([text] * n) for text, n in runs]
    return ", ".join(told)


def _number(value: float) -> str:
    return "0" if value == 0.0 else f"{value:.3g}"


def column(name: str, solve: Callable[[Trap], Any]) -> None:
    """Compare a column of the table with what comes now.

    Args:
        name: the column.
        solve: advantages [N] of a trap, or the loss; a text where there is nothing to run.
    """
    made = {trap.name: cell(solve, trap) for trap in TRAPS}
    if os.environ.get("TRAPS") == "write":
        _write(name, made)
    assert {trap: cells[name] for trap, cells in table().items()} == made


def table() -> dict[str, dict[str, str]]:
    """The page's table: trap -> column -> cell."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    head, *body = [[part.strip() for part in row.strip("|").split("|")] for row in rows]
    assert tuple(head[1:]) == COLUMNS
    return {name: dict(zip(COLUMNS, cells, strict=True)) for name, *cells in body}


def _write(name: str, made: dict[str, str]) -> None:
    old = table()
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line[:2] == "| ")
    last = max(i for i, line in enumerate(lines) if line[:1] == "|")
    rows = []
    for trap in TRAPS:
        cells = old.get(trap.name, {}) | {name: made[trap.name]}
        rows.append(f"| {trap.name} | " + " | ".join(cells.get(c, "?") for c in COLUMNS) + " |")
    head = [lines[first], "|---" * (len(COLUMNS) + 1) + "|"]
    lines[first : last + 1] = head + rows
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
