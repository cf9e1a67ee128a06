"""What reproductions compare and judge by, and that the README says what the records do."""

from pathlib import Path

import numpy as np
import pytest
from reproductions import record
from reproductions.record import all_of, compare, judged, shown, spread

FOLDER = Path(record.__file__).parent


def test_an_effect_with_its_interval() -> None:
    told = compare([0.5, 0.7, 0.6], [0.1, 0.1, 0.1])
    assert told["mean"] == pytest.approx(0.5)
    assert told["low"] < 0.5 < told["high"]
    assert told["probability_of_improvement"] == 1.0
    half = (told["high"] - told["low"]) / 2
    assert told["visible_at_80_power"] == pytest.approx(1.43 * half)
    assert "visible from" in shown(told)


def test_where_all_seeds_tie_nothing_is_said_of_what_would_have_been_seen() -> None:
    for x, y in (([0.0] * 5, [0.0] * 5), ([1.0] * 5, [0.0] * 5)):
        told = compare(x, y)
        assert told["low"] == told["high"]
        assert told["visible_at_80_power"] is None
        assert "all seeds tie" in shown(told)
    assert shown(spread([1.0, 1.0])) == "1.000 [1.000, 1.000]"


def test_the_visible_effect_is_seen_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 300, 100))
    visible = [compare(x, np.zeros(100))["visible_at_80_power"] for x in noise[0]]
    seen = [spread(x + v)["low"] > 0 for x, v in zip(noise[1], visible, strict=True)]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.5, "supported"),
        (0.0, 0.5, "inconclusive"),
        (-0.1, 0.02, "inconclusive"),
        (-0.1, 0.019, "refuted"),
        # There, and too small.
        (0.001, 0.019, "refuted"),
    ],
)
def test_a_rule_for_one_effect(low: float, high: float, verdict: str) -> None:
    assert judged({"low": low, "high": high}, 0.02) == verdict


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ("ss", "supported"),
        ("si", "inconclusive"),
        ("ii", "inconclusive"),
        ("sr", "refuted"),
        ("ir", "refuted"),
    ],
)
def test_a_verdict_over_parts(parts: str, verdict: str) -> None:
    words = {"s": "supported", "i": "inconclusive", "r": "refuted"}
    assert all_of({str(i): words[part] for i, part in enumerate(parts)}) == verdict
