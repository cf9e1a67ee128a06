"""``rewardsmith methods``: the catalog, as a table or as JSON."""

import inspect
import json
import re
from collections.abc import Iterable
from dataclasses import asdict

from ..core.catalog import KINDS, find, methods, nearest
from ..core.errors import SpecError

_GIVEN = ("keep", "weight")
"""Keywords of an estimator and of a loss that no spec gives: those who call them do."""


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
        summary = _plain(entry.summary)
        print(f"{entry.name:<{width}}  {entry.kind:<10} {seed:<4} {summary}")


def method_command(name: str) -> None:
    """Print one method: where it is imported from, its arguments, its documentation.

    Raises:
        SpecError: there is no such method.
    """
    thing = find(name)
    (entry,) = [entry for entry in methods() if entry.name == name]
    print(f"{entry.name}, {entry.kind}: from {entry.module} import {entry.qualname}\n")
    arguments = list(inspect.signature(thing).parameters.values())
    if inspect.isfunction(thing) and entry.kind in ("advantage", "loss"):
        options = [p for p in arguments if p.kind is p.KEYWORD_ONLY and p.name not in _GIVEN]
        print("  from the batch:")
        _print_arguments([each for each in arguments if each not in options])
        print("  options:")
        _print_arguments(options)
    else:
        _print_arguments(arguments)
    print(f"\n{_plain(inspect.getdoc(thing) or '')}")
    if entry.paper is not None:
        print(f"\n{entry.paper.title} ({entry.paper.year}), {entry.paper.id}")


def _print_arguments(arguments: Iterable[inspect.Parameter]) -> None:
    for argument in arguments:
        default = "" if argument.default is argument.empty else f" = {argument.default!r}"
        print(f"    {argument.name}{default}")


def _plain(text: str) -> str:
    """Without the marks of references and code."""
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", text).replace("``", "")
