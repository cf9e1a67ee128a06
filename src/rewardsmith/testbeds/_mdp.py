"""The tabular world itself: its tables, their checks, shaping, and a random generator.

Everything that solves or samples such a world is in `tabular`, which also re-exports these names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

# Rows that come out of float64 sums are off by a few ulp per entry; a wrong row is off by far more.
SUM_TOLERANCE = 1e-8


@dataclass(frozen=True, eq=False)
class TabularMDP:
    """A finite Markov decision process with its tables written out.

    Terminal states are absorbing and pay nothing, so an episode that ended and one that waits
    for ever in its terminal state have the same return, and occupancies sum to one.

    A discount of 1 is accepted here, because a finite horizon makes it meaningful. The functions
    without a horizon refuse it unless every policy terminates from every state (see
    `always_terminates`): otherwise the sum they stand for diverges or depends on the order of
    summation.

    Args:
        transition: [S, A, S] float64, `P(s' | s, a)`; each row sums to one.
        reward: [S, A, S] float64, `r(s, a, s')`, finite, also on transitions that never happen
            (reward comparisons look at those too).
        discount: gamma in (0, 1].
        start: [S] distribution of the first state; no mass on terminal states, since such an
            episode would have no step.
        terminal: [S] bool.

    The arrays are copied and made read-only.

    Raises:
        ValueError: a shape, a distribution, the discount or a terminal state breaks the above;
            the message names the row.
    """

    transition: Float[np.ndarray, "s a s"]
    reward: Float[np.ndarray, "s a s"]
    discount: float
    start: Float[np.ndarray, " s"]
    terminal: Bool[np.ndarray, " s"]

    def __post_init__(self) -> None:
        transition = np.array(self.transition, dtype=np.float64)
        if transition.ndim != 3 or transition.shape[0] != transition.shape[2]:
            raise ValueError(f"transition must have shape [S, A, S], got {transition.shape}")
        if 0 in transition.shape:
            raise ValueError(f"an MDP needs a state and an action, got {transition.shape}")
        states = transition.shape[0]
        start = np.array(self.start, dtype=np.float64)
        if start.shape != (states,):
            raise ValueError(f"start must have shape [{states}], got {start.shape}")
        terminal = np.array(self.terminal)
        # An index list cast to bool would silently mark the wrong states.
        if terminal.shape != (states,) or terminal.dtype != np.bool_:
            raise ValueError(
                f"terminal must be bool [{states}], got {terminal.dtype} {terminal.shape}"
            )
        discount = float(self.discount)
        if not 0.0 < discount <= 1.0:
            raise ValueError(f"discount must lie in (0, 1], got {discount}")
        check_distribution("transition", transition)
        check_distribution("start", start)
        for s in np.flatnonzero(terminal):
            if not np.all(transition[s, :, s] == 1.0):
                raise ValueError(f"terminal state {s} must be absorbing: transition[{s}, :, {s}]=1")
        if start[terminal].any():
            at = int(np.flatnonzero(terminal & (start > 0))[0])
            raise ValueError(f"start puts mass on terminal state {at}: its episode has no step")
        reward = np.array(self.reward, dtype=np.float64)
        check_reward(reward, transition.shape, terminal)
        for name, array in (
            ("transition", transition),
            ("reward", reward),
            ("start", start),
            ("terminal", terminal),
        ):
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "discount", discount)

    @property
    def states(self) -> int:
        """The number of states S."""
        return int(self.transition.shape[0])

    @property
    def actions(self) -> int:
        """The number of actions A."""
        return int(self.transition.shape[1])


def check_distribution(name: str, rows: Float[np.ndarray, "*batch n"]) -> None:
    """Raise ValueError, naming the row, unless every last-axis row is a distribution."""
    wrong = ~np.isfinite(rows).all(axis=-1) | (rows < 0).any(axis=-1)
    with np.errstate(invalid="ignore"):
        wrong |= ~(np.abs(rows.sum(axis=-1) - 1.0) <= SUM_TOLERANCE)
    if np.any(wrong):
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        where = f"{name}{list(at)}" if at else name
        raise ValueError(
            f"{where} is not a distribution (finite, at least 0, sum 1): its sum is "
            f"{rows[at].sum():.6g}, its least entry {rows[at].min():.6g}"
        )


def check_reward(
    reward: Float[np.ndarray, "s a s"],
    shape: tuple[int, ...],
    terminal: Bool[np.ndarray, " s"],
) -> None:
    """Raise ValueError unless the table fits, is finite, and pays nothing in terminal states."""
    if reward.shape != shape:
        raise ValueError(f"reward must have transition's shape {shape}, got {reward.shape}")
    if not np.isfinite(reward).all():
        s, a, t = np.argwhere(~np.isfinite(reward))[0]
        raise ValueError(f"reward[{s}, {a}, {t}] is {reward[s, a, t]}; rewards must be finite")
    paid = terminal & reward.any(axis=(1, 2))
    if paid.any():
        s = int(np.flatnonzero(paid)[0])
        raise ValueError(
            f"terminal state {s} has a non-zero reward: pay on the transition into it instead"
        )


def always_terminates(mdp: TabularMDP) -> bool:
    """Whether every policy, from every state, reaches a terminal state with probability one.

    It does iff no non-empty set of non-terminal states lets an agent stay inside for ever:
    `U <- {s in U : some a has support(s, a) inside U}`, from all non-terminal states, ends empty.
    """
    possible = mdp.transition > 0
    stay = ~mdp.terminal
    while stay.any():
        kept = stay & (~(possible & ~stay).any(axis=2)).any(axis=1)
        if np.array_equal(kept, stay):
            return False
        stay = kept
    return True


def shaped(
    mdp: TabularMDP,
    potential: Float[np.ndarray, " s"],
    reward: Float[np.ndarray, "s a s"] | None = None,
) -> Float[np.ndarray, "s a s"]:
    """Potential-based shaping of a reward table.

        r'(s, a, s') = r(s, a, s') + gamma * phi(s') * [s' not terminal] - phi(s)

    and r' = 0 where `s` is terminal. Without a horizon Q' = Q - phi, so the set of optimal
    policies does not change. With a horizon the last step leaves `gamma^T phi(s_T)` behind, which
    can change it.

    Args:
        mdp: gives gamma and the terminal states.
        potential: [S] phi; its value at terminal states is not read (it counts as zero there).
        reward: [S, A, S] table to shape; the MDP's own when left out.

    Returns:
        [S, A, S] float64.

    Raises:
        ValueError: phi has another shape or is not finite; the reward table does not fit.

    Source: Ng, Harada, Russell, "Policy invariance under reward transformations", ICML 1999.
    """
    phi = np.array(potential, dtype=np.float64)
    if phi.shape != (mdp.states,):
        raise ValueError(f"potential must have shape [{mdp.states}], got {phi.shape}")
    phi[mdp.terminal] = 0.0
    if not np.isfinite(phi).all():
        s = int(np.flatnonzero(~np.isfinite(phi))[0])
        raise ValueError(f"potential[{s}] is {phi[s]}; potentials must be finite")
    table = reward_table(mdp, reward)
    result = table + mdp.discount * phi[None, None, :] - phi[:, None, None]
    result[mdp.terminal] = 0.0
    return result


def reward_table(
    mdp: TabularMDP, reward: Float[np.ndarray, "s a s"] | None
) -> Float[np.ndarray, "s a s"]:
    """The table to score with: the MDP's own, or another one that fits it (ValueError if not)."""
    if reward is None:
        return mdp.reward
    table = np.asarray(reward, dtype=np.float64)
    check_reward(table, mdp.transition.shape, mdp.terminal)
    return table


def random_mdp(
    rng: np.random.Generator,
    states: int,
    actions: int,
    discount: float,
    branching: int | None = None,
    terminal: int = 0,
) -> TabularMDP:
    """Draw an MDP: each (s, a) leads to `branching` distinct states with Dirichlet(1) weights.

    Rewards are standard normal on every triple (s, a, s'), possible or not; the start is
    Dirichlet(1) over the non-terminal states.

    Args:
        rng: the only source of randomness.
        states: S, at least one more than `terminal`.
        actions: A.
        discount: gamma in (0, 1].
        branching: successors of each (s, a), 1..S; S when left out.
        terminal: how many states are terminal; they are the last ones.

    Raises:
        ValueError: a count is out of range.
    """
    branching = states if branching is None else branching
    if states < 1 or actions < 1:
        raise ValueError(f"states and actions must be at least 1, got {states} and {actions}")
    if not 1 <= branching <= states:
        raise ValueError(f"branching must lie in 1..{states}, got {branching}")
    if not 0 <= terminal < states:
        raise ValueError(f"terminal must lie in 0..{states - 1}, got {terminal}")
    ends = np.arange(states) >= states - terminal
    transition = np.zeros((states, actions, states))
    successors = np.argsort(rng.random((states, actions, states)), axis=2)[:, :, :branching]
    weights = rng.dirichlet(np.ones(branching), size=(states, actions))
    np.put_along_axis(transition, successors, weights, axis=2)
    transition[ends] = np.eye(states)[ends, None, :]
    reward = rng.standard_normal((states, actions, states))
    reward[ends] = 0.0
    start = np.zeros(states)
    start[~ends] = rng.dirichlet(np.ones(states - terminal))
    return TabularMDP(transition, reward, discount, start, ends)
