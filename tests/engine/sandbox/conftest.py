"""What the tests of the sandbox need: a sandbox, or the reason why there is none."""

import pytest

from rewardsmith.engine.sandbox import Call, SandboxError, run_calls


@pytest.fixture(scope="session")
def sandbox() -> None:
    """Skips where bubblewrap cannot be had."""
    try:
        found = run_calls("def f():\n    return 1\n", "f", [Call([], {}, 1)], int.__eq__)
    except SandboxError as error:
        pytest.skip(f"no sandbox here: {error}")
    assert [result.status for result in found] == ["passed"]
