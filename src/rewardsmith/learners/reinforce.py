"""REINFORCE: the policy gradient from whole episodes, for any reward of ours.

    grad J = E[ sum_t gamma^t (G_t - b(s_t)) grad log pi(a_t | s_t) ]
    G_t = sum_{k >= t} gamma^(k - t) r_k

>>> agent = Reinforce(policy, torch.optim.SGD(policy.parameters(), lr=1.0))  # doctest: +SKIP
>>> agent.update(rollouts, reward(rollouts))  # doctest: +SKIP
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, Space
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from ..core.advantages import Advantages
from ..core.rollouts import Rollouts
from ..core.scores import Scores


class Policy(nn.Module):
    """A distribution over actions for each observation; subclasses write :meth:`distribution`.

    Args:
        observation_space: Discrete or Box; of one observation.
        action_space: Discrete or Box.
    """

    def __init__(self, observation_space: Space[Any], action_space: Discrete | Box) -> None:
        super().__init__()
        self.observation_space, self.action_space = observation_space, action_space

    def distribution(self, obs: Tensor) -> Distribution:
        """Over actions counted from 0 or flattened to [m, k], at observations [m, ...]."""
        raise NotImplementedError(f"{type(self).__name__} does not define distribution")

    def log_prob(self, obs: Tensor, action: Tensor) -> Float[Tensor, " m"]:
        """``log pi(a | s)`` of the environment's actions [m, ...] at observations [m, ...]."""
        if isinstance(self.action_space, Discrete):
            inner = action.long() - int(self.action_space.start)
        else:
            inner = action.flatten(1)
        return self.distribution(obs).log_prob(inner)

    @torch.no_grad()
    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        """Actions of one observation or of n, and the state, as a policy of SB3 does.

        A sample comes from torch's global generator; a continuous action is clipped to its bounds.

        Raises:
            ValueError: the observation has another shape than the space.
        """
        obs, shape = np.asarray(observation), self.observation_space.shape or ()
        single = obs.shape == shape
        if not single and obs.shape[1:] != shape:
            raise ValueError(f"expected observations {list(shape)} or [n, ...], got {obs.shape}")
        chances = self.distribution(torch.as_tensor(obs[None] if single else obs))
        action = (chances.mode if deterministic else chances.sample()).numpy()
        space = self.action_space
        if isinstance(space, Box):
            action = action.reshape(-1, *space.shape).clip(space.low, space.high)
        else:
            action = action + space.start
        action = action.astype(space.dtype)
        return (action[0] if single else action), state


class TablePolicy(Policy):
    """``pi(a | s) = softmax(logits[s])``, uniform to begin with.

    Args:
        states: S; observations are 0..S-1.
        actions: A; actions are 0..A-1.
    """

    def __init__(self, states: int, actions: int) -> None:
        super().__init__(Discrete(states), Discrete(actions))
        self.logits = nn.Parameter(torch.zeros(states, actions, dtype=torch.float64))

    def distribution(self, obs: Int64[Tensor, "*m"]) -> Categorical:
        return Categorical(logits=self.logits[obs.long()])

    def table(self) -> Float[np.ndarray, "s a"]:
        """The probabilities, as the exact worlds of ``testbeds`` take a policy."""
        probabilities: NDArray[np.float64] = self.logits.detach().softmax(dim=1).numpy()
        return probabilities


class Baseline:
    """What a return is compared with: the running mean of all, or one of each state's own.

        b <- b + rate (mean G of the batch - b),   at first that mean

    Args:
        states: S, for a mean per state 0..S-1; None for one mean.
        rate: in (0, 1].

    Raises:
        ValueError: the rate is out of range.
    """

    def __init__(self, states: int | None = None, rate: float = 0.1) -> None:
        if not 0.0 < rate <= 1.0:
            raise ValueError(f"rate must lie in (0, 1], got {rate}")
        self.states, self.rate = states, rate
        self.values = torch.zeros(states or 1, dtype=torch.float64)
        self._seen = torch.zeros(states or 1, dtype=torch.bool)

    def __call__(self, obs: Tensor) -> Float[Tensor, " m"]:
        """The value that returns from observations [m, ...] are compared with."""
        return self.values[self._rows(obs)]

    def fit(self, obs: Tensor, returns: Float[Tensor, " m"]) -> None:
        """Take in a batch, after it was compared: a return may not be part of its own baseline."""
        rows, n = self._rows(obs), len(self.values)
        count = torch.bincount(rows, minlength=n)
        mean = torch.bincount(rows, returns.double(), minlength=n) / count.clamp(min=1)
        rate = torch.where(self._seen, self.rate, 1.0)
        self.values = torch.where(count > 0, self.values + rate * (mean - self.values), self.values)
        self._seen |= count > 0

    def _rows(self, obs: Tensor) -> Int64[Tensor, " m"]:
        return torch.zeros(len(obs), dtype=torch.int64) if self.states is None else obs.long()


class Reinforce:
    """Trains a policy on rollouts that it made itself.

    Rows without a score do not train. An outcome counts at the row's last action step. The return
    ends where the rollout does: J is that of the steps seen, truncated or not.

    Args:
        policy: what acted.
        optimizer: of its parameters.
        gamma: the discount factor, in (0, 1].
        baseline: subtracted from returns; fitted after each update.

    Raises:
        ValueError: gamma outside (0, 1].

    Source: Williams, "Simple statistical gradient-following algorithms for connectionist
    reinforcement learning", Machine Learning 8, 1992; with discounts as in Sutton
    and Barto, "Reinforcement Learning", 2018, section 13.3.
    """

    def __init__(
        self,
        policy: Policy,
        optimizer: torch.optim.Optimizer,
        *,
        gamma: float = 1.0,
        baseline: Baseline | None = None,
    ) -> None:
        if not 0.0 < gamma <= 1.0:
            raise ValueError(f"gamma must lie in (0, 1], got {gamma}")
        self.policy, self.optimizer = policy, optimizer
        self.gamma, self.baseline = gamma, baseline

    def loss(self, rollouts: Rollouts, signal: Scores | Advantages) -> Float[Tensor, ""]:
        """What an update descends: ``-mean over rows of sum_t c_t log pi(a_t | s_t)``.

        The mean is over the rows that train, the sum over ``action_mask``. For scores
        ``c_t = gamma^t (G_t - b(s_t))``, which is unbiased for grad J, as b comes from earlier
        batches. Advantages are c_t themselves, times their weight where they have one: neither
        gamma nor the baseline touches them.

        Raises:
            MissingColumn: the rollouts have no ``obs`` or no ``action``.
            ValueError: no row trains, or the scores or advantages are those of other rollouts.
        """
        batch = self._batch(rollouts, signal)
        if not len(batch.obs):
            raise ValueError("no row trains: none has both a score and an action")
        return self._loss(batch)

    def update(self, rollouts: Rollouts, signal: Scores | Advantages) -> dict[str, float]:
        """One gradient step, then the baseline's. Nothing changes where no row trains.

        Returns:
            ``rows`` that trained and, if any did, the ``loss``.
        """
        batch = self._batch(rollouts, signal)
        if not len(batch.obs):
            return {"rows": 0.0}
        loss = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.baseline is not None and batch.returns is not None:
            self.baseline.fit(batch.obs, batch.returns)
        return {"rows": float(batch.rows), "loss": float(loss.detach())}

    def _loss(self, batch: "_Batch") -> Float[Tensor, ""]:
        log_prob = self.policy.log_prob(batch.obs, batch.action)
        return -(batch.push * log_prob).sum() / batch.rows

    def _batch(self, rollouts: Rollouts, signal: Scores | Advantages) -> "_Batch":
        if len(signal.values) != len(rollouts):
            raise ValueError(f"{len(signal.values)} scores or advantages, {len(rollouts)} rollouts")
        obs = rollouts.column("obs", needed_by="reinforce")
        action = rollouts.column("action", needed_by="reinforce")
        rows = signal.scored if isinstance(signal, Scores) else signal.keep
        where = rollouts.action_mask & rows[:, None]
        obs, action, n = obs[where], action[where], int(rows.sum())
        if isinstance(signal, Advantages):
            values = signal.values[:, None] if signal.values.ndim == 1 else signal.values
            push = values * (1.0 if signal.weight is None else signal.weight)
            return _Batch(obs, action, push.expand(where.shape)[where].detach(), None, n)
        first = rollouts.first()
        returns = returns_to_go(_step_rewards(rollouts, signal), first, self.gamma)[where]
        push = returns if self.baseline is None else returns - self.baseline(obs)
        return _Batch(obs, action, discounts(first, self.gamma)[where] * push, returns, n)


class _Batch(NamedTuple):
    """The m steps that train: what was seen, done, by how much it is pushed, what came after."""

    obs: Tensor
    action: Tensor
    push: Float[Tensor, " m"]
    returns: Float[Tensor, " m"] | None
    rows: int


def returns_to_go(
    rewards: Float[Tensor, "n t"], first: Bool[Tensor, "n t"], gamma: float
) -> Float[Tensor, "n t"]:
    """``G_t = r_t + gamma G_t+1``, which does not look past a step that begins an episode."""
    returns = torch.empty_like(rewards)
    ahead = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        returns[:, t] = rewards[:, t] + gamma * ahead
        ahead = returns[:, t].masked_fill(first[:, t], 0.0)
    return returns


def discounts(first: Bool[Tensor, "n t"], gamma: float) -> Float[Tensor, "n t"]:
    """``gamma^t``, with t counted from the last step that begins an episode."""
    index = torch.arange(first.shape[1]).expand(first.shape)
    begun = torch.where(first, index, 0).cummax(dim=1).values
    return torch.tensor(gamma, dtype=torch.float64) ** (index - begun)


def _step_rewards(rollouts: Rollouts, scores: Scores) -> Float[Tensor, "n t"]:
    """Float64; a step without a score pays nothing."""
    values = scores.values.detach().double()
    if scores.at is not None:
        return values.masked_fill(~scores.at, 0.0)
    rewards = torch.zeros(rollouts.mask.shape, dtype=torch.float64)
    return rewards.scatter(1, rollouts.last_action()[:, None], values[:, None])
