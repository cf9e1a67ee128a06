"""``rewardsmith methods``: the catalog, as a table or as JSON."""

import json
from dataclasses import asdict

from ..core.catalog import KINDS, methods, nearest
from ..core.errors import SpecError


def methods_command(kind: str | None, as_json: bool) -> None:
    """Print the catalog.

    Raises:
        SpecError: there is no such kind.
    """
    if kind is not None and kind not in KINDS:
        raise SpecError(f"unknown kind {kind!r}{nearest(kind, KINDS)}")
    chosen = [entry for entry in methods() if kind in (None, entry.kind)]
    if as_json:
        keys = ("name", "kind", "seed", "paper", "module", "verdict")
        print(json.dumps([{key: asdict(entry)[key] for key in keys} for entry in chosen], indent=2))
        return
    width = max((len(entry.name) for entry in chosen), default=0)
    for entry in chosen:
        seed = ",".join(f"{number:03d}" for number in entry.seed)
        summary = entry.summary.replace("``", "")
        print(f"{entry.name:<{width}}  {entry.kind:<10} {seed:<4} {summary}")
