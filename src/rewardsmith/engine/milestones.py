"""A program run under a harness and graded: the function of one row behind ``milestones``.

Worker processes import this file, and so it imports no torch.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from ..core.reference import Reference, resolve
from ..rules.milestones import announcement, hits, printed_score, unmarked, verdict
from ..rules.unit_tests import code_of
from ..rules.verdict import Verdict
from . import sandbox

Announce: TypeAlias = Callable[..., str]
"""``announce(text, value="")``: a statement that prints a marked line."""
Instrument: TypeAlias = Callable[[str, Announce], str]
Grader: TypeAlias = Callable[..., float | None]

_UNREADABLE = (SyntaxError, RecursionError, MemoryError)
"""What parsers raise on a program that is none."""


class ByName:
    """A function that is pickled by its reference, so that one of a file is found elsewhere."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> "ByName":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return resolve, (Reference.of(self.call),)


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
    runner: Callable[..., Any] | None = None,
) -> Verdict:
    """Run a program in the sandbox and grade what it printed.

    Args:
        completion: the program, or a text with it in a block.
        rest: the columns of ``given``.
        given: which of ``"stdin"`` and ``"gold"`` follow.
        milestones: name -> RE2 pattern.
        score: the pattern of the score.
        terms: further arguments of :func:`rewardsmith.rules.milestones.verdict`.
        instrument: ``(source, announce) -> source``, before the run.
        grader: ``(output[, gold]) -> score | None``, after the run, in place of ``score``.
        limits: other limits than the sandbox's own, by name.
        unsafe: run without isolation.
        packages: let the program import the packages that are installed here.
        runner: runs in place of the sandbox's ``run_script``.

    Raises:
        OSError: the sandbox failed; nothing was learned about the program.
        ValueError: the score lies outside ``bounds``.
        TypeError: standard input that is no text.
    """
    columns = dict(zip(given, rest, strict=True))

    def told(found: Sequence[str], number: float | None, why: str) -> Verdict:
        return verdict(found, len(milestones), number, why=why, **terms)

    source, key = code_of(completion), None
    if "\0" in source or not _is_utf8(source):
        return told([], None, "the program is no text that Python reads")
    instrumented = source
    if instrument is not None:
        key = secrets.token_hex(16)
        try:
            instrumented = instrument(source, partial(announcement, key))
        except _UNREADABLE as error:
            return told([], None, f"the program does not parse: {error}"[:200])
    setting = {"unsafe": unsafe, "packages": packages}
    ran = _run(instrumented, columns.get("stdin"), limits, setting, runner)
    output = ran.output.decode("utf-8", "replace")
    found = hits(output, source, milestones, key)
    if ran.status != "passed":
        return told(found, None, f"{ran.status}: {_last_line(ran.why)}")
    if grader is None:
        number = printed_score(output, source, score, key)
        return told(found, number, "no score was printed")
    own = output if key is None else unmarked(output, key)
    graded = grader(own, columns["gold"]) if "gold" in columns else grader(own)
    number = None if graded is None else float(graded)
    return told(found, number, "the grader found no valid solution")


def _run(
    source: str,
    stdin: Any,
    limits: Mapping[str, float] | None,
    setting: Mapping[str, bool],
    runner: Callable[..., Any] | None,
) -> Any:
    options: dict[str, Any] = {"setting": sandbox.Setting(**setting)}
    if limits is not None:
        options["limits"] = sandbox.Limits.of(limits)
    if stdin is not None:
        if not isinstance(stdin, str | bytes):
            raise TypeError(f"standard input is text, this is {type(stdin).__name__}")
        options["stdin"] = stdin.encode() if isinstance(stdin, str) else stdin
    ran = (runner or sandbox.run_script)(source, **options)
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
