"""The file of a language study: what it says, and where an error in it points."""

import json
import pickle
import random

import numpy as np
import pytest
import torch

from rewardsmith.core.errors import SpecError
from rewardsmith.studies.language.spec import LanguageStudy
from rewardsmith.studies.spec import read_study


def test_reads_and_pickles(study):
    read = pickle.loads(pickle.dumps(study()))
    assert isinstance(read, LanguageStudy)
    assert read.reference == "right"
    assert read.steps == 4
    assert read.section.evaluation.every == 2
    assert read.gold_function().__name__ == "starts"
    assert read.told()["dataset"] == "./words.py:rows"
    assert read.section.evaluation.temperature == 1.0


@pytest.mark.parametrize(
    ("change", "line", "match"),
    [
        (("seeds: 2", "seed: 2"), 12, "unknown key 'seed'; did you mean 'seeds'"),
        (("dataset: {", "datset: {"), 2, "unknown key 'datset'; did you mean 'dataset'"),
        (("task: ./words.py:rows", "tsk: ./words.py:rows"), 2, "did you mean 'task'"),
        (("held_out: 4", "held_out: {jsnl: a}"), 3, "did you mean 'jsonl'"),
        (("held_out: 4", "held_out: 1.5"), 3, "neither a share below 1 nor a whole number"),
        (("held_out: 4", "held_out: {split: 2, jsonl: a}"), 3, "exactly one of split"),
        (("task: ./words.py:rows", "task: ./words.py:rows, jsonl: a"), 2, "exactly one of"),
        (("{task: ./words.py:rows}", "{}"), 2, "exactly one of"),
        (("  steps: 4", "  stps: 4"), 7, "did you mean 'steps'"),
        (("  steps: 4", "  steps: 4\n  algorithm: PPO"), 8, "'GRPO'"),
        (("samples: 4,", "smples: 4,"), 14, "did you mean 'samples'"),
        (("kind: function", "kind: reward"), 16, "needs `call`"),
        (("kind: function, call: ./words.py:starts", "kind: reward"), 16, "needs `reward`"),
        (("right: {function: {call", "right: {functon: {call"), 18, "'function'"),
        (("seeds: 2", "seeds: 2\nenv: {id: CartPole-v1}"), 2, "not both"),
    ],
)
def test_points_at_the_line(write, change, line, match):
    with pytest.raises(SpecError, match=match) as caught:
        read_study(write(change))
    assert caught.value.line == line


def test_warns_of_too_few_rows(study):
    assert "2 seeds of 16 evaluation.initial_rows are fewer than the 20,000 rows" in study().doubt()
    assert study(("initial_rows: 16", "initial_rows: 10000")).doubt() == ""


def test_three_seeds_leave_room_for_rows_without_a_score(study):
    by_default = study((" initial_rows: 16,", ""), ("seeds: 2", "seeds: 3"))
    assert by_default.doubt() == ""
    assert 3 * by_default.section.evaluation.initial_rows >= 1.2 * 20_000


def test_a_reward_draws_its_weights_by_the_runs_seed(study):
    read = study()
    built = []

    def build(data, place):
        built.append((random.random(), np.random.rand(), torch.rand(()).item()))
        return LanguageStudy.build(read, data, place)

    read.build = build
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    read.reward("long", seed=0)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    torch.manual_seed(5)
    read.reward("long", seed=0)
    read.reward("long", seed=1)
    assert built[0] == built[1]
    assert not set(built[1]) & set(built[2])


def test_fingerprint_follows_what_a_run_depends_on(study, write, tmp_path):
    first = study().fingerprint("long")
    same = ("threshold: 0.5", "threshold: 0.7"), ("executor: inline", "executor: processes")
    assert study(("executor: inline", "timeout: 3")).fingerprint("long") != first
    assert study(*same).fingerprint("long") == first
    for old, new in (
        ("steps: 4", "steps: 5"),
        ("held_out: 4", "held_out: 5"),
        ("length: 0.5", "length: 0.6"),
        ("batch_size: 64", "temperature: 0.9"),
        ("learning_rate: 0.01", "learning_rate: 0.02"),
        ("call: ./words.py:starts}\nrewards", "call: ./words.py:length}\nrewards"),
        ("steps: 4", "steps: 4\n  advantage: {grpo: {scale: none}}"),
    ):
        assert study((old, new)).fingerprint("long") != first, old
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "1="}))
    read = study(("task: ./words.py:rows", "jsonl: a.jsonl"))
    before = read.fingerprint("long")
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "2="}))
    assert read.fingerprint("long") != before
    path = write()
    source = path.parent / "words.py"
    source.write_text(source.read_text() + "\n# another body\n")
    assert read_study(path).fingerprint("right") != first


def test_gold_may_be_a_node(study):
    node = "kind: reward, reward: {function: {call: ./words.py:length}}"
    read = study(("kind: function, call: ./words.py:starts", node))
    assert read.gold().label() == study().reward("long").parts["length"].label()
    assert read.gold_function() is None


def test_the_learners_parts_are_built(study):
    parts = "steps: 4\n  advantage: {grpo: {scale: none}}\n  loss: {ppo: {clip: 0.1}}"
    assert study(("steps: 4", parts)).recipe().keys() == {"advantage", "loss"}
    misspelt = study(("steps: 4", "steps: 4\n  advantage: {grop: {}}"))
    with pytest.raises(SpecError, match="did you mean 'grpo'") as caught:
        misspelt.recipe()
    assert caught.value.line == 8
