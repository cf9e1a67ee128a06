"""``rewardsmith export``: what it writes, and what it leaves alone."""

import ast
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rewardsmith.cli.export import TRAINERS, export_command
from rewardsmith.core.errors import SpecError

REWARD = "reward: {length: {high: 9}}\n"


@pytest.fixture
def reward(tmp_path: Path) -> Path:
    file = tmp_path / "rewards" / "reward.yaml"
    file.parent.mkdir()
    file.write_text(REWARD)
    return file


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_files_are_whole_and_name_the_reward(
    trainer: str, reward: Path, tmp_path: Path
) -> None:
    out = tmp_path / "glue"
    export_command(trainer, reward, out)
    texts = {file.name: file.read_text() for file in out.iterdir()}
    assert len(texts["README.md"].strip().splitlines()) == 3
    assert len(texts) > 1
    assert any("../rewards/reward.yaml" in text for text in texts.values())
    assert not any(str(tmp_path) in text for text in texts.values())
    for name, text in texts.items():
        if name.endswith(".py"):
            ast.parse(text)
        if name.endswith((".yaml", ".yml")):
            yaml.safe_load(text)
        if name.endswith(".sh"):
            subprocess.run(["bash", "-n", str(out / name)], check=True)


def test_the_same_again_is_fine_and_an_edited_file_is_kept(reward: Path, tmp_path: Path) -> None:
    export_command("trl", reward, tmp_path / "glue")
    export_command("trl", reward, tmp_path / "glue")
    file = tmp_path / "glue" / "README.md"
    file.write_text("mine\n")
    with pytest.raises(SpecError, match=r"README.md: it is there and says something else"):
        export_command("trl", reward, tmp_path / "glue")
    assert file.read_text() == "mine\n"


def test_a_misspelt_trainer_is_told(reward: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no trainer 'openrl'.*openrlhf"):
        export_command("openrl", reward, tmp_path / "glue")
    assert not (tmp_path / "glue").exists()


def test_a_reward_that_cannot_be_read_is_told_before_anything_is_written(
    reward: Path, tmp_path: Path
) -> None:
    reward.write_text("reward: {lenght: {high: 9}}\n")
    with pytest.raises(SpecError, match="lenght"):
        export_command("trl", reward, tmp_path / "glue")
    assert not (tmp_path / "glue").exists()


@pytest.mark.parametrize("trainer", ["openenv", "openrlhf", "verifiers", "verl"])
def test_a_reward_that_compares_rows_is_exported_to_trl_only(
    trainer: str, reward: Path, tmp_path: Path
) -> None:
    reward.write_text(f"reward: {{trl_reward: {{call: '{__file__}:ranks', scope: group}}}}\n")
    export_command("trl", reward, tmp_path / "trl")
    with pytest.raises(SpecError, match=rf"compares the rows of a group, and {trainer} shows one"):
        export_command(trainer, reward, tmp_path / trainer)


def ranks(completions: list[str], **others: object) -> list[float]:
    return [float(len(text)) for text in completions]


def test_the_command(command: Any, reward: Path, tmp_path: Path) -> None:
    out = tmp_path / "glue"
    run = command("export", "trl", reward, "--out", out)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [str(out / name) for name in ("train.py", "README.md")]
