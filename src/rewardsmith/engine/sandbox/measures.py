"""What a completion is worth by measures of its program other than tests. It imports no torch."""

from collections.abc import Mapping
from typing import Any

from ...rules.unit_tests import Call, code_of
from ...rules.verdict import Verdict
from .bubblewrap import Setting
from .errors import SandboxError
from .guest import measures
from .limits import Limits
from .programs import run_calls
from .results import Result
from .unit_tests import whole


def compiles(
    completion: str,
    setup: str = "",
    *,
    limits: Mapping[str, Any] | None = None,
    unsafe: bool = False,
) -> Verdict:
    """1 if the program compiles, else 0."""
    result, why = _measured("compiled", [whole(setup, code_of(completion))], limits, unsafe)
    if result.status != "passed":
        return Verdict(0.0, f"{result.status}: {result.why}")
    return Verdict(float(not why), why)


def lint(
    completion: str,
    setup: str = "",
    *,
    limits: Mapping[str, Any] | None = None,
    unsafe: bool = False,
) -> Verdict:
    """The share of statements without a complaint; 0 for a program that does not parse."""
    verdict = compiles(completion, setup, limits=limits, unsafe=unsafe)
    if not verdict.value:
        return verdict
    program = [whole(setup, code_of(completion)), len(setup.splitlines())]
    result, found = _measured("complaints", program, limits, unsafe)
    if result.status == "failed":  # the linter did, for the program is read and not run
        raise SandboxError(f"pyflakes: {result.why}")
    if result.status != "passed":
        return Verdict(0.0, f"{result.status}: {result.why}")
    statements, told = found
    if not statements:
        return Verdict(0.0, "it has no statements")
    return Verdict(max(0.0, 1.0 - len(told) / statements), "; ".join(told[:3]))


def coverage(
    completion: str,
    program: str,
    *,
    limits: Mapping[str, Any] | None = None,
    unsafe: bool = False,
) -> Verdict:
    """The share of a program's lines that the tests in a completion reach; 0 if they fail."""
    if not isinstance(program, str):
        raise ValueError(f"the program is {type(program).__name__}, not text")
    loaded, lines = _lines_of(program, limits, unsafe)
    tests = code_of(completion)
    if "assert" not in tests:
        return Verdict(0.0, "the tests hold no assertion")
    result, found = _measured("covered", [program, tests], limits, unsafe)
    if result.status != "passed":
        return Verdict(0.0, f"{result.status}: {result.why}")
    # Tests may have put anything into the place of what is measured.
    reached, why = found[0], found[2] if len(found) == 3 else "what they reach cannot be read"
    if why or type(reached) is not int or not loaded <= reached <= lines:
        return Verdict(0.0, f"the tests fail: {why}"[:500])
    told = f"{reached - loaded} of {lines - loaded} lines"
    return Verdict((reached - loaded) / (lines - loaded), told)


def _lines_of(program: str, limits: Mapping[str, Any] | None, unsafe: bool) -> tuple[int, int]:
    """How many lines run when a program is loaded, of how many, counted without the tests."""
    result, found = _measured("covered", [program, ""], limits, unsafe)
    if result.status != "passed":
        raise ValueError(f"the program does not run by itself: {result.why}")
    loaded, lines, why = found
    if why:
        raise ValueError(f"the program does not run by itself: {why}")
    if loaded == lines:
        raise ValueError("the program holds nothing that tests could reach")
    return int(loaded), int(lines)


def _measured(
    name: str, args: list[Any], limits: Mapping[str, Any] | None, unsafe: bool
) -> tuple[Result, Any]:
    returned: list[Any] = []

    def keep(value: Any, expected: Any) -> bool:
        returned.append(value)
        return True

    (result,) = run_calls(
        f"from {measures.__name__.rpartition('.sandbox.')[2]} import compiled, complaints, covered",
        name,
        [Call(args, {}, None)],
        keep,
        limits=Limits.of(limits or {}),
        setting=Setting(unsafe=unsafe, packages=name != "compiled"),
    )
    found = returned[0] if returned else None
    if result.status == "passed" and name != "compiled" and not isinstance(found, tuple):
        return Result("failed", "what was measured cannot be read"), None
    return result, found
