"""Importing the package is cheap: nothing heavy is loaded before it is used."""

import json
import subprocess
import sys

import pytest

HEAVY = ("gymnasium", "plotly", "ray", "stable_baselines3", "torch", "transformers", "trl")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def loaded_after(statements: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after the statements."""
    code = f"{statements}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    result = run("-c", code)
    assert result.returncode == 0, result.stderr
    return {name.partition(".")[0] for name in json.loads(result.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    "statements",
    [
        "import rewardsmith",
        "import rewardsmith; dir(rewardsmith)",
        "import rewardsmith.core.catalog as catalog; catalog.methods()",
        "import rewardsmith.cli",
    ],
)
def test_nothing_heavy_is_loaded(statements: str) -> None:
    assert loaded_after(statements).isdisjoint(HEAVY)


def test_an_unknown_name_is_an_attribute_error() -> None:
    result = run("-c", "import rewardsmith; rewardsmith.no_such_name")
    assert result.returncode == 1
    assert "AttributeError: module 'rewardsmith' has no attribute 'no_such_name'" in result.stderr


def test_help_works() -> None:
    result = run("-c", "from rewardsmith.cli import main; main()", "--help")
    assert result.returncode == 0, result.stderr
    assert "study" in result.stdout
    assert result.stderr == ""


def test_every_public_name_resolves() -> None:
    # dir() is what completion shows; a name in it that cannot be loaded is a broken promise.
    code = "import rewardsmith as rs\nfor name in dir(rs): getattr(rs, name)"
    result = run("-c", code)
    assert result.returncode == 0, result.stderr
