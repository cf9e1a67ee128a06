"""The files between a ``reward.yaml`` and OpenRLHF."""

import json

from ..versions import TESTED

_DECISIONS = """\
    Path(__file__).resolve().parent / {reward},
    # What a row without a score is worth: a number, or "raise" (OpenRLHF can leave no row out).
    missing="raise",
    # The column that --data.label_key is to the reward; "json" where it holds several.
    label="answer",
"""
_FUNCTION = '''\
"""The reward as OpenRLHF's function: --reward.remote_url reward_func.py"""

from pathlib import Path

from rewardsmith.adapters.openrlhf import RewardFunction

reward_func = RewardFunction(
{decisions}    # Where completions end with </s>, <eos> or an end of your own; or tokenizer="NAME".
    # special_tokens=["</s>"],
)
'''
_AGENT = '''\
"""The reward in an executor, where errors stop the run: --train.agent_func_path agent_func.py"""

from pathlib import Path

from rewardsmith.adapters.openrlhf import RewardFunction, agent_executor

reward = RewardFunction(
{decisions})
AgentExecutor = agent_executor(reward)
'''
_SERVER = '''\
"""The reward as a server: --reward.remote_url http://127.0.0.1:5000/get_reward"""

import uvicorn
from reward_func import reward_func

from rewardsmith.adapters.openrlhf import app

if __name__ == "__main__":
    # 0.0.0.0 where the trainer runs on other machines; whoever reaches the port may use it.
    uvicorn.run(app(reward_func), host="127.0.0.1", port=5000, log_level="warning")
'''
_README = """\
The reward of `{reward}` in OpenRLHF, as an executor, a function or a server; see `missing` in each.
Install: `pip install openrlhf=={version} 'rewardsmith[language,server]'` (`server`: `serve.py`).
Run: `python -m openrlhf.cli.train_ppo_ray --train.agent_func_path agent_func.py \
--data.label_key answer ...`, or with `--reward.remote_url reward_func.py` in the place of the \
executor, or `python serve.py` and `--reward.remote_url http://127.0.0.1:5000/get_reward`.
"""


def glue(reward: str) -> dict[str, str]:
    """File name -> text; ``reward`` is the path of the reward.yaml from where they will lie."""
    decisions = _DECISIONS.format(reward=json.dumps(reward, ensure_ascii=False))
    return {
        "reward_func.py": _FUNCTION.format(decisions=decisions),
        "agent_func.py": _AGENT.format(decisions=decisions),
        "serve.py": _SERVER,
        "README.md": _README.format(reward=reward, version=TESTED["openrlhf"][1]),
    }
