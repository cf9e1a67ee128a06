"""``rewardsmith study``: a progress bar on a terminal, plain lines elsewhere, then verdicts."""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ..core.errors import SpecError
from ..studies.shared import Study
from ..studies.spec import read_study


def study_command(file: Path, out: Path | None, seeds: int | None, workers: int | None) -> None:
    """Run a study and say where its report is; exits 1 if a run failed."""
    study = read_study(file, seeds=seeds)
    out = out or Path("runs") / study.name
    try:
        from ..studies.study import plan, run_study
    except ImportError as error:
        raise SpecError(
            f"studies need more packages ({error.name} is missing): {study.extra}"
        ) from error
    console = Console()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"cannot write results to {out}: {error.strerror}") from None
    if warning := study.doubt():
        print(f"warning: {warning}", file=sys.stderr)
    try:
        with _Listener(study, console, sum(run.done for run in plan(study, out))) as listener:
            summary = run_study(study, out, workers=workers, listen=listener)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(1)
    console.print(_table(summary))
    for name, reward in summary["rewards"].items():
        console.print(f"{name}: {reward['reason']}", highlight=False)
    console.print(f"report: {out / 'report.html'}", highlight=False)
    failed = [(n, f) for n, r in summary["rewards"].items() for f in r["failed"]]
    for name, failure in failed:
        print(f"error: {name}, seed {failure['seed']}: {failure['error']}", file=sys.stderr)
    if failed:
        print(
            f"error: {len(failed)} runs failed; the others are kept, and the same command repeats "
            "only these",
            file=sys.stderr,
        )
        sys.exit(1)


class _Listener:
    """Shows records as they come; runs that were done before count as whole."""

    def __init__(self, study: Study, console: Console, done: int) -> None:
        evaluations = 2 + (study.steps - 1) // study.section.evaluation.every
        self.console = console
        self.bar = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        total = evaluations * study.section.seeds * len(study.section.rewards)
        self.task = self.bar.add_task("starting", total=total, completed=done * evaluations)

    def __enter__(self) -> "_Listener":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, run: Any, record: dict[str, Any]) -> None:
        told = f"{run.reward}, seed {run.seed}: gold {record['gold']:.3g}"
        self.bar.update(self.task, advance=1, description=told)
        if not self.console.is_terminal:
            print(
                f"{run.reward}, seed {run.seed}, {record['steps']:>8,} steps: "
                f"gold {record['gold']:.3f}, reward {record['proxy']:.3f}",
                flush=True,
            )


def _table(summary: dict[str, Any]) -> Table:
    table = Table(title=f"{summary['study']}: {_where(summary)}, gold is {summary['gold']}")
    for title in ("reward", "gold (IQM)", "95 % interval", "P(better than first)", "verdict"):
        table.add_column(title)
    for name, reward in summary["rewards"].items():
        if reward["gold_iqm"] is None:
            table.add_row(name, "-", "-", "-", "no result")
            continue
        low, high = reward["gold_ci"]
        better = reward["probability_of_improvement"]
        table.add_row(
            name,
            f"{reward['gold_iqm']:.3f}",
            f"{low:.3f} to {high:.3f}",
            "-" if better is None else f"{better:.2f}",
            reward["verdict"].replace("_", " "),
        )
    return table


def _where(summary: dict[str, Any]) -> str:
    return str(summary["env"] if summary["kind"] == "control" else summary["dataset"])
