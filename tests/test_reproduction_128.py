"""The reproduction of VADE: the simulator's arms, the rule, the record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reproductions import r128_vade as r128
from reproductions.effects import all_of
from reproductions.r128_vade import (
    ARMS,
    BEDS,
    BESIDE,
    MEASURES,
    SPOKEN,
    SPOKEN_MEASURES,
    Language,
    Settings,
    judge,
    judge_spoken,
    simulate,
)
from reproductions.rlvr import Budget
from tests.reproduced import VERDICTS, recorded, stored

from rewardsmith.samplers.dynamic import DynamicSampling
from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.pass_rates import PassRates
from rewardsmith.testbeds.rlvr.bed import Bed

TINY = Settings(prompts=60, steps=6, batch=4, group=4, blocks=3)
SMALL = Settings(prompts=300, steps=60, batch=16, blocks=4)
SEEDS = range(2)
STILL = replace(SMALL, speed=1e-9)
"""Rates that do not move."""


# --- the arms -------------------------------------------------------------------------------------


def rates_of(settings: Settings, seed: int) -> PassRates:
    return PassRates(settings.prompts, seed, speed=settings.speed)


def test_uniform_finds_as_many_effective_groups_as_the_rates_say() -> None:
    expected = np.mean([rates_of(STILL, seed).mixed(8, 0).mean() for seed in range(50, 58)])
    found = np.mean([simulate("uniform", seed, STILL)["per_generated"] for seed in range(50, 58)])
    assert found == pytest.approx(expected, abs=0.02)


def test_the_oracle_finds_as_many_as_there_can_be() -> None:
    best = np.sort(rates_of(STILL, 50).mixed(8, 0))[-16:].mean()
    assert simulate("oracle", 50, STILL)["per_generated"] == pytest.approx(best, abs=0.02)


def test_the_filter_fills_its_batches_and_pays_for_what_it_throws_away() -> None:
    uniform, found = (simulate(arm, 50, STILL) for arm in ("uniform", "filter"))
    assert found["per_batch"] == 1.0
    assert found["generated"] % 16 != 0
    assert found["generated"] > 16 / uniform["per_generated"]
    assert found["per_generated"] == pytest.approx(16 / found["generated"], abs=1e-4)
    # One round of generation is uniform sampling, of which nothing is used but what differs.
    once = simulate("filter", 50, replace(STILL, max_rounds=1))
    assert once["generated"] == 16
    assert once["per_generated"] == pytest.approx(uniform["per_generated"], abs=0.05)


def test_a_batch_is_counted_as_a_trainer_makes_it() -> None:
    """Two rounds: three of four groups differ, then more than the one that is missing."""
    rates = rates_of(TINY, 0)
    rights = iter([[0, 1, 2, 3], [2, 2, 4, 0]])

    class Told(PassRates):
        def answers(self, prompts: Any, group: int, step: float, rng: Any) -> Any:
            rollouts, scores = rates.answers(prompts, group, step, rng)
            answers = [[1.0] * right + [0.0] * (group - right) for right in next(rights)]
            scores.values[:] = scores.values.new_tensor(answers).flatten()
            return rollouts, scores

    sampler = DynamicSampling(max_rounds=5)
    sampler.over(rates)
    told = r128.batch(sampler, Told(60, 0), 0, np.random.default_rng(0), TINY)
    assert told == (4, 8)


def test_all_arms_meet_the_same_prompts_and_a_run_is_the_same_again() -> None:
    assert simulate("vade", 50, SMALL) == simulate("vade", 50, SMALL)
    assert simulate("vade", 50, SMALL) != simulate("vade", 51, SMALL)
    runs = {arm: simulate(arm, 50, SMALL) for arm in (*ARMS, *BESIDE)}
    assert len({str(run) for run in runs.values()}) == len(runs)
    assert all(run["per_generated"] <= runs["oracle"]["per_generated"] for run in runs.values())
    assert all(len(run["curve"]) == SMALL.blocks for run in runs.values())


def test_the_curve_is_of_the_blocks_of_the_run() -> None:
    run = simulate("uniform", 50, SMALL)
    assert np.mean(run["curve"]) == pytest.approx(run["per_generated"], abs=1e-4)


# --- the rule -------------------------------------------------------------------------------------


def runs(vade: list[float], uniform: list[float], oracle: float = 0.9) -> dict[str, Any]:
    """The filter finds as many as uniform less a tenth."""
    per = {
        "uniform": uniform,
        "oracle": [oracle] * len(vade),
        "filter": [of - 0.1 for of in uniform],
        **dict.fromkeys(("vade", *BESIDE), vade),
    }
    other = {"per_batch": 0.5, "generated": 64.0, "curve": [0.5]}
    return {arm: [{"per_generated": of, **other} for of in per[arm]] for arm in per}


YES, NO, UNKNOWN = "supported", "refuted", "inconclusive"


@pytest.mark.parametrize(
    ("vade", "oracle", "parts", "verdict"),
    [
        ([0.5, 0.52, 0.54], 0.9, (YES, YES), YES),
        # Above, and by too little.
        ([0.35, 0.36, 0.37], 0.9, (NO, YES), NO),
        ([0.1, 0.12, 0.11], 0.9, (NO, NO), NO),
        ([0.3, 0.4, 0.5], 0.9, (UNKNOWN, YES), UNKNOWN),
        ([0.1, 0.2, 0.6], 0.9, (UNKNOWN, UNKNOWN), UNKNOWN),
        ([0.5, 0.52, 0.54], 0.35, (YES, YES), UNKNOWN),
    ],
)
def test_every_verdict_can_fall(
    vade: list[float], oracle: float, parts: tuple[str, ...], verdict: str
) -> None:
    told = judge(runs(vade, [0.3, 0.3, 0.3], oracle))
    assert tuple(told["parts"].values()) == parts
    assert told["verdict"] == verdict
    assert (told["guard"] is None) == (oracle > 0.4)


# --- the language model ---------------------------------------------------------------------------


def test_a_group_counts_as_generated_in_whatever_round_it_was() -> None:
    """Batches of 16 that are all effective, after 2.5 rounds of 16 in the mean."""
    made = {
        "logged": {"zero_advantage": 0.0, "rounds": 2.5},
        "curve": [{"pass@1": of} for of in (0.2, 0.3, 0.5)],
    }
    told = r128.spoken(made, 16)
    assert [told[name] for name in SPOKEN_MEASURES] == [0.4, 1.0, 40.0, 0.5, 0.4, 0.3]
    plain = r128.spoken({**made, "logged": {"zero_advantage": 0.25, "rounds": 1.0}}, 16)
    assert (plain["per_generated"], plain["per_batch"], plain["generated"]) == (0.75, 0.75, 16.0)


def spoken_run(share: float) -> dict[str, Any]:
    return {**dict.fromkeys(SPOKEN_MEASURES, 0.5), "per_generated": share, "curve": [0.2, 0.5]}


@pytest.mark.parametrize(
    ("vade", "uniform", "parts", "verdict"),
    [
        ([0.7, 0.72, 0.74], 0.5, (YES, YES), YES),
        ([0.55, 0.56, 0.57], 0.5, (NO, YES), NO),
        ([0.55, 0.6, 0.7], 0.5, (UNKNOWN, YES), UNKNOWN),
        # No room for ten points above uniform.
        ([0.95, 0.96, 0.97], 0.92, (NO, YES), UNKNOWN),
    ],
)
def test_every_verdict_of_the_language_model_can_fall(
    vade: list[float], uniform: float, parts: tuple[str, ...], verdict: str
) -> None:
    shares = {"uniform": [uniform] * 3, "filter": [uniform - 0.1] * 3, "vade": vade}
    told = judge_spoken({arm: [spoken_run(of) for of in its] for arm, its in shares.items()})
    assert tuple(told["parts"].values()) == parts
    assert told["verdict"] == verdict
    assert (told["guard"] is None) == (uniform < 0.9)


def test_a_run_of_the_language_model_tells_what_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rlvr.tiny_model(0, hidden=16, layers=1, heads=2).save_pretrained(tmp_path)
    monkeypatch.setattr(rlvr, "warm_start", lambda task, seed: tmp_path, raising=False)
    bed, budget = Bed(prompts=4, generations=2), Budget(tokens=30, points=1, rows=8)
    settings = replace(TINY, language=Language(prompts=12, bed=bed, budget=budget))
    run = r128.train("language", "vade", 0, settings)
    assert run.keys() == {*SPOKEN_MEASURES, "curve", "logged"}
    assert run["logged"]["generated_tokens"] >= 30
    assert run["generated"] == 4


def test_it_has_the_first_of_the_seeds() -> None:
    settings = r128.REPRODUCTION.settings
    keys = r128.keys(settings, r128.REPRODUCTION.seeds)
    had = {bed: sorted({key["seed"] for key in keys if key["bed"] == bed}) for bed in BEDS}
    assert had == {"simulator": list(range(10)), "language": list(range(5))}
    assert len(keys) == 10 * len((*ARMS, *BESIDE)) + 5 * len(SPOKEN)


# --- the record -----------------------------------------------------------------------------------


def made_up(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    return spoken_run(0.5 + 0.2 * (arm == "vade") + 0.01 * seed)


def test_a_record_tells_what_it_must_and_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BEDS, "language", (made_up, judge_spoken, SPOKEN))
    check_record(recorded(r128.REPRODUCTION, tmp_path, TINY, replace(TINY, group=3), SEEDS))


def check_record(record: dict[str, Any]) -> None:
    seeds, settings = record["seeds"], record["settings"]
    answers = settings["steps"] * settings["batch"] * settings["group"]
    assert record["budget"]["answers_per_run"] == answers
    spoken = min(len(seeds), settings["language"]["seeds"])
    runs = len((*ARMS, *BESIDE)) * len(seeds) + len(SPOKEN) * spoken
    assert record["budget"]["runs"] == runs
    assert tuple(record["beds"]) == tuple(BEDS)
    told = record["beds"]["simulator"]
    assert told["verdict"] in VERDICTS
    second = record["beds"]["language"]
    assert tuple(second["arms"]) == SPOKEN
    for its in second["arms"].values():
        assert all(len(its["runs"][name]) == spoken for name in SPOKEN_MEASURES)
    assert record["verdict"] == all_of({"a": told["verdict"], "b": second["verdict"]})
    assert set(told["parts"].values()) <= VERDICTS
    assert tuple(told["arms"]) == (*ARMS, *BESIDE)
    for arm, of in told["arms"].items():
        assert all(len(of[name]["per_seed"]) == len(seeds) for name in MEASURES)
        assert len(of["curve"]) == settings["blocks"]
        if arm != "filter":
            assert of["generated"]["mean"] == settings["batch"]


def test_the_stored_record_is_of_the_settings_in_the_code() -> None:
    check_record(stored(r128.REPRODUCTION))
