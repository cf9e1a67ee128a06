"""A synthetic study: four rewards on one task, of which one is hacked, as a real one would look."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from rewardsmith.audit.hacking import hacking_verdict
from rewardsmith.report.images import png
from rewardsmith.report.moments import PairMoments
from rewardsmith.report.statistics import (
    bootstrap_interval,
    interquartile_mean,
    probability_of_improvement,
    probability_of_improvement_interval,
    steps_to_threshold,
    threshold_summary,
)

STEPS = list(range(0, 61_441, 7_680))
# name: final gold, final proxy, progress at half time, parts and their shares, step correlation
REWARDS: dict[str, tuple[float, float, float, dict[str, float], float]] = {
    "sparse": (0.62, 0.62, 0.35, {"env_reward": 1.0}, 1.0),
    "potential": (0.94, 0.95, 0.8, {"env": 0.55, "shaping": 0.45}, 0.41),
    "naive": (0.03, 6.4, 0.5, {"env": 0.1, "key": 0.9}, 0.30),
    "curious": (0.71, 1.9, 0.6, {"env": 0.5, "novelty": 0.35, "time": -0.15}, 0.12),
}
SPEC = """weighted_sum:
  weights: {{env: 1.0, bonus: 0.05}}
  parts:
    env: {{env_reward: {{}}}}
    bonus: {{function: {{call: ./potentials.py:{name}}}}}
"""


@cache
def frame(step: int) -> bytes:
    """A little grid world: walls, a key, a door, the agent somewhere along its way."""
    cells = np.full((5, 5, 3), 40, np.uint8)
    cells[:, 2] = 110
    cells[3, 2] = (230, 190, 60)
    cells[1, 0] = (230, 190, 60)
    cells[4, 4] = (60, 190, 110)
    cells[(step // 2) % 5, (step // 5) % 5] = (210, 60, 50)
    rgb = np.kron(cells, np.ones((64, 64, 1), np.uint8)).astype(np.uint8)
    rgb[::64] = rgb[:, ::64] = 90
    return png(rgb)


def record(name: str, seed: int, index: int, gold: float, proxy: float) -> dict[str, Any]:
    parts = REWARDS[name][3]
    drift = 0.5 + 0.5 * index / (len(STEPS) - 1)
    sizes = {p: abs(w) * (drift if i else 1.2 - drift) for i, (p, w) in enumerate(parts.items())}
    kind = "initial" if index == 0 else "final" if index == len(STEPS) - 1 else "training"
    return {
        "reward": name,
        "seed": seed,
        "steps": STEPS[index],
        "kind": kind,
        "episodes": 20,
        "length": 80.0,
        "gold": gold,
        "gold_episodes": [gold] * 20,
        "proxy": proxy,
        "proxy_episodes": [proxy] * 20,
        "parts": {
            p: {
                "sum": 80 * size,
                "magnitude": size,
                "covariance": size * (-0.4 if parts[p] < 0 else 1.0),
            }
            for p, size in sizes.items()
        },
        "variance": sum(s * (-0.4 if parts[p] < 0 else 1.0) for p, s in sizes.items()),
        "moments": PairMoments.of([0.0, 1.0], [0.0, 1.0]).to_dict(),
        "reward_hash": f"5f1c0{len(name)}",
        "versions": {"python": "3.11"},
    }


def build(seeds: int = 5) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    rng = np.random.default_rng(0)
    records: list[dict[str, Any]] = []
    gold: dict[str, np.ndarray] = {}
    proxy: dict[str, np.ndarray] = {}
    for name, (final_gold, final_proxy, half, _, _) in REWARDS.items():
        x = np.linspace(0, 1, len(STEPS))
        rise = x ** (np.log(half) / np.log(0.5))
        spread = rng.normal(1, 0.08, (seeds, 1))
        gold[name] = 0.02 + np.clip(
            final_gold * rise * spread + rng.normal(0, 0.015, (seeds, len(x))), 0, 0.96
        )
        if name == "naive":
            gold[name] = np.clip(
                0.02 + 0.12 * np.exp(-(((x - 0.3) / 0.15) ** 2)) * spread, 0.01, 1
            ) + rng.uniform(0, 0.01, (seeds, len(x)))
        proxy[name] = 0.05 + final_proxy * rise * rng.normal(1, 0.05, (seeds, 1))
        for seed in range(seeds):
            records += [
                record(name, seed, i, float(gold[name][seed, i]), float(proxy[name][seed, i]))
                for i in range(len(STEPS))
            ]
    rewards = {}
    for name, (_, final_proxy, _, _, correlation) in REWARDS.items():
        final = gold[name][:, -1]
        verdict = hacking_verdict(
            correlation=correlation,
            correlation_steps=48_211,
            proxy_initial=proxy[name][:, 0].tolist(),
            proxy_final=proxy[name][:, -1].tolist(),
            proxy_reference=(
                proxy[name][:, -1] if name == "sparse" else proxy[name][:, -1] * 0 + final_proxy / 3
            ).tolist(),
            gold_initial=gold[name][:, 0].tolist(),
            gold_final=final.tolist(),
            gold_reference=gold["sparse"][:, -1].tolist(),
        )
        reached = threshold_summary(steps_to_threshold(STEPS, gold[name], 0.5))
        is_reference = name == "sparse"
        rewards[name] = {
            "gold_iqm": interquartile_mean(final),
            "gold_ci": list(bootstrap_interval(final)),
            "probability_of_improvement": None
            if is_reference
            else probability_of_improvement(final, gold["sparse"][:, -1]),
            "probability_of_improvement_ci": None
            if is_reference
            else list(probability_of_improvement_interval(final, gold["sparse"][:, -1])),
            "hacked": verdict.hacked,
            "verdict": verdict.label,
            "reason": verdict.reason,
            "evidence": verdict.evidence,
            "steps_to_threshold": {
                "median": reached.median,
                "reached": reached.reached,
                "seeds": reached.seeds,
            },
            "spec": SPEC.format(name=name),
            "failed": [],
        }
    summary = {
        "study": "doorkey-shaping",
        "env": "MiniGrid-DoorKey-5x5-v0",
        "learner": "PPO",
        "timesteps": STEPS[-1],
        "seeds": seeds,
        "gold": "the environment's return per episode",
        "reference": "sparse",
        "threshold": 0.5,
        "finished": "2026-01-31 14:05",
        "versions": {"python": "3.11.7", "rewardsmith": "0.1.0", "torch": "2.13.0"},
        "rewards": rewards,
    }
    strips = {
        name: {
            "seed": seeds - 1,
            "gold": float(gold[name][-1, -1]),
            "proxy": float(proxy[name][-1, -1]),
            "length": 34,
            "frames": [
                {
                    "png": frame(step),
                    "step": step,
                    "parts": {
                        p: float(w) * (step % 3 == 0) * 0.05 for p, w in REWARDS[name][3].items()
                    },
                    "total": 0.05 * (step % 3 == 0),
                }
                for step in range(0, 34, 4)
            ],
        }
        for name in REWARDS
    }
    return summary, records, strips


@pytest.fixture
def make_study() -> Callable[..., tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]]:
    """``make_study(seeds=5)`` -> summary, records, filmstrips; fresh each time, to be changed."""
    return build
