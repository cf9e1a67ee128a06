"""A ``VecEnv`` of Stable-Baselines3 that pays our reward."""

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from ...core.acting import Floats
from ...core.combination import dense_view
from ...core.errors import ScoreError
from ...core.learning import learn
from ...core.reward import Reward
from ...core.rollouts import Rollouts
from ...core.scores import Scores
from ..columns import InfoColumns
from ..goals import GoalReward, VectorizedGoals
from ..meter import TOTAL, Meter
from ..observed import check_space, number
from ..recorder import Reading, Recorder
from .episodes import Unpaid, sums_of, true_next

_MARK = "pays_a_rewardsmith_reward"
_UNTAUGHT = 100_000
"""So many steps are kept for a reward that nobody ever lets learn."""


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
    ``reward_sums`` and ``env_return``, as :mod:`rewardsmith.adapters.gymnasium` has them. There are
    no ``reward_terms`` of a deferred reward, and ``reward_sums`` only in evaluation.

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
        training: keep what a learning reward needs until :meth:`learn`; False in evaluation. It can
            be set later, as that of VecNormalize; what was kept until then is forgotten.
        deferred: score whole episodes when they end, instead of each step as it is taken.

    Raises:
        ValueError: the reward cannot be computed while acting and is not deferred, compares
            rollouts with each other; ``venv`` already pays one, or scales rewards (VecNormalize).
            At a reset: what the environments show is not what their space says.
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
        _check_inside(venv)
        super().__init__(venv)
        if deferred and reward.scope != "row":
            raise ValueError(
                f"{reward.label()} scores all rollouts of a {reward.scope} together, and "
                "environments end their episodes one by one: use a reward of scope 'row'"
            )
        if deferred and gamma is not None:
            reward.bind(gamma=gamma)
        self.reward, self.deferred = reward, deferred
        self.meter = Meter(
            Unpaid() if deferred else reward, venv.num_envs, gamma=gamma, missing=missing
        )
        self.recorder: Recorder | None = None
        self.attended = False
        """A callback is there that calls :meth:`learn`."""
        self._paid: list[Floats] = []
        self._by_hand = self._gave_up = self._torn = False
        self._keys = Reading(reward).keys
        self._actions: Any = None
        self._goals: GoalReward | None = None
        self._training: bool | None = None
        self.training = training

    @property
    def training(self) -> bool:
        return bool(self._training)

    @training.setter
    def training(self, training: bool) -> None:
        if training == self._training:
            return
        self._training = training
        keeps = self.deferred or (training and self.reward.learns)
        self.recorder = Recorder(self.reward) if keeps else None
        self._paid.clear()
        # The episodes that are running would be scored as if they began here.
        self._torn = self.deferred and self.meter.last is not None

    @property
    def rewrites(self) -> bool:
        """Whether what was paid while acting is not the last word at the end of a rollout."""
        return self.deferred or any(
            isinstance(node, Reward) and node.when == "before" for _, node in self.reward.walk()
        )

    def reset(self) -> Any:
        obs = self.venv.reset()
        check_space(obs, self.venv.observation_space)
        # Dicts of our own: SB3 replaces the members of the list, and environments may write again
        # what they told.
        infos = [dict(info) for info in self.venv.unwrapped.reset_infos]
        self.meter.reset(obs, InfoColumns(infos, self._keys))
        self._torn = False
        if self.recorder is not None:
            self.recorder.cut()
            self._paid.clear()
        return obs

    def step_async(self, actions: NDArray[Any]) -> None:
        if self.deferred and self.training and not self.attended:
            raise ValueError(
                "a deferred reward pays 0 until an episode is scored at its end: train with "
                "callback=RewardCallback(), or evaluate with training=False"
            )
        if self._torn:
            raise ValueError(
                "training was changed within an episode, and a deferred reward scores whole ones: "
                "call reset() first; learn() does with reset_num_timesteps=True"
            )
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        obs, env_reward, dones, infos = self.venv.step_wait()
        dones = np.asarray(dones, dtype=np.bool_)
        truncated = np.array([info.get("TimeLimit.truncated", False) for info in infos]) & dones
        columns = InfoColumns(infos, self._keys)
        rewards = self.meter.step(
            action=self._actions,
            next_obs=true_next(obs, dones, infos),
            env_reward=env_reward,
            terminated=dones & ~truncated,
            truncated=truncated,
            info=columns,
        )
        if self.recorder is not None and self.meter.last is not None and self._is_taught():
            self.recorder.add(self.meter.last)
            if self.training:
                self._paid.append(rewards)
        if dones.any():
            # The state that the next action answers came with the reset's info.
            resets = self.venv.unwrapped.reset_infos
            after = [dict(resets[i]) if done else infos[i] for i, done in enumerate(dones)]
            self.meter.advance(obs, InfoColumns(after, self._keys), first=dones)
        else:
            self.meter.advance(obs, columns)
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

    def begin(self) -> None:
        """A rollout begins: the steps of one that was stopped are not paid anew."""
        self._paid.clear()

    def learn(self) -> Learned:
        """Let the reward learn from the steps since the last call, and say what they earn now.

        Deferred: from the episodes that ended since the last call. Not in evaluation.

        Raises:
            ScoreError: an episode has no score, and ``missing`` is ``"raise"``.
        """
        self._by_hand = self._by_hand or not self.attended
        if self.recorder is None or not self.training:
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
            if end <= begin:
                continue
            inside = max(start, begin)
            rows = slice(inside - begin, end - begin)
            change = values[inside - start : end - start] - paid[rows, i]
            difference[rows, i] = np.where(np.isnan(change), 0.0, change)
        return Learned(metrics, sums_of(scores, rollouts) if self.deferred else {}, difference)

    def _values(self, scores: Scores, rollouts: Rollouts) -> Floats:
        """What each step of the episodes earns that the recorder handed out, [episodes, steps].

        NaN stands for what was paid.
        """
        assert self.recorder is not None
        values: Floats = dense_view(scores, rollouts)[0].double().numpy()
        for row in (~scores.scored).nonzero().flatten().tolist():
            environment, start, end = self.recorder.places[row]
            part, why = scores.errors.get(row, ("", "its reward abstained"))
            if self.meter.missing == "raise":
                raise ScoreError(f"an episode has no score: {why}", row=environment, part=part)
            values[row] = 0.0 if self.deferred else np.nan
            if self.deferred:
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
            sums, earned = sums_of(scores, rollouts), self._values(scores, rollouts)
            for row, (i, *_) in enumerate(self.recorder.places):
                paid[i] = earned[row].sum()
                told[i]["reward_sums"] = {path: s[row] for path, s in sums.items()} | {
                    TOTAL: float(paid[i])
                }
        return paid

    def _is_taught(self) -> bool:
        """Whether to keep a step: somebody learns from it, or may still come to do so."""
        if self.attended or self._by_hand or not self.training:
            return True
        if not self._gave_up and len(self._paid) * self.num_envs >= _UNTAUGHT:
            assert self.recorder is not None
            self.recorder.cut()
            self._paid.clear()
            self._gave_up = True
            warnings.warn(
                f"nobody let this reward learn from {_UNTAUGHT} steps: they are forgotten, and no "
                "more are kept. Train with callback=RewardCallback(), or call learn() after each "
                "rollout, or pass training=False to RewardVecEnv",
                stacklevel=4,
            )
        return not self._gave_up

    def _told(self, infos: list[dict[str, Any]], env_reward: Any, dones: Any) -> Any:
        told = [
            {**info, "env_reward": paid}
            for info, paid in zip(infos, env_reward.tolist(), strict=True)
        ]
        if dones.any():
            returns = self.meter.paid
            for i in np.flatnonzero(dones):
                told[i]["env_return"] = number(returns[i])
        if self.deferred:
            return told
        names = list(self.meter.terms)
        rows = zip(*(values.tolist() for values in self.meter.terms.values()), strict=True)
        for info, row in zip(told, rows, strict=True):
            info["reward_terms"] = dict(zip(names, row, strict=True))
        for i in np.flatnonzero(dones):
            told[i]["reward_sums"] = {p: float(v[i]) for p, v in self.meter.sums.items()}
        return told


def wrappers_of(env: Any) -> list[VecEnvWrapper]:
    """The wrappers around a ``RewardVecEnv``, or all if there is none; the outermost first."""
    found = []
    while isinstance(env, VecEnvWrapper) and not isinstance(env, RewardVecEnv):
        found.append(env)
        env = env.venv
    return found


def pays_by_itself(venv: VecEnv) -> bool:
    """Whether the single environments were wrapped by ``rs.wrap``."""
    return venv.has_attr(_MARK)


def _check_inside(venv: VecEnv) -> None:
    """Refuse what is no VecEnv, and what would come between the environments' reward and ours.

    Raises:
        TypeError: it is an environment of Gymnasium.
        ValueError: another reward of ours, or rewards that are scaled.
    """
    if not isinstance(venv, VecEnv):
        raise TypeError(
            f"expected a VecEnv of Stable-Baselines3, got {type(venv).__name__}: make one with "
            "make_vec_env(...) or DummyVecEnv([lambda: env]); rs.wrap takes Gymnasium's"
        )
    if find_reward_env(venv) is not None or pays_by_itself(venv):
        raise ValueError(
            "these environments already pay a reward of ours, which this one would take for their "
            "own; wrap once, with both in one tree: rs.WeightedSum({...})"
        )
    if any(isinstance(env, VecNormalize) and env.norm_reward for env in wrappers_of(venv)):
        raise ValueError(
            "VecNormalize scales the environments' reward before RewardVecEnv reads it: put it "
            "outside, VecNormalize(RewardVecEnv(venv, reward)), or pass it norm_reward=False"
        )


def find_reward_env(env: Any) -> RewardVecEnv | None:
    """The ``RewardVecEnv`` in a chain of wrappers, if there is one."""
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, RewardVecEnv):
            return env
        env = env.venv
    return None
