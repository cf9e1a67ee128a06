"""Score programs by the tests that they pass, run in a sandbox."""

from collections.abc import Mapping
from typing import Any

from ..core.catalog import method, nearest
from ..core.contract import Contract
from ..engine.sandbox.unit_tests import grade
from ._sandboxed import Sandboxed

_RUNNER = ("file", "command", "compile", "fence")
_ADD = "```python\ndef add(a, b):\n    return a {} b\n```"
_TESTS = ["assert add(1, 2) == 3"]


@method("unit_tests", kind="signal")
class UnitTests(Sandboxed):
    """1 if the program in a completion passes all its tests, else 0; or the fraction that passes.

    The program is the last fenced block of the completion, or all of it where there is none. It
    runs in a sandbox (:mod:`rewardsmith.engine.sandbox`): bubblewrap without network, with files,
    processes and limits of its own. The expected results never get there: what it returns or
    prints comes out as plain data and is compared here, and tests that are code run in another
    sandbox than the program.

    Which forms of tests there are: :func:`rewardsmith.rules.unit_tests.read_tests`. A program that
    hangs, crashes, does not parse or lacks the function has failed its tests. Tests that fail by
    themselves, and a sandbox that breaks, fail the row: it has no score. ``info["why"]`` begins
    with a letter per test (``.`` passed, ``F`` failed, ``T`` timeout, ``C`` crashed), which
    :func:`rewardsmith.rules.marks.marks_of` reads, and tells of the first that did not pass.

    Args:
        tests: the column of tests.
        completion: the column of completions: text or chat messages.
        entry: the column of names of the functions that are tested; None where tests need none.
        setup: the column of code that is put before the program and that tests may use, such as
            HumanEval's ``prompt``; None for none.
        score: ``"all"`` or ``"fraction"``.
        tolerance: by which numbers may differ, relative or absolute, in results and in output;
            tests that are code compare by themselves.
        limits: other limits than those of :class:`rewardsmith.engine.sandbox.Limits`, by name.
        packages: let programs import the packages that are installed here.
        runner: how programs are run that are not Python: ``file``, what the source is called;
            ``command``, which runs it; ``compile``, which makes it, if need be; ``fence``, the
            language that their blocks name. Their tests have input and output.
        unsafe: run them without isolation, where there is no bubblewrap. What they do to this
            machine is then up to them.

    Raises:
        ValueError: arguments that are not of this form.
        SpecError: when it scores: there is no sandbox to be had here, with what to do about it; or
            the executor ends rows before ``limits.program`` is over.
    """

    contract = Contract(
        full={"completion": _ADD.format("+"), "tests": _TESTS},
        zero={"completion": _ADD.format("-"), "tests": _TESTS},
        malformed={"completion": "I would add them.", "tests": _TESTS},
    )

    def __init__(
        self,
        tests: str = "tests",
        completion: str = "completion",
        entry: str | None = None,
        setup: str | None = None,
        score: str = "all",
        tolerance: float = 0.0,
        limits: Mapping[str, Any] | None = None,
        packages: bool = False,
        runner: Mapping[str, Any] | None = None,
        unsafe: bool = False,
    ) -> None:
        super().__init__()
        if score not in ("all", "fraction"):
            raise ValueError(f"unit_tests: score is {score!r}, not 'all' or 'fraction'")
        if not tolerance >= 0:
            raise ValueError(f"unit_tests: tolerance is {tolerance}, not 0 or more")
        if runner is not None:
            _check_runner(runner)
        self.tests, self.completion, self.entry, self.setup = tests, completion, entry, setup
        self.score, self.tolerance = score, tolerance
        self.packages, self.runner = packages, runner
        self.sandboxed(limits, unsafe, packages=packages, system=runner is not None)
        named = {"entry": entry, "setup": setup}
        columns = {name: column for name, column in named.items() if column is not None}
        self.by_row(
            grade,
            (completion, tests, *columns.values()),
            {
                "named": tuple(columns),
                "score": score,
                "tolerance": tolerance,
                "limits": dict(limits or {}),
                "unsafe": unsafe,
                "packages": packages,
                "runner": runner and dict(runner),
            },
        )


def _check_runner(runner: Mapping[str, Any]) -> None:
    for name in ("file", "command", "fence"):
        if name not in runner:
            raise ValueError(f"unit_tests: runner has no {name!r}")
    for name, value in runner.items():
        if name not in _RUNNER:
            raise ValueError(f"unit_tests: runner has no {name!r}{nearest(name, _RUNNER)}")
        words = [value] if name in ("file", "fence") else value
        if not isinstance(words, list | tuple) or not all(isinstance(w, str) and w for w in words):
            kind = "text" if name in ("file", "fence") else "a list of words"
            raise ValueError(f"unit_tests: runner's {name!r} is {value!r}, not {kind}")
    if "/" in runner["file"]:
        raise ValueError("unit_tests: runner's 'file' is a name, without a folder")
