"""The table of KL estimators: its policies, its numbers, its rule and its record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from reproductions import kl_estimators
from reproductions.kl_estimators import ESTIMATORS, MEASURES, Settings, judge, measured
from reproductions.record import RESULTS
from tests.reproduced import VERDICTS, recorded, stored

from rewardsmith.policy.kl import kl

TINY = Settings(vocabulary=3, longest=2, divergences=[0.01, 0.1])
SEEDS = range(2)


@pytest.mark.parametrize("divergence", [0.01, 0.1, 1.0])
def test_policies_are_as_far_from_their_reference_as_asked(divergence: float) -> None:
    for seed in range(3):
        lm, ref = kl_estimators.pair(seed, divergence, Settings())
        assert lm.kl(ref).item() == pytest.approx(divergence, rel=1e-9)
        assert kl_estimators.next_token_kl(lm, ref).item() == pytest.approx(divergence, rel=1e-9)


def test_the_numbers_are_those_of_samples() -> None:
    """Drawn and averaged, in the place of summed: within four standard errors."""
    settings = Settings(vocabulary=3, longest=3)
    told = measured(0.1, 0, settings)
    lm, ref = kl_estimators.pair(0, 0.1, settings)
    n = 20_000
    sample = lm.sample(n, torch.Generator().manual_seed(0))
    own = lm.gradient(kl_estimators.next_token_kl(lm, ref)).flatten()
    whole = lm.gradient(lm.kl(ref)).flatten()
    for name in ("k1", "k2", "k3", "abs"):
        logprob, ref_logprob = lm.logprob()[0], ref.logprob()[0].detach()
        each = kl(logprob, ref_logprob, lm.mask, estimator=name).sum(dim=1)
        values = each.detach()[sample.answer] / 0.1
        assert float(values.std()) == pytest.approx(told[name]["value_sd"], rel=0.05)
        off = float(values.mean()) - 1.0 - told[name]["value_bias"]
        assert abs(off) < 4 * float(values.std()) / n**0.5
        rows = kl_estimators.by_answer(each, lm)[sample.answer]
        mean = rows.mean(dim=0)
        error = float((rows - mean).square().sum(dim=1).mean().sqrt() / n**0.5)
        sd = error * n**0.5 / float(whole.norm())
        assert sd == pytest.approx(told[name]["gradient_sd"], rel=0.05)
        assert float((mean - own).norm() / own.norm()) == pytest.approx(
            told[name]["next_token_bias"], abs=4 * error / float(own.norm())
        )


def test_what_the_theory_says_to_the_last_digits() -> None:
    told = measured(0.1, 1, Settings())
    for name in ("k1", "k3"):
        assert abs(told[name]["value_bias"]) < 1e-9
    assert told["k2"]["next_token_bias"] < 1e-9
    assert told["reward"]["whole_bias"] < 1e-9
    # Its expected gradient is 0: it misses all of it.
    assert told["k1"]["next_token_bias"] == pytest.approx(1.0, abs=1e-9)
    assert told["k2"]["whole_bias"] > 0.01
    assert told["abs"]["value_bias"] > 1.0


GOOD = {
    "k1": {"value_bias": 0.0, "value_sd": 2.0, "next_token_bias": 1.0},
    "k2": {"value_bias": 0.1, "value_sd": 1.0, "next_token_bias": 0.0},
    "k3": {"value_bias": 0.0, "value_sd": 1.0, "next_token_bias": 0.2},
}


def changed(name: str, measure: str, value: float) -> dict[str, Any]:
    return {**GOOD, name: {**GOOD[name], measure: value}}


@pytest.mark.parametrize(
    ("runs", "part", "verdict"),
    [
        ([GOOD, GOOD], "values", "supported"),
        ([changed("k1", "value_bias", -0.1)] * 2, "values", "refuted"),
        ([changed("k3", "value_bias", 1e-7)] * 2, "values", "refuted"),
        ([changed("k2", "next_token_bias", 0.1)] * 2, "gradients", "refuted"),
        ([changed("k3", "next_token_bias", 1e-4)] * 2, "gradients", "refuted"),
        ([changed("k1", "next_token_bias", 1e-4)] * 2, "gradients", "refuted"),
        ([changed("k3", "value_sd", 2.1)] * 2, "variance", "refuted"),
        # In one of two, and not in the mean.
        ([GOOD, changed("k3", "value_sd", 2.1)], "variance", "inconclusive"),
    ],
)
def test_every_verdict_can_fall(runs: Any, part: str, verdict: str) -> None:
    told = judge({"0.1": [GOOD, GOOD], "1.0": runs})
    assert told["parts_of_the_claim"][part] == verdict
    assert told["verdict"] == verdict
    others = {name: of for name, of in told["parts_of_the_claim"].items() if name != part}
    assert set(others.values()) == {"supported"}


def test_a_record_tells_what_it_must_and_is_resumed(tmp_path: Path) -> None:
    other = replace(TINY, spread=0.5)
    check_record(recorded(kl_estimators.REPRODUCTION, tmp_path, TINY, other, SEEDS))


def check_record(record: dict[str, Any]) -> None:
    policies = len(record["settings"]["divergences"]) * len(record["seeds"])
    assert record["budget"] == {"policies": policies, "sampled": 0}
    assert set(record["parts_of_the_claim"].values()) <= VERDICTS
    assert list(record["table"]) == [str(of) for of in record["settings"]["divergences"]]
    for told in record["table"].values():
        assert tuple(told) == ESTIMATORS
        for name, row in told.items():
            of_gradient = {m for m in MEASURES if not m.startswith("value")}
            assert row.keys() == (of_gradient if name == "reward" else set(MEASURES))


def test_the_stored_record_is_of_the_settings_in_the_code() -> None:
    check_record(stored(kl_estimators.REPRODUCTION))


def test_the_readme_tells_its_numbers() -> None:
    record = stored(kl_estimators.REPRODUCTION)
    readme = " ".join((RESULTS.parent / "README.md").read_text(encoding="utf-8").split())

    def of(name: str, measure: str) -> list[float]:
        return [told[name][measure]["mean"] for told in record["table"].values()]

    one, two, three = (of(name, "value_sd") for name in ("k1", "k2", "k3"))
    assert f"is {one[0] / three[0]:.0f} times smaller" in readme
    assert f"larger at 1 ({three[2]:.2f}, {one[2]:.2f})" in readme
    assert max(map(abs, of("k2", "value_bias"))) < 0.02
    assert f"the smallest at 1 ({two[2]:.2f})" in readme
    for name, measure in (("k3", "next_token_bias"), ("k2", "whole_bias")):
        missed = [f"{100 * bias:.0f}" for bias in of(name, measure)]
        assert f"{name} misses {missed[0]}, {missed[1]} and {missed[2]} %" in readme
    ratio = [
        a / b for a, b in zip(of("reward", "gradient_sd"), of("k2", "gradient_sd"), strict=True)
    ]
    assert ratio == pytest.approx([1.5] * 3, abs=0.06)
