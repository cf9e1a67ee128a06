"""``rewardsmith score``: label trajectories with a reward."""

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from ..core import spec
from ..core.document import read_document
from ..core.errors import ScoreError, SpecError
from ..core.reward import Reward

_EVERY = 5.0
"""Seconds between two lines, where there is no bar."""


def score_command(
    reward_file: Path,
    data: Path,
    out: Path,
    *,
    chunk: int,
    limit: int | None,
    on_error: str,
    gamma: float | None,
    steps: bool,
) -> None:
    """Score every episode of a file; exits 1 if that was interrupted or a row raised."""
    try:
        from ..adapters.columns import read_by
        from ..adapters.labeling import check, label, tag
        from ..adapters.labels import Labels
        from ..adapters.trajectories import Trajectories
    except ImportError as error:
        raise SpecError(
            f"scoring needs more packages ({error.name} is missing): "
            'pip install "rewardsmith[offline]"'
        ) from error
    missing = _missing(on_error)
    reward = _reward(reward_file, gamma, steps)
    names = _names(reward_file)
    source = Trajectories(data, names=names, columns=read_by(reward))
    rows = len(source) if limit is None else min(limit, len(source))
    check(reward, source, chunk=chunk, rows=rows)
    labels = Labels(out, rows, tag(reward, source.path, names, gamma, missing, steps))
    if labels.complete:
        print(f"{out}: done already; remove it to score again")
        return
    if labels.stale:
        print(f"{out}: began with another reward, data or options; starting anew")
    elif labels.done:
        print(f"{out}: going on after {labels.done:,} rows")
    try:
        _follow(label(reward, source, labels, chunk=chunk, missing=missing, steps=steps), rows)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(1)
    except (ScoreError, OSError) as error:
        print(f"error: {data}: {error}", file=sys.stderr)
        sys.exit(1)
    except SpecError as error:
        if gamma is None and "gamma" in error.message:
            error.message += "; here: --gamma"
        raise
    counts = ", ".join(f"{n:,} {status}" for status, n in sorted(labels.counts().items()))
    print(f"{out}: {rows:,} rows, {counts}")


def _reward(file: Path, gamma: float | None, steps: bool) -> Reward:
    reward = spec.load(file)
    # Layers such as dropout score as they do when nobody learns.
    reward.eval()
    if gamma is not None:
        try:
            reward.bind(gamma=gamma)
        except ValueError as error:
            raise SpecError(f"--gamma: {error}") from None
    dense = any(
        node.granularity == "dense" for _, node in reward.walk() if isinstance(node, Reward)
    )
    if steps and not dense:
        raise SpecError(
            "--steps: this reward scores whole rollouts, it says nothing of steps; leave it out",
            file=str(file),
        )
    return reward


def _names(file: Path) -> dict[str, str]:
    """The key ``columns`` of a reward's file."""
    document = read_document(file)
    names = document.data.get("columns") or {}
    if not isinstance(names, dict) or not all(
        isinstance(word, str) for pair in names.items() for word in pair
    ):
        raise document.error("columns are a mapping, ours: theirs", ("columns",))
    return names


def _missing(on_error: str) -> Any:
    if on_error in ("missing", "raise"):
        return on_error
    try:
        number = float(on_error)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise SpecError(f"--on-error is missing, raise or a finite number, not {on_error!r}")
    return number


def _follow(progress: Iterator[int], rows: int) -> None:
    """Show how many rows are done: a bar on a terminal, now and then a line elsewhere."""
    console = Console()
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=rows)
        told = time.monotonic()
        for done in progress:
            bar.update(task, completed=done)
            if not console.is_terminal and time.monotonic() - told > _EVERY:
                told = time.monotonic()
                print(f"{done:,} of {rows:,} rows", flush=True)
