"""What holds for every test: one thread, checked shapes, hypothesis without clocks."""

import os
import sys
from collections.abc import Callable
from functools import cache
from subprocess import CompletedProcess

import pytest

# Before numpy and torch are loaded: afterwards their thread pools exist already.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import tests.typecheck  # noqa: F401 - the hook below finds it by this name
from hypothesis import settings
from jaxtyping import install_import_hook

# Checks every jaxtyping annotation of these rooms at run time. It only reaches modules that are
# imported after it, and pytest loads this file before any test of its worker.
# Not `policy`: its functions name a wrong shape or option themselves, and torch.compile takes them
# as they are.
CHECKED = (
    "rewardsmith.combine",
    "rewardsmith.core",
    "rewardsmith.ops",
    "rewardsmith.signals",
    "rewardsmith.transforms",
)
install_import_hook(CHECKED, "tests.typecheck.check")

import torch  # noqa: E402 - after the variable above

torch.set_num_threads(1)

# Deadlines fail on a busy machine for no fault of the code. In CI the examples are the same every
# time.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("sandbox") and (why := _no_sandbox()):
        pytest.skip(why)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., CompletedProcess[str]]:
    """The command line, in this process: starting another takes seconds."""
    from rewardsmith.cli import main

    def run(*arguments: object) -> CompletedProcess[str]:
        words = ["rewardsmith", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
        return CompletedProcess(words, int(ended.value.code or 0), *capsys.readouterr())

    return run


@cache
def _no_sandbox() -> str:
    """Why no programs can be run here, or "" if they can."""
    from rewardsmith.engine.sandbox import SandboxError, run_script

    try:
        run_script("")
    except SandboxError as error:
        return f"no sandbox: {error}"
    return ""
