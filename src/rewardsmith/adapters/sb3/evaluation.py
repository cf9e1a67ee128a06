"""What a policy earns by its training reward and by gold, without disturbing its training."""

import copy
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize, VecTransposeImage

from ...core.acting import Floats, Step
from ...core.errors import SpecError
from ..meter import TOTAL
from .env import RewardVecEnv, find_reward_env, wrappers_of

Gold = Callable[[Step], Floats]
"""What one step really counts, [n]."""


def env_reward(step: Step) -> Floats:
    """Gold where nothing else is named: what the environment itself pays."""
    return np.asarray(step.column("env_reward", needed_by="gold"), dtype=np.float64)


class Played(NamedTuple):
    """Whole episodes of a policy."""

    gold: NDArray[np.float64]
    """[episodes]: each episode's sum."""
    proxy: NDArray[np.float64]
    """[episodes]: of the training reward."""
    length: NDArray[np.float64]
    """[episodes]: steps."""
    steps: dict[str, Floats]
    """Every step of these episodes, [steps]: ``gold``, ``proxy``, and each part asked for."""


def play(
    model: Any,
    env: RewardVecEnv,
    gold: Gold = env_reward,
    *,
    episodes: int,
    seed: int,
    deterministic: bool,
    minimum_steps: int = 0,
    parts: dict[str, float] | None = None,
) -> Played:
    """Play whole episodes and account for them.

    Every environment plays the same number of episodes, whatever their lengths, so that short ones
    are not over-represented; rounds are added until ``minimum_steps`` were played. Whether an
    episode counts is decided when it begins: one that an environment plays while the others finish
    their share never does. The generators of the model's training are left as they were found.

    Args:
        model: a policy of Stable-Baselines3; recurrent and masked ones too.
        env: environments that pay the training reward, made with ``training=False``.
        gold: what a step really counts.
        episodes: how many at least.
        seed: of the environments and the policy's draws.
        deterministic: take the most likely action.
        minimum_steps: play on until this many steps.
        parts: paths of the reward's parts whose steps are wanted, each with a factor.
    """
    n = env.num_envs
    target = -(-episodes // n)
    played = np.zeros(n, dtype=np.int64)
    steps: list[dict[str, Floats]] = []
    counts: list[NDArray[np.bool_]] = []
    running = np.zeros((3, n))
    ended: list[NDArray[np.float64]] = []
    with undisturbed(model, seed):
        env.seed(seed)
        obs: Any = env.reset()
        memory, begins = None, np.ones(n, dtype=np.bool_)
        counted = np.zeros(n, dtype=np.bool_)
        while True:
            counted = np.where(begins, played < target, counted)
            if (played >= target).all():
                if sum(int(c.sum()) for c in counts) >= minimum_steps:
                    break
                target += 1
                continue
            action, memory = act(model, env, obs, memory, begins, deterministic)
            obs, rewards, dones, _ = env.step(action)
            begins = dones
            assert env.meter.last is not None
            # The meter's number is exact where SB3's is float32; deferred rewards it does not know.
            proxy = rewards if env.deferred else env.meter.terms[TOTAL]
            now = {"gold": gold(env.meter.last), "proxy": proxy.astype(np.float64)}
            for path, factor in (parts or {}).items():
                now[f"part:{path}"] = factor * env.meter.terms[path]
            steps.append(now)
            counts.append(counted)
            running += np.stack([now["gold"], now["proxy"], np.ones(n)])
            for i in np.flatnonzero(dones):
                if counted[i]:
                    ended.append(running[:, i].copy())
                    played[i] += 1
                running[:, i] = 0.0
    mask = np.stack(counts)
    columns = {name: np.stack([step[name] for step in steps])[mask] for name in steps[0]}
    golds, proxies, lengths = np.array(ended).T
    return Played(golds, proxies, lengths, columns)


def act(
    model: Any, env: RewardVecEnv, obs: Any, memory: Any, begins: Any, deterministic: bool
) -> tuple[Any, Any]:
    """A policy's actions, with what recurrent policies remember and masked ones must know."""
    # The policy sees what the wrappers around its training environments make of observations.
    for wrapper in reversed(wrappers_of(model.get_env())):
        if isinstance(wrapper, VecNormalize):
            obs = wrapper.normalize_obs(obs)
        elif isinstance(wrapper, VecTransposeImage):
            obs = wrapper.transpose_observations(obs)
    known: dict[str, Any] = {"state": memory, "episode_start": begins}
    if "action_masks" in inspect.signature(model.predict).parameters:
        known["action_masks"] = np.stack(env.env_method("action_masks"))
    return model.predict(obs, deterministic=deterministic, **known)  # type: ignore[no-any-return]


@contextmanager
def undisturbed(model: Any, seed: int) -> Iterator[None]:
    """Seed the generators anew, and give training its own back: evaluation leaves no trace."""
    # An exploring DQN draws its actions from the action space.
    space = model.action_space
    drawn = copy.deepcopy(space._np_random)
    space.seed(seed)
    kept = random.getstate(), np.random.get_state()
    # Named, because torch warns of more than one that is not; one that was never used has no state.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices=devices):
            random.seed(seed)
            np.random.seed(seed % 2**32)  # SB3 draws from the global generator
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        space._np_random = drawn


class EvaluationCallback(BaseCallback):
    """Logs ``evaluation/proxy``, ``evaluation/gold`` and ``evaluation/length`` as training goes on.

    The two curves together show a reward that is hacked: the proxy rises and gold does not.

    Args:
        env: environments that pay the training reward object itself, ``training=False``.
        every: environment steps between two evaluations.
        episodes: how many each time.
        gold: what a step really counts; default what the environment pays.
        deterministic: evaluate the most likely action.
        seed: of the evaluation's environments and draws, the same each time.

    Raises:
        SpecError: ``env`` pays another reward object than the one that is trained on, so that what
            was learned would not show.
    """

    def __init__(
        self,
        env: RewardVecEnv,
        *,
        every: int,
        episodes: int = 20,
        gold: Gold = env_reward,
        deterministic: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(env, RewardVecEnv):
            raise TypeError(
                f"expected a RewardVecEnv, got {type(env).__name__}: evaluate on "
                "RewardVecEnv(venv, reward, training=False) with the reward that is trained on"
            )
        self.env, self.every, self.episodes = env, every, episodes
        self.gold, self.deterministic, self.seed = gold, deterministic, seed

    def _init_callback(self) -> None:
        trained = find_reward_env(self.model.get_env())
        if trained is None or trained.reward is not self.env.reward:
            raise SpecError(
                "EvaluationCallback's environment has another reward object than the model's: "
                "build RewardVecEnv(..., reward, training=False) with the same reward"
            )
        if self.env.training:
            raise SpecError("EvaluationCallback's environment must be made with training=False")

    def _on_step(self) -> bool:
        before = self.num_timesteps - self.training_env.num_envs
        if self.num_timesteps // self.every > before // self.every:
            found = play(
                self.model,
                self.env,
                self.gold,
                episodes=self.episodes,
                seed=self.seed,
                deterministic=self.deterministic,
            )
            for name in ("proxy", "gold", "length"):
                self.logger.record(f"evaluation/{name}", float(getattr(found, name).mean()))
        return True
