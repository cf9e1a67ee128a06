"""Optimal control of a tabular world, with and without a horizon; re-exported by `tabular`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ._mdp import TabularMDP, always_terminates, reward_table

# Improvement steps before we say that the tolerance lies below float64's reach. Howard's method
# needs a handful on problems of this size.
_MAX_IMPROVEMENTS = 1000


class Values(NamedTuple):
    """Optimal values of the infinite horizon."""

    v: Float[np.ndarray, " s"]
    q: Float[np.ndarray, "s a"]


class HorizonValues(NamedTuple):
    """Optimal values with t steps behind: v[t] has T - t steps to go, v[T] = 0."""

    v: Float[np.ndarray, "t1 s"]
    q: Float[np.ndarray, "t s a"]
    policy: Float[np.ndarray, "t s a"]


def value_iteration(
    mdp: TabularMDP,
    reward: Float[np.ndarray, "s a s"] | None = None,
    *,
    tolerance: float = 1e-10,
) -> Values:
    """Optimal V and Q of the infinite horizon.

        Q(s, a) = sum_s' P(s'|s,a) [r(s, a, s') + gamma V(s')]      V(s) = max_a Q(s, a)

    Each sweep evaluates its greedy policy exactly (Howard's policy iteration) instead of backing
    up once: the number of sweeps does not grow as gamma approaches 1.

    Args:
        mdp: the world.
        reward: [S, A, S]; the MDP's own when left out.
        tolerance: stop when `max |max_a Q - V| <= tolerance * max(1, max |Q|)`. For gamma < 1 the
            error of V is then at most that residual / (1 - gamma).

    Returns:
        Values(v [S], q [S, A]); both are 0 at terminal states.

    Raises:
        ValueError: gamma is 1 and some policy never terminates; the tolerance is not positive or
            below what float64 reaches.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, got {tolerance}")
    check_infinite(mdp)
    paid = expected_reward(mdp, reward)
    rows = np.arange(mdp.states)
    actions = paid.argmax(axis=1)
    for _ in range(_MAX_IMPROVEMENTS):
        v = solve(mdp, mdp.transition[rows, actions], paid[rows, actions])
        q = paid + mdp.discount * (mdp.transition @ v)
        slack = tolerance * max(1.0, float(np.abs(q).max()))
        # Ties keep their action: switching between equals by rounding noise could cycle for ever.
        better = q.max(axis=1) > q[rows, actions] + slack
        if not better.any():
            return Values(q.max(axis=1), q)
        actions = np.where(better, q.argmax(axis=1), actions)
    raise ValueError(f"no convergence to tolerance {tolerance}: it lies below float64 precision")


def finite_horizon(
    mdp: TabularMDP,
    horizon: int,
    reward: Float[np.ndarray, "s a s"] | None = None,
) -> HorizonValues:
    """Backward induction over T steps.

        Q_t(s, a) = sum_s' P(s'|s,a) [r(s, a, s') + gamma V_{t+1}(s')]
        V_t(s) = max_a Q_t(s, a),  V_T = 0

    Args:
        mdp: the world; its gamma may be 1.
        horizon: T, at least 1.
        reward: [S, A, S]; the MDP's own when left out.

    Returns:
        HorizonValues(v [T+1, S], q [T, S, A], policy [T, S, A]); the policy is deterministic and
        takes the first action among equals.

    Raises:
        ValueError: the horizon is below 1; the reward does not fit.
    """
    horizon = check_horizon(horizon)
    paid = expected_reward(mdp, reward)
    v = np.zeros((horizon + 1, mdp.states))
    q = np.zeros((horizon, mdp.states, mdp.actions))
    for t in reversed(range(horizon)):
        q[t] = paid + mdp.discount * (mdp.transition @ v[t + 1])
        v[t] = q[t].max(axis=1)
    return HorizonValues(v, q, greedy_policy(q))


def greedy_policy(q: Float[np.ndarray, "*t s a"]) -> Float[np.ndarray, "*t s a"]:
    """The deterministic policy that takes the first best action: one-hot of argmax_a Q."""
    q = np.asarray(q, dtype=np.float64)
    if q.ndim < 2 or q.shape[-1] == 0 or np.isnan(q).any():
        raise ValueError(f"q must be [..., S, A] without NaN and with an action, got {q.shape}")
    policy = np.zeros(q.shape)
    np.put_along_axis(policy, q.argmax(axis=-1)[..., None], 1.0, axis=-1)
    return policy


def optimal_actions(
    q: Float[np.ndarray, "*t s a"], tolerance: float = 1e-8
) -> Bool[np.ndarray, "*t s a"]:
    """The optimal policy set: true where `Q(s, a) >= max_b Q(s, b) - tolerance` (absolute).

    A policy is optimal from every state iff it takes only such actions.

    Raises:
        ValueError: q is not finite, has no action axis, or the tolerance is negative.
    """
    q = np.asarray(q, dtype=np.float64)
    if q.ndim < 2 or q.shape[-1] == 0 or not np.isfinite(q).all():
        raise ValueError(f"q must be finite [..., S, A] with an action, got shape {q.shape}")
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}")
    return np.asarray(q >= q.max(axis=-1, keepdims=True) - tolerance)


def expected_reward(
    mdp: TabularMDP, reward: Float[np.ndarray, "s a s"] | None
) -> Float[np.ndarray, "s a"]:
    return np.asarray(np.einsum("sat,sat->sa", mdp.transition, reward_table(mdp, reward)))


def solve(
    mdp: TabularMDP, moves: Float[np.ndarray, "s s"], gain: Float[np.ndarray, " s"]
) -> Float[np.ndarray, " s"]:
    """V = (I - gamma P)^-1 r over the non-terminal states."""
    # Terminal rows are left out: at gamma = 1 they make the system singular.
    on = ~mdp.terminal
    v = np.zeros(mdp.states)
    system = np.eye(int(on.sum())) - mdp.discount * moves[np.ix_(on, on)]
    v[on] = np.linalg.solve(system, gain[on])
    return v


def check_horizon(horizon: int) -> int:
    if horizon < 1 or int(horizon) != horizon:
        raise ValueError(f"horizon must be a whole number of at least 1, got {horizon}")
    return int(horizon)


def check_infinite(mdp: TabularMDP) -> None:
    if mdp.discount == 1.0 and not always_terminates(mdp):
        raise ValueError(
            "discount 1 without a horizon needs an MDP in which every policy terminates; "
            "give a horizon or a discount below 1"
        )
