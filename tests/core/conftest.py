"""What several tests of the core need."""

from pathlib import Path

import pytest

FUNCTIONS = """
import rewardsmith as rs

calls = []

@rs.reward(step=True)
def pay(env_reward):
    calls.append(1)
    return 2.0 * env_reward

def height(obs):
    return obs

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    return tmp_path
