"""Parts beside tests: compiling, lint, coverage."""

from typing import Any

import pytest

import rewardsmith as rs
from rewardsmith.core.errors import SpecError
from rewardsmith.core.outcome import Status
from rewardsmith.signals import Compiles, Coverage, Lint, code_quality

pytestmark = pytest.mark.sandbox

SIGN = "def sign(x):\n    if x < 0:\n        return -1\n    return 1\n"
LIE = """
import sys
sys.modules["guest.session"].encode = lambda value: b'[{"t": [1000, 1, ""]}, {"d": []}]'
assert True
"""


def scores(reward: Any, **columns: Any) -> Any:
    with rs.executor("inline"):
        return reward(rs.Rollouts({name: [value] for name, value in columns.items()}))


def test_compiling_runs_nothing() -> None:
    assert scores(Compiles(), completion="while True: pass").values.tolist() == [1.0]
    found = scores(Compiles(), completion="def f(:")
    assert found.values.tolist() == [0.0]
    assert "SyntaxError" in found.info["why"][0]


def test_lint_passes_over_what_was_given() -> None:
    setup = 'import os\n\n\ndef double(x):\n    """Twice x."""\n'
    program = "```python\ndef double(x):\n    return 2 * x\n```"
    found = scores(Lint(setup="prompt"), completion=program, prompt=setup)
    assert found.values.tolist() == [1.0], found.info["why"]


def test_lint_counts_complaints_by_statement() -> None:
    found = scores(Lint(), completion="import os\nx = 1\ny = 2\nprint(x + z)\n")
    assert found.values.tolist() == [0.5]
    assert found.info["why"][0].startswith("line 1: 'os' imported but unused; line 4: undefined")
    assert scores(Lint(), completion="").values.tolist() == [0.0]


@pytest.mark.parametrize(
    ("tests", "value", "why"),
    [
        ("assert sign(2) == 1", 2 / 3, "2 of 3 lines"),
        ("def test_both():\n    assert sign(-2) == -1\n    assert sign(2) == 1", 1.0, "3 of 3"),
        ("def test_none():\n    assert True", 0.0, "0 of 3"),
        ("sign(2)", 0.0, "no assertion"),
        ("", 0.0, "no assertion"),
        (LIE, 0.0, "the tests fail"),
        ("assert sign(2) == 2", 0.0, "the tests fail: AssertionError"),
        ("assert sign(", 0.0, "the tests fail: SyntaxError"),
        ("assert True\nraise SystemExit", 0.0, "the tests fail: SystemExit"),
        ("assert True\nwhile True: pass", 0.0, "timeout"),
    ],
)
def test_coverage_of_the_program_by_tests(tests: str, value: float, why: str) -> None:
    found = scores(Coverage(limits={"test": 1.0}), completion=tests, program=SIGN)
    assert found.values.tolist() == pytest.approx([value])
    assert why in found.info["why"][0]


def test_a_program_that_does_not_compile_fails_the_row() -> None:
    found = scores(Coverage(), completion="assert True", program="def sign(")
    assert found.status.tolist() == [Status.FAILED]
    assert "does not run by itself" in found.errors[0][1]


def test_a_missing_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_quality, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"rewardsmith\[code\]"):
        scores(Lint(), completion="x = 1")
