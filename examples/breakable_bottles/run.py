"""Breakable bottles: an agent that is paid for deliveries learns to break some on the way.

MO-Gymnasium's ``breakable-bottles-v0`` (Vamplew et al. 2021) tells three numbers per step: time,
deliveries, and a potential of the bottles that lie broken. A proxy that leaves the third out is
trained by tabular Q-learning beside the sum that weighs it, with ten seeds each. What both policies
really do is told by all three numbers.

    python examples/breakable_bottles/run.py [--seeds N] [--steps N]
"""

import argparse

import gymnasium
import mo_gymnasium
import numpy as np

import rewardsmith as rs
from rewardsmith.learners import learn_q, linear
from rewardsmith.signals import EnvReward

GAMMA = 1.0
PARTS = ("time", "delivered", "broken")


class Listed(gymnasium.ObservationWrapper):
    """The dict of small numbers as one number, so that states can be listed."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Discrete(5 * 3 * 3 * 8)

    def observation(self, obs):
        dropped = sum(int(one) << i for i, one in enumerate(obs["bottles_dropped"]))
        state = (obs["location"] * 3 + obs["bottles_carrying"]) * 3 + obs["bottles_delivered"]
        return int(state * 8 + dropped)


def bottles(weights):
    """The environment under a weighted sum of its three numbers."""
    env = Listed(mo_gymnasium.make("breakable-bottles-v0"))
    parts = {name: EnvReward(index=k) for k, name in enumerate(PARTS)}
    return rs.wrap(env, rs.WeightedSum(parts, dict(zip(PARTS, weights, strict=True))), gamma=GAMMA)


REWARDS = {"proxy: time and deliveries": (1, 1, 0), "all three, broken weighs 50": (1, 1, 50)}


def outcome(table, env, seed, episodes=200):
    """The mean of the three sums over episodes of the greedy policy."""
    sums = []
    for episode in range(episodes):
        obs, _ = env.reset(seed=seed * episodes + episode)
        over = False
        while not over:
            obs, _, terminated, truncated, info = env.step(int(table.policy[obs]))
            over = terminated or truncated
        sums.append([info["reward_sums"][name] for name in PARTS])
    return np.mean(sums, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=60_000)
    options = parser.parse_args()
    print(f"{'reward':30}" + "".join(f"{name:>22}" for name in PARTS))
    for name, weights in REWARDS.items():
        found = []
        for seed in range(options.seeds):
            env = bottles(weights)
            table = learn_q(
                env,
                steps=options.steps,
                gamma=GAMMA,
                seed=seed,
                epsilon=linear(1.0, 0.05, options.steps // 2),
                learning_rate=0.1,
            )
            found.append(outcome(table, bottles(weights), seed))
        mean = np.mean(found, axis=0)
        error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
        cells = "".join(f"{m:>13.2f} ± {1.96 * e:.2f}" for m, e in zip(mean, error, strict=True))
        print(f"{name:30}{cells}")


if __name__ == "__main__":
    main()
