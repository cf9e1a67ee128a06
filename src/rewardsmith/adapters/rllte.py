"""rllte (RLeXplore): an intrinsic bonus of its as a reward of ours.

By signature; rllte itself is not imported. In rllte's own loop a bonus watches every step, and at
the end of a rollout ``compute`` pays it and lets the bonus learn. ``compute`` changes the bonus
whatever its ``sync`` says: running statistics, a step count, an episodic memory that is handed out
once (read in rllte-core 1.0.1). Here scoring asks a copy, and ``update`` the bonus itself: what is
paid is what rllte pays, and only ``update`` changes anything.

>>> bonus = RllteBonus(RND(envs, obs_norm_type="none"))  # doctest: +SKIP
>>> scores, _ = rs.learn(bonus, rollouts)  # doctest: +SKIP
"""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..core.outcome import Status, told
from ..core.reward import Reward
from ..core.rollouts import Rollouts
from ..core.scores import Scores

_SAMPLES = {
    "observations": "obs",
    "actions": "action",
    "rewards": "env_reward",
    "terminateds": "terminated",
    "truncateds": "truncated",
    "next_observations": "next_obs",
}
# What a bonus was built from and never changes. Environments cannot be copied, nor have they to be.
_FIXED = frozenset({"envs", "observation_space", "action_space", "device", "logger"})


class RllteBonus(Reward):
    """The bonus that rllte computes for a rollout; it learns from a rollout after it was paid.

    A bonus of n environments takes steps [T, n]: the rollouts' steps, row after row, have to fill
    n lanes of equal length that begin and end where rows do. N = n rows of full length do, and so
    does what n environments collected, cut into episodes environment by environment. A bonus of
    one environment takes any rollouts. Some normalize by the batch that they are given: the scope
    is the batch. It cannot be computed while acting.

    Args:
        bonus: an object with ``watch``, ``compute`` and ``n_envs``, as rllte's are. A ``Fabric`` of
            several is refused where it computes a list; make each a part of its own.

    Raises:
        TypeError: it is no such object.
        ValueError: it holds a state that cannot be saved, or is given that of another number of
            environments; or, in scoring, the rollouts do not fill its environments, observations
            are dicts, or it does not give one number per step.
    """

    def __init__(self, bonus: Any) -> None:
        super().__init__()
        for name in ("watch", "compute"):
            if not callable(getattr(bonus, name, None)):
                raise TypeError(f"{type(bonus).__name__} has no {name}(); give a bonus of rllte")
        self.bonus = bonus
        self.n_envs = _n_envs(bonus)
        _saved(bonus, type(bonus).__name__)  # refuses now what could not be saved later
        self.declare(needs=_SAMPLES.values(), granularity="dense", scope="batch")

    def default_name(self) -> str:
        return type(self.bonus).__name__.lower()

    def label(self) -> str:
        return f"{type(self).__name__}({type(self.bonus).__name__}, n_envs={self.n_envs})"

    def forward(self, rollouts: Rollouts) -> Scores:
        values = torch.zeros(len(rollouts), rollouts.n_steps)
        if not bool(rollouts.action_mask.any()):
            return Scores.dense(values, rollouts.action_mask)
        lanes = self._lanes(rollouts)
        samples = self._samples(rollouts, lanes)
        asked = _copied(self.bonus)
        _stop_learning(asked)
        # What a bonus draws at random must not move the learner's own generator.
        with torch.random.fork_rng(devices=[]):
            try:
                paid = _computed(asked, samples)
            except Exception as error:  # noqa: BLE001 - foreign code may raise anything
                status = torch.full((len(rollouts),), int(Status.FAILED), dtype=torch.int8)
                errors = {row: ("", told(error)) for row in range(len(rollouts))}
                return Scores.dense(values, rollouts.action_mask, status, errors=errors)
        values[lanes[0], lanes[1]] = self._checked(paid, lanes[0].shape).to(values)
        return Scores.dense(values, rollouts.action_mask)

    def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
        """Let the bonus watch the rollout, compute it and learn, as in rllte's loop.

        Metric: the mean of what it paid.
        """
        if not bool(rollouts.action_mask.any()):
            return {}
        paid = _computed(self.bonus, self._samples(rollouts, self._lanes(rollouts)))
        return {"mean": float(paid.mean())}

    def get_extra_state(self) -> dict[str, Any]:
        state: dict[str, Any] = _saved(self.bonus, type(self.bonus).__name__)
        return state

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        first = next(iter(state.get("rewards", ())), state)
        saved = first.get("n_envs", self.n_envs)
        if saved != self.n_envs:
            raise ValueError(
                f"{self.label()} cannot take on the state of {saved} environments: build its bonus "
                f"with {saved}, or begin anew without that state"
            )
        _restored(self.bonus, state)

    def _lanes(self, rollouts: Rollouts) -> Int64[Tensor, "2 t n"]:
        """Row and step of every live step, as [T, n]: a column per environment."""
        live = rollouts.action_mask
        n_steps, left = divmod(int(live.sum()), self.n_envs)
        ends = set(live.sum(dim=1).cumsum(dim=0).tolist())
        if left or not {n_steps * (i + 1) for i in range(self.n_envs)} <= ends:
            raise ValueError(
                f"{self.label()} takes the steps of {self.n_envs} environments, equally many of "
                f"each; these {len(rollouts)} rollouts of {live.sum(dim=1).tolist()} steps do not "
                "divide so: build the bonus with one environment, or give whole rollouts"
            )
        return torch.stack(live.nonzero(as_tuple=True)).reshape(2, self.n_envs, n_steps).mT

    def _samples(self, rollouts: Rollouts, lanes: Int64[Tensor, "2 t n"]) -> dict[str, Tensor]:
        samples = {}
        for theirs, ours in _SAMPLES.items():
            column = rollouts.column(ours, needed_by=self.label())
            if isinstance(column, Mapping):
                raise ValueError(f"{self.label()} reads one array of observations, not a dict")
            samples[theirs] = column[lanes[0], lanes[1]].contiguous()
        for name in ("observations", "next_observations", "rewards"):
            samples[name] = samples[name].float()
        return samples

    def _checked(self, paid: Any, shape: torch.Size) -> Float[Tensor, "t n"]:
        if isinstance(paid, list | tuple):
            raise ValueError(f"{self.label()} gives {len(paid)} bonuses; make each a part")
        if not isinstance(paid, Tensor) or paid.shape != shape:
            found = list(paid.shape) if isinstance(paid, Tensor) else type(paid).__name__
            raise ValueError(f"{self.label()} gives {found}, expected a tensor {list(shape)}")
        return paid.detach()


def _computed(bonus: Any, samples: Mapping[str, Tensor]) -> Any:
    """What rllte's loop does with a rollout: watch each step, then compute.

    Always with ``sync=True``: without it the bonuses with an episodic memory pay single
    transitions of one environment only.
    """
    for t in range(len(samples["observations"])):
        bonus.watch(**{name: column[t] for name, column in samples.items()})
    return bonus.compute(samples=dict(samples), sync=True)


def _stop_learning(bonus: Any) -> None:
    """Make ``compute`` of a copy only compute: scores are asked for without gradients."""
    for member in (bonus, *getattr(bonus, "rewards", ())):
        member.update = _nothing


def _nothing(samples: Mapping[str, Tensor]) -> None:
    return None


def _n_envs(bonus: Any) -> int:
    first = next(iter(getattr(bonus, "rewards", ())), bonus)
    n_envs = getattr(first, "n_envs", None)
    if not isinstance(n_envs, int):
        raise TypeError(f"{type(bonus).__name__} does not say its n_envs; give a bonus of rllte")
    return n_envs


def _copied(bonus: Any) -> Any:
    """A copy that shares what never changes."""
    shared = {
        id(value): value
        for member in (bonus, *getattr(bonus, "rewards", ()))
        for name, value in vars(member).items()
        if name in _FIXED
    }
    return copy.deepcopy(bonus, shared)


# --- the state of a bonus: numbers, tensors, networks and optimizers, in objects and lists --------


def _saved(value: Any, path: str) -> Any:
    """A state as plain data, which loads with ``weights_only=True``."""
    if isinstance(value, nn.Module | torch.optim.Optimizer):
        return copy.deepcopy(value.state_dict())
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_saved(item, f"{path}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {key: _saved(item, f"{path}[{key!r}]") for key, item in value.items()}
    if hasattr(value, "__dict__") and not callable(value):
        return {
            name: _saved(item, f"{path}.{name}")
            for name, item in vars(value).items()
            if name not in _FIXED
        }
    raise ValueError(f"{path} is a {type(value).__name__}, which cannot be saved with the reward")


def _restored(value: Any, state: Any) -> Any:
    """The value with its state back: in place where it is an object, else the state itself."""
    if isinstance(value, nn.Module | torch.optim.Optimizer):
        value.load_state_dict(copy.deepcopy(state))
        return value
    if isinstance(value, tuple):
        return tuple(map(_restored, value, state))
    if isinstance(value, list) and any(_is_object(item) for item in value):
        return list(map(_restored, value, state))
    if _is_object(value):
        for name, item in state.items():
            setattr(value, name, _restored(getattr(value, name, None), item))
        return value
    return copy.deepcopy(state)


def _is_object(value: Any) -> bool:
    plain = (Tensor, np.generic, np.ndarray, list, tuple, Mapping)
    return hasattr(value, "__dict__") and not isinstance(value, plain)
