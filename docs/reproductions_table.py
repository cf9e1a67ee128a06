"""Writes docs/reproductions.md from the records; ``--check`` exits 1 if the page is stale."""

import argparse
import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("reproductions.md")
MOST = 8
"""Measures of arms that a page can show side by side."""
FOLDER = Path(__file__).parents[1] / "reproductions"
sys.path.insert(0, str(FOLDER.parent))

from reproductions.effects import visible  # noqa: E402 - after the line above

HEAD = """\
# Reproductions

<!-- Written by docs/reproductions_table.py from reproductions/results; run what should change. -->

What came of trying the claims of papers with this library's code, each in the smallest task that
can show it: the method against its baseline, at equal budgets and over several seeds, by a rule
that was written down before the first run. *Supported*, *refuted* and *inconclusive* are each a
result, and none says anything about the papers' own experiments, which are larger. What the task
is and what the numbers mean stands at the top of each file and in
`reproductions/README.md`; `python -m reproductions` lists and runs them.

Effects are means over seeds with their 95 % bootstrap interval; *visible from* is the size of
effect that as many seeds would have shown four times in five. *Tries* counts every run to the end.
"""


def page() -> str:
    there = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in records()}
    rows = [row(id, record) for id, record in there.items()]
    head = ("id", "what is tried", "verdict", "seeds", "tries", "time")
    summary = table(head, rows)
    sections = [line for id, record in there.items() for line in section(id, record)]
    return "\n".join([HEAD, *summary, "", *sections])


def records() -> list[Path]:
    return sorted((FOLDER / "results").glob("*.json"))


def row(id: str, record: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"[{id}](#{anchor(id)})",
        cell(title(id)),
        record["verdict"],
        str(len(record["seeds"])),
        str(sum(entry["times"] for entry in record["tries"])),
        duration(record),
    )


def section(id: str, record: dict[str, Any]) -> Iterator[str]:
    """All that the page tells of one record."""
    number = f"{id}, " if id.isdecimal() else ""
    yield from (f"## {number}{title(id)} {{ #{anchor(id)} }}", "", record["claim"], "")
    yield f"**{record['verdict'].capitalize()}**{parts(record)}."
    spent = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in record["budget"].items())
    yield f"Method: `{record['method']}`{paper(record)}. Spent: {spent}."
    yield f"File: `reproductions/{source(id).name}`."
    yield ""
    if effects := list(told(record)):
        yield from table(("effect", "mean and interval", "visible from"), effects)
        yield ""
    yield from arms(record)
    yield from ("Unproved:", "", *(f"- {text}" for text in record["unproved"]), "")


def arms(record: dict[str, Any]) -> Iterator[str]:
    """What was measured of each arm, where that is few enough to be read."""
    found = record.get("arms", {}) if record.get("effects") else {}
    measured = {
        arm: {name: of for name, of in told.items() if isinstance(of, dict) and "low" in of}
        for arm, told in found.items()
        if isinstance(told, dict)
    }
    names = list(dict.fromkeys(name for told in measured.values() for name in told))
    if not names or len(names) > MOST:
        return
    rows = [
        (cell(arm), *(plain(told[name]) if name in told else "" for name in names))
        for arm, told in measured.items()
    ]
    yield from table(("arm", *(cell(name.replace("_", " ")) for name in names)), rows)
    yield ""


def plain(told: dict[str, float]) -> str:
    return f"{told['mean']:.3f} [{told['low']:.3f}, {told['high']:.3f}]".replace("-", "−")


def paper(record: dict[str, Any]) -> str:
    """A link to the record's paper."""
    if "paper" not in record:
        return ""
    return f" ([arXiv {record['paper']}](https://arxiv.org/abs/{record['paper']}))"


def parts(record: dict[str, Any]) -> str:
    """The verdicts of a claim's parts."""
    named = record.get("parts_of_the_claim") or record.get("parts") or record.get("halves") or {}
    told = [f"{name.replace('_', ' ')} {verdict}" for name, verdict in named.items()]
    told += [record["guard"]] if record.get("guard") else []
    return f" ({'; '.join(told)})" if told else ""


def told(record: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each effect of the verdict."""
    beds = {f"{bed}: ": found for bed, found in record.get("beds", {}).items()} or {"": record}
    named = [
        (bed + n, e) for bed, found in beds.items() for n, e in found.get("effects", {}).items()
    ]
    for name, effect in named:
        size = visible(effect)
        yield (
            cell(name.replace("_minus_", " − ").replace("_", " ")),
            signed(effect),
            "all seeds tie" if size is None else f"{size:.3f}",
        )


def signed(effect: dict[str, float]) -> str:
    mean, low, high = (f"{effect[name]:+.3f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]".replace("-", "−")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]


def duration(record: dict[str, Any]) -> str:
    """What the runs took on one core; older records do not tell."""
    if "seconds" not in record:
        return ""
    seconds = record["seconds"]
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def source(id: str) -> Path:
    """The file of a reproduction."""
    (found,) = FOLDER.glob(f"r{id}_*.py" if id.isdecimal() else f"{id}.py")
    return found


def title(id: str) -> str:
    """The first line of the file's docstring, without its reference."""
    text = ast.get_docstring(ast.parse(source(id).read_text(encoding="utf-8"))) or id
    first = text.partition("\n")[0].partition(" (arXiv")[0].rstrip(".")
    named = first.removeprefix(f"{id}, ")
    return named[0].upper() + named[1:]


def anchor(id: str) -> str:
    return f"r{id}" if id.isdecimal() else id.replace("_", "-")


def cell(text: str) -> str:
    """One table cell; a bare pipe would end it."""
    return text.replace("|", "&#124;")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    fresh = page()
    if not parser.parse_args().check:
        PAGE.write_text(fresh, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == fresh:
        return 0
    print(
        "docs/reproductions.md is stale; run: python docs/reproductions_table.py", file=sys.stderr
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
