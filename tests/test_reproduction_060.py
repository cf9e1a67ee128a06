"""The reproduction of B-STaR: the learner, what a round spends, the rule, the record."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

from reproductions.effects import all_of
from reproductions.r060_b_star import (
    ARMS,
    MEASURES,
    REPRODUCTION,
    TEMPERATURES,
    Batch,
    Learner,
    Settings,
    judge,
    keeps,
    train,
)
from reproductions.runner import Runs
from tests.reproduced import stored

TINY = Settings(
    low=0.0,
    high=1.0,
    rounds=2,
    tokens=2_500,
    answers=4,
    size=16,
    searched=4,
    enough=1,
    steps=1,
    batch=4,
    measured=8,
    samples=2,
    samples_between=1,
)


@pytest.fixture(scope="module", autouse=True)
def warm_starts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def test_each_arm_spends_the_same_tokens_and_the_search_is_paid_from_them() -> None:
    told = {arm: train(arm, 7, TINY) for arm in ARMS}
    for run in told.values():
        # What exceeds a round is paid by the next one: at most one batch of 16 problems in all.
        assert 5_000 <= run["tokens"] < 5_000 + 16 * TINY.answers * 9
        assert len(run["curve"]) == 3
        assert 0.0 <= run["pass_at_1"] <= run["pass_at_32"] <= 1.0
    assert {r["temperature"] for r in told["search"]["rounds"]} <= set(TEMPERATURES)
    assert [(r["temperature"], r["threshold"]) for r in told["half"]["rounds"]] == [(1.0, 0.5)] * 2
    spent = TINY.searched * TINY.answers * len(TEMPERATURES)
    for fixed, search in zip(told["fixed"]["rounds"], told["search"]["rounds"], strict=True):
        assert fixed["answers"] - spent - 64 <= search["answers"] < fixed["answers"]


def test_a_run_is_the_same_every_time() -> None:
    assert train("search", 7, TINY) == train("search", 7, TINY)


def test_the_noise_belongs_to_the_answer() -> None:
    learner = Learner(7, TINY)
    texts = ["12+03-04", "1", "12+03-04", *[str(i) for i in range(400)]]
    answers = learner.scored(Batch([0] * len(texts), texts))
    rewards = np.asarray(answers.rewards)
    assert rewards[0] == rewards[2] != rewards[1]
    assert not np.any(answers.correct)
    assert np.std(rewards) == pytest.approx(TINY.noise, rel=0.15)
    prompt = learner.problems[0]["prompt"]
    assert learner.error(prompt, "1") != learner.error(learner.problems[1]["prompt"], "1")
    assert learner.error(prompt, "1") != Learner(8, TINY).error(prompt, "1")
    assert rewards[1] == learner.error(prompt, "1") * TINY.noise


def test_training_makes_the_answers_likelier() -> None:
    learner = Learner(7, replace(TINY, steps=30, batch=8))
    before = learner.sample([3] * 4, 1.0).texts.count("1")
    learner.fit([(3, "1")])
    assert learner.sample([3] * 4, 1.0).texts.count("1") > before + 8


# --- the rule -------------------------------------------------------------------------------------


def judged(**shift: tuple[float, float]) -> dict[str, Any]:
    """The verdict where ``search`` differs by a mean and a step over seeds in a measure."""
    runs, keys = [], []
    for seed in range(5):
        for arm in ARMS:
            run: dict[str, Any] = dict.fromkeys(MEASURES, 0.5) | {"curve": [0.5], "rounds": []}
            if arm == "search":
                run |= {n: 0.5 + m + (seed - 2) * s for n, (m, s) in shift.items()}
            runs.append(run)
            keys.append({"arm": arm, "seed": seed})
    return judge(Runs(keys, runs), TINY, range(5))


def test_the_rule() -> None:
    assert judged(pass_at_1=(0.1, 0.01), pass_at_32=(0.0, 0.001))["verdict"] == "supported"
    lost = judged(pass_at_1=(0.1, 0.01), pass_at_32=(-0.1, 0.001))
    assert lost["verdict"] == "refuted"
    assert lost["parts"] == {"better": "supported", "without_losing_reach": "refuted"}
    assert judged(pass_at_1=(0.0, 0.001))["parts"]["better"] == "refuted"
    assert judged(pass_at_1=(0.01, 0.1))["verdict"] == "inconclusive"
    assert judged(pass_at_1=(0.1, 0.01), pass_at_32=(-0.02, 0.05))["verdict"] == "inconclusive"


def test_where_nothing_is_learned_nothing_is_shown() -> None:
    keys = [{"arm": arm, "seed": seed} for seed in range(3) for arm in ARMS]
    run = dict.fromkeys(MEASURES, 0.01) | {"curve": [0.5], "rounds": []}
    told = judge(Runs(keys, [run] * 9), TINY, range(3))
    assert (told["verdict"], told["guard"]) == ("inconclusive", "neither arm learns")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.1, -0.03, "refuted"), (-0.1, 0.1, "inconclusive"), (-0.01, 0.1, "supported")],
)
def test_reach_is_kept_where_a_loss_is_excluded(low: float, high: float, verdict: str) -> None:
    assert keeps({"low": low, "high": high}, 0.02) == verdict


# --- the record -----------------------------------------------------------------------------------


@pytest.mark.skipif(not REPRODUCTION.out.exists(), reason="it was not run to the end yet")
def test_the_record_follows_from_its_runs() -> None:
    record = stored(REPRODUCTION)
    assert record["verdict"] == ("inconclusive" if record["guard"] else all_of(record["parts"]))
    assert record["settings"] == asdict(Settings())
    budget = record["budget"]["tokens_per_run"]
    for arm in ARMS:
        told = record["arms"][arm]
        assert all(budget <= n < budget + 16 * 16 * 9 for n in told["tokens"]["per_seed"])
    assert Path(REPRODUCTION.out).name == "060.json"
