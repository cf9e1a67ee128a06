"""A small study that runs in seconds, and what it names."""

import gymnasium
import numpy as np

import rewardsmith as rs

STUDY = """
env: {id: CartPole-v1, n_envs: 2, wrappers: [{WRAPPER}]}
learner: {algorithm: PPO, timesteps: 256, params: {n_steps: 64, batch_size: 64, n_epochs: 2}}
seeds: 2
evaluation: {every: 128, episodes: 4, final_episodes: 4, initial_steps: 50, threshold: 15}
gold: {kind: return}
rewards:
  sparse: {env_reward: {}}
  count:
    weighted_sum:
      parts: {env: {env_reward: {}}, novelty: {count_bonus: {beta: 0.1, key: ./toy.py:cell}}}
"""


class Nothing(gymnasium.Wrapper):
    """A wrapper that changes nothing."""


class Success(gymnasium.Wrapper):
    """Tells success in ``info``, on the step that ends an episode only."""

    def step(self, action):
        obs, reward, terminated, truncated, info = self.env.step(action)
        extra = {"is_success": 1.0} if terminated or truncated else {}
        return obs, reward, terminated, truncated, {**info, **extra}


def cell(obs):
    """A coarse key of the state."""
    return [tuple(row) for row in np.round(obs, 1).tolist()]


def position(obs):
    """A potential."""
    return -np.abs(obs[:, 0])


def nan_potential(obs):
    """A potential that is not finite."""
    return np.full(len(obs), np.nan)


def half(env_reward):
    """A gold function."""
    return env_reward / 2


@rs.reward(step=True)
def crashes_late(obs):
    """A reward that breaks in the middle of training, in the runs whose numbers say so."""
    if crashes_late_calls.add():
        raise RuntimeError("the simulator is gone")
    return np.ones(len(obs))


class _Calls:
    def __init__(self):
        self.n = 0

    def add(self):
        self.n += 1
        return self.n > 150


crashes_late_calls = _Calls()
