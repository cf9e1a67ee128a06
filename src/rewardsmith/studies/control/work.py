"""The work of a study in an environment: train a learner of SB3 under a reward, and evaluate it."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import configure

from ...adapters.sb3.callback import RewardCallback
from ...adapters.sb3.env import RewardVecEnv
from ...adapters.trackers import BestEffort, TrackerWriter
from ...core.errors import RewardsmithError
from ...core.reward import Reward
from ..records import Run
from ..seeds import spread
from .environments import Gold, algorithm, make_learner, make_reward_env
from .evaluation import evaluate
from .film import draw as show
from .policies import final_reward, saved
from .spec import ControlStudy

__all__ = ["PACKAGES", "carry_out", "check", "earned", "show"]

PACKAGES = ("rewardsmith", "torch", "numpy", "gymnasium", "stable-baselines3", "sb3-contrib")


def check(study: ControlStudy) -> None:
    """Build everything that a study names, take a few steps under every reward, and measure gold.

    Raises:
        SpecError: as the part that fails says, with its place in the file.
        MissingColumn: a reward needs what the environment does not tell.
        ScoreError: a reward gives something that is no finite number.
    """
    algorithm(study)
    gold = Gold(study)
    for name in study.section.rewards:
        reward = study.reward(name)
        try:
            env = make_reward_env(study, reward, study.section.env.n_envs, 0, training=True)
            make_learner(study, env, 0)
            env.reset()
            for _ in range(3):
                env.step(np.array([env.action_space.sample() for _ in range(env.num_envs)]))
                if env.meter.last is not None:
                    gold.step(env.meter.last)
            env.learn()
            env.close()
        except RewardsmithError:
            raise
        except Exception as error:
            message = f"the first steps failed: {type(error).__name__}: {error}"
            raise study.document.error(message, ("rewards", name)) from error


def earned(study: ControlStudy, run: Run, source: Run, policy: str) -> float:
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


def carry_out(
    study: ControlStudy, run: Run, constant: Mapping[str, Any], trackers: Sequence[BestEffort]
) -> dict[str, Any]:
    """Train a learner under one reward with one seed, and evaluate it as it goes."""
    started = time.monotonic()
    section = study.section
    reward = study.reward(run.reward, seed=run.seed)
    seed = spread(run.seed, "training")
    env = make_reward_env(study, reward, section.env.n_envs, seed, training=True)
    model: Any = make_learner(study, env, seed)
    logger = configure(str(run.folder / "tensorboard"), ["tensorboard"])
    logger.output_formats += [TrackerWriter(each) for each in trackers]
    model.set_logger(logger)
    recorder = _Evaluations(study, run, reward, constant)
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
    return {"seconds": round(time.monotonic() - started, 1), "steps": model.num_timesteps}


class _Evaluations(BaseCallback):
    """Evaluates the policy as it learns, and appends a record each time."""

    def __init__(
        self, study: ControlStudy, run: Run, reward: Reward, constant: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.study, self.run, self.reward, self.constant = study, run, reward, constant
        self.gold = Gold(study)
        self.env = _evaluation_env(study, reward, run.seed)
        self.every = study.section.evaluation.every

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


def _evaluation_env(study: ControlStudy, reward: Any, seed: int) -> RewardVecEnv:
    # Each environment plays the same number of episodes: the most environments that leave no rest.
    section = study.section.evaluation
    shared = math.gcd(section.episodes, section.final_episodes)
    n = max(k for k in range(1, study.section.env.n_envs + 1) if shared % k == 0)
    return make_reward_env(study, reward, n, spread(seed, "evaluation"), training=False)
