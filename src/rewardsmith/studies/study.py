"""Carrying out a study: its runs side by side, then the comparison, then the report."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pebble import ProcessExpired, ProcessPool

from ..core.errors import RewardsmithError
from ..report.moments import PairMoments
from ..report.study import write_study_report
from .environments import algorithm, make_learner, make_reward_env
from .records import Record, Run, write_json
from .run import prepare_worker, read_film, reference_return, train
from .spec import Study
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
    with _one_thread(), _pool(workers or os.cpu_count() or 1) as pool:
        waiting = [run for run in runs if not run.done]
        _carry_out(pool, train, [(study, run) for run in waiting], progress)
        _carry_out(pool, reference_return, _comparisons(study, runs), progress)
    _note_own_reference(study, runs)
    summary = summarize(study, runs)
    write_json(out / "summary.json", summary)
    records = [record for run in runs if run.done for record in run.records()]
    _write_table(out / "results.parquet", records)
    write_study_report(
        out / "report.html", summary=summary, records=records, filmstrips=_films(study, runs)
    )
    return summary


def plan(study: Study, out: Path) -> list[Run]:
    """The runs of a study, seed by seed, so that early seeds of all rewards come first."""
    prints = {name: study.fingerprint(name) for name in study.section.rewards}
    return [
        Run(name, seed, out / "runs" / f"{name}-{prints[name]}" / f"seed-{seed}")
        for seed in range(study.section.seeds)
        for name in study.section.rewards
    ]


def check(study: Study) -> None:
    """Build everything that a study names and take a few steps under every reward.

    Raises:
        SpecError: as the part that fails says, with its place in the file.
        MissingColumn: a reward needs what the environment does not tell.
        ScoreError: a reward gives something that is no finite number.
    """
    algorithm(study)
    for name in study.section.rewards:
        reward = study.reward(name)
        try:
            env = make_reward_env(study, reward, 1, 0, training=False)
        except RewardsmithError:
            raise
        except ValueError as error:
            raise study.document.error(str(error), ("rewards", name)) from error
        make_learner(study, env, 0)
        env.reset()
        for _ in range(3):
            env.step(np.array([env.action_space.sample()]))
        env.close()


def _carry_out(
    pool: ProcessPool, job: Callable[..., None], tasks: Sequence[tuple[Any, ...]], progress: Any
) -> None:
    """Run the tasks in the pool; a worker that dies takes only its own run with it."""
    futures: dict[Future[None], Run] = {pool.schedule(job, args=task): task[1] for task in tasks}
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
        progress.look()
        for future in done:
            error = future.exception()
            if isinstance(error, ProcessExpired):
                futures[future].fail(f"its process died (exit code {error.exitcode})", str(error))
            elif error is not None:
                raise error
    progress.look()


def _comparisons(study: Study, runs: Sequence[Run]) -> list[tuple[Study, Run, Run]]:
    """Each finished run beside the reference's run of its seed, where that is still to be done."""
    reference = {run.seed: run for run in runs if run.reward == study.reference and run.done}
    return [
        (study, run, reference[run.seed])
        for run in runs
        if run.done
        and run.seed in reference
        and run.reward != study.reference
        and run.note("reference") is None
    ]


def _note_own_reference(study: Study, runs: Sequence[Run]) -> None:
    """Under the reference reward, the reference policy earns what it earns."""
    for run in runs:
        if run.done and run.reward == study.reference:
            final = next(record for record in run.records() if record["kind"] == "final")
            write_json(
                run.folder / "reference.json", {"proxy": final["proxy"], "gold": final["gold"]}
            )


class _Follower:
    """Reads the records as they appear: the files are the only account of what happened."""

    def __init__(self, runs: Sequence[Run], listen: Listener | None) -> None:
        self.runs, self.listen = runs, listen
        self.told = {run: len(run.records()) if run.done else 0 for run in runs}

    def look(self) -> None:
        if self.listen is None:
            return
        for run in self.runs:
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
    except BaseException:
        pool.stop()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.join()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Workers inherit one thread each: several runs beside each other fight for cores otherwise."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _films(study: Study, runs: Sequence[Run]) -> dict[str, Any]:
    """Per reward, the film of the run whose final gold is the median."""
    films = {}
    for name in study.section.rewards:
        golds = {
            run: next(r for r in run.records() if r["kind"] == "final")["gold"]
            for run in runs
            if run.done and run.reward == name
        }
        for run in sorted(golds, key=lambda run: (golds[run], run.seed))[len(golds) // 2 :][:1]:
            strip = read_film(run.folder)
            if strip is not None:
                films[name] = strip
    return films


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
