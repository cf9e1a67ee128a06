"""The files that ``rewardsmith export trl`` writes."""

_TRAIN = '''\
"""Trains a language model under {name} with TRL's GRPOTrainer."""

from pathlib import Path

from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

from rewardsmith.adapters.trl import to_trl

REWARD = Path(__file__).parent / "{reward}"
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
    trainer = GRPOTrainer(
        model=MODEL,
        reward_funcs=to_trl(REWARD),
        train_dataset=dataset(),
        args=GRPOConfig(
            output_dir="run",
            num_generations=8,
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
`train.py` trains a language model with TRL under `{reward}`; set its `MODEL` and its data set.
Install it with `pip install "rewardsmith[language]" trl==1.16.0`.
Run it with `python train.py`, or on several GPUs with `accelerate launch train.py`.
"""


def glue(reward: str) -> dict[str, str]:
    """File name -> text.

    Args:
        reward: the path of the ``reward.yaml``, relative to where the files will lie.
    """
    name = reward.rpartition("/")[2]
    return {
        "train.py": _TRAIN.format(name=name, reward=reward),
        "README.md": _README.format(reward=reward),
    }
