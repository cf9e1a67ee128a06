"""``rewardsmith score`` with programs: parallel, cached, and told where nothing holds them."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.sandbox

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "programs"

Score = Callable[..., CompletedProcess[str]]


@pytest.fixture
def score(command: Score) -> Score:
    return partial(command, "score")


def rows(*completions: str) -> str:
    tests = ["assert f(1) == 2"]
    return "".join(json.dumps({"completion": c, "tests": tests}) + "\n" for c in completions)


def test_the_example_is_scored_as_it_says(score: Score, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    data = EXAMPLE / "sample.jsonl"
    ran = score(EXAMPLE / "reward.yaml", data, "--out", out, "--why", "--workers", 2)
    assert ran.returncode == 0, ran.stderr
    table = pq.read_table(out).to_pydict()
    assert table["reward/tests"] == [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    marks = [why.split()[0] for why in table["why/tests"]]
    assert marks == ["...", ".F.", "TTT", "...", "F.F", "CCC"]


def test_what_was_run_is_remembered(score: Score, tmp_path: Path) -> None:
    spec, data, cache = (tmp_path / name for name in ("r.yaml", "d.jsonl", "cache"))
    spec.write_text("reward: {unit_tests: {}}\n")
    data.write_text(rows("def f(x): return x + 1", "def f(x): return x"))
    for name in ("one", "two"):
        out = tmp_path / f"{name}.parquet"
        ran = score(spec, data, "--out", out, "--cache", cache)
        assert ran.returncode == 0, ran.stderr
    assert pq.read_table(tmp_path / "one.parquet") == pq.read_table(out)
    ran_, as_equal, cached = ran.stdout.split("cached")[1].split("reward")[1].split()[:3]
    assert (ran_, as_equal, cached) == ("0", "0", "2")


def test_no_isolation_is_told(score: Score, tmp_path: Path) -> None:
    spec, data = tmp_path / "r.yaml", tmp_path / "d.jsonl"
    spec.write_text("reward: {unit_tests: {unsafe: true}}\n")
    data.write_text(rows("def f(x): return x + 1"))
    ran = score(spec, data, "--out", tmp_path / "out.parquet")
    assert ran.returncode == 0, ran.stderr
    assert "caution: programs ran without isolation" in ran.stdout
    assert "1.0000" in ran.stdout


def test_a_deadline_that_is_too_short_is_refused(score: Score, tmp_path: Path) -> None:
    spec, data = tmp_path / "r.yaml", tmp_path / "d.jsonl"
    spec.write_text("reward: {unit_tests: {limits: {program: 60}}}\n")
    data.write_text(rows("def f(x): return x + 1"))
    ran = score(spec, data, "--out", tmp_path / "out.parquet")
    assert ran.returncode != 0
    assert "give it a timeout of 63 s or more" in ran.stderr + ran.stdout
