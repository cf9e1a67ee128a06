import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete

from rewardsmith.adapters.sb3.evaluation import undisturbed
from rewardsmith.studies.records import Run
from rewardsmith.studies.run import train

MODEL = SimpleNamespace(action_space=Discrete(3, seed=0))


def made(study, folder, reward="sparse", seed=0):
    run = Run(reward, seed, folder)
    train(study, run)
    return run


def failure(study, folder, reward="sparse"):
    run = made(study, folder, reward)
    assert not run.done
    return run.error


def test_records(study, tmp_path):
    run = made(study(), tmp_path / "a", "count")
    assert run.error is None
    records = run.records()
    assert [(r["steps"], r["kind"]) for r in records] == [
        (0, "initial"),
        (128, "training"),
        (256, "final"),
    ]
    for record in records:
        assert record["episodes"] == 4
        assert record["gold"] == pytest.approx(np.mean(record["gold_episodes"]))
        # CartPole pays 1 a step: gold is the length, and the bonus comes on top.
        assert record["gold"] == pytest.approx(record["length"])
        assert record["proxy"] > record["gold"]
        assert set(record["parts"]) == {"env", "novelty"}
        parts = sum(part["sum"] for part in record["parts"].values())
        assert parts == pytest.approx(record["proxy"])
        shares = sum(part["covariance"] for part in record["parts"].values())
        assert shares == pytest.approx(record["variance"], abs=1e-12)
    assert records[0]["moments"]["n"] >= 50  # initial_steps
    assert (run.folder / "policy.zip").exists()
    assert list((run.folder / "tensorboard").iterdir())
    counts = torch.load(run.folder / "reward.pt", weights_only=True)
    assert sum(counts["parts.novelty._extra_state"].values()) == 256


def test_a_run_repeats_itself(study, tmp_path):
    first = made(study(), tmp_path / "a", "count").records()
    assert made(study(), tmp_path / "b", "count").records() == first
    other = made(study(), tmp_path / "c", "count", seed=1).records()
    assert [r["gold"] for r in other] != [r["gold"] for r in first]


def test_evaluation_does_not_disturb_training(study, tmp_path):
    often = made(study(("every: 128", "every: 64")), tmp_path / "a").records()
    seldom = made(study(("every: 128", "every: 256")), tmp_path / "b").records()
    assert len(often) == 5
    assert len(seldom) == 2
    assert often[-1]["gold_episodes"] == seldom[-1]["gold_episodes"]


def test_undisturbed_restores_every_generator():
    with undisturbed(MODEL, 3):
        first = torch.rand(3)
    with undisturbed(MODEL, 3):
        assert torch.equal(torch.rand(3), first)
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    with undisturbed(MODEL, 9):
        torch.rand(7), np.random.rand(7)
    assert (torch.rand(1).item(), np.random.rand()) == expected


def test_gold_by_info_with_a_default(study, tmp_path):
    changed = study(
        ("./toy.py:Nothing", "./toy.py:Success"),
        ("kind: return", "kind: info, key: is_success, default: 0"),
    )
    assert made(changed, tmp_path / "a").records()[0]["gold"] == 1.0


def test_gold_that_never_appears(study, tmp_path):
    error = failure(study(("kind: return", "kind: info, key: sucess")), tmp_path / "a")
    assert "no key 'sucess'" in error
    assert "keys seen" in error
    assert "toy.yaml:6" in error


def test_gold_by_function_and_termination(study, tmp_path):
    half = study(("kind: return", "kind: function, call: ./toy.py:half"))
    record = made(half, tmp_path / "a").records()[0]
    assert record["gold"] == pytest.approx(record["length"] / 2)
    ended = study(("kind: return", "kind: terminated"))
    assert made(ended, tmp_path / "b").records()[0]["gold"] == 1.0


def test_potential_that_is_not_finite(study, tmp_path):
    shaped = "{potential_shaping: {of: {env_reward: {}}, potential: ./toy.py:nan_potential}}"
    error = failure(study(("sparse: {env_reward: {}}", f"sparse: {shaped}")), tmp_path / "a")
    assert "shaping" in error
    assert "not a finite number" in error


def test_a_crash_leaves_word_and_keeps_the_records(study, tmp_path):
    crashing = "sparse: {function: {call: ./toy.py:crashes_late}}"
    run = made(study(("sparse: {env_reward: {}}", crashing)), tmp_path / "a")
    assert "RuntimeError: the simulator is gone" in run.error
    assert run.records()[0]["kind"] == "initial"
    assert "Traceback" in json.loads((run.folder / "failed.json").read_text())["details"]


def test_half_written_record_is_left_out(tmp_path):
    run = Run("r", 0, tmp_path)
    run.append({"steps": 0})
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write('{"steps": 12')
    assert run.records() == [{"steps": 0}]
