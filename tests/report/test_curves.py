"""What the figures draw: curves over seeds and shares of parts."""

from typing import Any

import pytest

from rewardsmith.report.curves import curve, outermost, shares


def record(seed: int, steps: int, gold: float, kind: str = "training", **rest: Any) -> dict:
    return {
        "seed": seed,
        "steps": steps,
        "kind": kind,
        "gold": gold,
        "parts": {},
        "variance": 0.0,
        **rest,
    }


def part(magnitude: float, covariance: float) -> dict[str, float]:
    return {"sum": 0.0, "magnitude": magnitude, "covariance": covariance}


def test_a_curve_is_over_seeds_at_each_step_in_order() -> None:
    found = curve(
        [record(1, 10, 4.0), record(0, 0, 1.0), record(1, 0, 2.0), record(0, 10, 3.0)], "gold"
    )
    assert found is not None
    assert found.steps == (0, 10)
    assert found.center == (1.5, 3.5)
    assert found.low == (1.0, 3.0)
    assert found.high == (2.0, 4.0)
    assert found.seeds == (2, 2)


def test_the_final_evaluation_replaces_a_training_one_at_its_step() -> None:
    for order in (1, -1):
        rows = [record(0, 10, 1.0), record(0, 10, 5.0, "final")][::order]
        found = curve(rows, "gold")
        assert found is not None
        assert found.center == (5.0,)
        assert found.seeds == (1,)


def test_a_step_that_one_seed_missed_is_drawn_from_the_others() -> None:
    found = curve([record(0, 0, 1.0), record(1, 0, 3.0), record(0, 10, 2.0)], "gold")
    assert found is not None
    assert found.center == (2.0, 2.0)
    assert found.seeds == (2, 1)


def test_no_records_no_curve() -> None:
    assert curve([], "gold") is None
    assert shares([]) == []


def test_shares_by_hand() -> None:
    rows = [
        record(0, 0, 0.0, parts={"a": part(1.0, 3.0), "b": part(3.0, -1.0)}, variance=2.0),
        record(1, 0, 0.0, parts={"a": part(2.0, 1.0), "b": part(2.0, 1.0)}, variance=2.0),
    ]
    a, b = shares(rows)
    assert (a.part, a.steps, a.magnitude, a.variance) == ("a", (0,), (3 / 8,), (4 / 4,))
    assert (b.part, b.magnitude, b.variance) == ("b", (5 / 8,), (0.0,))


def test_a_reward_of_zero_has_no_shares() -> None:
    (a,) = shares([record(0, 0, 0.0, parts={"a": part(0.0, 0.0)}, variance=0.0)])
    assert a.magnitude == a.variance == (None,)


def test_children_are_not_counted_beside_their_parent() -> None:
    assert outermost(["", "a", "a/x", "a/x/y", "b/x", "ab"]) == ["a", "b/x", "ab"]
    rows = [record(0, 0, 0.0, parts={"a": part(1.0, 1.0), "a/x": part(9.0, 9.0)}, variance=1.0)]
    (a,) = shares(rows)
    assert a.magnitude == pytest.approx((1.0,))
