"""Tabular Q-learning, for environments whose states and actions can be listed.

    Q(s, a) <- Q(s, a) + alpha (r + gamma max_b Q(s', b) [not terminated] - Q(s, a))

A terminated episode has no next state. A truncated one goes on without us: its last target looks at
s' as every other does, so that a time limit changes what is seen and not what is learned.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from jaxtyping import Float, Int
from numpy.typing import NDArray

from ..adapters.gymnasium import RewardWrapper
from ..adapters.recorder import Recorder
from ..core.learning import learn
from ..testbeds.tabular import TabularMDP

Schedule: TypeAlias = float | Callable[[int], float]


def linear(start: float, end: float, over: int) -> Callable[[int], float]:
    """From ``start`` at count 0 in a straight line to ``end`` at count ``over``, and no further."""
    return lambda n: end if n >= over else start + (end - start) * n / over


def power(exponent: float) -> Callable[[int], float]:
    """``n ** -exponent``; as learning rate, exponents in (1/2, 1] meet the theorem's conditions."""
    return lambda n: float(n**-exponent)


@dataclass(frozen=True, eq=False)
class QTable:
    """What was learned, and how it went; rows count from 0, whatever the spaces start at."""

    q: Float[np.ndarray, "s a"]
    policy: Int[np.ndarray, " s"]
    """The first best action of each state."""
    visits: Int[np.ndarray, "s a"]
    """How often each entry was updated; one that never was holds the initial value."""
    returns: Float[np.ndarray, " e"]
    """What each finished episode paid, undiscounted."""
    gold_returns: Float[np.ndarray, " e"] | None
    """The same episodes by gold, which was not learned from."""
    ends: Int[np.ndarray, " e"]
    """How many steps of training had been made when each of them ended."""
    observation_space: Discrete
    action_space: Discrete

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[Any], Any]:
        """The greedy actions of one observation or of n, and the state, as a policy of SB3."""
        row = np.asarray(observation) - self.observation_space.start
        return np.asarray(self.policy[row] + self.action_space.start), state


def learn_q(
    env: gymnasium.Env[Any, Any],
    *,
    steps: int,
    gamma: float,
    seed: int,
    epsilon: Schedule = 0.1,
    learning_rate: Schedule = 0.1,
    initial: float = 0.0,
    gold: str | None = None,
) -> QTable:
    """Learn Q by acting epsilon-greedily, with ties among the best actions broken at random.

    A reward paid through ``rs.wrap`` is told gamma; if it learns, it does so after every episode.

    Args:
        env: one environment with Discrete observations and actions; for an exact MDP, its
            :class:`TabularEnv`.
        steps: how many steps to make.
        gamma: the discount factor, in (0, 1].
        seed: of the environment's first reset and of the exploration.
        epsilon: the probability of a uniform action, or a function of the steps made (from 0).
        learning_rate: alpha, or a function of how often the entry was visited (from 1).
        initial: the value that every entry starts from.
        gold: a key of ``info`` whose sum over each episode is reported, such as ``env_reward``, by
            which a wrapped environment tells what it would have paid itself.

    Raises:
        ValueError: another space, a number or a schedule's value out of range, a reward that is
            not finite, or a step whose ``info`` has no gold.
        SpecError: the reward was given another gamma.

    Source: Watkins and Dayan, "Q-learning", Machine Learning 8, 1992.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not 0.0 < gamma <= 1.0:
        raise ValueError(f"gamma must lie in (0, 1], got {gamma}")
    if not math.isfinite(initial):
        raise ValueError(f"initial must be finite, got {initial}")
    states, actions = _discrete(env, "observation"), _discrete(env, "action")
    n_actions, first_action = int(actions.n), int(actions.start)
    # Lists: at one entry per access they are several times faster than arrays.
    table = [[float(initial)] * n_actions for _ in range(int(states.n))]
    visits = [[0] * n_actions for _ in table]
    paying, draw = _Paying(env, gamma), random.Random(seed)
    curve: list[tuple[float, float, int]] = []
    paid_sum = gold_sum = 0.0
    state = _row(env.reset(seed=seed)[0], states)
    for t in range(steps):
        values = table[state]
        if draw.random() < _within(epsilon, t, "epsilon", zero=True):
            action = draw.randrange(n_actions)
        else:
            best = max(values)
            action = draw.choice([a for a, q in enumerate(values) if q == best])
        obs, reward, terminated, truncated, info = env.step(action + first_action)
        paid = float(reward)
        if not math.isfinite(paid):
            raise ValueError(f"step {t}: the reward is {paid}, which is not a finite number")
        after = _row(obs, states)
        target = paid if terminated else paid + gamma * max(table[after])
        visits[state][action] += 1
        alpha = _within(learning_rate, visits[state][action], "learning_rate", zero=False)
        values[action] += alpha * (target - values[action])
        paying.keep()
        paid_sum += paid
        gold_sum += 0.0 if gold is None else _gold(info, gold)
        if terminated or truncated:
            paying.learn()
            curve.append((paid_sum, gold_sum, t + 1))
            paid_sum = gold_sum = 0.0
            after = _row(env.reset()[0], states)
        state = after
    q = np.array(table)
    return QTable(
        q,
        policy=q.argmax(axis=1),
        visits=np.array(visits),
        returns=np.array([paid for paid, _, _ in curve]),
        gold_returns=None if gold is None else np.array([told for _, told, _ in curve]),
        ends=np.array([end for _, _, end in curve], dtype=np.int64),
        observation_space=states,
        action_space=actions,
    )


class TabularEnv(gymnasium.Env[Any, Any]):
    """A tabular MDP as an environment: states and actions are the rows of its tables.

    Args:
        mdp: the world.
        horizon: steps until an episode is truncated; None waits for a terminal state.
        reward: [S, A, S] table that is paid; the MDP's own when left out.
        gold: [S, A, S] table told as ``info["gold"]`` at every step.

    Raises:
        ValueError: a table does not fit the MDP, or the horizon is below 1.
    """

    def __init__(
        self,
        mdp: TabularMDP,
        horizon: int | None = None,
        *,
        reward: Float[np.ndarray, "s a s"] | None = None,
        gold: Float[np.ndarray, "s a s"] | None = None,
    ) -> None:
        if horizon is not None and horizon < 1:
            raise ValueError(f"horizon must be at least 1, got {horizon}")
        self.mdp, self.horizon = mdp, horizon
        # The MDP checks its tables.
        self._paid = mdp.reward if reward is None else replace(mdp, reward=reward).reward
        self._gold = None if gold is None else replace(mdp, reward=gold).reward
        self.observation_space = Discrete(mdp.states)
        self.action_space = Discrete(mdp.actions)
        self._start = _draws(mdp.start)
        self._next = [[_draws(row) for row in rows] for rows in mdp.transition]
        self._state, self._time = 0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self._state, self._time = self._draw(self._start), 0
        return self._state, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Take one action; ValueError if the tables have no such row."""
        if not 0 <= action < self.mdp.actions:
            raise ValueError(f"action must lie in 0..{self.mdp.actions - 1}, got {action!r}")
        before = self._state
        after = self._state = self._draw(self._next[before][action])
        self._time += 1
        info = {} if self._gold is None else {"gold": float(self._gold[before, action, after])}
        ended = bool(self.mdp.terminal[after])
        truncated = not ended and self._time == self.horizon
        return after, float(self._paid[before, action, after]), ended, truncated, info

    def _draw(self, outcomes: tuple[list[int], list[float]]) -> int:
        return outcomes[0][bisect_right(outcomes[1], self.np_random.random())]


def _draws(row: Float[np.ndarray, " n"]) -> tuple[list[int], list[float]]:
    """The possible outcomes of a distribution, and the bounds between them in [0, 1]."""
    values = np.flatnonzero(row > 0)
    # One bound fewer than outcomes: what rounding leaves above the last sum is the last outcome's.
    return values.tolist(), np.cumsum(row[values])[:-1].tolist()


class _Paying:
    """The reward of ours that an environment pays, if it does: told gamma, and let learn."""

    def __init__(self, env: Any, gamma: float) -> None:
        while isinstance(env, gymnasium.Wrapper) and not isinstance(env, RewardWrapper):
            env = env.env
        self._recorder: Recorder | None = None
        if isinstance(env, RewardWrapper):
            self._meter, reward = env.meter, env.meter.reward
            reward.bind(gamma=gamma)
            self._recorder = Recorder(reward) if reward.learns else None

    def keep(self) -> None:
        if self._recorder is not None and self._meter.last is not None:
            self._recorder.add(self._meter.last)

    def learn(self) -> None:
        rollouts = None if self._recorder is None else self._recorder.take()
        if rollouts is not None:
            learn(self._meter.reward, rollouts)


def _discrete(env: Any, name: str) -> Discrete:
    space = getattr(env, f"{name}_space", None)
    if isinstance(space, Discrete) and isinstance(env, gymnasium.Env):
        return space
    raise ValueError(
        f"Q-learning needs one environment with a Discrete {name} space, got {type(env).__name__} "
        f"with {space}: number the {name}s in a wrapper, or learn with a network"
    )


def _row(obs: Any, space: Discrete) -> int:
    row = int(obs) - int(space.start)
    # A negative row would be read from the table's end.
    if not 0 <= row < space.n:
        raise ValueError(f"the environment gave observation {obs}, which is not in {space}")
    return row


def _within(schedule: Schedule, n: int, name: str, *, zero: bool) -> float:
    value = schedule(n) if callable(schedule) else schedule
    if not 0.0 <= value <= 1.0 or (value == 0.0 and not zero):
        raise ValueError(f"{name} must lie in {'[' if zero else '('}0, 1], got {value} at {n}")
    return value


def _gold(info: dict[str, Any], key: str) -> float:
    if key not in info:
        raise ValueError(f"a step's info has no gold {key!r}; keys there: {', '.join(info)}")
    return float(info[key])
