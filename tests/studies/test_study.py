import json
import os
import random
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from rewardsmith.studies.spec import read_study
from rewardsmith.studies.study import plan, run_study

COMMAND = [sys.executable, "-c", "from rewardsmith.cli import main; main()"]


def records_of(path, out):
    return {(r.reward, r.seed): r.records() for r in plan(read_study(path), out)}


def test_study_from_the_command_line(command, write, tmp_path):
    out = tmp_path / "out"
    done = command("study", write(), "--out", out, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "count, seed 1" in done.stdout
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["rewards"]) == ["sparse", "count"]
    count = summary["rewards"]["count"]
    assert count["gold_ci"][0] <= count["gold_iqm"] <= count["gold_ci"][1]
    assert 0 <= count["probability_of_improvement"] <= 1
    assert count["hacked"] is None  # too few steps for a correlation
    assert count["steps_to_threshold"]["seeds"] == 2
    table = pq.read_table(out / "results.parquet").to_pylist()
    assert len(table) == 2 * 2 * 3
    assert len({(r["reward"], r["seed"], r["steps"]) for r in table}) == len(table)
    page = (out / "report.html").read_text()
    assert "count" in page
    # Nothing is done twice: a second call only reports.
    before = {p: p.stat().st_mtime_ns for p in (out / "runs").rglob("records.jsonl")}
    run_study(read_study(write()), out)
    assert {p: p.stat().st_mtime_ns for p in (out / "runs").rglob("records.jsonl")} == before


def test_a_dead_worker_takes_only_its_run(command, write, tmp_path):
    """One run kills its own process; the others finish, and the exit code says that one did not."""
    path = write(
        ("sparse: {env_reward: {}}", "sparse: {function: {call: ./toy.py:dies}}"),
        ("seeds: 2", "seeds: 1"),
    )
    source = path.parent / "toy.py"
    source.write_text(
        source.read_text()
        + """

import os, multiprocessing
@rs.reward(step=True)
def dies(env_reward):
    if multiprocessing.parent_process() is not None:
        os._exit(9)
    return env_reward
"""
    )
    # With one worker the other run needs the one that takes the place of the dead.
    done = command("study", path, "--out", tmp_path / "out", "--workers", "1")
    assert done.returncode == 1
    assert "sparse, seed 0: its process died (exit code 9)" in done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["rewards"]["count"]["gold_iqm"] is not None
    assert summary["rewards"]["count"]["hacked"] is None
    assert len(summary["rewards"]["sparse"]["failed"]) == 1


def test_bad_input_exits_2_with_one_line(command, write, tmp_path):
    path = write(("env_reward: {}", "env_rewrd: {}"))
    done = command("study", path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {path}:8: rewards/sparse/env_rewrd: unknown method")
    assert done.stderr.count("\n") == 1
    assert command("study", tmp_path / "no.yaml").returncode == 2
    assert command("study", write(), "--seeds", "0").returncode == 2


def test_missing_column_is_found_before_training(command, write, tmp_path):
    path = write(("sparse: {env_reward: {}}", "sparse: {env_reward: {column: reward_run}}"))
    done = command("study", path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "no column 'reward_run', needed by env_reward" in done.stderr
    assert not list((tmp_path / "out").rglob("records.jsonl"))


def kill_once(path, out, after):
    """Start a study and SIGKILL only the parent: after some seconds, or at the first record."""
    with subprocess.Popen(
        [*COMMAND, "study", str(path), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        started = time.monotonic()
        while child.poll() is None:
            begun = any(out.rglob("records.jsonl"))
            if begun if after is None else time.monotonic() - started > after:
                os.kill(child.pid, signal.SIGKILL)
                break
            time.sleep(0.01)


def check_resumes(path, tmp_path, delays):
    undisturbed = tmp_path / "undisturbed"
    run_study(read_study(path), undisturbed, workers=1)
    out = tmp_path / "killed"
    for after in delays:
        kill_once(path, out, after)
        runs = plan(read_study(path), out)
        assert after is not None or any(run.records() and not run.done for run in runs)
    subprocess.run([*COMMAND, "study", path, "--out", out], check=True, stdout=subprocess.DEVNULL)
    assert records_of(path, out) == records_of(path, undisturbed)
    first, second = (json.loads((o / "summary.json").read_text()) for o in (out, undisturbed))
    assert first["rewards"] == second["rewards"]


def test_resumes_after_a_kill(write, tmp_path):
    check_resumes(write(("seeds: 2", "seeds: 1")), tmp_path, [None])


@pytest.mark.slow
def test_resumes_after_five_kills(write, tmp_path):
    started = time.monotonic()
    check_resumes(write(), tmp_path, [random.uniform(3, 16) for _ in range(5)])
    assert time.monotonic() - started < 600


ALGORITHMS = {
    "PPO": "n_steps: 250, batch_size: 50",
    "A2C": "n_steps: 50",
    "DQN": "learning_starts: 500",
    "SAC": "learning_starts: 1500",
    "TD3": "learning_starts: 1500",
    "TQC": "learning_starts: 1500",
    "RecurrentPPO": "n_steps: 250, batch_size: 50",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm(write, tmp_path, name):
    changes = [
        ("algorithm: PPO", f"algorithm: {name}"),
        ("n_steps: 64, batch_size: 64, n_epochs: 2", ALGORITHMS[name]),
        ("timesteps: 256", "timesteps: 2000"),
        ("every: 128", "every: 1000"),
        ("seeds: 2", "seeds: 1"),
    ]
    if name == "RecurrentPPO":
        changes.append(
            ("algorithm: RecurrentPPO,", "algorithm: RecurrentPPO, policy: MlpLstmPolicy,")
        )
    if name in ("SAC", "TD3", "TQC"):
        changes += [("CartPole-v1", "Pendulum-v1"), ("threshold: 15", "threshold: -1000")]
    study = read_study(write(*changes))
    summary = run_study(study, tmp_path / "out", workers=1)
    for reward in summary["rewards"].values():
        assert reward["failed"] == []
        assert reward["gold_iqm"] is not None
