"""Writes docs/methods.md from the catalog of methods; ``--check`` exits 1 if the page is stale."""

import argparse
import html
import re
import sys
from pathlib import Path

from rewardsmith.core.catalog import KINDS, Method, Paper, methods

PAGE = Path(__file__).with_name("methods.md")
HEAD = """\
# Methods

<!-- Written by docs/methods_table.py from the catalog; change the method's docstring instead. -->

Every method in the library, by kind. *Id* is the number of the published mechanism, under which
`reproductions/` records what came of trying its claim; *verdict* is that record. Standard pieces
have no number. `rewardsmith methods` prints the same list.
"""


def page() -> str:
    listed = methods()
    kinds = [kind for kind in KINDS if any(entry.kind == kind for entry in listed)]
    sections = [section(kind, [m for m in listed if m.kind == kind]) for kind in kinds]
    return "\n".join([HEAD, *sections])


def section(kind: str, entries: list[Method]) -> str:
    rows = [
        f"| {' | '.join(cells)} |"
        for cells in (
            ("name", "what it does", "id", "paper", "verdict"),
            ("---",) * 5,
            *(row(entry) for entry in entries),
        )
    ]
    return "\n".join([f"## {kind.replace('-', ' ').capitalize()}", "", *rows, ""])


def row(entry: Method) -> tuple[str, ...]:
    return (
        f"[`{entry.name}`](reference.md#{entry.module}.{entry.qualname})",
        cell(entry.summary),
        ", ".join(f"{number:03d}" for number in entry.seed),
        paper(entry.paper),
        cell(entry.verdict or ""),
    )


def paper(source: Paper | None) -> str:
    return "" if source is None else cell(f"{source.title} ({source.year}), {source.id}")


def cell(text: str) -> str:
    """One table cell. A bare pipe would end it, and in `code` no renderer agrees on the escape."""
    single = text.replace("``", "`")
    code = re.sub(r"`([^`]*\|[^`]*)`", lambda m: f"<code>{html.escape(m[1])}</code>", single)
    return code.replace("|", "&#124;")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    fresh = page()
    if not parser.parse_args().check:
        PAGE.write_text(fresh, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == fresh:
        return 0
    print("docs/methods.md is stale; run: python docs/methods_table.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
