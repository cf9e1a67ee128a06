"""What a policy earns, by gold and by its training reward, without disturbing its training."""

from typing import Any

import numpy as np

from ...adapters.meter import TOTAL
from ...adapters.sb3.env import RewardVecEnv
from ...adapters.sb3.evaluation import Played, play
from ...core.reward import Reward
from ...report.moments import PairMoments
from .environments import Gold


def evaluate(
    model: Any,
    env: RewardVecEnv,
    gold: Gold,
    *,
    episodes: int,
    seed: int,
    deterministic: bool,
    minimum_steps: int = 0,
) -> dict[str, Any]:
    """Play whole episodes and account for them; see :func:`play`.

    Returns:
        The fields of a record that do not depend on the run: ``episodes``, ``length``, ``gold``,
        ``proxy`` (means, and each episode's under ``gold_episodes`` and ``proxy_episodes``),
        ``parts``, ``variance`` and ``moments`` of the steps' (proxy, gold) pairs.
    """
    share = coefficients(env.reward)
    played = play(
        model,
        env,
        gold.step,
        episodes=episodes,
        seed=seed,
        deterministic=deterministic,
        minimum_steps=minimum_steps,
        parts=share,
    )
    return {
        "episodes": len(played.gold),
        "length": float(played.length.mean()),
        "gold": float(played.gold.mean()),
        "gold_episodes": played.gold.tolist(),
        "proxy": float(played.proxy.mean()),
        "proxy_episodes": played.proxy.tolist(),
        "parts": _parts(env.reward, played),
        "variance": float(played.steps["proxy"].var()),
        "moments": PairMoments.of(played.steps["proxy"], played.steps["gold"]).to_dict(),
    }


def coefficients(reward: Reward) -> dict[str, float]:
    """The parts that add up to the reward, with their factors; what is no sum is one part."""
    return reward.coefficients() or {TOTAL: 1.0}


def _parts(reward: Reward, played: Played) -> dict[str, dict[str, float]]:
    """Each part's share of the reward and of its variance, by path."""
    proxy = played.steps["proxy"]
    whole = {TOTAL: reward.default_name()}
    return {
        whole.get(path, path): {
            "sum": float(values.sum() / len(played.gold)),
            "magnitude": float(np.abs(values).mean()),
            "covariance": float(((values - values.mean()) * (proxy - proxy.mean())).mean()),
        }
        for path, values in (
            (name.removeprefix("part:"), column)
            for name, column in played.steps.items()
            if name.startswith("part:")
        )
    }
