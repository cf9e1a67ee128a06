"""Break the algebra, the status rules and the potential on purpose, and see that a test notices.

Run it as a script (``make mutants``). Each mutant is one snippet replaced in a copy of the source;
the tests that should notice run against that copy. Exits with 1 if a mutant survives.
"""

# ruff: noqa: T201 - a script: it prints its table

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutants_table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
JOBS = 2
# Loaded into every run. It fails the run (with an exit status that no test gives) unless the module
# that was mutated is the one that the tests imported. A counterexample is enough here: shrinking it
# would take most of the time.
PLUGIN = """
import os, sys
from hypothesis import Phase, settings

settings.register_profile(
    "mutants", deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate]
)

def pytest_sessionfinish(session):
    module = sys.modules.get(os.environ["MUTANT_MODULE"])
    if module is None or not module.__file__.startswith(os.environ["MUTANT_SOURCE"]):
        session.exitstatus = 99
"""


def copied(folder: Path, mutant: Mutant | None) -> Path:
    """Source and tests in a folder, the mutant in them."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "imported_copy.py").write_text(PLUGIN)
    if mutant is not None:
        path = folder / "src" / "rewardsmith" / mutant.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutant.original) != 1:
            raise SystemExit(
                f"{mutant.what}: {mutant.file} holds the snippet {text.count(mutant.original)} "
                f"times, not once; bring the table up to date:\n  {mutant.original}"
            )
        path.write_text(text.replace(mutant.original, mutant.mutated), encoding="utf-8")
    return folder


def run(mutant: Mutant | None, tests: tuple[str, ...], module: str) -> tuple[int, str, float]:
    """Exit status, last line and seconds of the tests against a copy with the mutant."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = copied(Path(name).resolve(), mutant)
        source = folder / "src"
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(source), str(folder)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "MUTANT_MODULE": module,
            "MUTANT_SOURCE": str(source),
        }
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-x", "-q", "--tb=line"),
                *("-p", "no:cacheprovider", "-p", "imported_copy"),
                "--hypothesis-profile=mutants",
                *(f"tests/{test}" for test in tests),
            ],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    lines = (done.stdout + done.stderr).strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    told = (failed or lines or [""])[-1].partition(" - ")[0]
    return done.returncode, told, time.monotonic() - began


def verdict(mutant: Mutant) -> tuple[str, str, float]:
    """Killed by a failing test, survived, or an error that shows the table is wrong."""
    module = f"rewardsmith.{mutant.file.removesuffix('.py').replace('/', '.')}"
    status, told, seconds = run(mutant, mutant.tests, module)
    return {0: "SURVIVED", 1: "killed"}.get(status, f"ERROR {status}"), told, seconds


def main() -> int:
    every = tuple(sorted({test for mutant in MUTANTS for test in mutant.tests}))
    status, told, seconds = run(None, every, "rewardsmith.core.scores")
    if status != 0:
        print(f"the tests fail without any mutant (exit {status}): {told}")
        return 1
    print(f"without a mutant: passed in {seconds:.0f} s", flush=True)
    bad = 0
    with ThreadPoolExecutor(JOBS) as pool:
        for mutant, (result, told, seconds) in zip(
            MUTANTS, pool.map(verdict, MUTANTS), strict=True
        ):
            bad += result != "killed"
            print(f"{result:9} {seconds:4.0f} s  {mutant.file:24} {mutant.what}", flush=True)
            print(f"{'':19}{told}", flush=True)
    print(f"{len(MUTANTS) - bad} of {len(MUTANTS)} mutants killed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
