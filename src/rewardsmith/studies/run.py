"""One run: train a learner under one reward with one seed, and evaluate it as it goes.

This is what a worker process does. Everything random follows from the seed, and evaluation does not
disturb training, so a run that is repeated gives the same records.
"""

import base64
import importlib.metadata
import math
import multiprocessing
import os
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import configure

from ..adapters.sb3 import RewardCallback, RewardVecEnv
from ..core.errors import RewardsmithError
from ..core.fingerprint import fingerprint
from .environments import Gold, algorithm, make_learner, make_reward_env
from .evaluation import evaluate, film
from .records import Run, write_json
from .spec import Study

_EVALUATION_SEED = 1_000_000
"""Added to a run's seed: evaluation starts are those of no training episode."""


def train(study: Study, run: Run) -> None:
    """Carry out a run, from nothing to ``done.json``; what breaks it is left in ``failed.json``."""
    try:
        run.begin()
        _train(study, run)
    except Exception as error:  # noqa: BLE001 - a seed that crashes must not take the others along
        message = str(error) if isinstance(error, RewardsmithError) else repr(error)
        run.fail(message, traceback.format_exc())


def reference_return(study: Study, run: Run, reference: Run) -> None:
    """Note what the reference's final policy earns under this run's final training reward."""
    reward = study.reward(run.reward)
    reward.load_state_dict(torch.load(run.folder / "reward.pt", weights_only=True))
    model = algorithm(study).load(reference.folder / "policy.zip", device="cpu")
    reward.bind(gamma=float(model.gamma))  # type: ignore[attr-defined]
    env = _evaluation_env(study, reward, run.seed)
    section = study.section.evaluation
    found = evaluate(
        model,
        env,
        Gold(study),
        episodes=section.final_episodes,
        seed=_EVALUATION_SEED + run.seed,
        deterministic=section.deterministic,
    )
    env.close()
    write_json(run.folder / "reference.json", {"proxy": found["proxy"], "gold": found["gold"]})


def _train(study: Study, run: Run) -> None:
    started = time.monotonic()
    torch.set_num_threads(1)
    section = study.section
    reward = study.reward(run.reward)
    env = make_reward_env(study, reward, section.env.n_envs, run.seed, training=True)
    model = make_learner(study, env, run.seed)
    model.set_logger(configure(str(run.folder / "tensorboard"), ["tensorboard"]))
    recorder = _Evaluations(study, run, reward)
    recorder.record(model, 0, "initial")
    model.learn(section.learner.timesteps, callback=CallbackList([RewardCallback(), recorder]))
    recorder.record(model, section.learner.timesteps, "final")
    model.save(run.folder / "policy.zip")
    torch.save(reward.state_dict(), run.folder / "reward.pt")
    _film(study, run, model, reward)
    env.close()
    recorder.env.close()
    run.finish({"seconds": round(time.monotonic() - started, 1), "steps": model.num_timesteps})


class _Evaluations(BaseCallback):
    """Evaluates the policy as it learns, and appends a record each time."""

    def __init__(self, study: Study, run: Run, reward: Any) -> None:
        super().__init__()
        self.study, self.run, self.reward = study, run, reward
        self.gold = Gold(study)
        self.env = _evaluation_env(study, reward, run.seed)
        self.every = study.section.evaluation.every
        self.constant = {"reward_hash": fingerprint(reward), "versions": versions()}

    def _on_step(self) -> bool:
        due = self.num_timesteps // self.every > (self.num_timesteps - self.env_steps) // self.every
        if due and self.num_timesteps < self.study.section.learner.timesteps:
            self.record(self.model, self.num_timesteps, "training")
        return True

    @property
    def env_steps(self) -> int:
        return int(self.training_env.num_envs)

    def record(self, model: Any, steps: int, kind: str) -> None:
        section = self.study.section.evaluation
        initial = kind == "initial"
        found = evaluate(
            model,
            self.env,
            self.gold,
            episodes=section.final_episodes if kind == "final" else section.episodes,
            seed=_EVALUATION_SEED + self.run.seed,
            deterministic=section.deterministic and not initial,
            minimum_steps=-(-section.correlation_steps // self.study.section.seeds)
            if initial
            else 0,
        )
        place = {"reward": self.run.reward, "seed": self.run.seed, "steps": steps, "kind": kind}
        self.run.append({**place, **found, **self.constant})
        if not initial:
            for name in ("gold", "proxy", "length"):
                model.logger.record(f"evaluation/{name}", found[name])
            if kind == "final":
                model.logger.dump(steps)


def _evaluation_env(study: Study, reward: Any, seed: int) -> RewardVecEnv:
    # Each environment plays the same number of episodes: the most environments that leave no rest.
    section = study.section.evaluation
    shared = math.gcd(section.episodes, section.final_episodes)
    n = max(k for k in range(1, study.section.env.n_envs + 1) if shared % k == 0)
    return make_reward_env(study, reward, n, _EVALUATION_SEED + seed, training=False)


def _film(study: Study, run: Run, model: Any, reward: Any) -> None:
    """Keep an episode of the final policy as frames, where the environment can be drawn."""
    try:
        env = make_reward_env(study, reward, 1, run.seed, training=False, render=True)
        strip = film(
            model,
            env,
            Gold(study),
            seed=_EVALUATION_SEED + run.seed,
            deterministic=study.section.evaluation.deterministic,
        )
        env.close()
    except Exception as error:  # noqa: BLE001 - many environments cannot be drawn without a display
        write_json(run.folder / "no_film.json", {"reason": repr(error)})
        return
    if strip is not None:
        for frame in strip["frames"]:
            frame["png"] = base64.b64encode(frame["png"]).decode()
        write_json(run.folder / "film.json", {"seed": run.seed, **strip})


def versions() -> dict[str, str]:
    """The versions of what a run's numbers depend on."""
    names = ("rewardsmith", "torch", "numpy", "gymnasium", "stable-baselines3", "sb3-contrib")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def prepare_worker() -> None:
    """Give a worker process one thread, and let it end with its parent.

    A worker whose parent was killed would go on writing into a run that a resumed study has begun
    anew.
    """
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def read_film(folder: Path) -> dict[str, Any] | None:
    """A run's frames, with the images as bytes."""
    strip = Run("", 0, folder).note("film")
    if strip is not None:
        for frame in strip["frames"]:
            frame["png"] = base64.b64decode(frame["png"])
    return strip
