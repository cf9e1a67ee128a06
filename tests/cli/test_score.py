import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rewardsmith.adapters.files.trajectories import write_trajectories
from rewardsmith.core.rollouts import Rollouts

REWARD = """
reward:
  weighted_sum:
    weights: {env: 1.0, near: 0.5}
    parts:
      env: {env_reward: {}}
      near: {function: {call: ./functions.py:near, step: true}}
"""
FUNCTIONS = """
import numpy as np

def near(next_obs):
    return -np.abs(next_obs[:, 0])

def height(obs):
    return obs[:, 0]

def late(env_reward):
    if env_reward[0] == 7:
        raise RuntimeError("too late")
    return float(env_reward.sum())

def stopped(env_reward):
    raise KeyboardInterrupt
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with a reward and ten episodes of three steps; episode i pays i at each step."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reward.yaml").write_text(REWARD)
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    write_trajectories(tmp_path / "data.hdf5", episodes(10))
    return tmp_path


def episodes(n):
    obs = torch.arange(4.0)[None, :, None].expand(n, 4, 1)
    ends = torch.tensor([[False, False, True]]).expand(n, 3)
    return Rollouts(
        steps={
            "obs": obs[:, :-1],
            "next_obs": obs[:, 1:],
            "action": torch.zeros(n, 3),
            "env_reward": torch.arange(n, dtype=torch.float64)[:, None].expand(n, 3),
            "terminated": ends,
            "truncated": torch.zeros(n, 3, dtype=torch.bool),
        }
    )


@pytest.fixture
def score(command):
    """Run the command: its exit status, what it printed, and its complaint."""

    def run(*arguments):
        done = command("score", *arguments)
        return done.returncode, done.stdout, done.stderr

    return run


def rows(path="out.parquet"):
    return pq.read_table(path).to_pylist()


# --- what it does ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".hdf5", ".parquet"])
def test_a_row_per_episode(work, score, suffix):
    write_trajectories(f"data{suffix}", episodes(10))
    code, said, _ = score("reward.yaml", f"data{suffix}", "--out", "out.parquet", "--chunk", 4)
    assert code == 0
    assert "out.parquet: 10 rows in " in said
    assert "\n10 scored\n" in said
    assert list(rows()[0]) == [
        "row",
        "reward",
        "status",
        "error",
        "reward/env",
        "status/env",
        "reward/near",
        "status/near",
    ]
    assert [row["row"] for row in rows()] == list(range(10))
    assert [row["reward"] for row in rows()] == [3.0 * i - 3.0 for i in range(10)]
    assert [row["reward/near"] for row in rows()] == [-6.0] * 10


def test_limit_and_steps(work, score):
    code, _, _ = score("reward.yaml", "data.hdf5", "--out", "out.parquet", "--limit", 3, "--steps")
    assert code == 0
    assert len(rows()) == 3
    assert rows()[2]["steps"] == [1.5, 1.0, 0.5]
    assert rows()[2]["steps/near"] == [-1.0, -2.0, -3.0]


def test_gamma_for_potential_shaping(work, score):
    (work / "shaped.yaml").write_text(
        "reward: {potential_shaping: {of: {env_reward: {}}, potential: ./functions.py:height}}"
    )
    code, _, complaint = score("shaped.yaml", "data.hdf5", "--out", "out.parquet")
    assert code == 2
    assert "does not know the learner's gamma" in complaint
    assert complaint.endswith("; here: --gamma\n")
    code, _, _ = score("shaped.yaml", "data.hdf5", "--out", "out.parquet", "--gamma", 0.5)
    assert code == 0
    # 0.5 * 1 - 0, 0.5 * 2 - 1, and - 2 at the end.
    assert [row["reward/shaping"] for row in rows()] == [0.5 + 0.0 - 2.0] * 10
    code, _, complaint = score("shaped.yaml", "data.hdf5", "--out", "b.parquet", "--gamma", 1.5)
    assert code == 2
    assert complaint.startswith("error: --gamma: ")


def test_columns_of_other_names(work, score):
    table = pa.Table.from_pylist([{"action": [0, 1], "reward": [1.0, 2.0]}])
    pq.write_table(table, "data.parquet")
    (work / "own.yaml").write_text("columns: {env_reward: reward}\nreward: {env_reward: {}}\n")
    assert score("own.yaml", "data.parquet", "--out", "out.parquet")[0] == 0
    assert rows()[0]["reward"] == 3.0


def late(work):
    (work / "late.yaml").write_text("reward: {function: {call: ./functions.py:late}}")
    return "late.yaml", "data.hdf5", "--out", "out.parquet", "--chunk", 2


def test_rows_without_a_score(work, score):
    code, said, _ = score(*late(work))
    assert code == 0
    assert "1 failed, 9 scored" in said
    assert rows()[7] == {
        "row": 7,
        "reward": None,
        "status": "failed",
        "error": "raised RuntimeError: too late",
    }
    os.remove("out.parquet")
    assert score(*late(work), "--on-error", "-2")[0] == 0
    assert rows()[7]["reward"] == -2.0
    assert rows()[7]["status"] == "failed"


def test_the_first_row_without_a_score_may_end_it(work, score):
    code, _, complaint = score(*late(work), "--on-error", "raise")
    assert code == 1
    assert complaint == (
        "error: data.hdf5: the reward, row 7: failed: raised RuntimeError: too late\n"
    )
    # What was done before counts, as far as it goes.
    code, said, complaint = score(*late(work), "--on-error", "raise")
    assert code == 1
    assert "going on after 6 rows" in said
    assert "row 7" in complaint
    # Rows that were kept without their score must not pass for rows that have one.
    code, said, _ = score(*late(work))
    assert code == 0
    assert "going on after 6 rows" in said
    assert len(rows()) == 10
    code, _, complaint = score(*late(work), "--on-error", "raise")
    assert code == 1
    assert complaint == "error: data.hdf5: row 7: failed: raised RuntimeError: too late\n"


def test_the_same_command_again_does_nothing(work, score):
    arguments = ("reward.yaml", "data.hdf5", "--out", "out.parquet")
    score(*arguments)
    before = (work / "out.parquet").stat()
    assert "done already" in score(*arguments)[1]
    assert (work / "out.parquet").stat().st_mtime_ns == before.st_mtime_ns
    # Another reward is another matter.
    (work / "reward.yaml").write_text(REWARD.replace("0.5", "2.0"))
    assert score(*arguments)[0] == 0
    assert rows()[0]["reward"] == -12.0


def test_an_interrupt_is_told(work, score):
    (work / "stop.yaml").write_text("reward: {function: {call: ./functions.py:stopped}}")
    code, _, complaint = score("stop.yaml", "data.hdf5", "--out", "out.parquet")
    assert code == 1
    assert complaint == "interrupted; 0 rows are kept, the same command goes on from there\n"


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.yaml", "data.hdf5"], "no.yaml: cannot read it: No such file"),
        (["reward.yaml", "no.hdf5"], "no.hdf5: there is no such file"),
        (["reward.yaml", "reward.yaml"], "reward.yaml: rows of text are .jsonl"),
        (["reward.yaml", "empty.hdf5"], "empty.hdf5: cannot read it as HDF5"),
        (["reward.yaml", "empty.parquet"], "empty.parquet: cannot read it: "),
        (["reward.yaml", "."], ".: this folder is no Minari data set"),
        (["reward.yaml", "data.hdf5", "--on-error", "zero"], "--on-error is missing, raise or a"),
        (["reward.yaml", "data.hdf5", "--on-error", "nan"], "--on-error is missing, raise or a"),
        (["speed.yaml", "data.hdf5"], "data.hdf5: no column 'speed', needed by env_reward"),
        (["late.yaml", "data.hdf5", "--steps"], "late.yaml: --steps: this reward scores whole"),
        (["columns.yaml", "data.hdf5"], "columns.yaml:1: columns: columns are a mapping"),
        (["other.yaml", "data.hdf5"], "data.hdf5: there is no column 'gain' to be 'x'"),
        (["study.yaml", "data.hdf5"], "a reward spec is a mapping with the key 'reward'"),
        (["reward.yaml", "data.hdf5", "--out", "data.hdf5"], "data.hdf5: labels are written to a"),
        (["reward.yaml", "data.parquet", "--out", "data.parquet"], "it exists and holds no labels"),
        (["reward.yaml", "data.hdf5", "--out", "late.yaml/x.parquet"], "cannot write it: Not a"),
        (["reward.yaml", "data.hdf5", "--out", "."], ".: labels are written to a .parquet file"),
        (["reward.yaml", "chat.jsonl"], "chat.jsonl: no column 'env_reward', needed by env_reward"),
        (
            ["reward.yaml", "data.hdf5", "--out", "folder.parquet"],
            "cannot write it: it is a folder",
        ),
    ],
)
def test_bad_input_is_one_line(work, score, arguments, message):
    late(work)
    (work / "folder.parquet").mkdir()
    write_trajectories("data.parquet", episodes(2))
    (work / "empty.hdf5").write_bytes(b"")
    (work / "empty.parquet").write_bytes(b"")
    (work / "chat.jsonl").write_text('{"prompt": "?"}')
    (work / "speed.yaml").write_text("reward: {env_reward: {column: speed}}")
    (work / "columns.yaml").write_text("columns: [a]\nreward: {env_reward: {}}")
    (work / "other.yaml").write_text("columns: {x: gain}\nreward: {env_reward: {}}")
    (work / "study.yaml").write_text("env: {id: CartPole-v1}")
    before = (work / "data.hdf5").read_bytes()
    out = [] if "--out" in arguments else ["--out", "out.parquet"]
    code, _, complaint = score(*arguments, *out)
    assert code == 2
    assert message in complaint
    assert complaint.startswith("error: ")
    assert complaint.count("\n") == 1
    assert (work / "data.hdf5").read_bytes() == before


def test_help_says_what_is_read(score):
    code, said, _ = score("--help")
    assert code == 0
    assert "Episodes: .hdf5, .h5, the folder of a Minari data set, .parquet." in " ".join(
        said.split()
    )


def test_a_broken_episode_ends_it_with_what_was_done_kept(work, score):
    import h5py

    with h5py.File("data.hdf5", "a") as file:
        del file["episode_5"]["rewards"]
        file["episode_5"]["rewards"] = [1.0]
    arguments = ("reward.yaml", "data.hdf5", "--out", "out.parquet", "--chunk", 2)
    code, _, complaint = score(*arguments)
    assert code == 2
    assert complaint == (
        "error: data.hdf5: episode_5: its columns differ in length: 'actions' 3, 'rewards' 1, "
        "'terminations' 3, 'truncations' 3\n"
    )
    assert score(*arguments, "--limit", 4)[0] == 0
    assert len(rows()) == 4


# --- a kill ---------------------------------------------------------------------------------------

SLOW = """
import os, time

def noted(env_reward):
    with open(os.environ["NOTES"], "a") as file:
        file.write(f"{int(env_reward[0])}\\n")
    time.sleep(0.02)
    return float(env_reward[0])
"""


@pytest.mark.slow
def test_after_kills_every_row_is_there_once(work):
    write_trajectories("data.hdf5", episodes(200))
    (work / "slow.py").write_text(SLOW)
    (work / "slow.yaml").write_text("reward: {function: {call: ./slow.py:noted}}")
    notes = work / "notes"
    notes.write_text("")
    command = [sys.executable, "-c", "from rewardsmith.cli import main; main()", "score"]
    command += ["slow.yaml", "data.hdf5", "--out", "out.parquet", "--chunk", "8"]
    environment = {**os.environ, "NOTES": str(notes)}
    kills = 0
    for until in (30, 75, 140):
        process = subprocess.Popen(command, env=environment)
        while len(notes.read_text().splitlines()) < until:
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        assert not (work / "out.parquet").exists()
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert [row["row"] for row in rows()] == list(range(200))
    assert [row["reward"] for row in rows()] == list(range(200))
    computed = [int(line) for line in notes.read_text().splitlines()]
    assert set(computed) == set(range(200))
    # At most one chunk was computed again after each kill.
    assert len(computed) <= 200 + 8 * kills
    assert not (work / "out.parquet.parts").exists()
