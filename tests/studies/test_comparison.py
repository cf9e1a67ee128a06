"""What a study compares with, and what happens when that changes or fails."""

import json

from rewardsmith.studies.records import Run, write_json
from rewardsmith.studies.run import compare, train, train_as_planned
from rewardsmith.studies.spec import read_study
from rewardsmith.studies.study import plan, run_study


def carry_out(study, out):
    """Train and compare, in this process."""
    runs = plan(study, out)
    for job in (train, lambda study, run: compare(study, run, runs[0])):
        for run in runs:
            job(study, run)


def test_another_reference_is_compared_anew(write, tmp_path):
    out = tmp_path / "out"
    carry_out(read_study(write(("seeds: 2", "seeds: 1"))), out)
    before = {
        r.name: r.note("comparison") for r in plan(read_study(write(("seeds: 2", "seeds: 1"))), out)
    }
    assert all(note["reference"].startswith("sparse-") for note in before.values())
    again = read_study(write(("seeds: 2", "seeds: 1\nreference: count")))
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


def test_a_comparison_that_failed_is_made_again(write, tmp_path):
    study, out = read_study(write(("seeds: 2", "seeds: 1"))), tmp_path / "out"
    carry_out(study, out)
    run = plan(study, out)[0]
    whole = run.note("comparison")
    write_json(run.folder / "comparison.json", {"reference": whole["reference"], "error": "no"})
    run_study(study, out, workers=1)
    assert run.note("comparison") == whole


def test_a_policy_of_a_class_in_a_file_is_compared_by_a_fresh_process(write, tmp_path):
    """Such a class is saved by name, and a process that never read the file does not know it."""
    path = write(
        ("seeds: 2", "seeds: 1"),
        ("n_epochs: 2", "n_epochs: 2, policy_kwargs: {features_extractor_class: ./net.py:Net}"),
    )
    (tmp_path / "net.py").write_text(NET)
    study, out = read_study(path), tmp_path / "out"
    for run in plan(study, out):
        train(study, run)
    run_study(study, out, workers=1)
    assert all("proxy" in run.note("comparison") for run in plan(study, out))


NET = """
from stable_baselines3.common.torch_layers import FlattenExtractor


class Net(FlattenExtractor):
    pass
"""


def test_the_start_of_a_learning_reward_is_of_the_policy_that_explores(study, tmp_path):
    """As its first record is: otherwise two policies would be compared, not two states."""
    changed = study(
        ("threshold: 15", "threshold: 15, deterministic: true"),
        ("final_episodes: 4, initial_steps: 50", "final_episodes: 4, initial_steps: 1"),
        ("{beta: 0.1, key: ./toy.py:cell}", "{beta: 0.0, key: ./toy.py:cell}"),
    )
    run = Run("count", 0, tmp_path / "a" / "0")
    train(changed, run)
    compare(changed, run, run)
    assert run.note("comparison")["initial"] == run.records()[0]["proxy"]


def test_what_was_edited_meanwhile_is_not_kept_under_the_old_name(write, tmp_path):
    study = read_study(write())
    (run, *_) = plan(study, tmp_path / "out")
    elsewhere = Run("count", 0, run.folder)
    train_as_planned(study, elsewhere)
    assert "was edited while it ran" in elsewhere.error
