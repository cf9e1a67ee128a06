"""From a language study's records to its files: summary, table, report."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from rewardsmith.report.moments import PairMoments
from rewardsmith.studies.records import write_json
from rewardsmith.studies.study import plan, run_study
from rewardsmith.studies.summary import summarize

ROWS = np.random.default_rng(0).normal(size=(2, 12_000))


def finished(run, *, gold, proxy, reference, correlation=0.5, rows=12_000):
    """A run as it is when it has finished and was compared."""
    x, noise = ROWS[:, :rows]
    moments = PairMoments.of(x, correlation * x + np.sqrt(1 - correlation**2) * noise).to_dict()
    run.begin()
    for i, (steps, kind) in enumerate([(0, "initial"), (2, "training"), (4, "final")]):
        at = 0 if i == 0 else 1
        run.append(
            {
                "reward": run.reward,
                "seed": run.seed,
                "steps": steps,
                "kind": kind,
                "episodes": 16,
                "length": 3.0,
                "gold": gold[at] + 0.01 * run.seed,
                "gold_problems": [gold[at]] * 4,
                "proxy": proxy[at],
                "pass_at_k": 0.5,
                "k": 4,
                "entropy": 0.7,
                "truncated": 0.25,
                "unscored": 0.0,
                "statuses": {"scored": 16, "failed": 0},
                "parts": {"right": {"sum": 1.0, "magnitude": 1.0, "covariance": 1.0}},
                "variance": 1.0,
                "moments": moments,
                "reward_hash": "abc",
                "versions": {"trl": "1"},
            }
        )
    sample = {
        "steps": 0,
        "problem": 0,
        "prompt": "1=",
        "completion": "</script><b>1",
        "total": 1.0,
        "status": "scored",
        "error": "",
        "parts": {"right": 1.0},
        "gold": 1.0,
    }
    (run.folder / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    torch.save({}, run.folder / "reward.pt")
    runs = run.folder.parents[1]
    reference_name = next(f.name for f in runs.iterdir() if f.name.startswith("right-"))
    note = {"reference": f"{reference_name}/seed-{run.seed}", "proxy": reference}
    write_json(run.folder / "comparison.json", note)
    run.finish({})


CASES = {
    "hacked": {"gold": (0.4, 0.1), "proxy": (1.0, 3.0), "reference": 1.2},
    "not_hacked": {"gold": (0.4, 0.9), "proxy": (1.0, 3.0), "reference": 1.2},
    "misaligned": {"gold": (0.4, 0.1), "proxy": (1.0, 3.0), "reference": 1.2, "correlation": -0.3},
    "undefined": {"gold": (0.4, 0.1), "proxy": (1.0, 3.0), "reference": 1.2, "rows": 500},
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_is_over_rows(study, tmp_path, case):
    read = study()
    runs = plan(read, tmp_path / "out")
    for run in runs:
        right = {"gold": (0.4, 0.8), "proxy": (0.4, 0.8), "reference": 0.8}
        finished(run, **(right if run.reward == "right" else CASES[case]))
    told = summarize(read, runs)["rewards"]["long"]
    assert told["verdict"] == case
    assert told["hacked"] is {"hacked": True, "undefined": None}.get(case, False)
    assert "step correlation" not in told["reason"]
    if case == "hacked":
        assert "row correlation +0.5" in told["reason"]
        assert told["evidence"]["correlation_steps"] == 24_000
    if case == "undefined":
        assert (
            "rests on 1,000 rows and needs 20,000: raise evaluation.initial_rows" in told["reason"]
        )


def test_what_a_study_writes(study, tmp_path):
    read, out = study(), tmp_path / "out"
    runs = plan(read, out)
    for run in runs:
        finished(run, **CASES["hacked" if run.reward == "long" else "not_hacked"])
    summary = run_study(read, out, workers=1)
    assert json.loads((out / "summary.json").read_text()) == summary
    assert summary["dataset"] == "./words.py:rows"
    assert summary["timesteps"] == 4
    assert summary["rewards"]["long"]["hacked"] is True
    table = pq.read_table(out / "results.parquet").to_pylist()
    assert len({(r["reward"], r["seed"], r["steps"]) for r in table}) == len(table) == 12
    assert table[0]["step_correlation"] == pytest.approx(0.5, abs=0.05)
    assert table[0]["statuses"] == {"scored": 16, "failed": 0}
    page = (out / "report.html").read_text()
    assert "trained on <b>./words.py:rows</b>" in page
    assert "row correlation" in page
    assert "measure-curves" in page
    assert "</script><b>1" not in page
    assert "\\u003c/script\\u003e\\u003cb\\u003e1" in page
    assert not list(out.rglob("policy"))  # nothing was trained
