"""Carrying out a study: its runs side by side, then the comparison, then the report."""

import fcntl
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pebble import ProcessExpired, ProcessPool

from ..core.errors import SpecError
from ..report.moments import PairMoments
from ..report.study import write_study_report
from .records import Record, Run, write_json
from .run import compare, prepare_worker, show, train_as_planned
from .shared import Study
from .shown import read_film, read_samples
from .summary import summarize

Listener = Callable[[Run, Record], None]
"""Told of every record that appears, for progress."""


def run_study(
    study: Study, out: Path, *, workers: int | None = None, listen: Listener | None = None
) -> dict[str, Any]:
    """Train, compare and report; returns the summary that it wrote to ``out/summary.json``.

    Runs that are finished in ``out`` are not repeated; a run that was interrupted starts over and
    gives the records that it would have given.

    Args:
        study: what to do.
        out: the folder of results; see the README for what is in it.
        workers: how many runs at a time; default one per core. Each has one thread.
        listen: called with each new record.

    Raises:
        SpecError: something that the study names cannot be had or used, before anything is trained.
    """
    check(study)
    out.mkdir(parents=True, exist_ok=True)
    runs = plan(study, out)
    progress = _Follower(runs, listen)
    with _only_one(out), _worker_environment(), _pool(workers or os.cpu_count() or 1) as pool:
        waiting = [run for run in runs if not run.done]
        _carry_out(pool, train_as_planned, [(study, run) for run in waiting], progress)
        _carry_out(pool, compare, _comparisons(study, runs), progress)
        shown = _shown(study, runs) if study.filmed else {}
        undrawn = [run for run in shown.values() if read_film(run.folder) is None]
        _carry_out(pool, show, [(study, run) for run in undrawn], progress)
    summary = summarize(study, runs)
    write_json(out / "summary.json", summary)
    records = [record for run in runs if run.done for record in run.records()]
    _write_table(out / "results.parquet", records)
    films = {name: read_film(run.folder) for name, run in shown.items()}
    write_study_report(
        out / "report.html",
        summary=summary,
        records=records,
        filmstrips={name: strip for name, strip in films.items() if strip is not None},
        samples=[
            {"reward": run.reward, "seed": run.seed, **sample}
            for run in runs
            if run.done
            for sample in read_samples(run.folder)
        ],
    )
    return summary


def plan(study: Study, out: Path) -> list[Run]:
    """The runs of a study, seed by seed, so that early seeds of all rewards come first."""
    folders = {name: out / "runs" / study.folder(name) for name in study.section.rewards}
    return [
        Run(name, seed, folders[name] / f"seed-{seed}")
        for seed in range(study.section.seeds)
        for name in study.section.rewards
    ]


def check(study: Study) -> None:
    """Build everything that a study names and try it: its rewards, its learner, and gold.

    Raises:
        SpecError: as the part that fails says, with its place in the file.
        MissingColumn: a reward needs what neither the environment nor the data has.
        ScoreError: a reward gives something that is no finite number.
    """
    study.work.check(study)


def _carry_out(
    pool: ProcessPool, job: Callable[..., None], tasks: Sequence[tuple[Any, ...]], progress: Any
) -> None:
    """Run the tasks in the pool; a worker that dies takes only its own run with it."""
    futures: dict[Future[None], Run] = {pool.schedule(job, args=task): task[1] for task in tasks}
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
        progress.look()
        for future in done:
            error = future.exception()
            if isinstance(error, ProcessExpired):
                died = f"its process died (exit code {error.exitcode})"
                if not futures[future].done:
                    futures[future].fail(died, str(error))
            elif error is not None:
                raise error
    progress.look()


def _comparisons(study: Study, runs: Sequence[Run]) -> list[tuple[Study, Run, Run]]:
    """Each finished run beside the reference's of its seed, where that was not done before."""
    reference = {run.seed: run for run in runs if run.reward == study.reference and run.done}

    def compared(run: Run) -> bool:
        note = run.note("comparison") or {}
        return "proxy" in note and note["reference"] == reference[run.seed].name

    return [
        (study, run, reference[run.seed])
        for run in runs
        if run.done and run.seed in reference and not compared(run)
    ]


class _Follower:
    """Reads the records as they appear: the files are the only account of what happened."""

    def __init__(self, runs: Sequence[Run], listen: Listener | None) -> None:
        self.runs, self.listen = runs, listen
        self.told = {run: len(run.records()) if run.done else 0 for run in runs}
        self.sizes = {run: run.size for run in runs}

    def look(self) -> None:
        if self.listen is None:
            return
        for run in self.runs:
            # Most looks find nothing new; parsing every file each time would cost a worker's share.
            if run.size == self.sizes[run]:
                continue
            self.sizes[run] = run.size
            records = run.records()
            for record in records[self.told[run] :]:
                self.listen(run, record)
            self.told[run] = len(records)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPool]:
    """Processes that start clean and survive each other; stopped at once on an interrupt."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPool(max_workers=workers, initializer=prepare_worker, context=context)
    try:
        yield pool
        pool.close()  # type: ignore[no-untyped-call]
    except BaseException:  # above all an interrupt: nothing may go on in the background
        pool.stop()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.join()


@contextmanager
def _only_one(out: Path) -> Iterator[None]:
    """Hold the folder of results: two studies in one would wipe each other's runs."""
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SpecError(
                f"another study is running in {out}; wait, or name another --out"
            ) from None
        yield


@contextmanager
def _worker_environment() -> Iterator[None]:
    """What workers inherit: one thread each, as runs beside each other fight for cores otherwise.

    And no display: environments are filmed off screen, and SDL complains where there is none.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    given = {**dict.fromkeys(names, "1"), "SDL_VIDEODRIVER": "dummy"}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _shown(study: Study, runs: Sequence[Run]) -> dict[str, Run]:
    """Per reward, the run that its film is of: its final gold is the median."""
    shown = {}
    for name in study.section.rewards:
        golds = {
            run: next(r for r in run.records() if r["kind"] == "final")["gold"]
            for run in runs
            if run.done and run.reward == name
        }
        for run in sorted(golds, key=lambda run: (golds[run], run.seed))[len(golds) // 2 :][:1]:
            shown[name] = run
    return shown


def _write_table(path: Path, records: Sequence[Record]) -> None:
    """One row per reward, seed and evaluation."""
    rows = [
        {
            **{k: v for k, v in record.items() if k not in ("parts", "versions", "moments")},
            "parts": [{"path": name, **part} for name, part in record["parts"].items()],
            "versions": json.dumps(record["versions"]),
            "step_correlation": _correlation(record),
        }
        for record in records
    ]
    temporary = path.with_name(path.name + ".part")
    pq.write_table(pa.Table.from_pylist(rows), temporary)
    temporary.replace(path)


def _correlation(record: Record) -> float | None:
    return PairMoments.from_dict(record["moments"]).correlation
