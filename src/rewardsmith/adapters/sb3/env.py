"""A ``VecEnv`` of Stable-Baselines3 that pays our reward."""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from ...core.acting import Floats, Step, Terms
from ...core.combination import dense_view
from ...core.errors import ScoreError
from ...core.learning import learn
from ...core.reward import Reward
from ...core.rollouts import Rollouts
from ...core.scores import Scores
from ..columns import InfoColumns
from ..goals import GoalReward, VectorizedGoals
from ..meter import TOTAL, Meter
from ..recorder import Recorder


class Learned(NamedTuple):
    """What came of one :meth:`RewardVecEnv.learn`."""

    metrics: dict[str, float]
    """Of the nodes that learned."""
    sums: dict[str, list[float]]
    """Deferred rewards: part -> the sum over each episode that was scored."""
    difference: Floats | None
    """[steps, n], for the steps since the last call: what they earn now less what was paid. None
    where what was paid stands."""


class RewardVecEnv(VecEnvWrapper):
    """A ``VecEnv`` that pays ``reward``; put it outside Monitor, inside VecNormalize.

    Each ``infos[i]`` carries ``env_reward``, ``reward_terms`` and, at an episode's end,
    ``reward_sums``, as :mod:`rewardsmith.adapters.gymnasium` has them.

    A *deferred* reward is computed on whole episodes: outcomes, and credit that an outcome spreads
    back over its episode. In training every step is paid 0 until :class:`RewardCallback` scores the
    episodes that ended and writes their rewards into the on-policy buffer; steps of an episode that
    lie before the buffer are past. In evaluation the last step is paid the episode's sum.

    Args:
        venv: the environments.
        reward: a reward that can be computed while acting, or any of scope ``row`` if deferred.
        gamma: the learner's discount factor; :class:`RewardCallback` fills it in.
        missing: what a step does whose reward is no finite number: ``"raise"``, or count as this
            number. Deferred: what an episode without a score is paid at its last step.
        training: keep what a learning reward needs until :meth:`learn`; False in evaluation.
        deferred: score whole episodes when they end, instead of each step as it is taken.

    Raises:
        ValueError: the reward cannot be computed while acting and is not deferred, compares
            rollouts with each other, or ``venv`` already pays one.
    """

    def __init__(
        self,
        venv: VecEnv,
        reward: Reward,
        *,
        gamma: float | None = None,
        missing: Literal["raise"] | float = "raise",
        training: bool = True,
        deferred: bool = False,
    ) -> None:
        if find_reward_env(venv) is not None:
            raise ValueError("this VecEnv already pays a reward of ours; combine the two rewards")
        super().__init__(venv)
        if deferred and reward.scope != "row":
            raise ValueError(
                f"{reward.label()} needs whole {reward.scope}s of rollouts, and environments end "
                "their episodes one by one: use a reward of scope 'row'"
            )
        if deferred and gamma is not None:
            reward.bind(gamma=gamma)
        self.reward, self.deferred, self.training = reward, deferred, training
        self.meter = Meter(
            _Unpaid() if deferred else reward, venv.num_envs, gamma=gamma, missing=missing
        )
        keeps = deferred or (training and reward.learns)
        self.recorder = Recorder(reward) if keeps else None
        self.attended = False
        """A callback is there that scores deferred episodes."""
        self._paid: list[Floats] = []
        self._actions: Any = None
        self._goals: GoalReward | None = None

    @property
    def rewrites(self) -> bool:
        """Whether what was paid while acting is not the last word at the end of a rollout."""
        return self.deferred or any(
            isinstance(node, Reward) and node.when == "before" for _, node in self.reward.walk()
        )

    def reset(self) -> Any:
        obs = self.venv.reset()
        # A list of its own: SB3 replaces the members of this one when an episode ends.
        self.meter.reset(obs, InfoColumns(list(self.venv.unwrapped.reset_infos)))
        if self.recorder is not None:
            self.recorder.cut()
            self._paid.clear()
        return obs

    def step_async(self, actions: NDArray[Any]) -> None:
        if self.deferred and self.training and not self.attended:
            raise ValueError(
                "a deferred reward pays 0 until an episode is scored at its end: train with "
                "callback=RewardCallback(), or pass training=False to evaluate"
            )
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        obs, env_reward, dones, infos = self.venv.step_wait()
        dones = np.asarray(dones, dtype=np.bool_)
        truncated = np.array([info.get("TimeLimit.truncated", False) for info in infos]) & dones
        rewards = self.meter.step(
            action=self._actions,
            next_obs=_true_next(obs, dones, infos),
            env_reward=env_reward,
            terminated=dones & ~truncated,
            truncated=truncated,
            info=InfoColumns(infos),
        )
        if self.recorder is not None and self.meter.last is not None:
            self.recorder.add(self.meter.last)
            if self.training:
                self._paid.append(rewards)
        # The state that the next action answers came with the reset's info where an episode ended.
        reset_infos = self.venv.unwrapped.reset_infos
        after = [reset_infos[i] if done else infos[i] for i, done in enumerate(dones)]
        self.meter.advance(obs, InfoColumns(after), first=dones if dones.any() else None)
        told = self._told(infos, env_reward, dones)
        if self.deferred and not self.training and dones.any():
            rewards = rewards + self._scored(told)
        return obs, rewards.astype(np.float32), dones, told

    def env_method(self, method_name: str, *args: Any, **kwargs: Any) -> list[Any]:
        """As of the environments; ``compute_reward`` answers with our reward of other goals."""
        if method_name != "compute_reward":
            return self.venv.env_method(method_name, *args, **kwargs)
        if self._goals is None:
            if not self.venv.has_attr("compute_reward"):
                raise AttributeError(
                    "these environments have no compute_reward, so that no goal can be relabeled: "
                    "train without hindsight replay"
                )
            self._goals = GoalReward(self.reward, self.goals())
        paid = self._goals(*args)
        return [paid] * len(list(self._get_indices(kwargs.get("indices"))))

    def goals(self) -> VectorizedGoals:
        """The environments' own ``compute_reward``, on batches."""

        def compute(*args: Any) -> Any:
            return self.venv.env_method("compute_reward", *args, indices=[0])[0]

        return VectorizedGoals(compute)

    def learn(self) -> Learned:
        """Let the reward learn from the steps since the last call, and say what they earn now.

        Deferred: from the episodes that ended since the last call.

        Raises:
            ScoreError: a deferred episode has no score, and ``missing`` is ``"raise"``.
        """
        if self.recorder is None:
            return Learned({}, {}, None)
        paid = np.array(self._paid).reshape(-1, self.num_envs)
        self._paid.clear()
        rollouts = self.recorder.take(finished=self.deferred)
        difference = np.zeros(paid.shape) if self.rewrites else None
        if rollouts is None:
            return Learned({}, {}, difference)
        scores, metrics = learn(self.reward, rollouts)
        if difference is None:
            return Learned(metrics, {}, None)
        begin = self.recorder.seen - len(paid)
        earned = self._values(scores, rollouts)
        for values, (i, start, end) in zip(earned, self.recorder.places, strict=True):
            inside = max(start, begin)
            rows = slice(inside - begin, end - begin)
            difference[rows, i] = values[inside - start : end - start] - paid[rows, i]
        return Learned(metrics, _sums(scores, rollouts) if self.deferred else {}, difference)

    def _values(self, scores: Scores, rollouts: Rollouts) -> Floats:
        """What each step of the episodes earns that the recorder handed out, [episodes, steps]."""
        assert self.recorder is not None
        values: Floats = dense_view(scores, rollouts)[0].double().numpy()
        for row in (~scores.scored).nonzero().flatten().tolist():
            environment, start, end = self.recorder.places[row]
            part, why = scores.errors.get(row, ("", "every part abstained"))
            if self.meter.missing == "raise":
                raise ScoreError(f"an episode has no score: {why}", row=environment, part=part)
            values[row] = 0.0
            values[row, end - start - 1] = self.meter.missing
        return values

    def _scored(self, told: list[dict[str, Any]]) -> Floats:
        """In evaluation: the sums of the episodes that ended, as their last steps' rewards."""
        assert self.recorder is not None
        rollouts = self.recorder.take(finished=True)
        paid = np.zeros(self.num_envs)
        if rollouts is not None:
            with torch.no_grad():
                scores = self.reward(rollouts)
            sums, earned = _sums(scores, rollouts), self._values(scores, rollouts)
            for row, (i, *_) in enumerate(self.recorder.places):
                paid[i] = earned[row].sum()
                told[i]["reward_sums"] = {path: s[row] for path, s in sums.items()} | {
                    TOTAL: float(paid[i])
                }
        return paid

    def _told(self, infos: list[dict[str, Any]], env_reward: Any, dones: Any) -> Any:
        told = [
            {**info, "env_reward": paid}
            for info, paid in zip(infos, env_reward.tolist(), strict=True)
        ]
        if self.deferred:
            return told
        names = list(self.meter.terms)
        rows = zip(*(values.tolist() for values in self.meter.terms.values()), strict=True)
        for info, row in zip(told, rows, strict=True):
            info["reward_terms"] = dict(zip(names, row, strict=True))
        for i in np.flatnonzero(dones):
            told[i]["reward_sums"] = {p: float(v[i]) for p, v in self.meter.sums.items()}
        return told


class _Unpaid(Reward):
    """0 at every step: what an episode earns is known when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.declare(needs=(), granularity="dense")

    def forward(self, rollouts: Rollouts) -> Scores:
        return Scores.dense(torch.zeros(rollouts.mask.shape), rollouts.action_mask)

    def step(self, s: Step, carry: Any, out: Terms) -> tuple[Floats, Any]:
        return np.zeros(len(s.first)), carry


def find_reward_env(env: Any) -> RewardVecEnv | None:
    """The ``RewardVecEnv`` in a chain of wrappers, if there is one."""
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, RewardVecEnv):
            return env
        env = env.venv
    return None


def _sums(scores: Scores, rollouts: Rollouts) -> dict[str, list[float]]:
    """Part -> the sum over each rollout, the whole under ``total``; 0 where it has no score."""
    return {
        path or TOTAL: dense_view(part, rollouts)[0].double().sum(dim=1).tolist()
        for path, part in scores.walk()
    }


def _true_next(obs: Any, dones: NDArray[np.bool_], infos: list[dict[str, Any]]) -> Any:
    """The observations as the episodes ended, where SB3 already shows those of the reset."""
    if not dones.any():
        return obs
    if isinstance(obs, dict):
        return {
            name: _true_next(value, dones, [_below(info, name) for info in infos])
            for name, value in obs.items()
        }
    true = obs.copy()
    for i in dones.nonzero()[0]:
        true[i] = infos[i]["terminal_observation"]
    return true


def _below(info: dict[str, Any], name: str) -> dict[str, Any]:
    last = info.get("terminal_observation")
    return {} if last is None else {"terminal_observation": last[name]}
