"""Building what a study names: environments, learners, and the gold measure."""

import importlib
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from ...adapters.sb3.env import RewardVecEnv
from ...core.acting import Floats, Step
from ...core.catalog import nearest
from ...core.errors import RewardsmithError
from ...core.function import argument_names
from ...core.reward import Reward
from .spec import ControlStudy


def make_env(study: ControlStudy, *, render: bool = False) -> gymnasium.Env[Any, Any]:
    """One environment with its wrappers.

    Raises:
        SpecError: there is no such environment or wrapper, or it refuses its arguments.
    """
    section = study.section.env
    # Wrappers first: importing the package that holds them is what registers its environments.
    wrappers = study.wrappers()
    extra = {"render_mode": "rgb_array"} if render else {}
    try:
        env: Any = gymnasium.make(section.id, **{**section.kwargs, **extra})
    except gymnasium.error.UnregisteredEnv as error:
        told = nearest(section.id, [*gymnasium.registry], or_all=False) or f" ({error})"
        raise study.document.error(
            f"there is no environment {section.id!r}{told} "
            "(for one that a package registers on import, write package:Name-v0)",
            ("env", "id"),
        ) from None
    except Exception as error:
        raise study.document.error(
            f"gymnasium.make failed: {type(error).__name__}: {error}", ("env",)
        ) from error
    for i, (wrapper, kwargs) in enumerate(wrappers):
        try:
            env = wrapper(env, **kwargs)
        except Exception as error:
            raise study.document.error(
                f"the wrapper failed: {type(error).__name__}: {error}", ("env", "wrappers", i)
            ) from error
    return env  # type: ignore[no-any-return]


def make_reward_env(
    study: ControlStudy, reward: Reward, n: int, seed: int, *, training: bool, render: bool = False
) -> RewardVecEnv:
    """``n`` environments that pay ``reward``, to be seeded at their next reset."""
    venv = DummyVecEnv([lambda: Monitor(make_env(study, render=render)) for _ in range(n)])
    venv.seed(seed)
    return RewardVecEnv(venv, reward, training=training)


def algorithm(study: ControlStudy) -> type[BaseAlgorithm]:
    """The learner's class.

    Raises:
        SpecError: there is none of that name.
    """
    name = study.section.learner.algorithm
    place = ("learner", "algorithm")
    if (given := study.algorithm()) is not None:
        return given  # type: ignore[no-any-return]
    known: dict[str, type[BaseAlgorithm]] = {}
    for module in ("sb3_contrib", "stable_baselines3"):
        for key, value in vars(importlib.import_module(module)).items():
            if isinstance(value, type) and issubclass(value, BaseAlgorithm):
                known[key] = value
    if name not in known:
        raise study.document.error(f"unknown algorithm {name!r}{nearest(name, [*known])}", place)
    return known[name]


def make_learner(study: ControlStudy, env: RewardVecEnv, seed: int) -> BaseAlgorithm:
    """The learner, seeded, with the environment's reward told its gamma.

    Raises:
        SpecError: the algorithm refuses its arguments, or the reward was given another gamma.
    """
    section = study.section.learner
    kind: Callable[..., BaseAlgorithm] = algorithm(study)
    # SB3 wants a tuple here, which YAML has not.
    params = {
        k: tuple(v) if k == "train_freq" and isinstance(v, list) else v
        for k, v in study.params().items()
    }
    try:
        model = kind(section.policy, env, seed=seed, device="cpu", **params)
        gamma = getattr(model, "gamma", None)
        if gamma is not None:
            env.reward.bind(gamma=float(gamma))
    except RewardsmithError:
        raise
    except Exception as error:
        raise study.document.error(
            f"{section.algorithm} failed: {type(error).__name__}: {error}", ("learner",)
        ) from error
    return model


class Gold:
    """The measure that the learner never sees, step by step."""

    def __init__(self, study: ControlStudy) -> None:
        self.study, self.section = study, study.section.gold
        self.call = study.gold_function()
        try:
            self.names = argument_names(self.call)[0] if self.call else ()
        except ValueError as error:
            raise study.document.error(str(error), ("gold", "call")) from error

    def step(self, s: Step) -> Floats:
        """Gold of one step, [n].

        Raises:
            SpecError: the info key is missing (with the keys that are there), or a function
                returned something else than n finite numbers.
        """
        n = len(s.first)
        kind = self.section.kind
        if kind == "return":
            return np.asarray(s.column("env_reward", needed_by="gold"), dtype=np.float64)
        if kind == "terminated":
            return np.asarray(s.column("terminated", needed_by="gold"), dtype=np.float64)
        if self.call is not None:
            columns = {name: s.column(name, needed_by="gold") for name in self.names}
            values = np.asarray(self.call(**columns), dtype=np.float64)
            return self._checked(values, n)
        return self._checked(self._read_info(s), n)

    def _read_info(self, s: Step) -> Floats:
        key, default = self.section.key, self.section.default
        rows = [dict(info) for info in getattr(s.info, "infos", ())]
        found = [row.get(key, default) for row in rows]
        if any(value is None for value in found):
            present = sorted({name for row in rows for name in row})
            raise self.study.document.error(
                f"a step's info has no key {key!r}; keys seen: {', '.join(present)}. If it appears "
                "only on some steps, say what the others count: default: 0",
                ("gold", "key"),
            )
        return np.asarray(found, dtype=np.float64)

    def _checked(self, values: Floats, n: int) -> Floats:
        if values.shape != (n,) or not np.isfinite(values).all():
            raise self.study.document.error(
                f"gold gave {values!r}, expected {n} finite numbers", ("gold",)
            )
        return values
