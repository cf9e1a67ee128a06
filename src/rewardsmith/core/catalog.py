"""The catalog of methods: what is decorated with :func:`method`, found by reading the source.

Nothing is listed twice and nothing is imported to be listed: :func:`methods` parses the files that
hold a ``@method(...)`` decorator, and :func:`find` imports the one module that a name needs. The
spec format, ``rewardsmith methods`` and the docs table all read this.
"""

import ast
import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from .errors import SpecError

T = TypeVar("T")
_PACKAGE = Path(__file__).resolve().parents[1]
KINDS = (
    "signal",
    "transform",
    "combine",
    "credit",
    "reward-model",
    "preference-data",
    "advantage",
    "loss",
    "sampler",
    "relabel",
    "search",
    "design",
    "audit",
    "benchmark",
)


@dataclass(frozen=True)
class Paper:
    """Where a mechanism was published. ``id`` is an arXiv number, a DOI or a proceedings key."""

    id: str
    title: str
    year: int


@dataclass(frozen=True)
class Method:
    """One catalog entry; ``seed`` holds the ids of the published mechanisms that it implements."""

    name: str
    kind: str
    seed: tuple[int, ...]
    paper: Paper | None
    module: str
    qualname: str
    summary: str
    verdict: str | None


def method(
    name: str,
    *,
    kind: str,
    seed: int | Sequence[int] = (),
    paper: Paper | None = None,
) -> Callable[[T], T]:
    """Register a class or function as a method.

    All arguments must be literals: they are read as text.

    Args:
        name: the name in specs, ``snake_case``.
        kind: one of :data:`KINDS`.
        seed: the id or ids of the published mechanisms that it implements, if they have one.
        paper: the source.

    Raises:
        ValueError: ``kind`` is not a known kind.
    """
    if kind not in KINDS:
        raise ValueError(f"method {name!r}: kind {kind!r} is none of {', '.join(KINDS)}")

    def register(thing: T) -> T:
        thing.method_name = name  # type: ignore[attr-defined]
        return thing

    return register


@cache
def methods() -> tuple[Method, ...]:
    """Every method of the package, sorted by name. Imports none of them."""
    found: dict[str, Method] = {}
    for path in sorted(_PACKAGE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "\n@method(" not in source:
            continue
        for entry in _scan(path, source):
            if entry.name in found:
                raise ValueError(
                    f"method {entry.name!r} is registered in {found[entry.name].module} "
                    f"and in {entry.module}"
                )
            found[entry.name] = entry
    return tuple(found[name] for name in sorted(found))


def find(name: str) -> Any:
    """Import and return the class or function registered as ``name``.

    Raises:
        SpecError: there is no such method; the message names the nearest one.
    """
    for entry in methods():
        if entry.name == name:
            return getattr(import_module(entry.module), entry.qualname)
    raise SpecError(f"unknown method {name!r}{nearest(name, [m.name for m in methods()])}")


def nearest(name: str, valid: Sequence[str], *, or_all: bool = True) -> str:
    """``"; did you mean 'x'?"`` for the nearest valid name; if none is near, all of them or ""."""
    folded = {v.lower(): v for v in valid}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {folded[close[0]]!r}?"
    return f"; valid names: {', '.join(sorted(valid))}" if valid and or_all else ""


def _scan(path: Path, source: str) -> Iterator[Method]:
    relative = path.relative_to(_PACKAGE.parent).with_suffix("")
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        for call in node.decorator_list:
            if not (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id == "method"
            ):
                continue
            options = {k.arg: k.value for k in call.keywords}
            seed = ast.literal_eval(options["seed"]) if "seed" in options else ()
            yield Method(
                name=ast.literal_eval(call.args[0]),
                kind=ast.literal_eval(options["kind"]),
                seed=(seed,) if isinstance(seed, int) else tuple(seed),
                paper=_paper(options.get("paper")),
                module=".".join(relative.parts),
                qualname=node.name,
                summary=(ast.get_docstring(node) or "").split("\n", 1)[0],
                verdict=_verdict(seed),
            )


def _paper(node: ast.expr | None) -> Paper | None:
    if node is None or not isinstance(node, ast.Call):
        return None
    return Paper(*(ast.literal_eval(argument) for argument in node.args))


def _verdict(seed: int | Sequence[int]) -> str | None:
    """The recorded verdict of a method's reproduction; an installed package carries no records."""
    results = _PACKAGE.parents[1] / "reproductions" / "results"
    for number in (seed,) if isinstance(seed, int) else seed:
        path = results / f"{number:03d}.json"
        if path.exists():
            return str(json.loads(path.read_text(encoding="utf-8"))["verdict"])
    return None
