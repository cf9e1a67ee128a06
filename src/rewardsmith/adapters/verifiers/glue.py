"""The files between a reward.yaml and verifiers."""

import json

from ..versions import TESTED


def glue(reward: str) -> dict[str, str]:
    """File name -> text, for a reward at a path relative to the files."""
    return {
        "rewards.py": _REWARDS.format(reward=json.dumps(reward, ensure_ascii=False)),
        "rewards.toml": _CONFIG,
        "README.md": _README,
    }


_REWARDS = '''\
"""The reward, and its parts as metrics, for a task of verifiers."""

from pathlib import Path

from rewardsmith.adapters.verifiers import to_verifiers

REWARD = Path(__file__).parent / {reward}

# Columns of the reward that your tasks call otherwise are named here, as ours: theirs:
# columns={{"answer": "solution"}}.
total, parts = to_verifiers(
    REWARD,
    api="v1",
    missing="raise",  # fails a rollout without a score; or a number, which it is paid
)
'''

_CONFIG = """\
# Into the configuration of a run: the reward, and what each part of it says. Paths are relative to
# where the run is started.
[env.taskset.task.rewards]
total = { fn = "rewards.py:total", weight = 1.0 }

[env.taskset.task.metrics]
parts = { fn = "rewards.py:parts" }
"""

_README = f"""\
A reward of rewardsmith as a reward function of verifiers, with its parts as metrics.
Install: `pip install "rewardsmith[language]" "verifiers=={TESTED["verifiers"][1]}"`
Run, where these files are: `vf-eval TASKSET -m MODEL @ rewards.toml`.
"""
