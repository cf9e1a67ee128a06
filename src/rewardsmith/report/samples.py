"""Completions over time, as a table that a reader filters: data and a little script, all inline.

What a model wrote is a stranger's text: it is on the page as JSON that no parser of html can leave,
and the script puts it there as text and never as markup.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, TypeVar

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

Sample = Mapping[str, Any]
T = TypeVar("T")

LIMIT = 1500
"""Completions on a page, at most."""
LONGEST = 1200
"""Characters of a prompt or completion that are shown."""


def samples_html(
    samples: Sequence[Sample], color: Mapping[str, str], first: str | None = None
) -> Markup:
    """The table of some completions; "" where there are none.

    Args:
        samples: each with ``reward seed steps problem prompt completion total status error parts
            gold``; ``parts`` is path -> value or None.
        color: of each reward.
        first: the reward that is shown at first; default the first of all.
    """
    if not samples:
        return Markup("")
    shown = thinned(samples)
    parts = list(dict.fromkeys(path for sample in shown for path in sample["parts"]))
    rewards = [name for name in color if any(s["reward"] == name for s in shown)]
    data = {
        "color": {name: color[name] for name in rewards},
        "parts": parts,
        "first": first if first in rewards else rewards[0],
        "rows": [_row(sample, parts) for sample in shown],
    }
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = files("rewardsmith.report").joinpath("samples.html.j2").read_text(encoding="utf-8")
    made = environment.from_string(text).render(
        data=Markup(inline(data)), shown=len(shown), sampled=len(samples)
    )
    return Markup(made)


def thinned(samples: Sequence[Sample], limit: int = LIMIT) -> list[Sample]:
    """At most ``limit`` samples, as many of each evaluation, spread over its own.

    Of more evaluations than that some are left out, evenly, and the others keep one each.
    Every evaluation that keeps its order keeps the same places, so that a problem that is shown
    once is shown over time.
    """
    if len(samples) <= limit:
        return list(samples)
    by_evaluation: dict[tuple[Any, ...], list[Sample]] = {}
    for sample in samples:
        key = (sample["reward"], sample["seed"], sample["steps"])
        by_evaluation.setdefault(key, []).append(sample)
    each = max(1, limit // len(by_evaluation))
    kept = []
    for rows in _spread(list(by_evaluation.values()), limit):
        kept += _spread(rows, each)
    return kept


def _spread(of: list[T], n: int) -> list[T]:
    """``n`` of a list, evenly, or all where it has no more."""
    n = min(n, len(of))
    return [of[i * len(of) // n] for i in range(n)]


def inline(data: Any) -> str:
    """JSON that may stand in a script element: nothing in it opens or closes a tag.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # The two separators of lines end a line in older scripts.
    for sign, escaped in (
        ("&", "\\u0026"),
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(sign, escaped)
    return text


def _row(sample: Sample, parts: Sequence[str]) -> list[Any]:
    """One sample in the order that the script reads."""
    return [
        sample["reward"],
        sample["seed"],
        sample["steps"],
        sample["problem"],
        _cut(sample["prompt"]),
        _cut(sample["completion"]),
        _rounded(sample["total"]),
        sample["status"],
        sample["error"] or "",
        [_rounded(sample["parts"].get(path)) for path in parts],
        _rounded(sample["gold"]),
    ]


def _cut(text: str) -> str:
    more = len(text) - LONGEST
    return text if more <= 0 else f"{text[:LONGEST]} … ({more:,} more characters)"


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
