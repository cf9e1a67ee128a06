"""From records to a verdict per reward: ``summary.json``."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import yaml

from ..audit.hacking import hacking_verdict
from ..core.spec import dump
from ..report.moments import PairMoments
from ..report.statistics import (
    bootstrap_interval,
    interquartile_mean,
    probability_of_improvement,
    probability_of_improvement_interval,
    steps_to_threshold,
    threshold_summary,
)
from .records import Record, Run
from .shared import Study


def summarize(study: Study, runs: Sequence[Run]) -> dict[str, Any]:
    """The contents of ``summary.json``; unfinished runs are listed, and count for nothing else."""
    section = study.section
    records = {run: run.records() for run in runs if run.done}
    finals = {
        name: [_of(records[run], "final")["gold"] for run in records if run.reward == name]
        for name in section.rewards
    }
    first = next(iter(section.rewards))
    seen = [record for rows in records.values() for record in rows]
    return {
        "study": study.name,
        **study.told(),
        "seeds": section.seeds,
        "reference": study.reference,
        "threshold": study.section.evaluation.threshold,
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": seen[0]["versions"] if seen else {},
        "rewards": {
            name: {
                **_result(study, name, records, finals),
                **_improvement(finals[name], finals[first], name == first),
                "spec": _text(study, name),
                "folder": next(
                    (f"runs/{run.folder.parent.name}" for run in runs if run.reward == name), None
                ),
                "failed": [
                    {"seed": run.seed, "error": run.error or "it did not finish"}
                    for run in runs
                    if run.reward == name and not run.done
                ],
            }
            for name in section.rewards
        },
    }


def _result(
    study: Study,
    name: str,
    records: Mapping[Run, Sequence[Record]],
    finals: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    mine = {run: rows for run, rows in records.items() if run.reward == name}
    if not mine:
        return dict.fromkeys(("gold_iqm", "gold_ci", "hacked", "evidence"), None) | {
            "verdict": "undefined",
            "reason": "No run finished.",
            "steps_to_threshold": {"median": None, "reached": 0, "seeds": 0},
        }
    gold = [_of(rows, "final")["gold"] for rows in mine.values()]
    low, high = bootstrap_interval(gold)
    return {
        "gold_iqm": float(interquartile_mean(gold)),
        "gold_ci": [low, high],
        **_verdict(study, mine, finals[study.reference]),
        "steps_to_threshold": _threshold(study.section.evaluation.threshold, mine),
    }


def _verdict(
    study: Study, mine: Mapping[Run, Sequence[Record]], gold_reference: Sequence[float]
) -> dict[str, Any]:
    notes = {run: run.note("comparison") or {} for run in mine}
    compared = [run for run, note in notes.items() if "proxy" in note]
    if not gold_reference or not compared:
        told = [note["error"] for note in notes.values() if "error" in note]
        why = f"; the comparison failed: {told[0]}" if told else ""
        return {
            "hacked": None,
            "verdict": "undefined",
            "reason": f"No run could be compared with the reference {study.reference!r}{why}.",
            "evidence": None,
        }
    initial = [_of(rows, "initial") for rows in mine.values()]
    final = [_of(rows, "final") for rows in mine.values()]
    pooled = reduce(PairMoments.merge, (PairMoments.from_dict(row["moments"]) for row in initial))
    # A reward that learns has changed since; the comparison scored the initial policy anew.
    learned = [notes[run]["initial"] for run in compared if "initial" in notes[run]]
    verdict = hacking_verdict(
        correlation=pooled.correlation,
        correlation_steps=pooled.n,
        proxy_initial=learned or [row["proxy"] for row in initial],
        proxy_final=[row["proxy"] for row in final],
        proxy_reference=[notes[run]["proxy"] for run in compared],
        gold_initial=[row["gold"] for row in initial],
        gold_final=[row["gold"] for row in final],
        gold_reference=gold_reference,
        unit=study.unit,
        setting=study.judged[0],
    )
    return {
        "hacked": verdict.hacked,
        "verdict": verdict.label,
        "reason": verdict.reason,
        "evidence": verdict.evidence,
    }


def _improvement(gold: Sequence[float], first: Sequence[float], is_first: bool) -> dict[str, Any]:
    if is_first or not gold or not first:
        return {"probability_of_improvement": None, "probability_of_improvement_ci": None}
    low, high = probability_of_improvement_interval(gold, first)
    return {
        "probability_of_improvement": probability_of_improvement(gold, first),
        "probability_of_improvement_ci": [low, high],
    }


def _threshold(threshold: float | None, mine: Mapping[Run, Sequence[Record]]) -> dict[str, Any]:
    if threshold is None:
        return {"median": None, "reached": 0, "seeds": len(mine)}
    firsts: list[int | None] = []
    for rows in mine.values():
        curve = [row["gold"] for row in rows]
        firsts += steps_to_threshold([row["steps"] for row in rows], [curve], threshold)
    found = threshold_summary(firsts)
    return {"median": found.median, "reached": found.reached, "seeds": found.seeds}


def _of(rows: Sequence[Record], kind: str) -> Record:
    return next(row for row in rows if row["kind"] == kind)


def _text(study: Study, name: str) -> str:
    return yaml.safe_dump(dump(study.reward(name), base=study.document.base), sort_keys=False)
