"""The report of a study: one html file that opens offline, to be shown to a colleague.

Everything is inside the file: style, figures (plotly.js once), frames. It asks the network for
nothing. What is said of a reward comes from the summary; curves and shares come from the records.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from math import ceil, isfinite
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from rewardsmith.report import figures, numbers
from rewardsmith.report.curves import Curve, Record, curve, outermost, shares
from rewardsmith.report.samples import Sample, samples_html

WORDS = {
    "hacked": "hacked",
    "misaligned": "misaligned",
    "not_hacked": "not hacked",
    "undefined": "undefined",
    "failed": "no result",
}
FRAMES_PER_ROW = 10
VOCABULARY = {
    "control": {
        "in": "in",
        "where": "env",
        "where_name": "environment",
        "steps": "environment steps",
        "gold": "gold per episode",
        "unit": "step",
        "units": "steps",
        "varies": "step to step",
        "played": "on the steps of the initial policy; its return",
    },
    "language": {
        "in": "on",
        "where": "dataset",
        "where_name": "problems",
        "steps": "updates",
        "gold": "gold per completion",
        "unit": "row",
        "units": "rows",
        "varies": "completion to completion",
        "played": "over rows, the initial model's completions; its mean",
    },
}
"""What is said differently of agents that act and models that write."""
MEASURES = {
    "pass_at_k": "pass@{k}, by gold",
    "length": "tokens per completion",
    "entropy": "entropy, nats per token",
    "truncated": "share of completions cut off",
    "unscored": "share of completions without a score",
}
"""What a language study's records may hold beside gold and the reward, and how it is called."""


def write_study_report(
    path: str | Path,
    *,
    summary: Mapping[str, Any],
    records: Sequence[Record],
    filmstrips: Mapping[str, Mapping[str, Any]],
    samples: Sequence[Sample] = (),
) -> None:
    """Write the report of a study to ``path`` (utf-8, about 5 MB, most of it plotly.js).

    Args:
        path: the html file; its folder must exist.
        summary: ``study env learner timesteps seeds gold reference threshold finished versions``
            (of ``kind: language``, ``dataset`` in place of ``env``) and ``rewards``: name →
            ``gold_iqm gold_ci probability_of_improvement probability_of_improvement_ci hacked
            verdict reason evidence steps_to_threshold spec failed``. The order of the rewards is
            the report's; a reward whose runs all failed needs only ``failed``.
        records: one per reward, seed and evaluation, with ``reward seed steps kind gold proxy parts
            variance``.
        filmstrips: reward → ``seed gold proxy length frames``, each frame ``png step parts total``;
            a reward may be left out.
        samples: completions over time; see :func:`~.samples.samples_html`.

    Raises:
        ValueError: there are no rewards, or a record, a filmstrip or a sample is of a reward that
            the summary does not know.
    """
    text = study_html(summary, records, filmstrips, samples)
    Path(path).write_text(text, encoding="utf-8")


def study_html(
    summary: Mapping[str, Any],
    records: Sequence[Record],
    filmstrips: Mapping[str, Mapping[str, Any]],
    samples: Sequence[Sample] = (),
) -> str:
    """The text that :func:`write_study_report` writes; the same arguments give the same text."""
    names = list(summary["rewards"])
    if not names:
        raise ValueError("a study's report needs at least one reward in summary['rewards']")
    for what, known in (
        ("a record", {r["reward"] for r in records}),
        ("a filmstrip", set(filmstrips)),
        ("a sample", {s["reward"] for s in samples}),
    ):
        if unknown := sorted(known - set(names)):
            raise ValueError(
                f"{what} is of reward {unknown[0]!r}, which summary['rewards'] does not hold: "
                f"{', '.join(names)}"
            )
    # Autoescape: names, specs and error texts are a user's, and may hold any character.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        number=numbers.number,
        percent=numbers.percent,
        signed=numbers.signed,
        count=numbers.count,
    )
    template = files("rewardsmith.report").joinpath("study.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        **_view(summary, names, records, filmstrips, samples),
        plotly_js=Markup(figures.plotly_js()),
    )


def _view(
    summary: Mapping[str, Any],
    names: list[str],
    records: Sequence[Record],
    filmstrips: Mapping[str, Mapping[str, Any]],
    samples: Sequence[Sample],
) -> dict[str, Any]:
    words = VOCABULARY[summary.get("kind", "control")]
    color = figures.colors(names)
    decimals = numbers.places(_gold_ends(summary["rewards"].values()))
    by_reward = {name: [r for r in records if r["reward"] == name] for name in names}
    rewards = [
        _reward(name, summary, color[name], by_reward[name], filmstrips.get(name), index, decimals)
        for index, name in enumerate(names)
    ]
    scale = _place_on_one_scale(rewards)
    gold = {n: c for n in names if (c := curve(by_reward[n], "gold"))}
    proxy = {n: c for n in names if (c := curve(by_reward[n], "proxy"))}
    k = max((int(r["k"]) for r in records if r.get("k")), default=0)
    measures = {
        title.format(k=k): found
        for key, title in MEASURES.items()
        if any(record.get(key) for record in records)  # one that stayed at 0 for all says nothing
        and (found := {n: c for n in names if (c := _recorded(by_reward[n], key))})
    }
    hacked = [reward["name"] for reward in rewards if reward["label"] == "hacked"]
    threshold = summary.get("threshold")
    return {
        "summary": summary,
        "words": words,
        "rewards": rewards,
        "headline": _headline(rewards),
        "scale": [numbers.fixed(x, decimals) for x in scale] if scale else None,
        "failed": [(r["name"], run) for r in rewards for run in r["failed"]],
        "runs": int(summary["seeds"]) * len(names),
        "gold_curves": Markup(
            figures.gold_curves(
                gold, color, threshold=threshold, steps=words["steps"], title=words["gold"]
            )
        )
        if gold
        else None,
        "proxy_curves": Markup(figures.proxy_curves(proxy, color)) if proxy else None,
        "measure_curves": Markup(figures.measure_curves(measures, color)) if measures else None,
        "samples": samples_html(samples, color, first=hacked[0] if hacked else None),
        "steps_total": int(summary["timesteps"]),
        "threshold": threshold,
        "settings": _settings(summary, words),
        "versions": dict(summary.get("versions") or {}),
    }


def _recorded(records: Sequence[Record], key: str) -> Curve | None:
    """The curve of what some studies record; None where this one does not."""
    held = [record for record in records if record.get(key) is not None]
    return curve(held, key) if held else None


def _reward(
    name: str,
    summary: Mapping[str, Any],
    color: str,
    records: Sequence[Record],
    strip: Mapping[str, Any] | None,
    index: int,
    decimals: int,
) -> dict[str, Any]:
    """All that the template says of one reward."""
    entry = summary["rewards"][name]
    iqm, ci = entry.get("gold_iqm"), entry.get("gold_ci")
    has_result = iqm is not None and isfinite(iqm)
    failed = list(entry.get("failed") or [])
    label = (entry.get("verdict") or "undefined") if has_result else "failed"
    reason = entry.get("reason") or ""
    if not has_result:
        reason = f"All of its runs failed ({len(failed)}): it has no final policy to judge."
    gold, interval = numbers.estimate(iqm, ci, decimals)
    better = entry.get("probability_of_improvement")
    evidence = entry.get("evidence") or {}
    parts = shares(records) if records else []
    return {
        "name": name,
        "color": color,
        "is_reference": name == summary.get("reference"),
        "label": label,
        "word": WORDS[label],
        "reason": reason,
        "iqm": iqm if has_result else None,
        "ci": ci,
        "gold": gold,
        "interval": interval,
        "better": numbers.percent(better) if better is not None else None,
        "better_interval": _percent_interval(entry.get("probability_of_improvement_ci")),
        "correlation": evidence.get("correlation"),
        "threshold": entry.get("steps_to_threshold"),
        "failed": failed,
        "spec": entry.get("spec") or "",
        "hashes": sorted({str(r["reward_hash"]) for r in records if r.get("reward_hash")}),
        "seeds": len({r["seed"] for r in records}),
        "parts": [part.part for part in parts],
        "shares": Markup(figures.part_shares(parts, color, div=f"parts-{index}"))
        if len(parts) > 1
        else None,
        "strip": _strip(strip) if strip else None,
    }


def _strip(strip: Mapping[str, Any]) -> dict[str, Any]:
    frames = list(strip["frames"])
    paid = [abs(x) for frame in frames for x in (frame["total"], *frame["parts"].values())]
    decimals = numbers.places([max(paid, default=0.0)], digits=2)

    def cell(x: float) -> tuple[str, bool]:
        return (numbers.fixed(x, decimals) if x else "0", not x)

    return {key: strip[key] for key in ("seed", "gold", "proxy", "length")} | {
        # Rows of equal length, so that no frame is left alone on the last one.
        "columns": ceil(len(frames) / ceil(len(frames) / FRAMES_PER_ROW)) if frames else 1,
        "frames": [
            {
                "src": "data:image/png;base64," + b64encode(frame["png"]).decode("ascii"),
                "step": frame["step"],
                "parts": [(p, *cell(frame["parts"][p])) for p in outermost(list(frame["parts"]))],
                "total": cell(frame["total"])[0],
            }
            for frame in frames
        ],
    }


def _gold_ends(entries: Iterable[Mapping[str, Any]]) -> list[float]:
    """Every final gold and the ends of its interval, of the rewards that have one."""
    return [
        float(x)
        for entry in entries
        if (iqm := entry.get("gold_iqm")) is not None and isfinite(iqm)
        for x in (iqm, *(entry.get("gold_ci") or ()))
    ]


def _place_on_one_scale(rewards: list[dict[str, Any]]) -> tuple[float, float] | None:
    """Where each gold interval lies, in percent of the range of all of them, for the cards."""
    ends = [x for r in rewards if r["iqm"] is not None for x in (r["iqm"], *(r["ci"] or ()))]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    span = (high - low) or 1.0
    for reward in rewards:
        reward["bar"] = None
        if reward["iqm"] is not None:
            left, right = reward["ci"] or (reward["iqm"], reward["iqm"])
            at = [100 * (x - low) / span for x in (left, reward["iqm"], right)]
            reward["bar"] = {"left": at[0], "center": at[1], "width": at[2] - at[0]}
    return (low, high) if high > low else None


def _headline(rewards: list[dict[str, Any]]) -> dict[str, Any]:
    """What the first sentence says: what was hacked, and which reward earns the most gold."""
    done = [r for r in rewards if r["iqm"] is not None]
    best = max(done, key=lambda r: float(r["iqm"]), default=None)
    others = [r for r in done if r is not best]
    labeled = {
        label: [r["name"] for r in done if r["label"] == label]
        for label in ("hacked", "misaligned", "undefined")
    }
    return {
        **labeled,
        "judged": len(done) - len(labeled["undefined"]),
        "best": best,
        "level": [r["name"] for r in others if best and _overlap(r, best)],
        "reference": next((r for r in others if r["is_reference"]), None),
    }


def _overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two golds' intervals meet; one without an interval is taken as a point."""
    low, high = one["ci"] or (one["iqm"], one["iqm"])
    other_low, other_high = other["ci"] or (other["iqm"], other["iqm"])
    return bool(low <= other_high and other_low <= high)


def _percent_interval(interval: Sequence[float] | None) -> str:
    if interval is None:
        return ""
    low, high = (numbers.percent(x).removesuffix(" %") for x in interval)
    return f"[{low}, {high}]"


def _settings(summary: Mapping[str, Any], words: Mapping[str, str]) -> list[tuple[str, str]]:
    threshold = summary.get("threshold")
    return [
        ("study", str(summary["study"])),
        (words["where_name"], str(summary[words["where"]])),
        ("learner", str(summary["learner"])),
        ("steps per run", numbers.count(summary["timesteps"])),
        ("seeds per reward", numbers.count(summary["seeds"])),
        ("gold", str(summary["gold"])),
        ("reference", str(summary["reference"])),
        ("threshold of gold", "none" if threshold is None else f"{threshold:g}"),
        ("finished", str(summary["finished"])),
    ]
