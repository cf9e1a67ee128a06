"""Behavior cloning: a policy fitted to what somebody did, by supervised learning.

>>> policy = NetworkPolicy(env.observation_space, env.action_space)  # doctest: +SKIP
>>> clone = clone_behavior(policy, demonstrations).policy  # doctest: +SKIP
>>> action, _ = clone.predict(obs, deterministic=True)  # doctest: +SKIP
"""

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from gymnasium.spaces import Box, Discrete, Space
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from ..core.rollouts import Rollouts
from .reinforce import Policy

# A scripted expert repeats itself, and the likelihood of a Gaussian without a floor has no bound.
_LOG_STD = (-5.0, 2.0)


class NetworkPolicy(Policy):
    """A small tanh network: logits of discrete actions, or the mean of continuous ones.

    Continuous actions are Gaussian, with one log standard deviation per dimension that does not
    depend on the observation and is held within [-5, 2].

    Args:
        observation_space: a Box; observations are flattened.
        action_space: Discrete or Box.
        hidden: the sizes of the hidden layers.
        seed: of the first weights.

    Raises:
        ValueError: another space.
    """

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        hidden: Sequence[int] = (64, 64),
        seed: int = 0,
    ) -> None:
        if not isinstance(observation_space, Box):
            raise ValueError(
                f"NetworkPolicy needs Box observations, got {observation_space}: "
                "gymnasium.wrappers.FlattenObservation makes them one"
            )
        if not isinstance(action_space, Discrete | Box):
            raise ValueError(f"NetworkPolicy needs Discrete or Box actions, got {action_space}")
        super().__init__(observation_space, action_space)
        out = int(action_space.n if isinstance(action_space, Discrete) else _size(action_space))
        sizes = [_size(observation_space), *hidden]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = []
            for width, height in pairwise(sizes):
                layers += [nn.Linear(width, height), nn.Tanh()]
            self.network = nn.Sequential(*layers, nn.Linear(sizes[-1], out))
        self.log_std = nn.Parameter(torch.zeros(out)) if isinstance(action_space, Box) else None
        self.center = nn.Buffer(torch.zeros(sizes[0]))
        self.scale = nn.Buffer(torch.ones(sizes[0]))

    def distribution(self, obs: Float[Tensor, "m ..."]) -> Distribution:
        inputs = (obs.float().flatten(1) - self.center) / self.scale
        out = self.network(inputs)
        if self.log_std is None:
            return Categorical(logits=out)
        return Independent(Normal(out, self.log_std.clamp(*_LOG_STD).exp().expand_as(out)), 1)

    def standardize(self, obs: Float[Tensor, "m ..."]) -> None:
        """Let the network see observations less their mean, over their deviation where they vary.

        Its weights stay, so that what it computes changes: call it before fitting.
        """
        flat = obs.double().flatten(1)
        deviation = flat.std(dim=0, correction=0)
        self.center.copy_(flat.mean(dim=0))
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))


class Cloned(NamedTuple):
    """A fitted policy, and how the fit went."""

    policy: Policy
    """As it was after the best epoch."""
    losses: list[float]
    """Each epoch's mean training loss, measured while it was going on."""
    validation_losses: list[float]
    """Each epoch's loss on the held-out rollouts, after it; empty without a validation."""
    best_epoch: int
    """Counted from 0; the last one without a validation."""


def clone_behavior(
    policy: Policy,
    rollouts: Rollouts,
    *,
    weights: Float[Tensor, " n"] | Float[Tensor, "n t"] | None = None,
    loss: Literal["likelihood", "mse"] = "likelihood",
    validation: float = 0.1,
    epochs: int = 100,
    patience: int = 10,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Cloned:
    """Fit a copy of a policy to the actions in ``action_mask``, by Adam.

        L = sum_i w_i l_i / sum_i w_i   over steps i
        likelihood: l = -log pi(a | s)        mse: l = |a - mu(s)|^2

    The likelihood is the cross-entropy where actions are discrete. After a fit by ``mse`` the
    Gaussian's deviation is that of the residuals on the training steps.

    Args:
        policy: where the fit starts; it stays as it is. A :class:`NetworkPolicy` is standardized
            to the training observations.
        rollouts: with columns ``obs`` and ``action``.
        weights: of rollouts or of steps, at least 0; what weighs 0 is not read.
        loss: ``"mse"`` is for continuous actions.
        validation: the share of rollouts, of those that are read, to hold out: whole ones, since
            neighboring steps resemble each other. 0 for none, and no early stopping.
        epochs: at most.
        patience: stop after so many epochs in a row without a better validation loss.
        batch_size: steps per gradient step.
        learning_rate: Adam's.
        seed: of the split and of the order of steps.

    Raises:
        MissingColumn: the rollouts have no ``obs`` or no ``action``.
        ValueError: an argument out of range, weights that do not fit, nothing to fit or to hold
            out, or an observation or action that is not finite or not in its space.
    """
    if not 0.0 <= validation < 1.0 or min(epochs, patience, batch_size) < 1:
        raise ValueError(
            "validation must lie in [0, 1), and epochs, patience and batch_size be at least 1; got "
            f"{validation}, {epochs}, {patience} and {batch_size}"
        )
    policy, draw = copy.deepcopy(policy), torch.Generator().manual_seed(seed)
    if loss == "mse" and not (isinstance(policy, NetworkPolicy) and policy.log_std is not None):
        raise ValueError("loss 'mse' fits the mean of a NetworkPolicy's continuous actions")
    weight = _weights(rollouts, weights)
    held = _held_out(weight, validation, draw)
    train = _steps(policy, rollouts, weight * ~held[:, None])
    test = _steps(policy, rollouts, weight * held[:, None])
    if isinstance(policy, NetworkPolicy):
        policy.standardize(train.obs)
    optimizer = torch.optim.Adam(policy.parameters(), lr=learning_rate)
    losses: list[float] = []
    told: list[float] = []
    best, best_epoch, kept = math.inf, epochs - 1, policy.state_dict()
    for epoch in range(epochs):
        summed = 0.0
        for index in torch.randperm(len(train.weight), generator=draw).split(batch_size):
            batch = _Steps(*(column[index] for column in train))
            value = cloning_loss(policy, *batch, kind=loss)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            summed += float(value.detach() * batch.weight.sum())
        losses.append(summed / float(train.weight.sum()))
        if not len(test.weight):
            continue
        with torch.no_grad():
            told.append(float(cloning_loss(policy, *test, kind=loss)))
        if told[-1] < best:
            best, best_epoch, kept = told[-1], epoch, copy.deepcopy(policy.state_dict())
        elif epoch - best_epoch >= patience:
            break
    policy.load_state_dict(kept)
    if loss == "mse":
        _fit_deviation(policy, train)
    return Cloned(policy, losses, told, best_epoch)


def cloning_loss(
    policy: Policy,
    obs: Tensor,
    action: Tensor,
    weight: Float[Tensor, " m"],
    *,
    kind: Literal["likelihood", "mse"] = "likelihood",
) -> Float[Tensor, ""]:
    """``sum_i w_i l_i / sum_i w_i`` over m steps; see :func:`clone_behavior`."""
    if kind == "mse":
        each = (action.flatten(1) - policy.distribution(obs).mean).square().sum(dim=1)
    else:
        each = -policy.log_prob(obs, action)
    return (weight * each).sum() / weight.sum()


class _Steps(NamedTuple):
    """The m steps that are read."""

    obs: Tensor
    action: Tensor
    weight: Float[Tensor, " m"]


def _weights(rollouts: Rollouts, weights: Tensor | None) -> Float[Tensor, "n t"]:
    """The weight of each step, 0 where the policy did not choose."""
    shape = tuple(rollouts.mask.shape)
    given = torch.ones(shape) if weights is None else torch.as_tensor(weights, dtype=torch.float32)
    if tuple(given.shape) not in (shape, shape[:1]):
        raise ValueError(
            f"weights have shape {list(given.shape)}, expected [{shape[0]}] or {list(shape)}"
        )
    each = (given[:, None] if given.ndim == 1 else given).expand(shape)
    each = each.masked_fill(~rollouts.action_mask, 0.0)
    wrong = ~(each.isfinite() & (each >= 0)).all(dim=1)
    if wrong.any():
        row = int(wrong.to(torch.int8).argmax())
        raise ValueError(f"row {row} has a weight that is negative or not finite")
    return each


def _held_out(
    weight: Float[Tensor, "n t"], share: float, draw: torch.Generator
) -> Bool[Tensor, " n"]:
    """The rollouts held out: the share of those that are read, at least one unless it is 0."""
    read = (weight > 0).any(dim=1).nonzero().flatten()
    count = max(1, round(share * len(read))) if share else 0
    if len(read) <= count:
        raise ValueError(
            f"{len(read)} rollouts have steps to learn from, and {count} of them would be held out "
            "for validation; give more rollouts, or validation=0"
        )
    held = torch.zeros(len(weight), dtype=torch.bool)
    held[read[torch.randperm(len(read), generator=draw)[:count]]] = True
    return held


def _steps(policy: Policy, rollouts: Rollouts, weight: Float[Tensor, "n t"]) -> _Steps:
    where = weight > 0
    columns = {
        name: rollouts.column(name, needed_by="behavior cloning") for name in ("obs", "action")
    }
    for name, space in (("obs", policy.observation_space), ("action", policy.action_space)):
        for row, t in where.nonzero()[~_inside(columns[name][where], space)].tolist():
            raise ValueError(
                f"row {row}, step {t}: {name} {columns[name][row, t].tolist()} is not in {space}"
            )
    return _Steps(columns["obs"][where], columns["action"][where], weight[where])


def _inside(values: Tensor, space: Space[Any]) -> Bool[Tensor, " m"]:
    """Which of [m, ...] could be values of the space; bounds of a Box are not asked for.

    An expert may well act beyond the bounds, where the environment clips.
    """
    if tuple(values.shape[1:]) != space.shape:
        return torch.zeros(len(values), dtype=torch.bool)
    if not isinstance(space, Discrete):
        return values.isfinite().flatten(1).all(dim=1)
    whole = torch.full((len(values),), not values.is_floating_point())
    return whole & (values >= int(space.start)) & (values < int(space.start + space.n))


@torch.no_grad()
def _fit_deviation(policy: Policy, train: _Steps) -> None:
    """The Gaussian's maximum-likelihood deviation about the fitted mean."""
    residual = train.action.flatten(1) - policy.distribution(train.obs).mean
    weight = train.weight[:, None]
    variance = (weight * residual.square()).sum(dim=0) / weight.sum()
    assert isinstance(policy, NetworkPolicy)
    assert policy.log_std is not None
    policy.log_std.copy_((0.5 * variance.log()).clamp(*_LOG_STD))


def _size(space: Box) -> int:
    return math.prod(space.shape)
