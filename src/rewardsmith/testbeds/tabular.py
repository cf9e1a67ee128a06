"""Exact tabular MDPs: the whole toolbox, and here the evaluation of given policies.

Every function is pure and takes the reward table apart from the world, so one policy can be
scored under a proxy and under gold. `horizon=None` means the infinite horizon; a time-dependent
policy [T, S, A] without a horizon is followed for its T steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from ._episodes import check_policy, sample_episodes
from ._mdp import (
    TabularMDP,
    always_terminates,
    random_mdp,
    shaped,
)
from ._optimal import (
    HorizonValues,
    Values,
    check_horizon,
    check_infinite,
    expected_reward,
    finite_horizon,
    greedy_policy,
    optimal_actions,
    solve,
    value_iteration,
)

__all__ = [
    "HorizonValues",
    "TabularMDP",
    "Values",
    "always_terminates",
    "expected_return",
    "finite_horizon",
    "greedy_policy",
    "occupancy",
    "optimal_actions",
    "policy_order",
    "policy_values",
    "random_mdp",
    "sample_episodes",
    "shaped",
    "uniform_policy",
    "value_iteration",
]


def uniform_policy(mdp: TabularMDP) -> Float[np.ndarray, "s a"]:
    """The policy that takes every action with probability 1 / A."""
    return np.full((mdp.states, mdp.actions), 1.0 / mdp.actions)


def policy_values(
    mdp: TabularMDP,
    policy: Float[np.ndarray, "*t s a"],
    reward: Float[np.ndarray, "s a s"] | None = None,
    horizon: int | None = None,
) -> Float[np.ndarray, " s"]:
    """V of a policy, from each state at time 0.

        V(s) = E[sum_{t < T} gamma^t r(s_t, a_t, s_{t+1}) | s_0 = s]

    Args:
        mdp: the world.
        policy: [S, A], or [T, S, A] with one table per time step.
        reward: [S, A, S]; the MDP's own when left out.
        horizon: T; None is infinite for [S, A] and the policy's own length for [T, S, A].

    Returns:
        [S] float64, solved exactly: a linear system, or T backups.

    Raises:
        ValueError: the policy, reward or horizon does not fit; gamma is 1 without a horizon while
            some policy never terminates.
    """
    table = check_policy(mdp, policy)
    steps = _steps(mdp, table, horizon)
    paid = expected_reward(mdp, reward)
    if steps is None:
        moves, gain = _under(mdp, table, paid)
        return solve(mdp, moves, gain)
    v = np.zeros(mdp.states)
    for t in reversed(range(steps)):
        q = paid + mdp.discount * (mdp.transition @ v)
        v = (_at(table, t) * q).sum(axis=1)
    return v


def expected_return(
    mdp: TabularMDP,
    policy: Float[np.ndarray, "*t s a"],
    reward: Float[np.ndarray, "s a s"] | None = None,
    horizon: int | None = None,
) -> float:
    """J = sum_s start(s) V(s): the expected discounted return of a policy.

    Arguments and errors are those of `policy_values`. Give `reward` another table to score a
    policy under gold that was found under a proxy.
    """
    return float(mdp.start @ policy_values(mdp, policy, reward, horizon))


def occupancy(
    mdp: TabularMDP,
    policy: Float[np.ndarray, "*t s a"],
    horizon: int | None = None,
) -> Float[np.ndarray, "s a"]:
    """Normalized discounted state-action occupancy.

        mu(s, a) = (1 - gamma) E[sum_t gamma^t 1[s_t = s, a_t = a]]

    With a horizon T the normalizer is `1 / sum_{t < T} gamma^t` (1 / T at gamma = 1). Time spent
    in terminal states counts, so mu sums to one, and the return is E_mu of the expected reward
    divided by the normalizer: `J = E_mu[r] / (1 - gamma)`.

    Args:
        mdp: the world.
        policy: [S, A] or [T, S, A].
        horizon: as in `policy_values`.

    Returns:
        [S, A] float64, at least 0, sum 1.

    Raises:
        ValueError: gamma is 1 without a horizon (the normalizer is 0, even where every policy
            terminates); the policy or horizon does not fit.

    Source: Laidlaw, Singhal, Dragan, "Correlated Proxies", arXiv 2403.03185 (method 038).
    """
    table = check_policy(mdp, policy)
    if mdp.discount == 1.0 and horizon is None and table.ndim == 2:
        raise ValueError("occupancy at discount 1 needs a horizon: 1 - gamma normalizes it to 0")
    steps = _steps(mdp, table, horizon)
    if steps is None:
        moves = np.einsum("sa,sat->st", table, mdp.transition)
        system = np.eye(mdp.states) - mdp.discount * moves.T
        visits = (1.0 - mdp.discount) * np.linalg.solve(system, mdp.start)
        # The solve leaves -1e-18 where the truth is 0; ratios and logs of mu would go wrong there.
        return np.asarray(np.maximum(visits, 0.0)[:, None] * table)
    state = mdp.start.copy()
    total = np.zeros((mdp.states, mdp.actions))
    weight, weights = 1.0, 0.0
    for t in range(steps):
        now = state[:, None] * _at(table, t)
        total += weight * now
        weights += weight
        weight *= mdp.discount
        state = np.einsum("sa,sat->t", now, mdp.transition)
    return total / weights


def policy_order(
    mdp: TabularMDP,
    policies: Sequence[Float[np.ndarray, "*t s a"]],
    reward: Float[np.ndarray, "s a s"] | None = None,
    horizon: int | None = None,
    tolerance: float = 1e-9,
) -> Int[np.ndarray, " p"]:
    """Rank policies by expected return: 0 for the best, equal returns share a rank (dense ranks).

    Policies tie when their returns differ by at most `tolerance` from the best one of their tie;
    measured from the best and not from the neighbor, so that a long chain of small gaps does not
    make the first equal to the last.

    Returns:
        [P] int64 in the order given.

    Raises:
        ValueError: as in `policy_values`, or the tolerance is negative.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}")
    returns = np.array([expected_return(mdp, p, reward, horizon) for p in policies])
    ranks = np.zeros(len(returns), dtype=np.int64)
    rank, leader = -1, np.inf
    for i in np.argsort(-returns, kind="stable"):
        if rank < 0 or returns[i] < leader - tolerance:
            rank, leader = rank + 1, returns[i]
        ranks[i] = rank
    return ranks


def _under(
    mdp: TabularMDP, policy: Float[np.ndarray, "s a"], paid: Float[np.ndarray, "s a"]
) -> tuple[Float[np.ndarray, "s s"], Float[np.ndarray, " s"]]:
    return np.einsum("sa,sat->st", policy, mdp.transition), (policy * paid).sum(axis=1)


def _at(policy: Float[np.ndarray, "*t s a"], t: int) -> Float[np.ndarray, "s a"]:
    return policy[t] if policy.ndim == 3 else policy


def _steps(mdp: TabularMDP, policy: Float[np.ndarray, "*t s a"], horizon: int | None) -> int | None:
    """How many steps to follow the policy; None for the infinite horizon."""
    if horizon is None:
        if policy.ndim == 3:
            return len(policy)
        check_infinite(mdp)
        return None
    steps = check_horizon(horizon)
    if policy.ndim == 3 and steps > len(policy):
        raise ValueError(f"the policy covers {len(policy)} steps, the horizon is {steps}")
    return steps
