"""The settings of the bed in one place, as arguments of TRL's ``GRPOConfig``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .tasks import Task


@dataclass(frozen=True)
class Bed:
    """What every arm of a comparison shares.

    Args:
        prompts: different problems per update.
        generations: answers to each, a group.
        updates: of RL.
        learning_rate: of AdamW, constant.
    """

    prompts: int = 16
    generations: int = 8
    updates: int = 400
    learning_rate: float = 5e-4

    def config(self, task: Task, folder: str | Path, seed: int, **changes: Any) -> dict[str, Any]:
        """Keyword arguments for ``GRPOConfig``, or for a subclass of it.

        No KL term, plain AdamW, and nothing that costs time at this size: no checkpoints, no
        reports, no gradient checkpointing, no bfloat16, which a CPU emulates.

        Args:
            task: says how long answers may be.
            folder: of the run.
            seed: of the order of the prompts and of the samples.
            **changes: what an arm sets otherwise, or adds.
        """
        return {
            "output_dir": str(folder),
            "seed": seed,
            "data_seed": seed,
            "max_steps": self.updates,
            "per_device_train_batch_size": self.prompts * self.generations,
            "num_generations": self.generations,
            "max_completion_length": task.longest,
            "temperature": 1.0,
            "learning_rate": self.learning_rate,
            "lr_scheduler_type": "constant",
            "beta": 0.0,
            "logging_steps": 10,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "disable_tqdm": True,
            **changes,
        }
