"""``python -m reproductions`` lists what there is; with ids it runs them.

    python -m reproductions 004 133 --workers 2

A run that was killed goes on where it stopped. Exits 1 if a run failed.
"""

import argparse
import importlib
import json
import os
import re
import sys
from pathlib import Path

# Before numpy and torch are loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from reproductions.record import RESULTS, Sidecar
from reproductions.runner import DATA, Reproduction, RunError, reproduce, table

FOLDER = Path(__file__).parent


def files() -> dict[str, str]:
    """Id -> module of every reproduction."""
    named = {path.stem[1:4]: path.stem for path in sorted(FOLDER.glob("r[0-9][0-9][0-9]_*.py"))}
    standard = [
        path.stem
        for path in sorted(FOLDER.glob("[!r_]*.py"))
        if "\nREPRODUCTION = " in path.read_text(encoding="utf-8")
    ]
    return named | {name: name for name in standard}


def declared(module: str) -> Reproduction:
    """What a file declares."""
    found = importlib.import_module(f"reproductions.{module}").REPRODUCTION
    assert isinstance(found, Reproduction)
    return found


def listed(id: str, module: str) -> str:
    """A line: what is known of a reproduction without running anything."""
    out = RESULTS / f"{id}.json"
    verdict = json.loads(out.read_text(encoding="utf-8"))["verdict"] if out.exists() else "not run"
    sidecar = out.with_suffix(".partial.jsonl")
    if sidecar.exists():
        verdict += f", {len(Sidecar(sidecar).entries)} runs of another try"
    title = re.match(r'"""(?:\d{3}, )?(.*)', (FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    return f"{id:14} {verdict:14} {title[1] if title else module}"


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="reproductions", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="such as 004; none to list them")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the records")
    parser.add_argument("--workers", type=int, default=2, help="how many processes run at a time")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of data sets")
    given = parser.parse_args(arguments)
    there = files()
    unknown = [id for id in given.ids if id not in there]
    if unknown:
        parser.error(f"there is no reproduction {unknown[0]}, there are {', '.join(there)}")
    if given.workers < 1:
        parser.error(f"--workers is {given.workers}, give 1 or more")
    for id, module in there.items() if not given.ids else ():
        print(listed(id, module))
    torch.set_num_threads(1)
    failed = False
    for id in given.ids:
        out = given.out / f"{id}.json"
        try:
            record = reproduce(
                declared(there[id]), out, workers=given.workers, data=given.data, tell=print
            )
        except (RunError, FileNotFoundError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
            continue
        print("\n".join(table(record)))
        print(f"{id}: {record['verdict']}; record: {out}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
