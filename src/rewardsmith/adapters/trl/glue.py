"""The files between a ``reward.yaml`` and TRL."""

import json

from ..versions import TESTED

_TRAIN = '''\
"""Trains a language model under REWARD with TRL's GRPOTrainer."""

from pathlib import Path

from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

from rewardsmith.adapters.trl import to_trl

REWARD = Path(__file__).resolve().parent / {reward}
# A model of the hub, or a folder.
MODEL = "Qwen/Qwen2.5-0.5B-Instruct"


def dataset():
    """Rows with "prompt" (a text, or chat messages) and the columns that the reward reads."""
    file = Path(__file__).with_name("train.jsonl")
    rows = load_dataset("json", data_files=str(file), split="train")
    # Where the prompt has another name:
    # rows = rows.rename_column("question", "prompt")
    return rows


def main():
    generations = 8
    reward = to_trl(
        REWARD,
        # What a row that broke is worth: a number may stand here, or "missing" to leave it out.
        missing="raise",
        # Where evaluation generates another number, have a column `group` tell instead.
        num_generations=generations,
    )
    trainer = GRPOTrainer(
        model=MODEL,
        reward_funcs=reward,
        train_dataset=dataset(),
        args=GRPOConfig(
            output_dir="run",
            num_generations=generations,
            per_device_train_batch_size=8,
            max_completion_length=256,
            log_completions=True,
        ),
    )
    trainer.train()


# Rows are scored in processes, which import this file.
if __name__ == "__main__":
    main()
'''
_README = """\
`train.py` trains a language model with TRL under `{reward}`; set its `MODEL`, and put the data \
beside it as `train.jsonl`: `prompt` and the columns that the reward reads.
Install: `pip install 'rewardsmith[language]' trl=={version}`.
Run: `python train.py`, or on several GPUs `accelerate launch train.py`.
"""


def glue(reward: str) -> dict[str, str]:
    """File name -> text; ``reward`` is the path of the reward.yaml from where they will lie."""
    return {
        "train.py": _TRAIN.format(reward=json.dumps(reward, ensure_ascii=False)),
        "README.md": _README.format(reward=reward, version=TESTED["trl"][1]),
    }
