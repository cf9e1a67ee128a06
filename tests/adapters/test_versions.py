"""A trainer outside of the tested range is told of, and used."""

import re
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


def pins(text: str) -> set[str]:
    return {pin.lower().replace("_", "-") for pin in re.findall(r"[\w.-]+==[\w.]+", text)}


@pytest.mark.parametrize("package", sorted(versions.TESTED))
def test_the_range_is_that_of_the_contracts(package: str) -> None:
    # What a contract's lock installs is what was tested.
    locks = {pin for file in CONTRACTS.glob("*.lock") for pin in pins(file.read_text())}
    oldest, newest = versions.TESTED[package]
    assert {f"{package}=={oldest}", f"{package}=={newest}"} <= locks


@pytest.mark.parametrize("lock", sorted(CONTRACTS.glob("*.lock")), ids=lambda file: file.stem)
def test_a_lock_has_what_its_contract_asks_for(lock: Path) -> None:
    contract = tomllib.loads(lock.with_suffix(".toml").read_text())
    asked = {pin for arguments in contract["install"] for pin in pins(" ".join(arguments))}
    assert asked <= pins(lock.read_text()), "run make contracts-lock"
