"""What the tests of the sandbox need: a sandbox, or the reason why there is none."""

import ctypes.util
import shutil
import subprocess

import pytest

from rewardsmith.engine.sandbox import Call, run_calls


@pytest.fixture(scope="session")
def sandbox() -> None:
    """Skips where there is no bubblewrap that works; where there is one, ours has to work too."""
    program = shutil.which("bwrap")
    if program is None:
        pytest.skip("bubblewrap is not installed")
    if ctypes.util.find_library("seccomp") is None:
        pytest.skip("libseccomp is not installed")
    alone = [program, "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    ran = subprocess.run(alone, capture_output=True, text=True, timeout=60, check=False)
    if ran.returncode:
        pytest.skip(f"bubblewrap does not work here: {ran.stderr.strip()}")
    found = run_calls("def f():\n    return 1\n", "f", [Call([], {}, 1)], int.__eq__)
    assert [result.status for result in found] == ["passed"]
