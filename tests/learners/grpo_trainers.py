"""The smallest real trainers: a model of some thousand weights, a few updates."""

import warnings
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback

import rewardsmith as rs
from rewardsmith.learners.grpo import GRPOTrainer
from rewardsmith.testbeds.rlvr import tiny_model, tokenizer

SUMS = [{"prompt": f"{a}+{b}=", "answer": str((a + b) % 7)} for a in range(6) for b in range(5)]


@rs.reward
def digits(completion: str) -> float:
    """Something that a model without training earns now and then, in parts."""
    return sum(letter in "0123456789" for letter in completion) / 6


@rs.reward
def nothing(completion: str) -> float:
    return 0.0


def data(n: int = len(SUMS), **columns: list[Any]) -> Dataset:
    rows = [dict(row) for row in SUMS[:n]]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return Dataset.from_list(rows)


def config(folder: Path, **changes: Any) -> Any:
    import trl

    settings = {
        "output_dir": str(folder),
        "seed": 0,
        "max_steps": 3,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 6,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "beta": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own, of its own arguments
        return trl.GRPOConfig(**{**settings, **changes})


def arguments(folder: Path, **changes: Any) -> dict[str, Any]:
    model: Any = tiny_model(0, hidden=16, layers=1, heads=2)
    if changes.get("beta"):
        # The reference model is loaded from where the model was.
        model.save_pretrained(folder / "model")
        model = str(folder / "model")
    return {
        "model": model,
        "args": config(folder, **changes),
        "processing_class": tokenizer(),
    }


def trainer(folder: Path, reward: Any = digits, **given: Any) -> GRPOTrainer:
    """A trainer; keywords of the configuration are told apart from those of the trainer."""
    import trl

    fields = trl.GRPOConfig.__dataclass_fields__
    changes = {name: given.pop(name) for name in list(given) if name in fields}
    torch.set_num_threads(1)
    whole = arguments(folder, **changes) | {"train_dataset": data(), "executor": "inline"} | given
    made = GRPOTrainer(reward=reward, **whole)
    made.remove_callback(PrinterCallback)
    return made


def weights(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]
