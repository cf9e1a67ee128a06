"""The reproduction of LATR: its groups, its arms, its rule and its record."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from reproductions import r135_latr as r135
from reproductions.rlvr import Arm
from reproductions.runner import reproduce
from tests.reproduced import check

from rewardsmith.core.document import Document
from rewardsmith.learners.recipe import build_sampler
from rewardsmith.testbeds import rlvr
from rewardsmith.testbeds.rlvr.model import tiny_model

SETTINGS = r135.Settings()
YES, NO, UNKNOWN = "supported", "refuted", "inconclusive"


def made(*passed: float, tree: tuple[float, float] = (6.0, 0.5)) -> dict[str, Any]:
    """A run that is measured every 1,000 tokens, from groups of which trees are told."""
    different, mixed = tree
    found = {"different": different, "mixed": mixed, "right": 0.2}
    sampled = {"different": 5.0, "mixed": 0.4, "right": 0.2}
    beside = {"pass@8": 1.0, "entropy": 0.5}
    return {
        "curve": [{"tokens": 1_000 * i, "pass@1": p, **beside} for i, p in enumerate(passed)],
        "logged": {"zero_advantage": 0.3},
        "groups": {
            "latr": found,
            "grpo": sampled,
            "matched": {"temperature": 1.2, **sampled, "different": 6.0},
        },
    }


def runs(ours: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Beside arms that rise by 40 points in four steps."""
    usual = made(0.2, 0.3, 0.4, 0.5, 0.6)
    return {"grpo": [usual for _ in ours], "matched": [usual for _ in ours], "latr": list(ours)}


@pytest.mark.parametrize(
    ("ours", "parts", "verdict"),
    [
        (
            [made(0.2, 0.4, 0.6, 0.6, 0.7), made(0.2, 0.4, 0.65, 0.6, 0.65)],
            (YES, YES),
            YES,
        ),
        # As fast, or as good.
        (
            [made(0.2, 0.3, 0.4, 0.5, 0.7), made(0.2, 0.3, 0.4, 0.5, 0.65)],
            (NO, YES),
            NO,
        ),
        (
            [made(0.2, 0.4, 0.6, 0.6, 0.6), made(0.2, 0.4, 0.65, 0.6, 0.6)],
            (YES, NO),
            NO,
        ),
        # It never gets there.
        ([made(0.2, 0.2, 0.2, 0.2, 0.2), made(0.2, 0.2, 0.2, 0.3, 0.3)], (NO, NO), NO),
        # Seeds that disagree.
        (
            [made(0.2, 0.5, 0.6, 0.6, 0.7), made(0.2, 0.2, 0.2, 0.3, 0.4)],
            (UNKNOWN, UNKNOWN),
            UNKNOWN,
        ),
    ],
)
def test_every_verdict_can_fall(
    ours: list[dict[str, Any]], parts: tuple[str, str], verdict: str
) -> None:
    told = r135.judge(runs(ours))
    assert tuple(told["parts"].values()) == parts
    assert (told["verdict"], told["guard"]) == (verdict, None)
    assert told["beside"]["different_latr_minus_grpo"]["mean"] == pytest.approx(1.0)
    assert told["beside"]["mixed_latr_minus_matched"]["mean"] == pytest.approx(0.1)
    assert told["matched_temperatures"] == [1.2, 1.2]
    assert told["arms"]["matched"]["different_at_the_start"]["mean"] == 6.0


def test_where_nothing_is_learned_nothing_is_faster() -> None:
    for passed in ((0.2, 0.21, 0.22, 0.23, 0.24), (0.2, 0.1, 0.1, 0.1, 0.1)):
        told = r135.judge({arm: [made(*passed)] * 2 for arm in r135.ARMS})
        assert (told["verdict"], told["guard"]) == (UNKNOWN, "nothing was learned")


def test_the_tokens_are_those_of_the_first_crossing() -> None:
    curve = made(0.2, 0.3, 0.5, 0.4, 0.6)["curve"]
    assert r135.tokens_to(0.2, curve) == pytest.approx(1_500)
    assert r135.tokens_to(0.1, curve) == pytest.approx(1_000)
    assert r135.tokens_to(0.5, curve) == 4_000
    assert r135.tokens_to(0.0, curve) == 0.0


def test_groups_of_a_model_that_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rlvr, "warm_start", lambda task, seed: None)
    monkeypatch.setattr(rlvr, "load_model", lambda _: tiny_model(seed=0))
    settings = replace(SETTINGS, tried=4, temperatures=[1e-4, 1.0])
    task = rlvr.countdown()
    found = r135.groups(task, 0, settings)
    assert found == r135.groups(task, 0, settings)
    assert found["grpo"]["different"] == 8.0
    assert found["latr"]["mixed"] == found["grpo"]["mixed"] == 0.0
    nearest = abs(found["matched"]["different"] - found["latr"]["different"])
    assert nearest <= abs(found["grpo"]["different"] - found["latr"]["different"])
    # Hardly any chance is left at a low temperature.
    assert (
        r135.answered(task, tiny_model(seed=0), 0, settings, temperature=1e-4)["different"] == 1.0
    )


def test_a_record_tells_what_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, Any]] = []

    def run(task: Any, arm: Arm, *_: Any) -> dict[str, Any]:
        seen.append((arm.sampler, arm.config.get("temperature")))
        passed = (0.2, 0.5, 0.6, 0.7) if arm.sampler else (0.2, 0.3, 0.4, 0.5)
        return {name: of for name, of in made(*passed).items() if name != "groups"}

    monkeypatch.setattr(r135, "run", run)
    monkeypatch.setattr(r135, "groups", lambda *_: made(0.2)["groups"])
    record = reproduce(r135.REPRODUCTION, tmp_path / "135.json", SETTINGS, range(2))
    check(r135.REPRODUCTION, record)
    assert record["verdict"] == "supported"
    assert tuple(record["arms"]) == r135.ARMS
    assert [temperature for _, temperature in seen] == [None, 1.2, None] * 2
    spec = seen[2][0]
    sampler: Any = build_sampler(spec, Document({}), ("sampler",))
    assert (sampler.lookahead, sampler.until) == ((3, 5, 8), 4)
    assert [spec for spec, _ in seen[:2]] == [None, None]
