"""Rewards of an on-policy buffer, changed after its returns were computed."""

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer

from ...core.acting import Floats


def add_rewards(buffer: RolloutBuffer, difference: Floats) -> None:
    """Add ``difference`` [n_steps, n_envs] to a rollout buffer's rewards, as if paid while acting.

    The buffer holds advantages already, and its rewards the bootstrap of episodes that were cut
    off. Both stay: advantages are linear in the rewards, so that with ``d`` the difference
    ``A_t`` grows by ``sum_k (gamma lambda)^k d_t+k`` up to the episode's end, and the returns,
    advantages plus values, by the same.

    Raises:
        ValueError: the shapes differ, or the buffer was flattened for training.
    """
    if buffer.rewards.shape != difference.shape:
        raise ValueError(
            f"the buffer holds rewards of shape {list(buffer.rewards.shape)}, the difference has "
            f"{list(difference.shape)}: write it at the end of a rollout, before training"
        )
    discount = buffer.gamma * buffer.gae_lambda
    growth = np.zeros(difference.shape)
    later = np.zeros(difference.shape[1])
    for t in reversed(range(len(difference))):
        growth[t] = later = difference[t] + discount * later
        # What follows an episode's start belongs to no step before it.
        later = later * (1.0 - buffer.episode_starts[t])
    buffer.rewards += difference.astype(np.float32)
    buffer.advantages += growth.astype(np.float32)
    buffer.returns += growth.astype(np.float32)
