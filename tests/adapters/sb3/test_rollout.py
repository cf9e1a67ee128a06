"""Rewards written into an on-policy buffer, as if they had been paid while acting."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.buffers import RolloutBuffer

from rewardsmith.adapters.sb3.rollout import add_rewards


def filled(rng: Any, rewards: Any, starts: Any, values: Any, last: Any) -> RolloutBuffer:
    steps, n = rewards.shape
    space = Box(-1, 1, (1,))
    buffer = RolloutBuffer(steps, space, Discrete(2), gae_lambda=0.8, gamma=0.9, n_envs=n)
    for t in range(steps):
        buffer.add(
            np.zeros((n, 1)),
            np.zeros((n, 1)),
            rewards[t],
            starts[t],
            torch.tensor(values[t]),
            torch.zeros(n),
        )
    buffer.compute_returns_and_advantage(torch.tensor(last[0]), last[1])
    return buffer


@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 4))
def test_the_same_as_if_paid_while_acting(seed: int, steps: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (steps, n)
    starts = rng.random(shape) < 0.3
    values = rng.normal(size=shape).astype(np.float32)
    last = rng.normal(size=n).astype(np.float32), rng.random(n) < 0.5
    rewards, difference = rng.normal(size=(2, *shape))
    written = filled(rng, rewards, starts, values, last)
    add_rewards(written, difference)
    paid = filled(rng, rewards + difference, starts, values, last)
    for name in ("rewards", "advantages", "returns"):
        np.testing.assert_allclose(getattr(written, name), getattr(paid, name), atol=1e-4)


def test_a_buffer_that_was_flattened_is_refused() -> None:
    zeros = np.zeros((4, 2))
    buffer = filled(None, zeros, zeros.astype(bool), zeros, (np.zeros(2), np.zeros(2, dtype=bool)))
    with pytest.raises(ValueError, match=r"\[4, 2\].*\[3, 2\]: write it at the end of a rollout"):
        add_rewards(buffer, np.zeros((3, 2)))
