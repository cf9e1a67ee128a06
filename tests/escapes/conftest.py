"""Attacks need a sandbox to attack: where there is none, they are skipped and say why."""

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardsmith.engine.sandbox import SandboxError
from rewardsmith.engine.sandbox.box import Setting, box_of


@pytest.fixture(autouse=True)
def sandbox(request: pytest.FixtureRequest) -> None:
    if "without_bubblewrap" in request.fixturenames:
        return
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not there, so there is no sandbox to escape from")
    try:
        box_of(Setting())
    except SandboxError as error:
        pytest.skip(f"no sandbox can be had here: {error}")


@pytest.fixture
def without_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def token() -> str:
    """Text that is nowhere else."""
    return f"token-{secrets.token_hex(16)}"


@pytest.fixture
def sentinel(tmp_path: Path, token: str) -> Iterator[Path]:
    """A file of the host; nobody else changes or moves it."""
    path = tmp_path / "sentinel"
    path.write_text(token)
    path.chmod(0o666)
    tmp_path.chmod(0o777)
    yield path
    assert path.read_text() == token
    assert [file.name for file in tmp_path.iterdir()] == ["sentinel"]
    assert path.stat().st_nlink == 1


@pytest.fixture
def at_home(token: str) -> Iterator[Path]:
    """A secret in the home of whoever runs the tests."""
    path = Path.home() / f".{token[:20]}"
    path.write_text(token)
    path.chmod(0o644)
    yield path
    path.unlink()
