"""Parts for programs beside tests: that they compile, what a linter says, what tests reach."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from ..core.catalog import method
from ..core.contract import Contract
from ..core.errors import SpecError
from ..core.rollouts import Rollouts
from ..core.scores import Scores
from ..engine.sandbox.measures import compiles, coverage, lint
from ._sandboxed import Sandboxed

_GOOD = "```python\ndef add(a, b):\n    return a + b\n```"
_BAD = "```python\ndef add(a, b)\n    return a + b\n```"


class _Measure(Sandboxed):
    """What these have in common: a package that may have to be there."""

    package = ""
    """What has to be installed, and is taken into the sandbox."""

    def measured_by(
        self,
        call: Callable[..., Any],
        columns: Sequence[str],
        limits: Mapping[str, Any] | None,
        unsafe: bool,
    ) -> None:
        self.sandboxed(limits, unsafe, packages=bool(self.package))
        self.by_row(call, columns, {"limits": dict(limits or {}), "unsafe": unsafe})

    def forward(self, rollouts: Rollouts) -> Scores:
        if self.package and find_spec(self.package) is None:
            raise SpecError(f'{self.label()} needs {self.package}: pip install "rewardsmith[code]"')
        return super().forward(rollouts)


@method("compiles", kind="signal")
class Compiles(_Measure):
    """1 if the program in a completion compiles, else 0. It is not run.

    Args:
        completion: the column of completions: text or chat messages.
        setup: the column of code that is put before the program, such as HumanEval's ``prompt``;
            None for none.
        limits: other limits than those of :class:`rewardsmith.engine.sandbox.Limits`, by name.
        unsafe: compile it without a sandbox around.

    Raises:
        ValueError: there is no such limit.
        SpecError: when it scores: there is no sandbox to be had here, with what to do about it.
    """

    contract = Contract(
        full={"completion": _GOOD},
        zero={"completion": _BAD},
        malformed={"completion": "I would add them."},
    )

    def __init__(
        self,
        completion: str = "completion",
        setup: str | None = None,
        limits: Mapping[str, Any] | None = None,
        unsafe: bool = False,
    ) -> None:
        super().__init__()
        self.completion, self.setup = completion, setup
        columns = (completion,) if setup is None else (completion, setup)
        self.measured_by(compiles, columns, limits, unsafe)


@method("lint", kind="signal")
class Lint(_Measure):
    """``max(0, 1 - complaints / statements)``, by pyflakes: names unknown or unused, and the like.

    Of ``setup`` neither counts.

    A program that does not parse earns 0. It is not run. ``info["why"]`` tells the first three.
    It says nothing of whether the program is right, and short programs are easily clean: give it
    a small weight.

    Args:
        completion: the column of completions: text or chat messages.
        setup: the column of code that is put before the program, such as HumanEval's ``prompt``;
            None for none.
        limits: other limits than those of :class:`rewardsmith.engine.sandbox.Limits`, by name.
        unsafe: read it without a sandbox around.

    Raises:
        ValueError: there is no such limit.
        SpecError: when it scores: there is no sandbox to be had here, with what to do about it.
    """

    package = "pyflakes"
    contract = Contract(
        full={"completion": _GOOD},
        zero={"completion": "```python\nimport os\n```"},
        malformed={"completion": _BAD},
    )

    def __init__(
        self,
        completion: str = "completion",
        setup: str | None = None,
        limits: Mapping[str, Any] | None = None,
        unsafe: bool = False,
    ) -> None:
        super().__init__()
        self.completion, self.setup = completion, setup
        columns = (completion,) if setup is None else (completion, setup)
        self.measured_by(lint, columns, limits, unsafe)


@method("coverage", kind="signal")
class Coverage(_Measure):
    """For completions that are tests: the share of a program's lines that they reach.

    Lines that run when the program is loaded do not count, and tests that hold no assertion earn 0.

    Tests are statements that assert, functions ``test...``, or both. Tests that fail on the
    program, which is taken for right, earn 0. Lines are counted by coverage.py where the tests run,
    so tests can lie about them, and nothing is asked of what they assert: add a reward for wrong
    programs that they find.

    Args:
        completion: the column of completions: text or chat messages.
        program: the column of programs.
        limits: other limits than those of :class:`rewardsmith.engine.sandbox.Limits`, by name.
        unsafe: run them without isolation.

    Raises:
        ValueError: there is no such limit.
        SpecError: when it scores: there is no sandbox to be had here, with what to do about it.
    """

    package = "coverage"
    contract = Contract(
        full={
            "completion": "```python\nassert sign(-1) == -1\nassert sign(2) == 1\n```",
            "program": "def sign(x):\n    if x < 0:\n        return -1\n    return 1\n",
        },
        zero={
            "completion": "```python\nassert sign(-1) == 1\n```",
            "program": "def sign(x):\n    if x < 0:\n        return -1\n    return 1\n",
        },
        malformed={
            "completion": "I would test both signs.",
            "program": "def sign(x):\n    if x < 0:\n        return -1\n    return 1\n",
        },
    )

    def __init__(
        self,
        completion: str = "completion",
        program: str = "program",
        limits: Mapping[str, Any] | None = None,
        unsafe: bool = False,
    ) -> None:
        super().__init__()
        self.completion, self.program = completion, program
        self.measured_by(coverage, (completion, program), limits, unsafe)
