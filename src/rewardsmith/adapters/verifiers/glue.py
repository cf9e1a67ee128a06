"""The files between a reward.yaml and verifiers."""


def glue(reward: str) -> dict[str, str]:
    """File name -> text, for a reward at a path relative to the files."""
    return {
        "rewards.py": REWARDS.format(reward=reward),
        "rewards.toml": CONFIG,
        "README.md": README,
    }


REWARDS = '''\
"""The reward, and its parts as metrics, for a task of verifiers."""

from pathlib import Path

from rewardsmith.adapters.verifiers import to_verifiers

REWARD = Path(__file__).parent / "{reward}"

# A rollout without a score fails; to pay it something, write missing=0.0. Columns of the reward
# that your tasks call otherwise are named here: columns={{"answer": "solution"}}.
total, parts = to_verifiers(REWARD, api="v1", missing="missing")
'''

CONFIG = """\
# Into the configuration of a run: the reward, and what each part of it says. Paths are relative to
# where the run is started.
[env.taskset.task.rewards]
total = { fn = "rewards.py:total", weight = 1.0 }

[env.taskset.task.metrics]
parts = { fn = "rewards.py:parts" }
"""

README = """\
A reward of rewardsmith as a reward function of verifiers, with its parts as metrics.
Install: `pip install "rewardsmith[language]" "verifiers>=0.4"`
Run, where these files are: `vf-eval TASKSET -m MODEL @ rewards.toml`.
"""
