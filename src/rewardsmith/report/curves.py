"""From a study's records to what its figures draw: curves and shares over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardsmith.report.statistics import curve_band

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """One number over training: IQM over seeds and its 95 % interval at each step, all [E]."""

    steps: tuple[int, ...]
    center: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Shares:
    """One part's shares over training, each [E]; None where the reward was zero or constant."""

    part: str
    steps: tuple[int, ...]
    magnitude: tuple[float | None, ...]
    variance: tuple[float | None, ...]


def curve(records: Sequence[Record], key: str) -> Curve | None:
    """The learning curve of ``key`` ("gold" or "proxy") over the seeds of one reward's records.

    A step that only some seeds reached (a run failed halfway) is drawn from those that did, and
    ``seeds`` says how many. None when there are no records.
    """
    by_step = _by_step(records)
    bands = [
        curve_band([step], [[float(record[key])] for record in rows])
        for step, rows in by_step.items()
    ]
    if not bands:
        return None
    return Curve(
        steps=tuple(by_step),
        center=tuple(band.center[0] for band in bands),
        low=tuple(band.low[0] for band in bands),
        high=tuple(band.high[0] for band in bands),
        seeds=tuple(len(rows) for rows in by_step.values()),
    )


def shares(records: Sequence[Record]) -> list[Shares]:
    """Each part's share of the reward and of its variance, over the seeds of one reward's records.

    With sums over seeds, the share of the reward is Σ mean|part| / Σ over parts of the same, in
    [0, 1]; the share of the variance is Σ cov(part, total) / Σ var(total), which adds up to 1 over
    the parts but may be negative for a part that works against the others. Only the outermost parts
    are shared out: a part and its own children would count twice.
    """
    by_step = _by_step(records)
    names = outermost(list(dict.fromkeys(name for r in records for name in r["parts"])))
    out = []
    for name in names:
        magnitude: list[float | None] = []
        variance: list[float | None] = []
        for rows in by_step.values():
            whole = sum(_part(row, other, "magnitude") for row in rows for other in names)
            spread = sum(float(row["variance"]) for row in rows)
            mine = sum(_part(row, name, "magnitude") for row in rows)
            moves = sum(_part(row, name, "covariance") for row in rows)
            magnitude.append(mine / whole if whole > 0 else None)
            variance.append(moves / spread if spread > 0 else None)
        out.append(Shares(name, tuple(by_step), tuple(magnitude), tuple(variance)))
    return out


def outermost(paths: Sequence[str]) -> list[str]:
    """The paths that lie under no other one of them; the root "" is no part."""
    known = set(paths)
    return [path for path in paths if path and not any(a in known for a in _ancestors(path))]


def _ancestors(path: str) -> list[str]:
    pieces = path.split("/")
    return ["/".join(pieces[:i]) for i in range(1, len(pieces))]


def _part(row: Record, name: str, key: str) -> float:
    return float(row["parts"].get(name, {}).get(key, 0.0))


def _by_step(records: Sequence[Record]) -> dict[int, list[Record]]:
    """Records by step, one per seed; the final evaluation replaces a training one at its step."""

    def order(record: Record) -> tuple[int, int, bool]:
        return int(record["steps"]), int(record["seed"]), record["kind"] == "final"

    grid: dict[int, dict[int, Record]] = {}
    for record in sorted(records, key=order):
        grid.setdefault(int(record["steps"]), {})[int(record["seed"])] = record
    return {step: list(rows.values()) for step, rows in grid.items()}
