"""What a step costs with a reward of four named parts, beside the bare vector environment.

    python benchmarks/wrapper_overhead.py [--rounds N] [--json]

Contenders take turns of a few steps in one process, on the same seeds and actions, by CPU time; a
ratio is the median over rounds of (contender / other) within the round, so that a machine that
slows down slows both. ``nested`` is the same reward by hand: one Gymnasium vector wrapper per part
and one for the sums, which write the same infos. Exit status 1: a target was missed.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv, VectorWrapper

import rewardsmith as rs

GAMMA = 0.99
Infos = dict[str, Any]
_ZERO = np.float64(0.0)
_STEPS = 20  # vector steps per turn
_WARMUP = 20  # rounds that do not count

# --- the rewards ----------------------------------------------------------------------------------


def level(next_obs: Any) -> Any:
    """HalfCheetah: the torso level."""
    return np.cos(next_obs[:, 1])


def calm(action: Any) -> Any:
    """HalfCheetah: no torque near its limit."""
    return -np.abs(action).max(axis=1)


def height(obs: Any) -> Any:
    """HalfCheetah: a potential, the torso's height."""
    return obs[:, 0]


def upright(next_obs: Any) -> Any:
    """CartPole: the pole upright."""
    return 1.0 - np.abs(next_obs[:, 2]) / 0.21


def slow(next_obs: Any) -> Any:
    """CartPole: a cart that does not run."""
    return -0.1 * np.abs(next_obs[:, 1])


def middle(next_obs: Any) -> Any:
    """CartPole: the cart in the middle."""
    return -np.abs(next_obs[:, 0])


def cheetah_reward() -> rs.Reward:
    env_reward, step = rs.signals.EnvReward, rs.reward(step=True)
    parts = {
        "speed": env_reward("reward_forward"),
        "control": env_reward("reward_ctrl"),
        "level": step(level),
        "calm": step(calm),
    }
    weights = {"speed": 1.0, "control": 0.5, "level": 0.1, "calm": 0.1}
    return rs.WeightedSum(parts, weights)


def shaped_cheetah_reward() -> rs.Reward:
    """Two parts in a sum, shaped by a potential: the parts of, of/speed, of/level and shaping."""
    parts = {"speed": rs.signals.EnvReward("reward_forward"), "level": rs.reward(step=True)(level)}
    base = rs.WeightedSum(parts, {"speed": 1.0, "level": 0.1})
    return rs.transforms.PotentialShaping(base, height)


CARTPOLE_WEIGHTS = {"alive": 1.0, "upright": 0.5, "slow": 0.1, "middle": 0.2}


def cartpole_reward() -> rs.Reward:
    parts = {
        "alive": rs.signals.EnvReward(),
        "upright": rs.reward(step=True)(upright),
        "slow": rs.reward(step=True)(slow),
        "middle": rs.reward(step=True)(middle),
    }
    return rs.WeightedSum(parts, CARTPOLE_WEIGHTS)


# --- the same by hand: nested Gymnasium vector wrappers -------------------------------------------


class Part(VectorWrapper):
    """Adds a weighted part to the reward and writes it to the infos; dummy steps earn nothing."""

    def __init__(self, env: VectorEnv, name: str, call: Callable[[Any], Any] | None = None) -> None:
        super().__init__(env)
        self.name, self.weight, self.call = name, CARTPOLE_WEIGHTS[name], call
        self.done = np.zeros(self.num_envs, dtype=bool)

    def reset(self, **kwargs: Any) -> tuple[Any, Infos]:
        self.done = np.zeros(self.num_envs, dtype=bool)
        return self.env.reset(**kwargs)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, Infos]:
        obs, reward, terminated, truncated, info = self.env.step(actions)
        live = ~self.done
        self.done = terminated | truncated
        if self.call is None:
            info["env_reward"], info["_env_reward"] = reward, live
            info["reward_terms"], info["_reward_terms"] = {self.name: reward}, live
            return obs, self.weight * reward, terminated, truncated, info
        part = np.where(live, self.call(obs), _ZERO)
        info["reward_terms"][self.name] = part
        return obs, reward + self.weight * part, terminated, truncated, info


class Sums(VectorWrapper):
    """Sums every part over the episode, and hands the sums out at its end."""

    def reset(self, **kwargs: Any) -> tuple[Any, Infos]:
        obs, info = self.env.reset(**kwargs)
        self.done = np.zeros(self.num_envs, dtype=bool)
        self.sums: dict[str, Any] = {}
        return obs, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, Infos]:
        obs, reward, terminated, truncated, info = self.env.step(actions)
        terms = info["reward_terms"]
        terms["total"] = reward
        for name, values in terms.items():
            if name not in self.sums:
                self.sums[name] = np.zeros(self.num_envs)
            self.sums[name][self.done] = 0.0
            self.sums[name] += values
        self.done = done = terminated | truncated
        if done.any():
            info["reward_sums"] = {n: np.where(done, v, 0.0) for n, v in self.sums.items()}
            info["_reward_sums"] = done
        return obs, reward, terminated, truncated, info


def nested(env: VectorEnv) -> VectorEnv:
    env = Part(env, "alive")
    for name, call in (("upright", upright), ("slow", slow), ("middle", middle)):
        env = Part(env, name, call)
    return Sums(env)


# --- measuring ------------------------------------------------------------------------------------

Wrap = Callable[[VectorEnv], VectorEnv]


@dataclass
class Case:
    """One vector environment, who steps it, and the most that a contender may cost."""

    name: str
    env_id: str
    n: int
    contenders: dict[str, Wrap]
    targets: list[tuple[str, str, float]]
    """(contender, beside whom, largest ratio)"""


def cases() -> list[Case]:
    def ours(reward: Callable[[], rs.Reward]) -> Wrap:
        return lambda env: rs.wrap(env, reward(), gamma=GAMMA)

    def bare(env: VectorEnv) -> VectorEnv:
        return env

    return [
        Case(
            "HalfCheetah x8",
            "HalfCheetah-v5",
            8,
            {
                "bare": bare,
                "rewardsmith": ours(cheetah_reward),
                "with potential": ours(shaped_cheetah_reward),
            },
            [("rewardsmith", "bare", 1.15)],
        ),
        Case(
            "CartPole x64",
            "CartPole-v1",
            64,
            {"bare": bare, "rewardsmith": ours(cartpole_reward), "nested": nested},
            # By hand nothing is checked: what names the row and part that broke may cost 5 %.
            [("rewardsmith", "bare", 2.0), ("rewardsmith", "nested", 1.05)],
        ),
    ]


def measure(case: Case, rounds: int) -> dict[str, list[float]]:
    """Contender -> seconds per vector step, one number per round."""
    envs = {
        name: wrap(SyncVectorEnv([lambda: gymnasium.make(case.env_id)] * case.n))
        for name, wrap in case.contenders.items()
    }
    space = next(iter(envs.values())).action_space
    space.seed(0)
    actions = [space.sample() for _ in range(_STEPS)]
    times: dict[str, list[float]] = {name: [] for name in envs}
    for env in envs.values():
        env.reset(seed=0)
    for i in range(rounds + _WARMUP):
        names = list(envs) if i % 2 else list(envs)[::-1]  # whoever goes first finds colder caches
        for name in names:
            env = envs[name]
            start = time.process_time()
            for action in actions:
                env.step(action)
            if i >= _WARMUP:
                times[name].append((time.process_time() - start) / len(actions))
    for env in envs.values():
        env.close()
    return times


def ratio(times: dict[str, list[float]], a: str, b: str) -> float:
    return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))


def results(rounds: int) -> list[dict[str, Any]]:
    found = []
    for case in cases():
        times = measure(case, rounds)
        for name in case.contenders:
            found.append(
                {
                    "case": case.name,
                    "contender": name,
                    "microseconds": 1e6 * statistics.median(times[name]),
                    "ratio": ratio(times, name, "bare"),
                    "targets": [
                        {"beside": beside, "at_most": limit, "ratio": ratio(times, name, beside)}
                        for who, beside, limit in case.targets
                        if who == name
                    ],
                }
            )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300, help="rounds per case (default 300)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rows = results(options.rounds)
    missed = 0
    if not options.json:
        print(f"{'case':16}{'contender':16}{'us/step':>9}{'x bare':>8}  targets")
    for row in rows:
        notes = []
        for target in row["targets"]:
            met = target["met"] = target["ratio"] <= target["at_most"]
            missed += not met
            notes.append(
                f"{target['ratio']:.2f}x {target['beside']} (at most {target['at_most']:.2f}: "
                f"{'met' if met else 'MISSED'})"
            )
        if not options.json:
            print(
                f"{row['case']:16}{row['contender']:16}{row['microseconds']:9.1f}"
                f"{row['ratio']:8.2f}  {', '.join(notes)}"
            )
    if options.json:
        print(json.dumps(rows, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
