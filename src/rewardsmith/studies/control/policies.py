"""What a run saved: its policies, and its reward as training left it."""

from typing import Any

import torch

from ...core.reward import Reward
from ..records import Run
from .environments import algorithm
from .spec import ControlStudy


def saved(study: ControlStudy, run: Run, policy: str) -> Any:
    """A policy of a run: ``initial`` or ``policy``, which is the final one."""
    # A policy is saved with the names of its classes: a file's are known once it was imported.
    study.params()
    # Nothing will be replayed; hindsight replay would not even load without an environment.
    without: dict[str, Any] = {
        "replay_buffer_class": None,
        "replay_buffer_kwargs": {},
        "buffer_size": 1,
    }
    path = run.folder / f"{policy}.zip"
    return algorithm(study).load(path, device="cpu", custom_objects=without)


def final_reward(study: ControlStudy, run: Run, model: Any) -> Reward:
    """A run's reward as its training left it."""
    reward = study.reward(run.reward, seed=run.seed)
    reward.load_state_dict(torch.load(run.folder / "reward.pt", weights_only=True))
    gamma = getattr(model, "gamma", None)
    if gamma is not None:
        reward.bind(gamma=float(gamma))
    return reward
