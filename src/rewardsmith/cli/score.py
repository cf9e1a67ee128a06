"""``rewardsmith score``: label a data set with a reward, and sum up what was found."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from ..core import spec
from ..core.errors import ScoreError, SpecError
from ..core.reward import Reward
from .closing import show_changes, show_tally

if TYPE_CHECKING:
    from ..adapters.files.labeling import Source
    from ..adapters.files.labels import Labels
    from ..adapters.files.tally import Tally

_EVERY = 5.0
"""Seconds between two lines, where there is no bar."""
_EPISODES, _ROWS, _RAY_ROWS = 64, 2048, 16384
"""How many are scored together, where nobody says."""


@dataclass
class Options:
    """The options of the command; see ``rewardsmith score --help``."""

    executor: str | None
    workers: int | None
    timeout: float | None
    cache: Path | None
    on_error: str
    chunk: int | None
    group: str | None
    columns: str | None
    limit: int | None
    gamma: float | None
    steps: bool
    why: bool
    diff: Path | None


def score_command(reward_file: Path, data: str, out: Path, options: Options) -> None:
    """Score every row of a file; exits 1 if that was interrupted or a row raised."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from ..adapters.files.labeling import check, label, tag
        from ..adapters.files.labels import Labels
        from ..adapters.files.tally import Tally
    except ImportError as error:
        raise _lacking(error) from error
    missing = _missing(options.on_error)
    reward = _reward(reward_file, options)
    names = spec.columns(reward_file)
    source, of_steps = _source(data, names, reward, options)
    rows = len(source) if options.limit is None else min(options.limit, len(source) or sys.maxsize)
    if options.diff is not None:
        _check_diff(options.diff, out, rows if source.resumable else None)
    chunk = options.chunk or _chunk(options, of_steps)
    check(reward, source, chunk=chunk, rows=rows)
    began = time.monotonic()
    with ExitStack() as stack:
        # First, so that nothing that is done is touched if it is not to be had.
        _enter(stack, reward, options, of_steps)
        facts: list[Any] = [names, options.gamma, options.steps, options.group, options.columns]
        facts += [options.why]
        # Elsewhere, the limit does not decide what a row is worth.
        facts += [chunk, rows if reward.scope != "row" else None]
        known = rows if source.resumable or options.limit else None
        number = missing if isinstance(missing, float) else None
        labels = Labels(out, known, tag(reward, source, *facts), number)
        if missing == "raise" and (found := labels.broken()) is not None:
            print(f"error: {data}: row {found[0]}: {found[1]}: {found[2]}", file=sys.stderr)
            sys.exit(1)
        tally = Tally()
        _announce(labels)
        if labels.complete:
            for batch in pq.ParquetFile(out).iter_batches():
                tally.add(pa.Table.from_batches([batch]))
            _closing(out, tally, rows, options, reward)
            return
        at_once = _workers(options) if _kind(options, of_steps) == "processes" else 1
        try:
            progress = label(
                reward,
                source,
                labels,
                chunk=chunk,
                at_once=at_once,
                raises=missing == "raise",
                steps=options.steps,
                why=options.why,
            )
            _follow(progress, labels.rows)
            labels.finish(tally.add)
        except KeyboardInterrupt:
            kept = f"{labels.done:,} rows are kept"
            print(f"interrupted; {kept}, the same command goes on from there", file=sys.stderr)
            stack.close()
            sys.exit(1)
        except SpecError as error:
            if options.gamma is None and "gamma" in error.message:
                error.message += "; here: --gamma"
            raise
        except (ScoreError, OSError) as error:
            print(f"error: {data}: {error}", file=sys.stderr)
            sys.exit(1)
    print(f"{out}: {labels.done:,} rows in {time.monotonic() - began:.1f} s")
    _closing(out, tally, labels.done, options, reward)


def _announce(labels: "Labels") -> None:
    """Say what is there already."""
    if labels.complete:
        print(f"{labels.out}: done already; remove it to score again")
        return
    if labels.stale:
        print(f"{labels.out}: began with another reward, data or options; starting anew")
    elif labels.done:
        print(f"{labels.out}: going on after {labels.done:,} rows")
    if labels.replaces:
        print(f"{labels.out}: holds other labels, and is replaced when these are there")


def _closing(out: Path, tally: "Tally", rows: int, options: Options, reward: Reward) -> None:
    show_tally(tally)
    for caution in reward.cautions:
        print(f"caution: {caution}")
    if options.diff is not None:
        from ..adapters.files.diff import changes

        show_changes(changes(options.diff, out), options.diff, rows)


def _check_diff(old: Path, out: Path, rows: int | None) -> None:
    from ..adapters.files.diff import labels_of

    found = labels_of(old).metadata.num_rows
    if old.resolve() == out.resolve():
        raise SpecError("--diff: it is the file that is written; copy it first", file=str(old))
    if rows is not None and found != rows:
        raise SpecError(f"--diff: it has {found:,} rows, the data has {rows:,}", file=str(old))


def _chunk(options: Options, of_steps: bool) -> int:
    if of_steps:
        return _EPISODES
    return _RAY_ROWS if options.executor == "ray" else _ROWS


def _source(
    data: str, names: Mapping[str, str], reward: Reward, options: Options
) -> "tuple[Source, bool]":
    """The data, and whether its rows are episodes."""
    try:
        from ..adapters.columns import read_by
        from ..adapters.files.rows import Rows
        from ..adapters.files.trajectories import Trajectories, holds_episodes
    except ImportError as error:
        raise _lacking(error) from error
    columns = read_by(reward)
    copied = [name.strip() for name in (options.columns or "").split(",") if name.strip()]
    if holds_episodes(data, names):
        for name, value in (("--group", options.group), ("--columns", copied)):
            if value:
                raise SpecError(f"{name} is for rows of text, and this holds episodes", file=data)
        return Trajectories(Path(data), names=names, columns=columns), True
    return Rows(data, names, columns, options.group, copied, required=reward.needs), False


def _kind(options: Options, of_steps: bool) -> str:
    """Text goes to worker processes, where nobody says otherwise; episodes are tensors."""
    return options.executor or ("inline" if of_steps else "processes")


def _workers(options: Options) -> int:
    import multiprocessing

    return options.workers or multiprocessing.cpu_count()


def _enter(stack: ExitStack, reward: Reward, options: Options, of_steps: bool) -> None:
    """Set what runs rows from here on."""
    kind = _kind(options, of_steps)
    if of_steps and options.executor is None and options.cache is None:
        return
    elsewhere = kind != "inline"
    try:
        from ..core.rows import preloads
        from ..engine.executor import executor

        made = executor(
            kind,  # type: ignore[arg-type]
            workers=_workers(options) if kind == "processes" else options.workers,
            timeout="default" if options.timeout is None else options.timeout,
            cache=options.cache,
            preload=sorted(preloads(reward)) if elsewhere else (),
        )
        stack.enter_context(made)
    except ImportError as error:
        raise _lacking(error) from error
    except SpecError:
        raise
    except ValueError as error:
        raise SpecError(f"--executor: {error}") from None


def _lacking(error: ImportError) -> SpecError:
    return SpecError(
        f"scoring needs more packages ({error.name} is missing): "
        'pip install "rewardsmith[language]" for text, "rewardsmith[offline]" for episodes'
    )


def _reward(file: Path, options: Options) -> Reward:
    reward = spec.load(file)
    # Layers such as dropout score as they do when nobody learns.
    reward.eval()
    if options.gamma is not None:
        try:
            reward.bind(gamma=options.gamma)
        except ValueError as error:
            raise SpecError(f"--gamma: {error}") from None
    dense = any(
        node.granularity == "dense" for _, node in reward.walk() if isinstance(node, Reward)
    )
    if options.steps and not dense:
        raise SpecError(
            "--steps: this reward scores whole rollouts, it says nothing of steps; leave it out",
            file=str(file),
        )
    return reward


def _missing(on_error: str) -> Any:
    from ..core.scores import as_missing

    try:
        return as_missing(on_error)
    except ValueError as error:
        message = f"--on-error is missing, raise or a finite number, not {on_error!r}"
        raise SpecError(message) from error


def _follow(progress: Iterator[int], rows: int | None) -> None:
    """Show how many rows are done: a bar on a terminal, now and then a line elsewhere."""
    console = Console()
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=rows)
        told = time.monotonic()
        for done in progress:
            bar.update(task, completed=done)
            if not console.is_terminal and time.monotonic() - told > _EVERY:
                told = time.monotonic()
                of = "" if rows is None else f" of {rows:,}"
                print(f"{done:,}{of} rows", flush=True)
