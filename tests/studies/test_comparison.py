"""What a study compares with, and what happens when that changes or fails."""

import json

from rewardsmith.studies.records import Run
from rewardsmith.studies.run import compare, train
from rewardsmith.studies.spec import read_study
from rewardsmith.studies.study import plan, run_study


def test_another_reference_is_compared_anew(write, tmp_path):
    out = tmp_path / "out"
    run_study(read_study(write()), out, workers=1)
    before = {r.name: r.note("comparison") for r in plan(read_study(write()), out)}
    assert all(note["reference"].startswith("sparse-") for note in before.values())
    again = read_study(write(("seeds: 2", "seeds: 2\nreference: count")))
    summary = run_study(again, out, workers=1)
    after = {r.name: r.note("comparison") for r in plan(again, out)}
    assert after.keys() == before.keys()  # nothing was trained again
    assert all(note["reference"].startswith("count-") for note in after.values())
    assert summary["reference"] == "count"


def test_more_seeds_keep_the_runs_there_are(write, tmp_path):
    few = plan(read_study(write()), tmp_path)
    more = plan(read_study(write(), seeds=3), tmp_path)
    assert set(few) < set(more)


def test_a_learning_reward_is_compared_in_one_state(study, tmp_path):
    made = study()
    run, reference = Run("count", 0, tmp_path / "a" / "0"), Run("sparse", 0, tmp_path / "b" / "0")
    for one in (run, reference):
        train(made, one)
        assert one.error is None
    compare(made, run, reference)
    note = run.note("comparison")
    assert note["reference"] == "b/0"
    # The initial policy earns less bonus once its states were counted.
    assert note["initial"] < run.records()[0]["proxy"]
    compare(made, reference, reference)
    assert set(reference.note("comparison")) == {"reference", "proxy"}
    assert reference.note("comparison")["proxy"] == reference.records()[-1]["proxy"]


def test_a_comparison_that_fails_leaves_word(study, tmp_path):
    made = study()
    run = Run("sparse", 0, tmp_path / "a" / "0")
    train(made, run)
    (run.folder / "policy.zip").write_bytes(b"")
    compare(made, run, run)
    assert "error" in json.loads((run.folder / "comparison.json").read_text())
