"""The callback: gives a reward the learner's gamma, lets it learn, and logs its parts."""

import math

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from ...core.errors import SpecError
from ..goals import memories
from .env import RewardVecEnv, find_reward_env, pays_by_itself, wrappers_of
from .replay import Relabels
from .rollout import add_rewards


class RewardCallback(BaseCallback):
    """Gives the reward the learner's gamma, lets it learn, and logs its parts.

    At the end of each rollout of the learner (off-policy: every ``train_freq`` steps) it calls
    ``rs.learn``. On-policy, a deferred reward and one that learns before it scores are then written
    into the rollout buffer before the learner trains on it. Off-policy, what was learned shows in
    the steps that follow, and in every sample of a relabeling replay buffer.

    Every part's episode sums are logged under ``reward/PATH``, the whole under ``reward/total``.
    With a Monitor *inside* ``RewardVecEnv``, SB3's own ``rollout/ep_rew_mean`` is the return of the
    environment's reward: the two curves side by side show a reward that is hacked.

    Raises:
        ValueError: at the start of training, if the model's environment pays no reward of ours, or
            a reward is to be written where the learner keeps none, or keeps it on another scale, or
            a VecMonitor outside would count our reward as the task's.
        SpecError: the reward was given another gamma than the learner has.
    """

    def _init_callback(self) -> None:
        self.env = env = self._find_env()
        self._bind()
        replay = getattr(self.model, "replay_buffer", None)
        if isinstance(replay, Relabels):
            replay.attach(self.training_env)
        self.buffer = getattr(self.model, "rollout_buffer", None)
        if env.deferred and self.buffer is None:
            raise ValueError(
                f"{type(self.model).__name__} stores each step's reward as it is taken, and a "
                "deferred one comes later: use an on-policy algorithm, or a reward that can be "
                "computed while acting"
            )
        if env.rewrites and self.buffer is not None:
            self._check_rewriting()
        env.attended = True

    def _find_env(self) -> RewardVecEnv:
        outer = self.training_env
        env = find_reward_env(outer)
        if env is None and pays_by_itself(outer):
            raise ValueError(
                "RewardCallback cannot reach a reward that rs.wrap put into each environment: pay "
                "it around Monitor, RewardVecEnv(DummyVecEnv([lambda: Monitor(env)]), reward)"
            )
        if env is None:
            raise ValueError("RewardCallback needs a model whose environment is a RewardVecEnv")
        if any(isinstance(wrapper, VecMonitor) for wrapper in wrappers_of(outer)):
            raise ValueError(
                "VecMonitor is outside RewardVecEnv, so that its statistics would be of the shaped "
                "reward: put it inside, RewardVecEnv(VecMonitor(venv), reward)"
            )
        return env

    def _bind(self) -> None:
        gamma, given = getattr(self.model, "gamma", None), self.env.meter.gamma
        if gamma is None:
            return
        if given is not None and not math.isclose(given, gamma, rel_tol=1e-9):
            raise SpecError(
                f"RewardVecEnv was given gamma {given}, the learner has {gamma}; leave it out there"
            )
        self.env.reward.bind(gamma=float(gamma))

    def _check_rewriting(self) -> None:
        outside = wrappers_of(self.training_env)
        if any(isinstance(env, VecNormalize) and env.norm_reward for env in outside):
            raise ValueError(
                "VecNormalize scales the rewards that this reward writes anew at the end of a "
                "rollout: pass norm_reward=False, and scale with running_norm if you need it"
            )
        # A rollout's steps are scored anew without the steps before them.
        lasting = [node.label() for _, node in memories(self.env.reward) if not node.forgets]
        if lasting and not self.env.deferred:
            raise ValueError(
                "this reward learns before it scores, and remembers an episode across rollouts, "
                f"because of {'; '.join(lasting)}: pass deferred=True to RewardVecEnv, which "
                "scores whole episodes"
            )

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            for path, value in info.get("reward_sums", {}).items():
                self.logger.record_mean(f"reward/{path}", value, _exclude(path))
        return True

    def _on_rollout_start(self) -> None:
        self.env.begin()

    def _on_training_end(self) -> None:
        # Whoever trains on without a callback is told.
        self.env.attended = False

    def _on_rollout_end(self) -> None:
        metrics, sums, difference = self.env.learn()
        for name, value in metrics.items():
            self.logger.record(f"reward_update/{name}", value, _exclude(name))
        for path, episodes in sums.items():
            self.logger.record(f"reward/{path}", float(np.mean(episodes)), _exclude(path))
        if difference is not None and self.buffer is not None:
            add_rewards(self.buffer, difference)


def _exclude(name: str) -> str | None:
    # SB3's tables cut names at this length, and end the training when two become the same.
    return "stdout" if len(name) > 30 else None
