"""A trainer outside of the tested range is told of, and used."""

import tomllib
import warnings
from pathlib import Path

import pytest

from rewardsmith.adapters import versions

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"


@pytest.fixture(autouse=True)
def _forget() -> None:
    versions.note_version.cache_clear()


@pytest.mark.parametrize("installed", ["1.16.0", "1.16.4", "1.16.0.dev1"])
def test_what_was_tested_says_nothing(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", lambda package: installed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions.note_version("trl")


@pytest.mark.parametrize("installed", ["1.15.2", "1.17.0", "2.0", "0.29.1"])
def test_another_version_is_told_once(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", lambda package: installed)
    with pytest.warns(UserWarning, match=f"trl 1.16.0, and this is {installed}; going on"):
        versions.note_version("trl")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions.note_version("trl")


def test_what_is_not_installed_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions.note_version("openrlhf")


@pytest.mark.parametrize("package", sorted(versions.TESTED))
def test_the_range_is_that_of_the_contracts(package: str) -> None:
    # What a contract installs is what was tested.
    installed = {
        argument.removeprefix(f"{package}==")
        for file in CONTRACTS.glob("*.toml")
        for arguments in tomllib.loads(file.read_text())["install"]
        for argument in arguments
        if argument.startswith(f"{package}==")
    }
    assert {*versions.TESTED[package]} == installed
