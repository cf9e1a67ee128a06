"""Softmax policies in tables, as several reproductions learn them."""

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the last axis."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def reinforce(
    logits: NDArray[np.float64],
    state: NDArray[np.int64],
    action: NDArray[np.int64],
    mask: NDArray[np.bool_],
    advantage: NDArray[np.float64],
) -> NDArray[np.float64]:
    """``mean_i A_i sum_t grad log pi(a_t | s_t)``, shape of ``logits`` [states, actions].

    Args:
        logits: the policy's table.
        state, action, mask: [n, t]; where the mask is False nothing was chosen.
        advantage: A, [n].
    """
    cell = (state * logits.shape[1] + action)[mask]
    weight = np.broadcast_to(advantage[:, None], mask.shape)[mask]
    taken = np.bincount(cell, weight, minlength=logits.size).reshape(logits.shape)
    expected = taken.sum(axis=1, keepdims=True) * softmax(logits)
    return np.asarray((taken - expected) / len(advantage))
