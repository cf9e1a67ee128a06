"""For reproductions: effects over seeds, runs that outlive a kill, and the record's tail.

149 and 102 are built on it. 004, which is older, holds parts of its own, which others import.
"""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardsmith.report.statistics import bootstrap_interval, probability_of_improvement

POWER_80 = 1.43
"""(1.96 + 0.84) / 1.96: how many half widths of a 95 % interval an effect has to have for the
interval of a new run to lie beyond 0 with a probability of 80 %; at one half width it is 50 %."""


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the last axis."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


# --- effects --------------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> dict[str, float]:
    """The mean over seeds and its 95 % bootstrap interval."""
    low, high = bootstrap_interval(values, np.mean)
    return {"mean": round(float(np.mean(values)), 6), "low": round(low, 6), "high": round(high, 6)}


def compare(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """x - y over seeds, and the size of effect that as many seeds show four times in five.

    That size, ``visible_at_80_power``, is 1.43 half widths of the interval; None where all seeds
    have the same difference, as in arms that are at the floor: their interval has no width, which
    says nothing about what would have been seen.
    """
    told = spread([a - b for a, b in zip(x, y, strict=True)])
    width = told["high"] - told["low"]
    better = round(probability_of_improvement(x, y), 4)
    visible = round(POWER_80 * width / 2, 6) if width > 0 else None
    return {**told, "probability_of_improvement": better, "visible_at_80_power": visible}


def judged(effect: Mapping[str, Any], margin: float) -> str:
    """Refuted if a rise by the margin is excluded, else supported if there is a rise at all.

    So a rise that is there, and smaller than the margin, refutes.
    """
    if effect["high"] < margin:
        return "refuted"
    return "supported" if effect["low"] > 0 else "inconclusive"


def all_of(parts: Mapping[str, str]) -> str:
    """A claim's verdict: refuted if a part is, supported if all are, else inconclusive."""
    found = set(parts.values())
    if "refuted" in found:
        return "refuted"
    return "supported" if found == {"supported"} else "inconclusive"


def shown(told: Mapping[str, Any]) -> str:
    """A mean with its interval, and what would have been seen."""
    text = f"{told['mean']:.3f} [{told['low']:.3f}, {told['high']:.3f}]"
    if "visible_at_80_power" not in told:
        return text
    visible = told["visible_at_80_power"]
    return f"{text}, " + ("all seeds tie" if visible is None else f"visible from {visible:.3f}")


# --- runs and records -----------------------------------------------------------------------------


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
