"""The reproduction of the boundary of RLVR: its two parts, their rules and the record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reproductions import r132_rlvr_boundary as r132
from reproductions.r132_rlvr_boundary import (
    ARMS,
    EASIER,
    MEASURES,
    START,
    Q,
    Settings,
    judge,
    stages,
)
from tests.reproduced import VERDICTS, recorded, stored

TINY = Settings(
    prompts=2, vocabulary=3, longest=2, group=4, tokens=100, blocks=2, time=100.0, step=1.0
)
SEEDS = range(2)


# --- two stages -----------------------------------------------------------------------------------


def test_the_flow_is_that_of_the_expected_gradient() -> None:
    times, path = r132.flow(replace(TINY, time=20.0, step=0.01))
    logits = torch.tensor(np.log(START), requires_grad=True)
    value = logits.softmax(0) @ torch.tensor(Q)
    (slope,) = torch.autograd.grad(value, logits)
    np.testing.assert_allclose(
        np.diff(np.log(path[:2]), axis=0)[0] / 0.01 + (START * slope.numpy()).sum(),
        slope.numpy(),
        atol=1e-3,
    )
    coarse_times, coarse = r132.flow(replace(TINY, time=20.0, step=2.0))
    np.testing.assert_allclose(coarse[-1], path[-1], rtol=1e-3)
    assert times[-1] == pytest.approx(coarse_times[-1]) == 20.0
    # The value never falls.
    assert (np.diff(path @ Q) >= -1e-12).all()


def test_too_short_a_time_refutes() -> None:
    told = stages(replace(TINY, time=4000.0))
    assert told["verdict"] == "refuted"
    assert told["best_has_half_at"] is None
    assert told["best_when_it_does"] < START[2]
    never = stages(replace(TINY, time=2.0))
    assert never["second_best_saturates_at"] is None


@pytest.mark.slow
def test_the_stages_do_not_depend_on_the_step() -> None:
    told = stored(r132.REPRODUCTION)["two_stages"]
    fine = stages(Settings(time=30_000.0, step=0.5))
    for name in ("best_is_back_at", "best_has_half_at"):
        assert fine[name] == pytest.approx(told[name], rel=1e-3)


# --- negatives only -------------------------------------------------------------------------------


def test_some_answer_of_each_prompt_is_right() -> None:
    settings = Settings()
    for seed in range(5):
        lm, right = r132.world(seed, settings)
        assert right.shape == (8, len(lm.tokens))
        assert bool(right.any(dim=1).all())
        assert float(right.double().mean()) == pytest.approx(settings.right, abs=0.02)
    _, few = r132.world(0, replace(settings, right=0.0))
    assert few.sum(dim=1).tolist() == [1] * 8


def test_training_spends_its_tokens_and_raises_the_share_of_right_answers() -> None:
    settings = replace(Settings(), tokens=12_000, blocks=3, right=0.2)
    for arm in ARMS:
        run = r132.train(arm, 100, settings)
        assert run["pass_1"][-1] > run["pass_1"][0] + 0.1
        assert all(len(run[name]) == 4 for name in (*MEASURES, "tokens"))
        most = settings.prompts * settings.group * settings.longest
        assert settings.tokens <= run["tokens"][-1] < settings.tokens + most
        assert run["tokens"][0] == 0
    first = {arm: r132.train(arm, 100, replace(settings, tokens=1, blocks=1)) for arm in ARMS}
    assert first["grpo"]["tokens"] == first["negatives"]["tokens"]
    assert len({run["pass_1"][1] for run in first.values()}) == 3


def told_by(**ends: list[tuple[float, float]]) -> dict[str, Any]:
    """Runs of which pass@1 and pass@64 end so."""
    return {
        arm: [{**{name: [0.0] for name in MEASURES}, "pass_1": [a], "pass_64": [b]} for a, b in of]
        for arm, of in ends.items()
    }


BASE = [(0.5, 0.9), (0.52, 0.91), (0.51, 0.9)]
WORSE = [(0.4, 0.8), (0.42, 0.81), (0.41, 0.8)]
MIXED = [(0.4, 0.95), (0.42, 0.94), (0.41, 0.96)]
FIRST_ONLY = [(0.6, 0.8), (0.62, 0.81), (0.61, 0.8)]
FULL = [(0.4, 0.99)] * 3


@pytest.mark.parametrize(
    ("grpo", "negatives", "verdict", "guard"),
    [
        (BASE, WORSE, "refuted", None),
        (BASE, MIXED, "supported", None),
        (BASE, FIRST_ONLY, "inconclusive", None),
        (BASE, BASE, "inconclusive", None),
        ([(0.5, 1.0)] * 3, FULL, "inconclusive", "at the ceiling"),
        (BASE, FULL, "supported", None),
    ],
)
def test_every_verdict_can_fall(grpo: Any, negatives: Any, verdict: str, guard: str | None) -> None:
    told = judge(told_by(grpo=grpo, negatives=negatives, negatives_double=negatives))
    assert (told["verdict"], told["guard"]) == (verdict, guard)


# --- the record -----------------------------------------------------------------------------------


def test_a_record_tells_what_it_must_and_is_resumed(tmp_path: Path) -> None:
    other = replace(TINY, right=0.3)
    check_record(recorded(r132.REPRODUCTION, tmp_path, TINY, other, SEEDS))


def check_record(record: dict[str, Any]) -> None:
    seeds, settings = record["seeds"], record["settings"]
    runs = 2 * len(ARMS) * len(seeds)
    assert record["budget"] == {"tokens_per_run": settings["tokens"], "runs": runs}
    assert {record["verdict"], *record["parts_of_the_claim"].values()} <= VERDICTS
    assert record["parts_of_the_claim"]["two_stages"] == record["two_stages"]["verdict"]
    for result in (record, record["easier"]):
        assert tuple(result["arms"]) == ARMS
        for arm in result["arms"].values():
            for name in MEASURES:
                assert len(arm[name]["per_seed"]) == len(seeds)
                assert len(arm["curve"][name]) == settings["blocks"] + 1
        for name in MEASURES:
            assert {arm["curve"][name][0] for arm in result["arms"].values()} == {
                result["start"][name]
            }


def test_the_stored_record_is_of_the_settings_in_the_code() -> None:
    record = stored(r132.REPRODUCTION)
    check_record(record)
    assert EASIER.keys() <= record["settings"].keys()


def test_the_first_try_is_counted() -> None:
    record = stored(r132.REPRODUCTION)
    first, now = record["tries"]
    # Nothing but the time of the exact part.
    assert first["settings"] == {**now["settings"], "time": 4000.0, "step": 0.5}
    assert (first["verdict"], now["verdict"]) == ("refuted", record["verdict"])


@pytest.mark.slow
def test_runs_are_what_the_record_says() -> None:
    record = stored(r132.REPRODUCTION)
    for arm in ("grpo", "negatives"):
        run = r132.train(arm, 0, Settings())
        for name in MEASURES:
            wanted = record["arms"][arm][name]["per_seed"][0]
            assert run[name][-1] == pytest.approx(wanted, abs=1e-4)
