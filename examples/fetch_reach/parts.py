"""FetchReach: a part that reads the action, which no compute_reward is told, and what counts."""

import numpy as np


def gentle(action):
    """0 for a still hand, less the faster it is moved."""
    return -np.square(action[:, :3]).sum(axis=1)


def reached(is_success, terminated, truncated):
    """Gold: 1 for an episode that ends with the hand at the goal."""
    return np.asarray(is_success, dtype=float) * (terminated | truncated)
