"""What reproductions share: runs that outlive a kill, effects over seeds, and the record's tail."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reproductions.r004_gated_rewards import compare, shown, spread

__all__ = ["compare", "resumed", "shown", "spread", "tries", "versions", "write"]


def resumed(sidecar: Path, key: Mapping[str, Any], train: Callable[[], Any]) -> Any:
    """The run of that key from the sidecar; or trained now, and added to it."""
    key = json.loads(json.dumps(key))
    lines = sidecar.read_text(encoding="utf-8").splitlines() if sidecar.exists() else []
    for line in map(json.loads, lines):
        if line["key"] == key:
            return line["run"]
    run = json.loads(json.dumps(train()))
    _replace(sidecar, "\n".join([*lines, json.dumps({"key": key, "run": run})]) + "\n")
    return run


def tries(out: Path, settings: Mapping[str, Any], seeds: Sequence[int], verdict: str) -> list[Any]:
    """What the record that is there tells of earlier runs to the end, and this one."""
    told = json.loads(out.read_text(encoding="utf-8"))["tries"] if out.exists() else []
    now = {"settings": dict(settings), "seeds": list(seeds), "verdict": verdict}
    for entry in told:
        if {name: entry[name] for name in now} == now:
            entry["times"] += 1
            return told
    return [*told, {**now, "times": 1}]


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    named = {name: version(name) for name in ("rewardsmith", "numpy", "torch")}
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
