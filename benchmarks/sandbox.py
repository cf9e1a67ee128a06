"""Programs run by their tests: our sandbox, a plain subprocess without any, verl's prime_code.

(a) HumanEval's solutions (arithmetic ones where its file is not there), each with its tests, on two
workers; (b) functions that are called with five arguments each, which verl takes too; (c) what one
more test of the same program costs, from 1 and from 101; (d) how long a sandbox takes to start, and
the memory of its processes. Rounds are interleaved, and the first only warms up. verl runs in two
processes that have imported it, as a trainer's have; its part needs the environment of
`make contracts ARGS=scoring`, which this changes into by itself.

    python benchmarks/sandbox.py [--data FILE] [--json] [--rounds N] [--programs N]
"""

import argparse
import gzip
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import rewardsmith as rs
from rewardsmith.core.execution import using
from rewardsmith.engine.sandbox import (
    Call,
    Limits,
    Run,
    SandboxError,
    Setting,
    run_asserts,
    run_calls,
    run_scripts,
)
from rewardsmith.engine.sandbox.box import Box

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "humaneval.jsonl.gz"
WORKERS = 2
TESTS = 101
FURTHER = 1.0
"""Milliseconds that one more test may take."""
LIMITS = Limits(test=10.0, program=30.0)


class Program(NamedTuple):
    """A program that passes, in all the forms that somebody takes."""

    source: str
    setup: str
    tests: Any
    entry: str
    plain: str
    """The program and its tests as one file."""
    theirs: dict[str, Any] | None = None
    """The tests as verl takes them."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--programs", type=int, default=164)
    options = parser.parse_args()
    python = ROOT / "build" / "contracts" / "scoring" / "bin" / "python"
    if importlib.util.find_spec("verl") is None and python.exists():
        os.execv(python, [str(python), *sys.argv])
    try:
        Box(Setting()).close()
    except SandboxError as error:
        print(f"skipped: {error}")
        return 0
    report = [
        human_eval(options.data, options.rounds, options.programs),
        functions(options.rounds, options.programs),
        further(options.rounds),
        started(options.rounds),
    ]
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        for part in report:
            show(part)
    return int(not all(line["met"] for part in report for line in part["lines"]))


# --- programs -------------------------------------------------------------------------------------


def solutions(data: Path, most: int) -> list[Program]:
    programs = []
    with gzip.open(data, "rt") as file:
        for row in map(json.loads, file):
            body, prompt, entry = row["canonical_solution"], row["prompt"], row["entry_point"]
            plain = f"{prompt}{body}\n{row['test']}\ncheck({entry})\n"
            programs.append(Program(body, prompt, row["test"], entry, plain))
    return programs[:most]


def arithmetic(most: int, *, calls: bool) -> list[Program]:
    """Functions of one number, no two alike."""
    rng = random.Random(0)
    programs = []
    for k in range(most):
        a, b = rng.randrange(2, 99), k + 2
        source = (
            f"def f(x):\n    total = 0\n    for k in range(x):\n        total += k * {a}\n"
            f"    return total % {b}\n"
        )
        pairs = [(x, sum(j * a for j in range(x)) % b) for x in range(1, 6)]
        asserts = [f"assert f({x}) == {y}" for x, y in pairs]
        inputs, outputs = [[x] for x, _ in pairs], [y for _, y in pairs]
        tests: Any = {"inputs": inputs, "outputs": outputs, "fn_name": "f"} if calls else asserts
        theirs = {
            "inputs": [json.dumps(x) for x, _ in pairs],
            "outputs": [json.dumps(y) for y in outputs],
            "fn_name": "f",
        }
        plain = "\n".join([source, *asserts])
        programs.append(Program(source, "", tests, "f", plain, theirs))
    return programs


# --- who runs them --------------------------------------------------------------------------------


class Ours:
    """Our reward, on workers that stay from round to round."""

    def __init__(self, stack: ExitStack) -> None:
        limits = {"test": LIMITS.test, "program": LIMITS.program}
        self.reward = rs.signals.UnitTests(entry="entry", setup="setup", limits=limits)
        with ExitStack() as opened:
            start = rs.executor("processes", workers=WORKERS, timeout=120.0, dedupe=False)
            self.execution = opened.enter_context(start)
            # What closes the workers is left to the caller's stack.
            pool = self.execution.executor
        stack.enter_context(pool)

    def passed(self, programs: Sequence[Program]) -> int:
        columns = {
            "tests": [program.tests for program in programs],
            "entry": [program.entry for program in programs],
            "setup": [program.setup for program in programs],
        }
        completions = [program.source for program in programs]
        rollouts = rs.Rollouts.from_text([""] * len(programs), completions, **columns)
        with using(self.execution):
            return int(self.reward(rollouts).values.sum())


class Subprocess:
    """The program and its tests as a file, for a Python of its own, without any isolation."""

    def __init__(self, stack: ExitStack) -> None:
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.threads = stack.enter_context(ThreadPoolExecutor(WORKERS))

    def passed(self, programs: Sequence[Program]) -> int:
        return sum(self.threads.map(self._one, range(len(programs)), programs))

    def _one(self, k: int, program: Program) -> bool:
        file = self.folder / f"{k}.py"
        file.write_text(program.plain)
        return subprocess.run([sys.executable, str(file)], check=False).returncode == 0


class Verl:
    """verl's prime_code, in two processes."""

    def __init__(self, stack: ExitStack) -> None:
        self.processes: Executor = stack.enter_context(ProcessPoolExecutor(WORKERS))

    def passed(self, programs: Sequence[Program]) -> int:
        sources = [program.source for program in programs]
        return sum(self.processes.map(theirs, sources, [program.theirs for program in programs]))


def theirs(source: str, tests: dict[str, Any]) -> bool:
    from verl.utils.reward_score.prime_code import compute_score

    return bool(compute_score(source, tests)[0])


# --- the runs -------------------------------------------------------------------------------------


def compared(
    title: str,
    programs: Sequence[Program],
    contenders: dict[str, Any],
    targets: dict[str, float],
    rounds: int,
    note: str = "",
) -> dict[str, Any]:
    """Interleaved runs, on two workers each."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    passed = dict.fromkeys(contenders, len(programs))
    for _ in range(rounds + 1):
        for name, contender in contenders.items():
            began = time.perf_counter()
            found = contender.passed(programs)
            times[name].append(time.perf_counter() - began)
            passed[name] = min(passed[name], found)
    lines = []
    base = times["plain subprocess"][1:]
    for name, own in times.items():
        ratio = statistics.median(b / t for b, t in zip(base, own[1:], strict=True))
        target = targets.get(name)
        lines.append(
            {
                "what": name,
                "value": len(programs) / statistics.median(own[1:]),
                "unit": "programs/s",
                "times_as_fast": ratio,
                "passed": passed[name] / len(programs),
                "target": target and f"{target:g} x a plain subprocess, and all pass",
                "met": target is None or (ratio >= target and passed[name] == len(programs)),
            }
        )
    return {"title": f"{title}: {len(programs)} programs", "note": note, "lines": lines}


def human_eval(data: Path, rounds: int, most: int) -> dict[str, Any]:
    known = data.exists()
    programs = solutions(data, most) if known else arithmetic(most, calls=False)
    note = "" if known else f"there is no {data}: arithmetic programs instead"
    title = "(a) HumanEval" if known else "(a) Arithmetic"
    with ExitStack() as stack:
        contenders = {"ours": Ours(stack), "plain subprocess": Subprocess(stack)}
        return compared(title, programs, contenders, {"ours": 1.0}, rounds, note)


def functions(rounds: int, most: int) -> dict[str, Any]:
    programs = arithmetic(min(most, 48), calls=True)
    there = importlib.util.find_spec("verl") is not None
    note = "" if there else "verl is not installed; make contracts ARGS=scoring"
    with ExitStack() as stack:
        contenders = {"ours": Ours(stack), "plain subprocess": Subprocess(stack)}
        if there:
            contenders["verl prime_code"] = Verl(stack)
        return compared("(b) Calls", programs, contenders, {"ours": 1.0}, rounds, note)


def further(rounds: int) -> dict[str, Any]:
    """The slope from one test to many."""
    function = "def f(x):\n    return x + 1\n"
    script = "print(int(input()) + 1)\n"

    def same(a: Any, b: Any) -> bool:
        return bool(a == b)

    def calls(n: int) -> int:
        tests = [Call([x], {}, x + 1) for x in range(n)]
        found = run_calls(function, "f", tests, same, limits=LIMITS)
        return sum(result.status == "passed" for result in found)

    def scripts(n: int) -> int:
        tests = [Run(f"{x}\n", f"{x + 1}\n") for x in range(n)]
        found = run_scripts(script, tests, same, limits=LIMITS)
        return sum(result.status == "passed" for result in found)

    def asserts(n: int) -> int:
        tests = "\n".join(f"assert f({x}) == {x + 1}" for x in range(n))
        found = run_asserts(function, tests, None, limits=LIMITS)
        return sum(result.status == "passed" for result in found)

    forms: dict[str, Callable[[int], int]] = {"call": calls, "script": scripts, "assert": asserts}
    slopes: dict[str, list[float]] = {name: [] for name in forms}
    whole = dict.fromkeys(forms, True)
    for _ in range(3 * rounds + 1):
        for name, run in forms.items():
            spent = []
            for n in (1, TESTS):
                began = time.perf_counter()
                whole[name] &= run(n) == n
                spent.append(time.perf_counter() - began)
            slopes[name].append((spent[1] - spent[0]) / (TESTS - 1) * 1e3)
    lines = [
        {
            "what": f"one more {name}",
            "value": statistics.median(own[1:]),
            "unit": "ms",
            "passed": float(whole[name]),
            "target": f"at most {FURTHER:g} ms",
            "met": whole[name] and statistics.median(own[1:]) <= FURTHER,
        }
        for name, own in slopes.items()
    ]
    return {"title": f"(c) From 1 test to {TESTS} of one program", "note": "", "lines": lines}


def started(rounds: int) -> dict[str, Any]:
    """From nothing to a first answer, and from there to the next; what stays in memory."""
    first, second, memory = [], [], []
    job = {"kind": "calls", "source": "def f(x):\n    return x\n"}
    for _ in range(3 * rounds):
        began = time.perf_counter()
        box = Box(Setting())
        for spent in (first, second):
            with box.open(job, LIMITS) as program:
                answer = program.ask(None, 10.0)[0]
            spent.append(time.perf_counter() - began)
            began = time.perf_counter()
            if answer != "=":
                raise RuntimeError(f"the sandbox answers {answer}")
        memory.append(sum(map(resident, family(box._process.pid))))
        box.close()
    values = (
        ("a sandbox, and its first program", statistics.median(first) * 1e3, "ms"),
        ("a program in it", statistics.median(second) * 1e3, "ms"),
        ("memory of a sandbox that waits", statistics.median(memory) / 1024, "MiB"),
    )
    lines = [
        {"what": what, "value": value, "unit": unit, "met": True} for what, value, unit in values
    ]
    return {"title": "(d) A sandbox", "note": "", "lines": lines}


def family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def resident(pid: int) -> int:
    """KiB, what is shared counted in shares."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def show(part: dict[str, Any]) -> None:
    print(part["title"] + (f" ({part['note']})" if part["note"] else ""))
    for line in part["lines"]:
        ratio = f"{line['times_as_fast']:>7.2f} x" if "times_as_fast" in line else " " * 9
        passed = f"{line['passed']:>7.0%} pass" if "passed" in line else ""
        target = ""
        if line.get("target"):
            target = f"  target {line['target']}: {'met' if line['met'] else 'MISSED'}"
        print(f"  {line['what']:34}{line['value']:>9.2f} {line['unit']:10}{ratio}{passed}{target}")


if __name__ == "__main__":
    sys.exit(main())
