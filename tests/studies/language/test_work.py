"""Training a model under a reward: its records, that it repeats itself, and what breaks it."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.studies.language.words import STUDY

from rewardsmith.core.errors import SpecError
from rewardsmith.studies.language import evaluation, work
from rewardsmith.studies.language.data import training_data
from rewardsmith.studies.language.models import make_model, trainer_settings
from rewardsmith.studies.language.sampling import Answers
from rewardsmith.studies.records import Run
from rewardsmith.studies.run import compare, train
from rewardsmith.studies.shown import read_samples
from rewardsmith.studies.spec import read_study
from rewardsmith.studies.study import check, plan, run_study
from rewardsmith.testbeds.rlvr import tiny_model

RIGHT = "right: {function: {call: ./words.py:starts}}\n  long"


def made(study, folder, reward="long", seed=0):
    run = Run(reward, seed, folder)
    train(study, run)
    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One run of the study of words, for all that only look at it."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "words.py").write_text((Path(__file__).parent / "words.py").read_text())
    (folder / "words.yaml").write_text(STUDY)
    study = read_study(folder / "words.yaml")
    run = made(study, folder / "long-0" / "seed-0")
    assert run.error is None, run.note("failed")
    return study, run


def test_records(trained):
    _, run = trained
    records = run.records()
    kinds = [(r["steps"], r["kind"], r["episodes"]) for r in records]
    assert kinds == [(0, "initial", 16), (2, "training", 16), (4, "final", 16)]
    for record in records:
        assert record["k"] == 4
        assert 0 <= record["gold"] <= record["pass_at_k"] <= 1
        assert set(record["parts"]) == {"right", "length"}
        sums = sum(part["sum"] for part in record["parts"].values())
        assert sums == pytest.approx(record["proxy"])
        assert record["unscored"] == 0
        assert record["versions"]["trl"]
    assert records[0]["moments"]["n"] == 16
    assert (run.folder / "policy" / "model.safetensors").exists()
    assert json.loads((run.folder / "done.json").read_text())["steps"] == 4


def test_completions_are_kept_over_time(trained):
    _, run = trained
    samples = read_samples(run.folder)
    assert sorted({s["steps"] for s in samples}) == [0, 2, 4]
    assert {s["problem"] for s in samples} == {0, 1, 2, 3}
    assert all(set(s["parts"]) == {"right", "length"} for s in samples)
    assert all(s["parts"]["length"] == len(s["completion"]) for s in samples)
    final = Answers.load(run.folder / "final.json.gz")
    assert len(final) == 16
    assert not (run.folder / "initial.json.gz").exists()  # only a reward that learns needs it


def test_a_run_repeats_itself_whatever_was_evaluated(trained, study, tmp_path):
    first = trained[1].records()
    seldom = made(study(("every: 2", "every: 4")), tmp_path / "b").records()
    assert [r["steps"] for r in seldom] == [0, 4]
    assert seldom == [first[0], first[-1]]


def test_rewards_start_from_the_same_model(trained, study, tmp_path):
    other = made(study(("steps: 4", "steps: 1"), ("every: 2", "every: 1")), tmp_path / "a", "right")
    assert other.records()[0]["gold_problems"] == trained[1].records()[0]["gold_problems"]
    assert other.records()[0]["length"] == trained[1].records()[0]["length"]


def test_a_comparison_scores_what_the_other_wrote(trained):
    study, run = trained
    compare(study, run, run)
    assert run.note("comparison") == {
        "reference": "long-0/seed-0",
        "proxy": pytest.approx(run.records()[-1]["proxy"]),
    }
    assert work.earned(study, run, run, "policy") == run.records()[-1]["proxy"]
    answers = Answers.load(run.folder / "final.json.gz")
    answers.completion = ["1" * 7] * len(answers)
    other = Run("right", 0, run.folder.parent / "other")
    other.folder.mkdir(exist_ok=True)
    answers.save(other.folder / "final.json.gz")
    assert work.earned(study, run, other, "policy") == pytest.approx(1 + 0.5 * 7)


def test_rows_that_break_are_left_out_and_told(study, tmp_path):
    breaking = "right: {function: {call: ./words.py:breaks_on_digits}}\n  long"
    read = study((RIGHT, breaking))
    run = made(read, tmp_path / "a", "right")
    records = run.records()
    assert run.error is None
    assert 0 < records[0]["unscored"] < 1
    assert records[0]["statuses"]["failed"] == round(16 * records[0]["unscored"])
    broken = [s for s in read_samples(run.folder) if s["status"] == "failed"]
    assert broken
    assert all("no digits, please" in s["error"] and s["total"] is None for s in broken)


def test_what_breaks_a_run_is_left_in_its_folder(study, tmp_path):
    gold = ("kind: function, call: ./words.py:starts", "kind: function, call: ./words.py:nothing")
    run = made(study(gold), tmp_path / "a")
    assert "gold gave no number" in run.error
    run = made(study(("words.py:make\n", "words.py:breaks\n")), tmp_path / "b")
    assert "words.yaml:5: learner/model: the function failed: RuntimeError: no memory" in run.error


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ([("words.py:make\n", "words.py:mke\n")], "did you mean 'make'"),
        (
            [("model: ./words.py:make", "model: ./nowhere/at/all")],
            "words.yaml:5: learner/model: AutoConfig",
        ),
        ([("  tokenizer: ./words.py:tokenizer\n", "")], "no tokenizer of its own"),
        (
            [("tokenizer: ./words.py:tokenizer", "tokenizer: ./words.py:make_of_a_word")],
            "no 'word' to give",
        ),
        ([("learning_rate", "lerning_rate")], "words.yaml:9: .*did you mean 'learning_rate'"),
        ([("learning_rate: 0.01", "learning_rate: 1e-2")], "YAML reads 1e-2 as text"),
        ([("learning_rate: 0.01", "max_steps: 3")], "leave max_steps out: write learner.steps"),
        ([("learning_rate: 0.01", "seed: 3")], "each run has its own"),
        ([("num_generations: 4", "num_generations: 3")], "learner/params: GRPOConfig: "),
        ([("  steps: 4", "  lora: {rnk: 3}\n  steps: 4")], "LoraConfig has no setting 'rnk'"),
        ([("  steps: 4", "  loss: {pppo: {}}\n  steps: 4")], "words.yaml:7: learner/loss"),
        ([("words.py:rows", "words.py:too_few")], "a batch has 2 problems, there are 1"),
        (
            [("call: ./words.py:length", "call: ./words.py:fails")],
            "rewards/long: .*length: .*the judge is gone",
        ),
        ([(RIGHT, "right: {function: {call: ./words.py:fails}}\n  long")], "rewards/right: .*gone"),
        (
            [("call: ./words.py:starts}\nrewards", "call: ./words.py:fails}\nrewards")],
            "gold: .*the judge is gone",
        ),
        (
            [("call: ./words.py:length", "call: ./words.py:make_of_a_word")],
            "no column 'word', needed by",
        ),
    ],
)
def test_what_cannot_be_used_is_found_before_training(study, changes, match):
    read = study(*changes)
    with pytest.raises(SpecError, match=match):
        check(read)


@pytest.mark.parametrize(
    ("changes", "line", "match"),
    [
        (
            [
                ("dataset: {task: ./words.py:rows}", "dataset: {task: ./words.py:without_answers}"),
                ("held_out: 4", "held_out: {task: ./words.py:others}"),
            ],
            18,
            "rewards/right: of the problems to train on: .*no column 'answer'",
        ),
        (
            [("words.py:rows", "words.py:answers_of_two_kinds")],
            2,
            "dataset: row .* to train on, column 'answer': ",
        ),
    ],
)
def test_the_rows_to_train_on_are_tried_too(study, changes, line, match):
    with pytest.raises(SpecError, match=match) as caught:
        check(study(*changes))
    assert caught.value.line == line


def test_the_data_set_has_the_columns_of_all_rows(study):
    made = training_data(study(), [{"prompt": "1="}, {"prompt": "2=", "answer": "2"}])
    assert made.to_list() == [{"prompt": "1=", "answer": None}, {"prompt": "2=", "answer": "2"}]
    rows = [{"prompt": "1=", "answer": i} for i in range(5)] + [{"prompt": "2=", "answer": "two"}]
    with pytest.raises(SpecError, match=r"dataset: row 5 .* column 'answer': 'two' is of another"):
        training_data(study(), [*rows, {"prompt": "3=", "answer": 3}])


@pytest.mark.parametrize(
    ("scope", "changes", "match"),
    [
        (
            "group",
            [("problems: 4, samples: 4", "problems: 4, samples: 6")],
            "6 are no whole groups",
        ),
        ("group", [("final_samples: 4", "final_samples: 2")], "'long' .* multiple of 4"),
        (
            "batch",
            [("problems: 4, samples", "problems: 1, samples")],
            "8 .* batch, and these are 4",
        ),
        ("row", [("final_samples: 4", "final_samples: 2")], None),
        ("batch", [], None),
    ],
)
def test_rows_are_compared_in_groups_as_in_training(study, monkeypatch, scope, changes, match):
    read = study(*changes)
    build = read.reward

    def reward(name, **given):
        made = build(name, **given)
        if name == "long":
            made.declare(needs=("completion",), scope=scope)
        return made

    monkeypatch.setattr(read, "reward", reward)
    if match is None:
        check(read)
        return
    with pytest.raises(SpecError, match=match) as caught:
        check(read)
    assert caught.value.line == 14


def asked_of(monkeypatch, study, folder, scope="row"):
    """What each evaluation of a run samples, and how its rows are scored: nothing is generated."""
    calls, groups = [], []

    def sample(model, tokenizer, asked, **given):
        calls.append(given)
        made = Answers()
        for i in (i for i in range(len(asked)) for _ in range(given["samples"])):
            made.problem.append(i)
            made.completion.append(str(i))
            made.token.append([1])
            made.logprob.append([-1.0])
            made.entropy.append([1.0])
            made.ended.append(True)
        return made

    def score(reward, rollouts, batches=None):
        groups.append(sorted(rollouts.group.bincount().tolist()))
        return evaluation.score(reward, rollouts, batches)

    monkeypatch.setattr(work, "sample", sample)
    monkeypatch.setattr(work, "score", score)
    _, held = work.problems(study)
    settings = work.trainer_settings(study, folder, 0)
    reward = study.reward("long")
    reward.declare(needs=("completion",), scope=scope)
    folder.mkdir()
    run = Run("long", 0, folder)
    recorder = work._Recorder(study, run, reward, None, held, settings, {}, [])
    for kind in ("initial", "training", "final"):
        recorder.record(None, 0, kind)
    return calls, groups


def test_the_temperature_is_not_of_the_initial_model(study, monkeypatch, tmp_path):
    read = study(("batch_size: 64", "batch_size: 64, temperature: 0.5"))
    calls, _ = asked_of(monkeypatch, read, tmp_path / "a")
    assert [call["temperature"] for call in calls] == [1.0, 0.5, 0.5]


def test_initial_rows_are_whole_groups_where_rows_are_compared(study, monkeypatch, tmp_path):
    read = study(("initial_rows: 16", "initial_rows: 21"))  # six of each of four problems
    calls, groups = asked_of(monkeypatch, read, tmp_path / "a", "group")
    assert [call["samples"] for call in calls] == [8, 4, 4]
    assert {size for sizes in groups for size in sizes} == {4}
    calls, _ = asked_of(monkeypatch, read, tmp_path / "b")
    assert [call["samples"] for call in calls] == [6, 4, 4]


def test_a_model_is_loaded_in_full_precision(study, tmp_path):
    tiny_model(0, hidden=16, layers=1, heads=2).bfloat16().save_pretrained(tmp_path / "half")
    half = ("model: ./words.py:make\n", "model: half\n")
    assert make_model(study(half), None, [], 0).dtype == torch.float32
    told = ("learning_rate: 0.01", "learning_rate: 0.01, model_init_kwargs: {dtype: bfloat16}")
    assert make_model(study(half, told), None, [], 0).dtype == torch.bfloat16
    assert trainer_settings(study(half, told), tmp_path, 0).model_init_kwargs is None
    with pytest.raises(SpecError, match="a model that is loaded, and here a function makes it"):
        trainer_settings(study(told), tmp_path, 0)


def test_a_function_that_makes_a_model_finds_all_generators_seeded(study, monkeypatch):
    read, drawn = study(), []
    monkeypatch.setattr(
        read, "maker", lambda key: lambda: drawn.append((random.random(), np.random.rand()))
    )
    for seed in (3, 3, 4):
        make_model(read, None, [], seed)
    assert drawn[0] == drawn[1]
    assert not set(drawn[1]) & set(drawn[2])


def test_a_warm_start_imitates_a_column(study, tmp_path):
    from rewardsmith.studies.language.models import make_tokenizer
    from rewardsmith.studies.language.problems import problems
    from rewardsmith.studies.language.sampling import sample

    warm = "warm_start: {steps: 60, learning_rate: 0.01}\n  steps: 4"
    read = study(("steps: 4", warm))
    rows, held = problems(read)
    words = make_tokenizer(read)
    settings = {"samples": 8, "longest": 3, "temperature": 1.0, "batch_size": 64, "seed": 0}
    told = {}
    for name, one in (("cold", study()), ("warm", read)):
        answers = sample(make_model(one, words, rows, 0), words, held, **settings)
        told[name] = sum(len(ids) == 2 for ids in answers.token) / len(answers)
    assert told["cold"] < 0.5 < 0.9 < told["warm"]  # one digit, and the end
    missing = study(("steps: 4", "warm_start: {steps: 1, completion: solution}\n  steps: 4"))
    with pytest.raises(SpecError, match=r"no text in the column 'solution'.*prompt, answer"):
        make_model(missing, words, rows, 0)


@pytest.mark.slow
def test_lora_trains_an_adapter_alone(study, tmp_path):
    lora = "lora: {r: 2, target_modules: [q_proj, v_proj]}\n  steps: 4"
    run = made(study(("steps: 4", lora)), tmp_path / "a")
    assert run.error is None
    assert (run.folder / "policy" / "adapter_model.safetensors").exists()


@pytest.mark.slow
def test_a_whole_study(study, tmp_path):
    read, out = study(("seeds: 2", "seeds: 1")), tmp_path / "out"
    told = []
    summary = run_study(read, out, workers=1, listen=lambda run, record: told.append(run.reward))
    assert summary["kind"] == "language"
    assert {name: told.count(name) for name in ("right", "long")} == {"right": 3, "long": 3}
    long = summary["rewards"]["long"]
    assert long["hacked"] is None
    assert "raise evaluation.initial_rows" in long["reason"]
    assert "16 rows" in long["reason"]
    page = (out / "report.html").read_text()
    assert "Completions over time" in page
    before = {
        run.name: (run.folder / "records.jsonl").stat().st_mtime_ns for run in plan(read, out)
    }
    run_study(read, out, workers=1)
    assert before == {
        run.name: (run.folder / "records.jsonl").stat().st_mtime_ns for run in plan(read, out)
    }
