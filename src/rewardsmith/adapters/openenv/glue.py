"""The files between a reward.yaml and OpenEnv."""

import json

from ..versions import TESTED


def glue(reward: str) -> dict[str, str]:
    """File name -> text, for a reward at a path relative to the files."""
    return {
        "rubric.py": _RUBRIC.format(reward=json.dumps(reward, ensure_ascii=False)),
        "README.md": _README,
    }


_RUBRIC = '''\
"""The reward as a rubric: `super().__init__(rubric=make_rubric())` in your Environment."""

from functools import cache
from pathlib import Path

from rewardsmith.adapters.openenv import openenv_factory

REWARD = Path(__file__).parent / {reward}


@cache
def _factory():
    return openenv_factory(
        REWARD,
        # Where your actions and observations keep what the reward reads, as ours: theirs.
        columns={{"completion": "action.message", "answer": "observation.metadata.answer"}},
        score="done",  # "step" where every action is judged by itself
        missing="raise",  # or a number, which a step without a score is paid
    )


def make_rubric():
    """A rubric of its own for each environment."""
    return _factory()()
'''

_README = f"""\
A reward of rewardsmith as a rubric of OpenEnv, with a child for each part.
Install: `pip install "rewardsmith[language]" "openenv=={TESTED["openenv"][1]}"`
Run: name your columns in `rubric.py`, and pass `make_rubric()` as `rubric=` in your Environment.
"""
