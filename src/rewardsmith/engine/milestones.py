"""A program run under a harness and graded: the function of one row behind ``milestones``.

Worker processes import this file, and so it imports no torch.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from ..rules.milestones import announcement, grade
from ..rules.unit_tests import code_of
from ..rules.verdict import Verdict
from . import sandbox

Announce: TypeAlias = Callable[..., str]
"""``announce(text, value="")``: a statement that prints a marked line."""
Instrument: TypeAlias = Callable[[str, Announce], str]
Grader: TypeAlias = Callable[..., float | None]

_UNREADABLE = (SyntaxError, RecursionError, MemoryError)
"""What parsers raise on a program that is none."""


def run_and_grade(
    completion: str,
    *rest: Any,
    given: Sequence[str],
    milestones: Mapping[str, str],
    score: str,
    terms: Mapping[str, Any],
    instrument: Instrument | None = None,
    grader: Grader | None = None,
    limits: Mapping[str, float] | None = None,
    unsafe: bool = False,
    packages: bool = False,
) -> Verdict:
    """Run a program in the sandbox and grade what it printed.

    Args:
        completion: the program, or a text with it in a block.
        rest: the columns of ``given``.
        given: which of ``"stdin"`` and ``"gold"`` follow.
        milestones: name -> RE2 pattern.
        score: the pattern of the score.
        terms: further arguments of :func:`rewardsmith.rules.milestones.grade`.
        instrument: ``(source, announce) -> source``, before the run.
        grader: ``(output[, gold]) -> score | None``, after the run, in place of ``score``.
        limits: other limits than the sandbox's own, by name.
        unsafe: run without isolation.
        packages: let the program import the packages that are installed here.

    Raises:
        OSError: the sandbox failed; nothing was learned about the program.
        ValueError: the score lies outside ``bounds``.
        TypeError: standard input that is no text.
    """
    columns = dict(zip(given, rest, strict=True))
    source, key = code_of(completion), None
    asked = None if grader is None else partial(_graded, grader, columns)
    options = {**terms, "milestones": milestones, "score": score, "grader": asked}
    if "\0" in source or not _is_utf8(source):
        return grade("", source, ended="the program is no text that Python reads", **options)
    instrumented = source
    if instrument is not None:
        key = secrets.token_hex(16)
        try:
            instrumented = instrument(source, partial(announcement, key))
        except _UNREADABLE as error:
            ended = f"the program does not parse: {error}"[:200]
            return grade("", source, ended=ended, **options)
    ran = _run(instrumented, columns.get("stdin"), limits, unsafe=unsafe, packages=packages)
    ended = "" if ran.status == "passed" else f"{ran.status}: {_last_line(ran.why)}"
    output = ran.output.decode("utf-8", "replace")
    return grade(output, source, ended=ended, key=key, **options)


def _graded(grader: Grader, columns: Mapping[str, Any], output: str) -> float | None:
    return grader(output, columns["gold"]) if "gold" in columns else grader(output)


def _run(source: str, stdin: Any, limits: Mapping[str, float] | None, **setting: bool) -> Any:
    options: dict[str, Any] = {"setting": sandbox.Setting(**setting)}
    if limits is not None:
        options["limits"] = sandbox.Limits.of(limits)
    if stdin is not None:
        if not isinstance(stdin, str | bytes):
            raise TypeError(f"standard input is text, this is {type(stdin).__name__}")
        options["stdin"] = stdin.encode() if isinstance(stdin, str) else stdin
    ran = sandbox.run_script(source, **options)
    if ran.status == "infrastructure":
        raise OSError(f"the sandbox failed: {ran.why}")
    return ran


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else ""
