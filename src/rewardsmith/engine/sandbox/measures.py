"""What a completion is worth by measures of its program other than tests. It imports no torch."""

from collections.abc import Mapping
from typing import Any

from ...rules.unit_tests import Call, code_of
from ...rules.verdict import Verdict
from .bubblewrap import Setting
from .limits import Limits
from .programs import Result, run_calls
from .unit_tests import whole

_MEASURES = "from guest.measures import compiled, complaints, covered"


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
    result, found = _measured("complaints", [whole(setup, code_of(completion))], limits, unsafe)
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
    result, why = _measured("compiled", [program], limits, unsafe)
    if result.status != "passed" or why:
        raise ValueError(f"the program does not compile: {why or result.why}")
    result, found = _measured("covered", [program, code_of(completion)], limits, unsafe)
    if result.status != "passed":
        return Verdict(0.0, f"{result.status}: {result.why}")
    reached, lines, why = found
    if why:
        return Verdict(0.0, f"the tests fail: {why}")
    told = f"{reached} of {lines} lines"
    return Verdict(reached / lines if lines else 0.0, told)


def _measured(
    name: str, args: list[Any], limits: Mapping[str, Any] | None, unsafe: bool
) -> tuple[Result, Any]:
    returned: list[Any] = []

    def keep(value: Any, expected: Any) -> bool:
        returned.append(value)
        return True

    (result,) = run_calls(
        _MEASURES,
        name,
        [Call(args, {}, None)],
        keep,
        limits=Limits.of(limits or {}),
        setting=Setting(unsafe=unsafe, packages=name != "compiled"),
    )
    return result, returned[0] if returned else None
