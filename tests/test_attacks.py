"""Ours is right where checkers of answers go wrong, both ways."""

import pytest
from tests.attacks import rows

from rewardsmith.core.outcome import Status, judged
from rewardsmith.rules import choice, maths, numeric

RULES = {"math": maths.grade, "choice": choice.grade, "numeric": numeric.grade}
ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['gold']} | {row['string'][-30:]}")
def test_our_verdict_is_the_truth(row):
    grade = RULES[row.get("rule", "math")]
    value, status, why = judged(grade(row["string"], row["gold"], **row.get("options", {})))
    assert (value, status) == (float(row["truth"]), Status.SCORED), why


def test_there_are_enough_of_each_kind():
    assert len(ROWS) >= 90
    assert len({(row["string"], row["gold"]) for row in ROWS}) == len(ROWS)
    assert sum(row["truth"] for row in ROWS) >= 30
    assert sum(not row["truth"] for row in ROWS) >= 60


def test_the_rows_are_worth_asking():
    """Every peer was wrong somewhere, and right somewhere."""
    wrong: dict[str, set[bool]] = {}
    for row in ROWS:
        for name, score in row["peers"].items():
            wrong.setdefault(name, set()).add(score != float(row["truth"]))
    assert len(wrong) == 7
    assert all(kinds == {True, False} for kinds in wrong.values()), wrong
