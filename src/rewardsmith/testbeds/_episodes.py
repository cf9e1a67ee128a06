"""Sampled episodes of a tabular world; re-exported by `tabular`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from ._mdp import TabularMDP, check_distribution, reward_table


class _Draws(NamedTuple):
    """Categorical rows with their zero entries squeezed out, ready for inverse-cdf draws."""

    value: Int[np.ndarray, "rows k"]
    bound: Float[np.ndarray, "rows k"]


def _draws(rows: Float[np.ndarray, "rows n"]) -> _Draws:
    count = (rows > 0).sum(axis=1)
    width = int(count.max())
    value = np.argsort(rows <= 0, axis=1, kind="stable")[:, :width]
    bound = np.cumsum(np.take_along_axis(rows, value, axis=1), axis=1)
    # Sums can end at 1 - 1e-16: an infinite last bound keeps a draw from falling off the row's
    # support onto an impossible outcome.
    bound[np.arange(width)[None, :] >= count[:, None] - 1] = np.inf
    return _Draws(value, bound)


def _draw(
    draws: _Draws, row: Int[np.ndarray, " n"], rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    pick = (rng.random(len(row))[:, None] >= draws.bound[row]).sum(axis=1)
    return np.asarray(draws.value[row, pick], dtype=np.int64)


def sample_episodes(
    mdp: TabularMDP,
    policy: Float[np.ndarray, "*t s a"],
    n: int,
    horizon: int,
    rng: np.random.Generator,
    reward: Float[np.ndarray, "s a s"] | None = None,
) -> list[dict[str, NDArray[Any]]]:
    """Roll the policy out n times, each until a terminal state or the horizon.

    All live episodes step together, so the cost is one vector operation per time step.

    Args:
        mdp: the world.
        policy: [S, A], or [T, S, A] with T at least the horizon.
        n: number of episodes, at least 0.
        horizon: most steps of an episode, at least 1.
        rng: the only source of randomness.
        reward: [S, A, S] table for `env_reward`; the MDP's own when left out.

    Returns:
        n dicts of arrays [T_i]: `obs`, `action`, `next_obs` int64; `env_reward` float64;
        `terminated`, `truncated` bool (exactly one of them true, at the last step only).

    Raises:
        ValueError: the policy is no policy of this MDP, or n or the horizon is out of range.
    """
    policy = check_policy(mdp, policy)
    if n < 0 or horizon < 1:
        raise ValueError(f"n must be at least 0 and horizon at least 1, got {n} and {horizon}")
    if policy.ndim == 3 and len(policy) < horizon:
        raise ValueError(f"the policy covers {len(policy)} steps, the horizon is {horizon}")
    table = reward_table(mdp, reward)
    world = _draws(mdp.transition.reshape(-1, mdp.states))
    acts = [_draws(p) for p in (policy[:horizon] if policy.ndim == 3 else policy[None])]
    state = _draw(_draws(mdp.start[None, :]), np.zeros(n, dtype=np.int64), rng)
    visited = np.zeros((n, horizon + 1), dtype=np.int64)
    action = np.zeros((n, horizon), dtype=np.int64)
    length = np.zeros(n, dtype=np.int64)
    visited[:, 0] = state
    live = np.arange(n)
    for t in range(horizon):
        if not len(live):
            break
        chosen = _draw(acts[t if len(acts) > 1 else 0], state, rng)
        state = _draw(world, state * mdp.actions + chosen, rng)
        action[live, t] = chosen
        visited[live, t + 1] = state
        length[live] = t + 1
        going = ~mdp.terminal[state]
        live, state = live[going], state[going]
    return [
        _episode(mdp, table, visited[i, : length[i] + 1], action[i, : length[i]]) for i in range(n)
    ]


def _episode(
    mdp: TabularMDP,
    table: Float[np.ndarray, "s a s"],
    visited: Int[np.ndarray, " t1"],
    action: Int[np.ndarray, " t"],
) -> dict[str, NDArray[Any]]:
    obs, next_obs = visited[:-1].copy(), visited[1:].copy()
    last = np.arange(len(obs)) == len(obs) - 1
    return {
        "obs": obs,
        "action": action.copy(),
        "next_obs": next_obs,
        "env_reward": table[obs, action, next_obs],
        "terminated": last & mdp.terminal[next_obs],
        "truncated": last & ~mdp.terminal[next_obs],
    }


def check_policy(
    mdp: TabularMDP, policy: Float[np.ndarray, "*t s a"]
) -> Float[np.ndarray, "*t s a"]:
    """The policy as float64 [S, A] or [T, S, A]; ValueError, naming the row, if it is none."""
    table = np.asarray(policy, dtype=np.float64)
    if table.ndim not in (2, 3) or table.shape[-2:] != (mdp.states, mdp.actions):
        raise ValueError(
            f"policy must have shape [S, A] or [T, S, A] with S, A = {mdp.states}, {mdp.actions}; "
            f"got {table.shape}"
        )
    if table.ndim == 3 and len(table) == 0:
        raise ValueError("a time-dependent policy needs at least one step, got T = 0")
    check_distribution("policy", table)
    return table
