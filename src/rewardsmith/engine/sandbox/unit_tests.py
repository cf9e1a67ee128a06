"""What a completion is worth by the tests that its program passes. It imports no torch."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeGuard, cast

from ...rules.marks import marked
from ...rules.unit_tests import (
    Asserts,
    Call,
    Run,
    code_of,
    names_in,
    read_tests,
    same_output,
    same_value,
)
from ...rules.verdict import Verdict
from .asserts import run_asserts
from .bubblewrap import Setting
from .limits import Limits
from .programs import Command, run_calls, run_scripts
from .results import Result, tally


def grade(
    completion: str,
    tests: Any,
    *columns: str | None,
    named: Sequence[str] = (),
    score: str = "all",
    tolerance: float = 0.0,
    limits: Mapping[str, Any] | None = None,
    unsafe: bool = False,
    packages: bool = False,
    runner: Mapping[str, Any] | None = None,
) -> Verdict:
    """Run the tests; see :class:`rewardsmith.signals.UnitTests`.

    Args:
        completion: text with a program.
        tests: see :func:`rewardsmith.rules.unit_tests.read_tests`.
        columns: what the row has besides, each called as in ``named``: ``entry``, ``setup``.
        named: the names of ``columns``.
        score: ``all`` or ``fraction``.
        tolerance: by which numbers may differ.
        limits: those that are not the defaults.
        unsafe: run it without isolation.
        packages: let it import what is installed here.
        runner: how it is run where it is not Python.

    Raises:
        ValueError: the tests are no tests.
        SandboxError: nothing was learned about the program.
    """
    more = dict(zip(named, columns, strict=True))
    entry, setup = _text(more, "entry"), _text(more, "setup") or ""
    cases, name = read_tests(tests)
    bounds = Limits.of(limits or {})
    setting = Setting(unsafe=unsafe, packages=packages)
    value = partial(same_value, tolerance=tolerance)
    output = partial(same_output, tolerance=tolerance)
    if runner is not None:
        if not runs(cases):
            raise ValueError("programs that are not Python take tests with input and output")
        make = tuple(runner.get("compile", ()))
        command = Command(runner["file"], tuple(runner["command"]), make)
        source = whole(setup, code_of(completion, (runner["fence"],)))
        return verdict(
            run_scripts(source, cases, output, command=command, limits=bounds, setting=setting),
            score,
        )
    function = name or entry
    names = {function, "Solution"} if function else set()
    if isinstance(cases, Asserts) and not entry:
        names = names_in(cases.code)
    source = whole(setup, code_of(completion, names=names))
    if isinstance(cases, Asserts):
        results = run_asserts(source, cases.code, entry, setup, limits=bounds, setting=setting)
    elif runs(cases):
        results = run_scripts(source, cases, output, limits=bounds, setting=setting)
    else:
        if not function:
            raise ValueError("no name of the function to call: give the column of names, entry")
        calls = cast(list[Call], cases)
        results = run_calls(source, function, calls, value, limits=bounds, setting=setting)
    return verdict(results, score)


def whole(setup: str, code: str) -> str:
    """A program behind what it goes on from; an unfinished function does so in the next line."""
    if not setup:
        return code
    lines = code.split("\n")
    # These have to come before anything else.
    first = [line for line in lines if line.startswith("from __future__ import ")]
    if first:
        setup = "\n".join([*first, setup])
        code = "\n".join(line for line in lines if line not in first)
    return setup + ("" if setup.endswith("\n") else "\n") + code


def runs(cases: Asserts | list[Call] | list[Run]) -> TypeGuard[list[Run]]:
    """Whether tests have input and output."""
    return isinstance(cases, list) and isinstance(cases[0], Run)


def verdict(results: Sequence[Result], score: str) -> Verdict:
    """What results are worth, and their marks."""
    passed = sum(result.status == "passed" for result in results)
    value = passed / len(results) if score == "fraction" else float(passed == len(results))
    return Verdict(value, marked([result.status for result in results], tally(results)))


def _text(more: Mapping[str, Any], name: str) -> str | None:
    value = more.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"the column for {name!r} holds {type(value).__name__}, not text")
    return value
