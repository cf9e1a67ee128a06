"""Test the adapters against the real packages, each in an environment of its own.

Run it as a script (``make contracts``), with names of files in ``contracts/`` for a few of them.
Such a file says what is installed how; its environment lies in ``build/contracts/NAME``, on top of
the one that runs this script: it sees everything installed here, and what it installs itself comes
first. ``NAME.lock`` beside it has the exact versions of all that, and is what is installed where it
exists; ``--lock`` resolves it anew (``make contracts-lock``). ``--table`` writes the results into
the table of docs/trainers/index.md, for the contracts that stand there. Exits with 1 if a test
fails or is skipped, or a package cannot be installed.
"""

# ruff: noqa: T201 - a script: it prints its table

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "contracts"
# Read when Python starts: everything of the environment below, its editable installs included.
LAYER = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
OPTIONS = ["-m", "contracts", "-p", "no:cacheprovider", "-q", "--disable-warnings"]
VERSIONS = """
import importlib.metadata, sys
print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in sys.argv[1:]))
"""


class Row(NamedTuple):
    """A line of the table."""

    name: str
    packages: str
    result: str
    seconds: float

    @property
    def kept(self) -> bool:
        return self.result.endswith(" passed")


def checked(name: str) -> Row:
    """Install a contract's packages, run its tests, and say how it went."""
    started = time.monotonic()
    path = ROOT / "contracts" / f"{name}.toml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.toml")))
        raise SystemExit(f"error: no contract {name!r} in contracts/; there are {known}")
    contract = tomllib.loads(path.read_text(encoding="utf-8"))
    packages = ", ".join(contract["packages"])
    try:
        python = installed(name, contract)
        packages = output([str(python), "-c", VERSIONS, *contract["packages"]]).strip()
        result = tested(name, python, contract)
    except subprocess.CalledProcessError as error:
        log = BUILD / f"{name}.log"
        log.write_text(error.output, encoding="utf-8")
        print(f"{name}: {error.output.strip().splitlines()[-1]} (all of it in {log})")
        result = "not installable"
    return Row(name, packages, result, time.monotonic() - started)


def installed(name: str, contract: dict[str, Any]) -> Path:
    """The interpreter of a contract's environment, which is made anew if the contract changed."""
    folder = BUILD / name
    python = folder / "bin" / "python"
    lock = ROOT / "contracts" / f"{name}.lock"
    steps = [["--no-deps", "-r", str(lock)]] if lock.exists() else contract["install"]
    exact = lock.read_text(encoding="utf-8") if lock.exists() else steps
    made_of = hashlib.sha256(repr((sys.version, LAYER, exact)).encode()).hexdigest()
    stamp = folder / "made_of"
    if stamp.exists() and stamp.read_text() == made_of:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    output([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    paths = {"base": str(folder), "platbase": str(folder)}
    site_packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    (site_packages / "layer.pth").write_text(LAYER)
    for arguments in steps:
        output([str(python), "-m", "pip", "install", "-q", *arguments])
    stamp.write_text(made_of)
    return python


def locked(name: str) -> None:
    """Resolve a contract's environment from nothing, and write down what came."""
    lock = ROOT / "contracts" / f"{name}.lock"
    lock.unlink(missing_ok=True)
    shutil.rmtree(BUILD / name, ignore_errors=True)
    contract = tomllib.loads(lock.with_suffix(".toml").read_text(encoding="utf-8"))
    python = installed(name, contract)
    own = output([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
    found = output([str(python), "-m", "pip", "freeze", "--path", own.strip()])
    head = f"# What {name}.toml installs over requirements.lock, by `make contracts-lock`.\n"
    lock.write_text(head + found, encoding="utf-8")


def tested(name: str, python: Path, contract: dict[str, Any]) -> str:
    """Run a contract's tests in its environment: ``3 passed``, or what went wrong."""
    report = BUILD / f"{name}.xml"
    report.unlink(missing_ok=True)
    files = contract["tests"]
    files = [files] if isinstance(files, str) else files
    command = [str(python), "-m", "pytest", *OPTIONS, f"--junitxml={report}", *files]
    run = subprocess.run(command, cwd=ROOT, env=environment(), check=False)
    if not report.exists():
        return f"pytest exited with {run.returncode}"
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    count = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    wrong = count["failures"] + count["errors"]
    if wrong or count["skipped"]:
        return f"{wrong} failed, {count['skipped']} skipped of {count['tests']}"
    return f"{count['tests']} passed" if count["tests"] else "no test ran"


def tell(rows: list[Row]) -> None:
    """Write results into the documentation, in the lines that the contracts have there."""
    page = ROOT / "docs" / "trainers" / "index.md"
    text = page.read_text(encoding="utf-8")
    for row in rows:
        line = f"| {row.name} | {row.packages} | {row.result} |"
        text = re.sub(rf"^\| {row.name} \|.*$", line, text, flags=re.MULTILINE)
    page.write_text(text, encoding="utf-8")


def output(command: list[str]) -> str:
    """What a command says, on both channels.

    Raises:
        subprocess.CalledProcessError: it failed; its ``output`` says how.
    """
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ).stdout


def environment() -> dict[str, str]:
    """The variables of this process, without those that would lead another Python astray."""
    misleading = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_USER")
    kept = {name: value for name, value in os.environ.items() if name not in misleading}
    return kept | {"OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def main() -> int:
    given = [name for name in sys.argv[1:] if not name.startswith("--")]
    names = given or sorted(path.stem for path in (ROOT / "contracts").glob("*.toml"))
    BUILD.mkdir(parents=True, exist_ok=True)
    if "--lock" in sys.argv:
        for name in names:
            print(f"== {name}", flush=True)
            locked(name)
        return 0
    rows = []
    for name in names:
        print(f"== {name}", flush=True)
        rows.append(checked(name))
    print(f"\n{'contract':12} {'packages':40} {'result':24} {'seconds':>7}")
    for row in rows:
        print(f"{row.name:12} {row.packages:40} {row.result:24} {row.seconds:7.1f}")
    if "--table" in sys.argv:
        tell(rows)
    return int(not all(row.kept for row in rows))


if __name__ == "__main__":
    sys.exit(main())
