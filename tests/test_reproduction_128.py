"""The reproduction of VADE: the simulator's arms, the rule, the record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reproductions import r128_vade as r128
from reproductions.r128_vade import ARMS, BEDS, BESIDE, MEASURES, Settings, judge, simulate
from tests.reproduced import VERDICTS, recorded, stored

from rewardsmith.samplers.dynamic import DynamicSampling
from rewardsmith.testbeds.pass_rates import PassRates

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


# --- the record -----------------------------------------------------------------------------------


def test_a_record_tells_what_it_must_and_is_resumed(tmp_path: Path) -> None:
    check_record(recorded(r128.REPRODUCTION, tmp_path, TINY, replace(TINY, group=3), SEEDS))


def check_record(record: dict[str, Any]) -> None:
    seeds, settings = record["seeds"], record["settings"]
    answers = settings["steps"] * settings["batch"] * settings["group"]
    assert record["budget"]["answers_per_run"] == answers
    assert record["budget"]["runs"] == len((*ARMS, *BESIDE)) * len(seeds)
    assert tuple(record["beds"]) == tuple(BEDS)
    told = record["beds"]["simulator"]
    assert told["verdict"] in VERDICTS
    assert record["verdict"] == told["verdict"]
    assert set(told["parts"].values()) <= VERDICTS
    assert tuple(told["arms"]) == (*ARMS, *BESIDE)
    for arm, of in told["arms"].items():
        assert all(len(of[name]["per_seed"]) == len(seeds) for name in MEASURES)
        assert len(of["curve"]) == settings["blocks"]
        if arm != "filter":
            assert of["generated"]["mean"] == settings["batch"]


def test_the_stored_record_is_of_the_settings_in_the_code() -> None:
    check_record(stored(r128.REPRODUCTION))
