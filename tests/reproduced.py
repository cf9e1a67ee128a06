"""What holds for the record of every reproduction."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from reproductions.runner import Reproduction, reproduce

VERDICTS = {"supported", "refuted", "inconclusive"}


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    """All of a record that is the same every time."""
    return {name: told for name, told in record.items() if name not in ("seconds", "tries")}


def recorded(
    of: Reproduction, folder: Path, settings: Any, other: Any, seeds: Sequence[int], **data: Path
) -> dict[str, Any]:
    """The record of tiny settings, after it was seen to be resumed and to count its tries."""
    out = folder / f"{of.id}.json"
    whole = reproduce(of, out, settings, seeds, **data)
    done: list[Any] = []

    def killed_at_the_fourth(*arguments: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        return counted(*arguments)

    def counted(*arguments: Any) -> Any:
        done.append(arguments)
        return of.train(*arguments)

    with pytest.raises(KeyboardInterrupt):
        reproduce(replace(of, train=killed_at_the_fourth), out, settings, seeds, **data)
    assert json.loads(out.read_text()) == whole
    again = reproduce(replace(of, train=counted), out, settings, seeds, **data)
    assert untimed(again) == untimed(whole)
    assert json.loads(out.read_text()) == again
    # Once each: what was done before the kill is not done again.
    assert done == [(*key.values(), *data.values()) for key in of.keys(settings, seeds)]
    changed = reproduce(of, out, other, range(1), **data)
    assert [entry["times"] for entry in changed["tries"]] == [2, 1]
    assert [entry["settings"] for entry in changed["tries"]] == [asdict(settings), asdict(other)]
    assert [path.name for path in folder.glob(f"{of.id}*")] == [out.name]
    check(of, whole)
    return whole


def stored(of: Reproduction) -> dict[str, Any]:
    """The record among the results, after it was seen to be of what the code declares."""
    record = json.loads(of.out.read_text(encoding="utf-8"))
    check(of, record)
    assert record["settings"] == asdict(of.settings)
    assert record["seeds"] == list(of.seeds)
    assert not list(of.out.parent.glob(f"{of.id}.partial.jsonl*"))
    return record


def check(of: Reproduction, record: dict[str, Any]) -> None:
    """What every record tells."""
    assert record["verdict"] in VERDICTS
    assert record["method"] == of.method
    assert (record.get("id"), record.get("paper")) == (of.id if of.paper else None, of.paper)
    assert (record["claim"], record["unproved"]) == (of.claim, list(of.unproved))
    assert record["claim"]
    assert record["unproved"]
    assert {"python", "rewardsmith", "numpy", "torch", *of.packages} <= record["versions"].keys()
    assert record["budget"]
    assert {"settings", "seeds", "verdict", "times"} <= record["tries"][-1].keys()
    for effect in intervals(record):
        assert effect["low"] <= effect["mean"] <= effect["high"]
        assert effect.get("visible_at_80_power") is None or effect["visible_at_80_power"] > 0
        assert 0 <= effect.get("probability_of_improvement", 0) <= 1
        assert len(effect.get("per_seed", record["seeds"])) == len(record["seeds"])


def intervals(told: Any) -> list[dict[str, Any]]:
    """Everything in a record that has an interval, but for what an earlier try left."""
    if not isinstance(told, dict):
        return []
    if {"mean", "low", "high"} <= told.keys():
        return [told]
    return [one for name, part in told.items() if name != "first_try" for one in intervals(part)]
