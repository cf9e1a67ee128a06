"""The page of reproductions says what the records do."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RECORDS = sorted((ROOT / "reproductions" / "results").glob("*.json"))


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "reproductions_table.py"))


def test_every_record_has_a_row_and_a_section(generator: dict[str, Any]) -> None:
    page = generator["page"]()
    assert len(re.findall(r"^\| \[", page, re.MULTILINE)) == len(RECORDS)
    for path in RECORDS:
        record = json.loads(path.read_text(encoding="utf-8"))
        section = page.split(f"{{ #{generator['anchor'](path.stem)} }}\n")[1].split("\n## ")[0]
        assert record["claim"] in section
        assert f"**{record['verdict'].capitalize()}**" in section
        for name, effect in record.get("effects", {}).items():
            assert f"{effect['mean']:+.3f}".replace("-", "−") in section, name
        for text in record["unproved"]:
            assert f"- {text}\n" in section


def test_what_would_have_been_seen_follows_from_the_interval(generator: dict[str, Any]) -> None:
    effects = {
        "ours_minus_theirs": {"mean": -0.5, "low": -0.6, "high": -0.4},
        "tie": {"mean": 0.0, "low": 0.0, "high": 0.0},
    }
    assert list(generator["told"]({"effects": effects})) == [
        ("ours − theirs", "−0.500 [−0.600, −0.400]", "0.143"),
        ("tie", "+0.000 [+0.000, +0.000]", "all seeds tie"),
    ]


def test_parts_and_guards_stand_with_the_verdict(generator: dict[str, Any]) -> None:
    parts = generator["parts"]
    told = {"parts_of_the_claim": {"a_part": "refuted"}, "guard": "at the floor"}
    assert parts(told) == " (a part refuted; at the floor)"
    assert parts({"halves": {"a": "supported"}}) == " (a supported)"
    assert parts({"guard": None}) == ""
    assert [generator["duration"](record) for record in ({}, {"seconds": 61.4})] == ["", "61 s"]
    assert generator["duration"]({"seconds": 300.0}) == "5 min"
