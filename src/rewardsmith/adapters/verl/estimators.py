"""Our advantage functions as verl's estimators."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, update_wrapper
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.advantages import Advantages
from ...core.catalog import find, methods, nearest

PREFIX = "rewardsmith_"
_OUR_PLACE = "algorithm.rewardsmith"
_NO_OPTIONS = ("keep", "ranks")
"""Keywords that the batch decides, not the user."""


@dataclass(frozen=True)
class Batch:
    """What verl hands to an estimator, under our names."""

    rewards: Tensor
    """[B, T], verl's ``token_level_rewards``."""
    mask: Tensor
    """[B, T], verl's ``response_mask``."""
    config: Any
    """verl's ``algorithm``."""
    given: Mapping[str, Any]
    """All else that verl gave: ``index``, and more under some of its names."""

    def column(self, name: str) -> Any:
        """What verl has under a name, as an argument, a tensor or a column; None if nothing."""
        for place in (self.given, self.given.get("batch"), self.given.get("non_tensor_batch")):
            if place is not None and name in place.keys():  # noqa: SIM118 - a TensorDict
                return place[name]
        return None

    def setting(self, name: str, default: Any = None) -> Any:
        """A value of ``algorithm``."""
        found = None if self.config is None else self.config.get(name, None)
        return default if found is None else found

    @property
    def part_names(self) -> list[str]:
        """``algorithm.gdpo_reward_keys``: the columns that hold parts."""
        return list(self.setting("gdpo_reward_keys", ()))

    @property
    def parts(self) -> dict[str, Tensor] | None:
        """Name -> [B]; None if verl gave none of them."""
        columns = self.given.get("non_tensor_batch")
        if columns is None or not self.part_names:
            return None
        missing = [name for name in self.part_names if name not in columns]
        if missing:
            raise ValueError(
                f"algorithm.gdpo_reward_keys has {missing[0]!r}, and the batch has no such column; "
                f"there are {', '.join(sorted(columns)) or 'none'} (the default trainer of verl "
                "0.9.1 hands no columns over: trainer.use_v1=False)"
            )
        return {
            name: torch.as_tensor(np.asarray(columns[name], dtype=np.float64))
            for name in self.part_names
        }

    @property
    def keep(self) -> Tensor | None:
        """[B] the rows that our reward says are scored; None where it does not say."""
        return self._flags("status/scored")

    @property
    def keep_parts(self) -> dict[str, Tensor] | None:
        """Name -> [B] the rows that are scored and have that part; None where none says so."""
        row = self.keep
        if row is None:
            return None
        return {name: row & self._has(name, row) for name in self.part_names}

    def _has(self, part: str, row: Tensor) -> Tensor:
        # Our reward's numbers stand in pairs: reward/PATH, and scored/PATH beside it.
        head, _, path = part.partition("/")
        flags = self._flags(f"scored/{path}") if head == "reward" else None
        return torch.ones_like(row) if flags is None else flags

    def _flags(self, name: str) -> Tensor | None:
        columns = self.given.get("non_tensor_batch")
        if columns is None or name not in columns:
            return None
        return torch.as_tensor(np.asarray(columns[name], dtype=np.float64) > 0.5)


_INPUTS: dict[str, Callable[[Batch], Any]] = {
    "rewards": lambda batch: batch.rewards.sum(dim=1),
    "step_rewards": lambda batch: batch.rewards,
    "parts": lambda batch: batch.parts,
    "group": lambda batch: batch.given.get("index"),
    "mask": lambda batch: batch.mask,
    "lengths": lambda batch: batch.mask.sum(dim=1),
    "greedy_reward": lambda batch: batch.column("reward_baselines"),
    "logprob": lambda batch: batch.column("old_log_probs"),
    "values": lambda batch: batch.column("values"),
    "sum_pi_squared": lambda batch: batch.column("sum_pi_squared"),
}
"""A positional parameter of ours -> what verl has for it, None where it hands nothing over."""

_DOOR = "algorithm.adv_estimator={door} +algorithm.rewardsmith.estimator={name}"
_OTB = (
    "verl hands it to its estimator optimal_token_baseline: "
    f"{_DOOR.format(door='optimal_token_baseline', name='{name}')} "
    "actor_rollout_ref.actor.calculate_sum_pi_squared=True trainer.use_v1=False"
)
_ADVICE = {
    "parts": (
        f"verl hands parts to its estimator gdpo alone: {_DOOR.format(door='gdpo', name='{name}')} "
        "+algorithm.gdpo_reward_keys=[...] trainer.use_v1=False"
    ),
    "greedy_reward": (
        "verl samples greedy answers for its estimator remax alone: "
        f"{_DOOR.format(door='remax', name='{name}')} trainer.use_v1=False"
    ),
    "values": (
        "verl hands a critic's values to its estimator gdpo: "
        f"{_DOOR.format(door='gdpo', name='{name}')} critic.enable=True"
    ),
    "logprob": _OTB,
    "sum_pi_squared": _OTB,
    "group": "verl gives no uid with this batch, which says what was sampled for the same prompt",
}
"""What to do where verl has no such input, for whom it computes or hands it over."""


@dataclass(frozen=True)
class VerlEstimator:
    """An advantage function of ours, called as verl calls its own.

    Options come from ``algorithm.rewardsmith``, and where that says nothing from verl's settings
    of the same meaning. Where the batch holds the status columns that our reward writes, rows
    without a score count in no moment and get 0; elsewhere all rows count.

    Args:
        name: the method's name in our catalog.
    """

    name: str

    @cached_property
    def function(self) -> Callable[..., Advantages]:
        """The advantage function."""
        return find(self.name)  # type: ignore[no-any-return]

    def __call__(
        self, token_level_rewards: Tensor, response_mask: Tensor, config: Any = None, **given: Any
    ) -> tuple[Tensor, Tensor]:
        """Advantages and returns, both [B, T], 0 outside the mask.

        Returns are what a critic is fitted to; where there is none they are the advantages.

        Args:
            token_level_rewards: [B, T].
            response_mask: [B, T] the tokens that the policy chose.
            config: verl's ``algorithm``.
            given: what else verl hands over: ``index`` [B], the prompts' ids; under some of its
                names ``reward_baselines``, ``batch`` and ``non_tensor_batch``.

        Raises:
            ValueError: verl hands something over that the method needs not, and under which name
                it does; an option that the method does not have; what the method raises.
        """
        batch = Batch(token_level_rewards, response_mask.bool(), config, given)
        with torch.no_grad():
            needed = inputs_of(self.function, needed=True)
            read = {name: self._input(name, batch) for name in inputs_of(self.function)}
            inputs = {name: one for name, one in read.items() if one is not None or name in needed}
            made = self.function(**inputs, **self._options(batch, inputs))
            advantages = made.by_step(batch.mask).to(token_level_rewards.dtype)
        return advantages, getattr(made, "returns", advantages)

    def _input(self, name: str, batch: Batch) -> Any:
        found = _INPUTS[name](batch) if name in _INPUTS else None
        if found is None and name in inputs_of(self.function, needed=True):
            advice = _ADVICE[name].format(name=self.name)
            raise ValueError(f"{PREFIX}{self.name} needs {name}: {advice}")
        return found

    def _options(self, batch: Batch, inputs: Mapping[str, Any]) -> dict[str, Any]:
        known = [p.name for p in _parameters(self.function) if p.kind is p.KEYWORD_ONLY]
        mine = plain(batch.setting("rewardsmith", {}))
        mine.pop("estimator", None)
        check(f"{PREFIX}{self.name}", _OUR_PLACE, mine, [o for o in known if o not in _NO_OPTIONS])
        keep = batch.keep_parts if "parts" in inputs else batch.keep
        settings = {**_SETTINGS, **_OWN_SETTINGS.get(self.name, {})}
        derived = {name: read(batch) for name, read in settings.items() if name in known}
        if "keep" in known:
            derived["keep"] = keep
        return {n: value for n, value in derived.items() if value is not None} | mine


def _scale(batch: Batch) -> str | None:
    return None if batch.setting("norm_adv_by_std_in_grpo", True) else "none"


def _weights(batch: Batch) -> dict[str, float] | None:
    weights, names = batch.setting("gdpo_reward_weights"), batch.part_names
    if weights is None:
        return None
    if len(weights) != len(names):
        raise ValueError(
            f"algorithm.gdpo_reward_weights has {len(weights)} numbers for the {len(names)} parts "
            f"of algorithm.gdpo_reward_keys ({', '.join(names)})"
        )
    return dict(zip(names, map(float, weights), strict=True))


_SETTINGS: dict[str, Callable[[Batch], Any]] = {
    "gamma": lambda batch: batch.setting("gamma"),
    "lam": lambda batch: batch.setting("lam"),
    "scale": _scale,
    "weights": _weights,
}
"""An option of ours -> verl's setting of the same meaning."""
_OWN_SETTINGS: dict[str, dict[str, Callable[[Batch], Any]]] = {
    # verl's grpo_passk divides unless told not to; ours does not.
    "pass_at_k": {"scale": lambda batch: _scale(batch) or "group"},
}
"""The same, of one estimator alone."""


class Door:
    """verl's own estimator of a name under which it hands over more than under others.

    With ``algorithm.rewardsmith.estimator=NAME`` it is ours of that name; without it is verl's,
    which gets what came as it came.

    Args:
        verls: verl's own.
    """

    def __init__(self, verls: Callable[..., Any]) -> None:
        self.verls = verls
        update_wrapper(self, verls)

    def __call__(self, *args: Any, **given: Any) -> Any:
        named = dict(zip(inspect.signature(self.verls).parameters, args, strict=False)) | given
        config = named.get("config")
        mine = plain(None if config is None else config.get("rewardsmith", None))
        if not mine:
            return self.verls(*args, **given)
        names = [estimator.name for estimator in estimators()]
        name = mine.get("estimator")
        if name not in names:
            told = "say which estimator" if name is None else f"there is no estimator {name!r}"
            raise ValueError(
                f"{_OUR_PLACE}: {told}: +{_OUR_PLACE}.estimator=NAME"
                f"{nearest(str(name), names)}; without {_OUR_PLACE} it is verl's own"
            )
        return VerlEstimator(name)(**named)


DOORS = ("gdpo", "remax", "optimal_token_baseline", "tir_optimal_token_baseline")
"""Names of verl's estimators to which it hands more than to others."""


def estimators() -> list[VerlEstimator]:
    """All of ours that are functions of what verl has; not those that keep state."""
    names = [e.name for e in methods() if e.kind == "advantage" and e.qualname.islower()]
    made = [VerlEstimator(name) for name in names]
    return [one for one in made if set(inputs_of(one.function, needed=True)) <= set(_INPUTS)]


def inputs_of(function: Callable[..., Any], *, needed: bool = False) -> list[str]:
    """The names of what a batch gives a function: all, or those that it cannot do without."""
    given = [p for p in _parameters(function) if p.kind is p.POSITIONAL_OR_KEYWORD]
    return [p.name for p in given if p.default is p.empty or not needed]


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def plain(options: Any) -> dict[str, Any]:
    """Options as a dict of Python's own types, lists as tuples."""
    return {str(name): _plain(value) for name, value in (options or {}).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(_plain, value))
    return value


def check(who: str, place: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """ValueError for an option that there is not."""
    for name in given:
        if name not in known:
            raise ValueError(f"{place}.{name}: {who} has no such option{nearest(name, known)}")
