"""``rewardsmith``: exit 0 done, 1 failed while running, 2 bad input with one clear message."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ..core.errors import RewardsmithError

app = typer.Typer(
    name="rewardsmith",
    help="The reward layer for reinforcement learning.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
spec_app = typer.Typer(help="Work with reward and study files.", no_args_is_help=True)
app.add_typer(spec_app, name="spec")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"rewardsmith {version('rewardsmith')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and end.")
    ] = False,
) -> None:
    pass


@app.command()
def study(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="What to train and compare.")],
    out: Annotated[Path | None, typer.Option(help="Folder of results [runs/NAME].")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds, instead of the file's.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time [cores].")] = None,
) -> None:
    """Train under each candidate reward, compare, report."""
    from .study import study_command

    study_command(file, out, seeds, workers)


@app.command()
def score(
    reward: Annotated[Path, typer.Argument(metavar="REWARD.yaml", help="What to score with.")],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Rows of text: .jsonl, .jsonl.gz, .parquet, hf:NAME[:SPLIT], or - for JSON lines "
            "on standard input. Episodes: .hdf5, .h5, the folder of a Minari data set, .parquet.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="OUT.parquet", help="The labels [runs/REWARD-DATA.parquet]."),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="processes|ray|inline",
            help="Where rows are run [processes for text, inline for episodes].",
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes [cores].")] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds that a row may take in a worker [10].")
    ] = None,
    on_error: Annotated[
        str,
        typer.Option(
            metavar="missing|raise|NUMBER",
            help="What a row without a score gets: nothing, an end of the work, or this number.",
        ),
    ] = "missing",
    chunk: Annotated[
        int | None,
        typer.Option(min=1, help="Rows that are scored together [2048, or 64 episodes]."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Rows with the same value here are compared."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Columns of the data to copy to the labels."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows [all].")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Remember there what rows are worth [nowhere]."),
    ] = None,
    diff: Annotated[
        Path | None,
        typer.Option(metavar="OLD.parquet", help="Show the rows whose verdict is another now."),
    ] = None,
    why: Annotated[
        bool, typer.Option("--why", help="Also write the reasons that rules gave: `why/PART`.")
    ] = False,
    gamma: Annotated[
        float | None,
        typer.Option(help="The learner's discount factor, for potential shaping."),
    ] = None,
    steps: Annotated[
        bool,
        typer.Option(
            "--steps",
            help="Also write what dense rewards say of each step: lists in `steps` and "
            "`steps/PART`, with no value where no step was scored.",
        ),
    ] = False,
) -> None:
    """Label a data set with a reward: a row per row or episode, in the data's order.

    Columns: row, reward (of episodes: summed over the steps, undiscounted), status, error, and
    reward/PART and status/PART for each part. The same command goes on where it was interrupted.
    """
    from .score import Options, score_command

    options = Options(
        executor=executor,
        workers=workers,
        timeout=timeout,
        cache=cache,
        on_error=on_error,
        chunk=chunk,
        group=group,
        columns=columns,
        limit=limit,
        gamma=gamma,
        steps=steps,
        why=why,
        diff=diff,
    )
    own = [] if reward.stem == "reward" else [reward.stem]
    rows = Path(data).name.partition(".")[0] or "stdin"
    name = "-".join([reward.resolve().parent.name, *own, rows])
    score_command(reward, data, out or Path("runs", f"{name}.parquet"), options)


@app.command()
def export(
    trainer: Annotated[
        str, typer.Argument(metavar="TRAINER", help="openenv, openrlhf, trl, verifiers or verl.")
    ],
    reward: Annotated[
        Path, typer.Argument(metavar="REWARD.yaml", help="The reward to train under.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the files go [export/TRAINER].")
    ] = None,
) -> None:
    """Write the files that put a reward into a trainer, with a README that says how to run them."""
    from .export import export_command

    export_command(trainer, reward, out or Path("export", trainer))


@app.command()
def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Tell all about this one.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only methods of this kind.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List the methods; with a name, its arguments and what they mean."""
    from .methods import method_command, methods_command

    if name is None:
        methods_command(kind, json)
    else:
        method_command(name)


@spec_app.command("check")
def spec_check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A reward.yaml or a study.yaml.")],
) -> None:
    """Read a file, build what it names, and print the trees."""
    from .spec import check_command

    check_command(file)


@spec_app.command("schema")
def spec_schema() -> None:
    """Print the JSON schema of reward.yaml, for editors."""
    from .spec import schema_command

    schema_command()


def main() -> NoReturn:
    """The console script."""
    try:
        app(standalone_mode=True)
    except RewardsmithError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
