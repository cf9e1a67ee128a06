"""Every group that can be sampled from a softmax over arms: expectations without sampling."""

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from torch import Tensor

PI = np.array([0.5, 0.3, 0.2])
REWARD = np.array([0.25, 1.0, -0.5])
LENGTH = np.array([1, 4, 9])

Estimator = Callable[[Tensor, list[int], Tensor], Tensor]


def expected_gradient(estimator: Estimator, n: int, reward: np.ndarray = REWARD) -> np.ndarray:
    """``E[sum_i A_i grad log pi(y_i)]`` over groups of n, in the logits.

    The estimator is given rewards, group and arms of all groups that can be, in one batch.
    """
    arms = np.array(list(product(range(len(PI)), repeat=n)))
    chance = PI[arms].prod(axis=1)
    group = np.repeat(np.arange(len(arms)), n).tolist()
    drawn = torch.from_numpy(arms.ravel())
    values = estimator(torch.from_numpy(reward)[drawn], group, drawn).numpy().reshape(arms.shape)
    score = np.eye(len(PI))[arms] - PI
    return np.einsum("g,gi,gia->a", chance, values, score)


def gradient_of_best(n: int, reward: np.ndarray = REWARD) -> np.ndarray:
    """The gradient of the expected best reward of n; with n = 1, of the expected reward."""
    arms = np.array(list(product(range(len(PI)), repeat=n)))
    chance, best = PI[arms].prod(axis=1), reward[arms].max(axis=1)
    return np.einsum("g,g,gia->a", chance, best, np.eye(len(PI))[arms] - PI)
