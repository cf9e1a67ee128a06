"""What ``rewardsmith export trl`` writes."""

import ast
from typing import Any

import pytest

from rewardsmith.adapters.trl.glue import glue
from rewardsmith.adapters.versions import TESTED


def values(text: str, name: str) -> list[Any]:
    """The texts in what is assigned to a name."""
    (found,) = (
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    return [node.value for node in ast.walk(found) if isinstance(node, ast.Constant)]


@pytest.mark.parametrize("path", ["../rewards/reward.yaml", 'a"b/r.yaml', "a\\n/ü.yaml", '"""/r'])
def test_the_path_is_kept_whatever_is_in_it(path: str) -> None:
    assert path in values(glue(path)["train.py"], "REWARD")


def test_the_files() -> None:
    files = glue("../rewards/reward.yaml")
    assert list(files) == ["train.py", "README.md"]
    assert 'missing="raise"' in files["train.py"]
    assert max(map(len, files["train.py"].splitlines())) <= 100


def test_the_readme_says_what_to_install_and_what_to_give() -> None:
    lines = glue("reward.yaml")["README.md"].splitlines()
    assert len(lines) == 3
    assert "train.jsonl" in lines[0]
    assert f"'rewardsmith[language]' trl=={TESTED['trl'][1]}" in lines[1]
