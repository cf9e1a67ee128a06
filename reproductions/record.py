"""Records and what comes before them: runs that outlive a kill, tries, versions."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reproductions.effects import (
    POWER_80,
    all_of,
    by_seed,
    compare,
    judged,
    mean_curve,
    raised,
    shown,
    spread,
    visible,
)
from reproductions.tabular import softmax

__all__ = [
    "POWER_80",
    "RESULTS",
    "Sidecar",
    "all_of",
    "by_seed",
    "compare",
    "judged",
    "mean_curve",
    "raised",
    "resumed",
    "shown",
    "softmax",
    "spread",
    "tries",
    "versions",
    "visible",
    "write",
]

RESULTS = Path(__file__).parent / "results"


class Sidecar:
    """The runs that are done, one a line beside the record, until that is written.

    One process writes it. A kill can cut the last line short: that run is not there, then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            _replace(path, whole)
        self.entries: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]

    def find(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The line of a run that was done under that key; what failed is to be tried again."""
        for entry in self.entries:
            if entry["key"] == key and "run" in entry:
                return entry
        return None

    def add(self, entry: Mapping[str, Any]) -> None:
        """Write one more line."""
        line = json.dumps(entry)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self.entries.append(json.loads(line))


def resumed(sidecar: Path, key: Mapping[str, Any], train: Callable[[], Any]) -> Any:
    """The run of that key from the sidecar; or trained now, and added to it."""
    key, lines = json.loads(json.dumps(key)), Sidecar(sidecar)
    found = lines.find(key)
    if found is None:
        lines.add({"key": key, "run": train()})
        found = lines.entries[-1]
    return found["run"]


def tries(out: Path, settings: Mapping[str, Any], seeds: Sequence[int], verdict: str) -> list[Any]:
    """What the record that is there tells of earlier runs to the end, and this one."""
    told = json.loads(out.read_text(encoding="utf-8"))["tries"] if out.exists() else []
    now = {"settings": dict(settings), "seeds": list(seeds), "verdict": verdict}
    for entry in told:
        if {name: entry[name] for name in now} == now:
            entry["times"] += 1
            return told
    return [*told, {**now, "times": 1}]


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Of what the numbers depend on."""
    named = {name: version(name) for name in ("rewardsmith", "numpy", "torch", *packages)}
    return {"python": platform.python_version(), **named}


def write(out: Path, record: Mapping[str, Any], sidecar: Path) -> None:
    """Write the record; what was done until now is not needed any more."""
    _replace(out, json.dumps(record, indent=1) + "\n")
    sidecar.unlink(missing_ok=True)


def _replace(path: Path, text: str) -> None:
    # Written beside and renamed, so that a kill cannot cut it short.
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
