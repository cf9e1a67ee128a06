"""One run: train a learner under one reward with one seed, and evaluate it as it goes.

This is what a worker process does. Everything random follows from the seed, and evaluation does not
disturb training, so a run that is repeated gives the same records.
"""

import importlib.metadata
import math
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import KVWriter, configure

from ..adapters.sb3.callback import RewardCallback
from ..adapters.sb3.env import RewardVecEnv
from ..adapters.trackers import TrackerWriter, tracker
from ..core.errors import RewardsmithError, SpecError
from ..core.fingerprint import fingerprint
from ..core.reward import Reward
from ..core.spec import dump
from .environments import Gold, algorithm, make_learner, make_reward_env, spread
from .evaluation import evaluate
from .records import Run, write_json
from .spec import Study


def train_as_planned(study: Study, run: Run) -> None:
    """Carry out a run whose folder says what it is of; a worker may read its files much later."""
    try:
        planned = run.folder.parent.name == study.folder(run.reward)
    except SpecError as error:
        run.fail(f"a file that the study names was edited while it ran: {error}", "")
        return
    if planned:
        train(study, run)
    else:
        told = "a file that the study names was edited while it ran; run the same command again"
        run.fail(told, "")


def train(study: Study, run: Run) -> None:
    """Carry out a run, from nothing to ``done.json``; what breaks it is left in ``failed.json``."""
    try:
        run.begin()
        with _tracked(study, run) as outputs:
            _train(study, run, outputs)
    except Exception as error:  # noqa: BLE001 - a seed that crashes must not take the others along
        run.fail(_said(error), traceback.format_exc())


def compare(study: Study, run: Run, reference: Run) -> None:
    """Note what other policies earn under this run's training reward, as it ended.

    These are the reference's final policy and, where the reward learns, this run's initial one: a
    return before training and one after it are of one reward only if its state is one.
    """
    try:
        found = {"reference": reference.name, "proxy": _earned(study, run, reference, "policy")}
        if study.reward(run.reward).learns:
            found["initial"] = _earned(study, run, run, "initial")
    except Exception as error:  # noqa: BLE001 - one comparison that fails must not take the report
        found = {"reference": reference.name, "error": _said(error)}
    write_json(run.folder / "comparison.json", found)


def _earned(study: Study, run: Run, source: Run, policy: str) -> float:
    """The mean return of a saved policy under a run's final reward."""
    model = saved(study, source, policy)
    reward = final_reward(study, run, model)
    env = _evaluation_env(study, reward, run.seed)
    section = study.section.evaluation
    found = evaluate(
        model,
        env,
        Gold(study),
        episodes=section.final_episodes,
        seed=spread(run.seed, "evaluation"),
        deterministic=section.deterministic and policy != "initial",
    )
    env.close()
    return float(found["proxy"])


def saved(study: Study, run: Run, policy: str) -> Any:
    """A policy of a run: ``initial`` or ``policy``, which is the final one."""
    # A policy is saved with the names of its classes: a file's are known once it was imported.
    study.params()
    # Nothing will be replayed; hindsight replay would not even load without an environment.
    without: dict[str, Any] = {
        "replay_buffer_class": None,
        "replay_buffer_kwargs": {},
        "buffer_size": 1,
    }
    path = run.folder / f"{policy}.zip"
    return algorithm(study).load(path, device="cpu", custom_objects=without)


def final_reward(study: Study, run: Run, model: Any) -> Reward:
    """A run's reward as its training left it."""
    reward = study.reward(run.reward)
    reward.load_state_dict(torch.load(run.folder / "reward.pt", weights_only=True))
    gamma = getattr(model, "gamma", None)
    if gamma is not None:
        reward.bind(gamma=float(gamma))
    return reward


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, RewardsmithError) else repr(error)


@contextmanager
def _tracked(study: Study, run: Run) -> Iterator[list[KVWriter]]:
    """A run of every tracker that the study names, as outputs of the learner's logger."""
    reward = study.reward(run.reward)
    config = {
        "reward": run.reward,
        "seed": run.seed,
        "reward_hash": fingerprint(reward),
        "spec": dump(reward, base=study.document.base),
    }
    name = f"{run.reward}/{run.seed}"
    opened = [
        tracker(kind, name=name, group=study.name, config=config, **arguments)
        for kind, arguments in study.section.trackers.items()
    ]
    failed = True
    try:
        yield [TrackerWriter(each) for each in opened]
        failed = False
    finally:
        for each in opened:
            each.close(failed)


def _train(study: Study, run: Run, outputs: list[KVWriter]) -> None:
    started = time.monotonic()
    torch.set_num_threads(1)
    section = study.section
    reward = study.reward(run.reward)
    seed = spread(run.seed, "training")
    env = make_reward_env(study, reward, section.env.n_envs, seed, training=True)
    model: Any = make_learner(study, env, seed)
    logger = configure(str(run.folder / "tensorboard"), ["tensorboard"])
    logger.output_formats += outputs
    model.set_logger(logger)
    recorder = _Evaluations(study, run, reward)
    # Before `learn`, DQN's rate is 0: the initial policy would not be the one that explores.
    if hasattr(model, "exploration_initial_eps"):
        model.exploration_rate = model.exploration_initial_eps
    recorder.record(model, 0, "initial")
    model.save(run.folder / "initial.zip")
    model.learn(section.learner.timesteps, callback=CallbackList([RewardCallback(), recorder]))
    recorder.record(model, model.num_timesteps, "final")
    model.save(run.folder / "policy.zip")
    torch.save(reward.state_dict(), run.folder / "reward.pt")
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
            seed=spread(self.run.seed, "evaluation"),
            deterministic=section.deterministic and not initial,
            minimum_steps=section.initial_steps if initial else 0,
        )
        place = {"reward": self.run.reward, "seed": self.run.seed, "steps": steps, "kind": kind}
        self.run.append({**place, **found, **self.constant})
        # Straight to the outputs: the learner's next dump belongs to a later step.
        values = {f"evaluation/{name}": found[name] for name in ("gold", "proxy", "length")}
        for output in model.logger.output_formats:
            output.write(values, dict.fromkeys(values, ("",)), steps)
        if kind == "final":
            model.logger.dump(steps)


def _evaluation_env(study: Study, reward: Any, seed: int) -> RewardVecEnv:
    # Each environment plays the same number of episodes: the most environments that leave no rest.
    section = study.section.evaluation
    shared = math.gcd(section.episodes, section.final_episodes)
    n = max(k for k in range(1, study.section.env.n_envs + 1) if shared % k == 0)
    return make_reward_env(study, reward, n, spread(seed, "evaluation"), training=False)


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
