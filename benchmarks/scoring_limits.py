"""What scoring costs at its limits: per row, with poisoned rows, and at a million rows.

(1) Four functions of a row under `@reward`, from rollouts to scores with statuses, inline.
(2) A thousand answers of which 1 % never end (power towers, huge binomials and factorials, a
regular expression that backtracks), on two workers with a deadline of 1 s. (3) `rewardsmith score`
on one and on two million rows: time, and the peak memory of the whole process tree.

    python benchmarks/scoring_limits.py [--json] [--rows N]
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import rewardsmith as rs
from rewardsmith.core.outcome import Status

PARTS = Path(__file__).resolve().with_name("functions") / "scoring.py"
WORKERS, DEADLINE, KILL = 2, 1.0, 1.0
POISON = ["9^{9^{9^9}}", r"\binom{10^9}{5\cdot 10^8}", "100000000!", "a" * 60 + "!"]


def tree() -> rs.Reward:
    names = ("short", "same", "vowels", "polite")
    parts = {n: {"function": {"call": f"{PARTS}:{n}"}} for n in names}
    return loaded({"weighted_sum": {"parts": parts}})


def loaded(node: dict[str, Any]) -> rs.Reward:
    from rewardsmith.core.spec import loads

    return loads(json.dumps({"reward": node}))


def per_row(rounds: int = 15, n: int = 4096) -> dict[str, Any]:
    reward = tree()
    completions = [f"{i} and more words of an answer" for i in range(n)]
    rollouts = rs.Rollouts.from_text(["?"] * n, completions, answer=[str(i) for i in range(n)])
    reward(rollouts)
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        scores = reward(rollouts)
        times.append((time.perf_counter() - began) / n * 1e6)
    assert bool((scores.status == Status.SCORED).all())
    return {"name": "four functions, us per row", "value": statistics.median(times), "most": 5.0}


def poisoned(n: int = 1000) -> list[dict[str, Any]]:
    answers = ["\\boxed{\\frac{1}{2}}", "\\boxed{x+x}", "\\boxed{3}"]
    rng = random.Random(0)
    clean = [f"{i}: {answers[i % 3]}" for i in range(n)]
    where = sorted(rng.sample(range(n), n // 100))
    bad = list(clean)
    for k, i in enumerate(where):
        poison = POISON[k % len(POISON)]
        bad[i] = f"{i}: {poison}" if poison.startswith("a") else f"{i}: \\boxed{{{poison}}}"
    reward = loaded(
        {
            "weighted_sum": {
                "parts": {
                    "correct": {"math_answer": {"answer": "boxed"}},
                    "form": {"function": {"call": f"{PARTS}:backtracking"}},
                }
            }
        }
    )
    golds = ["\\sqrt{2}+x"] * n
    preload = ("rewardsmith.rules.symbolic",)
    with rs.executor("processes", workers=WORKERS, timeout=DEADLINE, preload=preload) as execution:
        reward(rs.Rollouts.from_text(["?"] * 64, clean[:64], answer=golds[:64]))
        normal, _ = timed(reward, clean, golds)
        took, scores = timed(reward, bad, golds)
        _, after = timed(reward, clean, golds)
        alive = len(execution.executor.start()[0]._pool_manager.worker_manager.workers)
    found = (scores.status == Status.TIMEOUT).nonzero().flatten().tolist()
    most = DEADLINE * len(where) / WORKERS + KILL * len(where) / WORKERS + normal
    return [
        {"name": f"{len(where)} of {n} rows poisoned, s", "value": took, "most": most},
        {
            "name": "rows whose status is not as it should be",
            "value": len(set(found) ^ set(where)) + int((after.status != Status.SCORED).sum()),
            "most": 0,
        },
        {"name": "workers lost", "value": WORKERS - alive, "most": 0},
    ]


def timed(reward: rs.Reward, completions: list[str], golds: list[str]) -> tuple[float, rs.Scores]:
    rollouts = rs.Rollouts.from_text(["?"] * len(golds), completions, answer=golds)
    began = time.perf_counter()
    scores = reward(rollouts)
    return time.perf_counter() - began, scores


def at_scale(rows: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = ("short", "same", "vowels", "polite")
        parts = {n: {"function": {"call": f"{PARTS}:{n}"}} for n in names}
        spec = {"columns": {"group": "prompt_id"}, "reward": {"weighted_sum": {"parts": parts}}}
        (folder / "reward.yaml").write_text(json.dumps(spec))
        once, twice = (measured(folder, n) for n in (rows, 2 * rows))
    limit = 60.0 * rows / 1_000_000
    return [
        {"name": f"{rows:,} rows, s", "value": once[0], "most": limit},
        {"name": f"{rows:,} rows, peak MB", "value": once[1], "most": 1024.0},
        {"name": "memory of twice the rows, x", "value": twice[1] / once[1], "most": 1.1},
    ]


def measured(folder: Path, rows: int) -> tuple[float, float]:
    rng = random.Random(0)
    words = [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "so",
        "the",
        "answer",
        "is",
        "computed",
        "from",
        "what",
    ]
    with (folder / "data.jsonl").open("w") as file:
        for i in range(rows):
            text = " ".join(rng.choices(words, k=20)) + f" A: {rng.randrange(1000)}"
            row = {"prompt_id": i // 8, "completion": text, "answer": str(rng.randrange(1000))}
            file.write(json.dumps(row) + "\n")
    arguments = ["score", "reward.yaml", "data.jsonl", "--out", f"{rows}.parquet"]
    program = "from rewardsmith.cli import main; main()"
    command = [sys.executable, "-c", program, *arguments, "--workers", str(WORKERS)]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, sum(resident(pid) for pid in below(process.pid)) / 1024)
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"error: rewardsmith score exited with {process.returncode}")
    return time.perf_counter() - began, peak


def below(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            children = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
            found += [other for child in children for other in below(int(child))]
    except OSError:
        pass
    return found


def resident(pid: int) -> int:
    """Resident memory in kB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    lines = [per_row(), *poisoned(), *at_scale(options.rows)]
    if options.json:
        print(json.dumps(lines, indent=2))
    else:
        for line in lines:
            met = "met" if line["value"] <= line["most"] else "MISSED"
            print(f"{line['name']:44}{line['value']:10.2f}  at most {line['most']:.2f}: {met}")
    return int(any(line["value"] > line["most"] for line in lines))


if __name__ == "__main__":
    sys.exit(main())
