from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reproductions import r004_gated_rewards as r004
from reproductions.r004_gated_rewards import ARMS, Settings, judge
from reproductions.tabular import softmax
from tests.reproduced import VERDICTS, recorded, stored

TINY = Settings(turns=6, updates=8, batch=4, blocks=4)
SEEDS = range(2)


def check_record(record: dict[str, Any]) -> None:
    seeds, settings = record["seeds"], record["settings"]
    assert record["budget"]["episodes_per_run"] == settings["updates"] * settings["batch"]
    assert record["budget"]["runs"] == 2 * len(ARMS) * len(seeds)
    for result in (record, record["policy_that_sees_the_turn"]):
        assert result["verdict"] in VERDICTS
        assert set(result["halves"].values()) <= VERDICTS
        assert len(result["effects"]) == 4
        assert tuple(result["arms"]) == ARMS
        for arm in result["arms"].values():
            for name in r004.MEASURES:
                assert len(arm[name]["per_seed"]) == len(seeds)
                assert len(arm["curve"][name]) == settings["blocks"]


def test_a_record_tells_what_it_must_and_is_resumed(tmp_path: Path) -> None:
    other = replace(TINY, learning_rate=0.5)
    check_record(recorded(r004.REPRODUCTION, tmp_path, TINY, other, SEEDS))


LOW, HIGH, WIDE = [0.1, 0.12, 0.11], [0.9, 0.91, 0.92], [0.2, 0.99, 0.95]


@pytest.mark.parametrize(
    ("direct", "gated", "last", "verdict", "halves"),
    [
        (LOW, HIGH, HIGH, "supported", ("supported", "supported")),
        (HIGH, HIGH, HIGH, "refuted", ("refuted", "supported")),
        (LOW, HIGH, LOW, "refuted", ("refuted", "supported")),
        (LOW, LOW, HIGH, "refuted", ("supported", "refuted")),
        (LOW, WIDE, HIGH, "inconclusive", ("supported", "inconclusive")),
        (WIDE, HIGH, HIGH, "inconclusive", ("inconclusive", "supported")),
        (WIDE, LOW, HIGH, "refuted", ("inconclusive", "refuted")),
    ],
)
def test_every_verdict_can_fall(
    direct: list[float],
    gated: list[float],
    last: list[float],
    verdict: str,
    halves: tuple[str, str],
) -> None:
    completion = {"outcome_only": HIGH, "direct": direct, "gated": gated}
    told = judge(completion, [0.5, 0.5, 0.5], last)
    assert (told["verdict"], tuple(told["halves"].values())) == (verdict, halves)


def test_the_arms_pay_what_they_say() -> None:
    settings = replace(TINY, pieces=1)
    rng = np.random.default_rng(0)
    rollouts = r004.play(np.zeros((2, 4)), rng, replace(settings, batch=64))
    complete, calls = np.array(rollouts["complete"]), rollouts["valid"].sum(dim=1).numpy()
    assert 0 < complete.sum() < len(complete)
    paid = {arm: r004.reward_of(arm, settings)(rollouts).total().numpy() for arm in ARMS}
    np.testing.assert_allclose(paid["outcome_only"], complete)
    np.testing.assert_allclose(paid["direct"], complete + 0.1 * calls, rtol=1e-6)
    np.testing.assert_allclose(paid["gated"], complete * (1 + 0.1 * calls), rtol=1e-6)


def test_the_gradient_is_that_of_the_log_probability() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 4))
    rollouts = r004.play(logits, rng, TINY)
    advantage = rng.normal(size=TINY.batch)

    def surrogate(x: Any) -> float:
        log = np.log(softmax(x))[rollouts["state"].numpy(), rollouts["action"].numpy()]
        return float((advantage * (log * rollouts.mask.numpy()).sum(axis=1)).mean())

    found = r004.gradient(logits, rollouts, advantage)
    for i in np.ndindex(*logits.shape):
        bump = np.zeros_like(logits)
        bump[i] = 1e-5
        numeric = (surrogate(logits + bump) - surrogate(logits - bump)) / 2e-5
        assert found[i] == pytest.approx(numeric, abs=1e-8)


def test_the_stored_record_is_of_the_settings_in_the_code() -> None:
    check_record(stored(r004.REPRODUCTION))
