from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reproductions import r102_mle_agents as r102
from reproductions.r102_mle_agents import (
    ADDED,
    ARMS,
    CLEAN,
    IMPORT,
    LARGE,
    LOAD,
    MEASURES,
    NOP,
    PLOT,
    PREDICT,
    SMALL,
    SPLIT,
    START,
    TRAIN,
    WRITE,
    Settings,
    judge,
)
from reproductions.tabular import softmax
from tests.reproduced import VERDICTS, recorded, stored

from rewardsmith.rules.verdict import Verdict

TINY = Settings(actors=3, updates=4, blocks=2, final=50, window=6.0, hint=2.0)
SEEDS = range(2)


def one(*program: int) -> r102.Programs:
    padded = [*program, *[NOP] * (r102.LENGTH - len(program))]
    return r102.run_programs(np.array([padded]))


GOOD = (IMPORT, LOAD, CLEAN, SPLIT, LARGE, TRAIN, PREDICT, WRITE)


def test_the_best_program() -> None:
    runs = one(*GOOD)
    assert runs.valid[0]
    assert runs.score[0] == pytest.approx(0.9)
    assert runs.seconds[0] == pytest.approx(9.75)
    assert runs.ran.all()
    assert r102.rewards(runs, 0.1).tolist() == pytest.approx([0.9])


@pytest.mark.parametrize(
    ("program", "milestones", "ran"),
    [
        ((LOAD,), 0, 1),
        ((IMPORT, SPLIT), 1, 2),
        ((IMPORT, LOAD, PLOT, SPLIT, TRAIN), 3, 5),
        ((IMPORT, LOAD, SPLIT, SMALL, TRAIN, PREDICT), 6, 8),
        ((IMPORT, LOAD, SPLIT, SMALL, TRAIN, WRITE), 5, 6),
        ((PREDICT,), 0, 1),
    ],
)
def test_failed_programs(program: tuple[int, ...], milestones: int, ran: int) -> None:
    runs = one(*program)
    assert not runs.valid[0]
    assert runs.ran.sum() == ran
    assert r102.rewards(runs, 0.1)[0] == pytest.approx(-10 + 0.1 * milestones)
    assert r102.rewards(runs, 0.0)[0] == -10


def test_cleaning_after_training_is_worth_nothing() -> None:
    runs = one(IMPORT, LOAD, SPLIT, SMALL, TRAIN, CLEAN, PREDICT, WRITE)
    assert runs.score[0] == pytest.approx(0.4)


def test_nothing_runs_after_the_end() -> None:
    runs = one(IMPORT, LOAD, SPLIT, SMALL, TRAIN, PREDICT, WRITE, TRAIN)
    assert runs.valid[0]
    assert runs.ran.sum() == 7
    assert runs.seconds[0] == pytest.approx(2.25)


def test_the_chance_of_a_valid_program_is_what_sampling_gives() -> None:
    logits = r102.start_of(0, replace(Settings(), hint=4.0))
    runs = r102.run_programs(r102.sample(logits, 20000, np.random.default_rng(0)))
    assert r102.durations(logits).valid.sum() == pytest.approx(runs.valid.mean(), abs=0.015)
    assert 0.05 < runs.valid.mean() < 0.95


def test_durations_are_what_sampling_gives() -> None:
    logits = r102.start_of(0, replace(Settings(), hint=4.0))
    runs = r102.run_programs(r102.sample(logits, 20000, np.random.default_rng(0)))
    found = r102.durations(logits, 240)
    ticks = np.round(runs.seconds / r102.TICK)
    np.testing.assert_allclose(runs.seconds, ticks * r102.TICK)
    assert found.all.sum() == pytest.approx(1.0)
    assert found.all[-1] == pytest.approx((ticks > 240).mean(), abs=0.01)
    inside = (ticks * (ticks <= 240)).mean()
    assert found.all[:-1] @ np.arange(241) == pytest.approx(inside, rel=0.03)
    for few in (50, 100, 200):
        assert found.valid[:few].sum() == pytest.approx(
            (runs.valid & (ticks < few)).mean(), abs=0.015
        )
    # A shorter horizon moves what is longer into its last entry.
    short = r102.durations(logits, 60)
    np.testing.assert_allclose(short.all[:-1], found.all[:61])
    assert short.all.sum() == pytest.approx(1.0)


def test_what_a_window_completes_is_what_sampling_gives() -> None:
    settings = Settings(actors=400, hint=4.0)
    logits = r102.start_of(2, settings)
    rng = np.random.default_rng(0)
    valid = [r102.completed(logits, rng, settings)[0].valid.sum() for _ in range(10)]
    assert r102.hits(logits, settings) == pytest.approx(np.mean(valid), rel=0.04)
    # Far fewer than if all that are started were completed.
    uncut = [r102.completed(logits, rng, settings, lost=False)[0].valid.sum() for _ in range(3)]
    assert np.mean(valid) < 0.8 * np.mean(uncut)


def test_how_many_runs_find_one() -> None:
    told = r102.finders([np.log(2)] * 4, 1)
    assert told == {"expected": 2.0, "found": 1, "chance_of_no_more": 0.3125}
    assert r102.finders([0.0, 50.0], 0) == {"expected": 1.0, "found": 0, "chance_of_no_more": 0.0}


def test_a_window_loses_what_is_unfinished() -> None:
    logits = np.full((13, 12), -30.0)
    for before, after in zip((START, *GOOD), GOOD, strict=False):
        logits[before, after] = 30.0
    settings = Settings(actors=2, window=21.0)
    runs, starts = r102.completed(logits, np.random.default_rng(0), settings)
    # 9.75 each: two are done in 21, the third is begun.
    assert len(runs.valid) == 4
    assert runs.valid.all()
    np.testing.assert_allclose(starts, [0, 9.75, 19.5] * 2)
    runs, starts = r102.completed(logits, np.random.default_rng(0), settings, lost=False)
    assert (len(runs.valid), len(starts)) == (6, 6)


def test_the_gradient_is_that_of_the_log_probability() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(13, 12))
    runs = r102.run_programs(r102.sample(logits, 30, rng))
    advantage = rng.normal(size=30)

    def surrogate(x: Any) -> float:
        log = np.log(softmax(x))[runs.before, runs.chosen]
        return float((advantage * (log * runs.ran).sum(axis=1)).mean())

    found = r102.gradient(logits, runs, advantage)
    assert np.abs(found).max() > 0
    for i in [(START, IMPORT), (IMPORT, LOAD), (START, NOP), (NOP, WRITE)]:
        bump = np.zeros_like(logits)
        bump[i] = 1e-5
        numeric = (surrogate(logits + bump) - surrogate(logits - bump)) / 2e-5
        assert found[i] == pytest.approx(numeric, abs=1e-8)


def test_the_arms_weigh_as_they_say() -> None:
    seconds, starts = np.array([1.0, 1.0, 4.0]), np.array([0.0, 1.0, 2.0, 9.0])
    settings = Settings(window=10.0)
    # Of four starts, three leave 4 of the 10 units, and all leave 1.
    exact = np.array([1.0, 1.0, 4 / 3]) / (10 / 9)
    wanted = dict.fromkeys(ARMS + ADDED, np.ones(3)) | {
        arm: np.array([0.5, 0.5, 2.0]) for arm in ARMS + ADDED if "weighted" in arm
    }
    wanted["milestones_completion_weighted"] = exact
    for arm in ARMS + ADDED:
        found = r102.weights(arm, seconds, starts, settings)
        np.testing.assert_allclose(found, wanted[arm], err_msg=arm)


def test_advantages_are_scaled_and_then_weighted() -> None:
    paid = np.array([-10.0, -10.0, 0.5])
    plain = r102.advantages(paid)
    assert plain.mean() == pytest.approx(0.0)
    assert plain.std() == pytest.approx(1.0)
    np.testing.assert_allclose(
        r102.advantages(paid, np.array([0.5, 0.5, 2.0])) / plain, [0.5, 0.5, 2]
    )
    assert not r102.advantages(np.full(3, -10.0), np.array([0.5, 0.5, 2.0])).any()


def test_completion_weights_undo_what_the_window_cuts_off() -> None:
    # Not a number of the record: that the arm does what it is there for, at the start's policy.
    settings = Settings(actors=2000, hint=3.0)
    logits = r102.start_of(1, settings)
    rng = np.random.default_rng(0)
    every = r102.run_programs(r102.sample(logits, 50000, rng)).seconds
    # What takes longer than the window is never seen, and no weight brings it back.
    every = every[every <= settings.window].mean()
    runs, starts = r102.completed(logits, rng, settings)
    exact = r102.weights("milestones_completion_weighted", runs.seconds, starts, settings)
    by_duration = r102.weights("milestones_weighted", runs.seconds, starts, settings)
    plain = runs.seconds.mean()
    assert (exact * runs.seconds).mean() == pytest.approx(every, rel=0.03)
    assert plain < 0.95 * every
    assert (by_duration * runs.seconds).mean() > 1.2 * every


def test_an_output_that_is_worth_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r102, "grade", lambda *args, **options: Verdict(None, "no answer"))
    with pytest.raises(ValueError, match="no reward"):
        r102.reward_of.__wrapped__(0, None, 0.1)


LOW, HIGH, WIDE = [0.1, 0.12, 0.11], [0.9, 0.91, 0.92], [0.0, 0.99, 0.95]
NO, YES, SOME = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("real", "credit", "plain", "weighted", "verdict", "halves"),
    [
        (NO, YES, LOW, HIGH, "supported", ("supported", "supported")),
        (YES, YES, LOW, HIGH, "refuted", ("refuted", "supported")),
        (NO, SOME, LOW, HIGH, "inconclusive", ("inconclusive", "supported")),
        (NO, YES, HIGH, HIGH, "refuted", ("supported", "refuted")),
        (NO, YES, LOW, WIDE, "inconclusive", ("supported", "inconclusive")),
        (YES, NO, LOW, WIDE, "refuted", ("refuted", "inconclusive")),
    ],
)
def test_every_verdict_can_fall(
    real: list[float],
    credit: list[float],
    plain: list[float],
    weighted: list[float],
    verdict: str,
    halves: tuple[str, str],
) -> None:
    told = judge(
        {"real_only": real, "milestones": credit},
        {"milestones": plain, "milestones_weighted": weighted},
    )
    assert (told["verdict"], tuple(told["halves"].values())) == (verdict, halves)


def check_record(record: dict[str, Any]) -> None:
    seeds, settings = record["seeds"], record["settings"]
    assert set(record["halves"].values()) <= VERDICTS
    assert record["budget"] == {
        "windows_per_run": settings["updates"],
        "runs": len(ARMS + ADDED) * len(seeds),
    }
    assert tuple(record["arms"]) == ARMS + ADDED
    for arm in record["arms"].values():
        for name in MEASURES:
            assert len(arm[name]["per_seed"]) == len(seeds)
        for curve in arm["curve"].values():
            assert len(curve) == settings["blocks"]
    again = judge(
        {arm: record["arms"][arm]["ever"]["per_seed"] for arm in ARMS},
        {arm: record["arms"][arm]["best"]["per_seed"] for arm in ARMS},
    )
    assert again["verdict"] == record["verdict"]


def test_a_record_tells_what_it_must_and_is_resumed(tmp_path: Path) -> None:
    other = replace(TINY, learning_rate=0.1)
    check_record(recorded(r102.REPRODUCTION, tmp_path, TINY, other, SEEDS))


def test_the_stored_record_is_of_the_settings_in_the_code() -> None:
    check_record(stored(r102.REPRODUCTION))
