"""The reproduction of RuleReasoner: unequal domains, the rule, one run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reproductions import r134_rulereasoner as r134
from reproductions.r134_rulereasoner import ARMS, DOMAINS, MEASURES, SAMPLERS, Settings, judge
from reproductions.rlvr import Budget
from tests.reproduced import intervals

from rewardsmith.core.document import Document
from rewardsmith.learners.recipe import build_sampler
from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.bed import Bed

TINY = Settings(
    largest=8,
    bed=Bed(prompts=4, generations=2),
    budget=Budget(tokens=60, points=1, rows=16),
)

# --- the task and the arms ------------------------------------------------------------------------


def test_sizes_move_on_so_that_four_seeds_give_each_domain_each_size() -> None:
    assert r134.sizes(0, 640) == {"addition": 640, "reversal": 320, "parity": 160, "modular": 80}
    for name in DOMAINS:
        had = sorted(r134.sizes(seed, 640)[name] for seed in range(4))
        assert had == [80, 160, 320, 640]


def test_unequal_domains_are_a_part_of_the_whole_and_measured_on_all() -> None:
    whole = easy_domains()
    task = r134.unequal(whole, 1, 16)
    names = [row["domain"] for row in task.train]
    assert {name: names.count(name) for name in DOMAINS} == r134.sizes(1, 16)
    assert set(names) == set(DOMAINS)
    assert all(row in whole.train for row in task.train)
    assert task.held_out == whole.held_out
    with pytest.raises(ValueError, match=r"addition has .* problems, 4096 are asked for"):
        r134.unequal(whole, 0, 4096)


def test_uniform_shares_never_move_and_those_by_size_follow_the_size() -> None:
    pool = [{"prompt": str(i), "domain": "a" if i < 30 else "b"} for i in range(40)]
    drawn = {}
    for arm, spec in SAMPLERS.items():
        sampler = build_sampler(spec, Document({}), ("sampler",))
        sampler.over(pool)
        rows: list[int] = []
        for _ in range(20):
            sampler.begin()
            rows += sampler.propose(8)
        drawn[arm] = sum(row < 30 for row in rows) / len(rows)
    # Nothing is observed, so that shares stay as they are.
    assert drawn == {"uniform": 0.5, "proportional": 0.75, "rulereasoner": 0.5}


def test_a_run_is_measured_by_its_worst_domain_at_each_point() -> None:
    points = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.2, 0.3, 0.4], [0.5, 0.6, 0.3, 1.0]]
    curve = [
        {f"{name} pass@1": of for name, of in zip(DOMAINS, point, strict=True)} for point in points
    ]
    told = r134.measured({"curve": curve, "logged": {"zero_advantage": 0.25}})
    assert told == {
        "worst": 0.3,
        "mean": 0.6,
        "worst_over_the_run": 0.25,
        "mean_over_the_run": 0.475,
        "worst_at_the_start": 0.1,
        "zero_advantage": 0.25,
        "addition": 0.5,
        "reversal": 0.6,
        "parity": 0.3,
        "modular": 1.0,
    }


# --- the rule -------------------------------------------------------------------------------------


def runs(ours: list[float], uniform: float, proportional: float, start: float) -> dict[str, Any]:
    def told(worst: float) -> dict[str, float]:
        return {**dict.fromkeys(MEASURES, worst), "worst_at_the_start": start}

    others = {"uniform": uniform, "proportional": proportional}
    return {
        **{arm: [told(worst)] * len(ours) for arm, worst in others.items()},
        "rulereasoner": [told(worst) for worst in ours],
    }


YES, NO, UNKNOWN = "supported", "refuted", "inconclusive"


@pytest.mark.parametrize(
    ("ours", "uniform", "proportional", "start", "parts", "verdict"),
    [
        ([0.5, 0.52, 0.54], 0.4, 0.3, 0.1, (YES, YES), YES),
        # Above one of them, and not above the better one.
        ([0.5, 0.5, 0.51], 0.5, 0.3, 0.1, (NO, YES), NO),
        ([0.5, 0.5, 0.51], 0.3, 0.6, 0.1, (YES, NO), NO),
        ([0.3, 0.4, 0.5], 0.38, 0.1, 0.1, (UNKNOWN, YES), UNKNOWN),
        # Nothing was learned; there is no room.
        ([0.5, 0.52, 0.54], 0.4, 0.3, 0.51, (YES, YES), UNKNOWN),
        ([0.98, 0.98, 0.99], 0.98, 0.3, 0.1, (NO, YES), UNKNOWN),
    ],
)
def test_every_verdict_can_fall(
    ours: list[float],
    uniform: float,
    proportional: float,
    start: float,
    parts: tuple[str, ...],
    verdict: str,
) -> None:
    told = judge(runs(ours, uniform, proportional, start))
    assert tuple(told["parts"].values()) == parts
    assert told["verdict"] == verdict
    assert (told["guard"] is None) == (start < 0.5 and uniform < 0.9)
    for effect in intervals(told):
        assert effect["low"] <= effect["mean"] <= effect["high"]


# --- one run --------------------------------------------------------------------------------------


def easy_domains() -> Any:
    return rlvr.mixed(
        {
            "addition": rlvr.modular_addition(12),
            "reversal": rlvr.reversal(2),
            "parity": rlvr.parity(6),
            "modular": rlvr.modular_addition(11),
        }
    )


def test_a_run_tells_what_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rlvr.tiny_model(0, hidden=16, layers=1, heads=2).save_pretrained(tmp_path)
    monkeypatch.setattr(rlvr, "warm_start", lambda task, seed: tmp_path, raising=False)
    monkeypatch.setattr(rlvr, "four_domains", easy_domains, raising=False)
    run = r134.train("rulereasoner", 1, TINY)
    assert run.keys() == {*MEASURES, "worst_at_the_start", "sizes", "curve", "logged"}
    assert run["sizes"] == r134.sizes(1, 8)
    assert run["logged"]["generated_tokens"] >= TINY.budget.tokens
    assert all(0.0 <= run[name] <= 1.0 for name in MEASURES)
    told = judge({arm: [run] for arm in ARMS})
    assert told["verdict"] in {YES, NO, UNKNOWN}
    assert tuple(told["arms"]) == ARMS


def test_every_arm_meets_every_seed_and_settings_are_plain() -> None:
    of = r134.REPRODUCTION
    keys = of.keys(of.settings, of.seeds)
    assert [(key["seed"], key["arm"]) for key in keys] == [(s, a) for s in of.seeds for a in ARMS]
    spent = of.budget(replace(TINY), range(2))
    assert spent == {"tokens_per_run": 60, "runs": 6}
