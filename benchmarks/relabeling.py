"""Sampling of hindsight replay: our relabeling buffer beside Stable-Baselines3's.

Both hold the same 50-step episodes of a world with the spaces and the reward of FetchReach, and
sample batches of 256, interleaved. Ours pays a whole reward tree for the new goals, of the
observation and the action too; SB3's asks the environment's compute_reward.

    python benchmarks/relabeling.py [--json] [--rounds N]
"""

import argparse
import json
import statistics
import sys
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

import rewardsmith as rs
from rewardsmith.adapters.sb3 import RewardHerReplayBuffer, RewardVecEnv

BATCH = 256
TARGET = 3.0
STORED = 20_000


class Reach(gymnasium.Env[Any, Any]):
    """A point that is moved toward a goal, as FetchReach shows and pays it."""

    def __init__(self) -> None:
        goal = Box(-10, 10, (3,), np.float64)
        self.observation_space = Dict(
            {
                "observation": Box(-10, 10, (10,), np.float64),
                "achieved_goal": goal,
                "desired_goal": goal,
            }
        )
        self.action_space = Box(-1, 1, (4,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at, self.t = self.np_random.normal(size=3) * 0.1, 0
        self.goal = self.np_random.normal(size=3) * 0.1
        return self._obs(), {"is_success": 0.0}

    def step(self, action: Any) -> Any:
        self.at, self.t = self.at + 0.05 * action[:3], self.t + 1
        reward = float(self.compute_reward(self.at, self.goal, {}))
        return self._obs(), reward, False, self.t == 50, {"is_success": 1.0 + reward}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return -(np.linalg.norm(achieved - desired, axis=-1) > 0.05).astype(np.float32)

    def _obs(self) -> dict[str, Any]:
        rest = np.zeros(10)
        rest[:3] = self.at
        return {"observation": rest, "achieved_goal": self.at.copy(), "desired_goal": self.goal}


def near(next_obs: Any) -> Any:
    return -np.linalg.norm(next_obs["achieved_goal"] - next_obs["desired_goal"], axis=-1)


def gentle(action: Any) -> Any:
    return -np.square(action).sum(axis=-1)


def plain_reward() -> rs.Reward:
    return rs.signals.EnvReward()


def tree() -> rs.Reward:
    step = rs.reward(step=True)
    parts = {"env": rs.signals.EnvReward(), "near": step(near), "gentle": step(gentle)}
    return rs.WeightedSum(parts, {"env": 1.0, "near": 0.5, "gentle": 0.01})


def filled(size: int) -> dict[str, Any]:
    """The three buffers, with the same episodes in them."""
    envs = {
        "stable-baselines3": DummyVecEnv([Reach]),
        "rewardsmith": RewardVecEnv(DummyVecEnv([Reach]), plain_reward()),
        "rewardsmith, 3 parts": RewardVecEnv(DummyVecEnv([Reach]), tree()),
    }
    kinds = dict.fromkeys(envs, RewardHerReplayBuffer) | {"stable-baselines3": HerReplayBuffer}
    buffers: dict[str, Any] = {}
    for name, env in envs.items():
        spaces = (env.observation_space, env.action_space)
        buffers[name] = kinds[name](size, *spaces, env, n_sampled_goal=4)
        rng = np.random.default_rng(0)
        env.seed(0)
        obs: Any = env.reset()
        for _ in range(STORED):
            action = rng.uniform(-1, 1, (1, 4)).astype(np.float32)
            seen, reward, done, infos = env.step(action)
            after = {k: v.copy() for k, v in seen.items()}  # type: ignore[union-attr]
            if done[0]:
                after = {k: v[None] for k, v in infos[0]["terminal_observation"].items()}
            buffers[name].add(obs, after, action, reward, done, infos)
            obs = {k: v.copy() for k, v in seen.items()}  # type: ignore[union-attr]
    return buffers


def microseconds(buffer: Any, batches: int) -> float:
    started = time.perf_counter()
    for _ in range(batches):
        buffer.sample(BATCH)
    return (time.perf_counter() - started) / batches * 1e6


def results(rounds: int, batches: int) -> list[dict[str, Any]]:
    rows = []
    for size in (STORED, 1_000_000):
        buffers = filled(size)
        for buffer in buffers.values():
            microseconds(buffer, 20)
        times: dict[str, list[float]] = {name: [] for name in buffers}
        for _ in range(rounds):
            for name, buffer in buffers.items():
                times[name].append(microseconds(buffer, batches))
        peer = times["stable-baselines3"]
        for name, own in times.items():
            ratio = statistics.median(p / o for p, o in zip(peer, own, strict=True))
            rows.append(
                {
                    "buffer_size": size,
                    "contender": name,
                    "microseconds": statistics.median(own),
                    "times_as_fast": ratio,
                    "target": None if name == "stable-baselines3" else TARGET,
                }
            )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds [15]")
    parser.add_argument("--batches", type=int, default=60, help="batches per round [60]")
    options = parser.parse_args()
    rows = results(options.rounds, options.batches)
    missed = sum(r["target"] is not None and r["times_as_fast"] < r["target"] for r in rows)
    if options.json:
        print(json.dumps(rows, indent=2))
        return int(missed > 0)
    print(f"{'buffer':>10} {'contender':22}{'us/batch':>10}{'x as fast':>10}")
    for row in rows:
        verdict = ""
        if row["target"] is not None:
            met = "met" if row["times_as_fast"] >= row["target"] else "MISSED"
            verdict = f"  target {row['target']:g}: {met}"
        print(
            f"{row['buffer_size']:>10,} {row['contender']:22}{row['microseconds']:>10.0f}"
            f"{row['times_as_fast']:>10.2f}{verdict}"
        )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
