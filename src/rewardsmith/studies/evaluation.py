"""What a policy earns, by gold and by its training reward, without disturbing its training."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..adapters.meter import TOTAL
from ..adapters.sb3.env import RewardVecEnv
from ..adapters.sb3.evaluation import Played, act, play, undisturbed
from ..core.reward import Reward
from ..report.images import png
from ..report.moments import PairMoments
from .environments import Gold

_KEPT_FRAMES = 32
_SHOWN_FRAMES = 10


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


def film(
    model: Any, env: RewardVecEnv, gold: Gold, *, seed: int, deterministic: bool, steps: int = 1000
) -> dict[str, Any] | None:
    """One episode of a policy as a few frames with their rewards; None where nothing renders.

    ``env`` holds one environment. Memory stays flat: every other frame is dropped whenever 32 are
    held.
    """
    frames: list[dict[str, Any]] = []
    stride, length, totals = 1, 0, np.zeros(2)
    with undisturbed(model, seed):
        env.seed(seed)
        obs: Any = env.reset()
        memory, begins = None, np.ones(1, dtype=np.bool_)
        done = False
        picture = _picture(env)
        if picture is None:
            return None
        frames.append({"step": 0, "png": png(picture)})
        while not done and length < steps:
            action, memory = act(model, env, obs, memory, begins, deterministic)
            # SB3 resets by itself at the end, so the state before the last action is the last seen.
            picture = _picture(env)
            obs, _, dones, _ = env.step(action)
            assert env.meter.last is not None
            done, begins, length = bool(dones[0]), dones, length + 1
            terms = {path: float(values[0]) for path, values in env.meter.terms.items()}
            totals += [float(gold.step(env.meter.last)[0]), terms[TOTAL]]
            if (length - 1) % stride == 0 or done:
                told = {"step": length, "total": terms.pop(TOTAL), "parts": _outer(terms)}
                assert picture is not None
                frames.append(told | {"png": png(picture)})
            if len(frames) > _KEPT_FRAMES:
                frames, stride = frames[::2], stride * 2
    shown = frames[1:]
    if len(shown) > _SHOWN_FRAMES:
        picked = np.linspace(0, len(shown) - 1, _SHOWN_FRAMES).round().astype(int)
        shown = [shown[i] for i in picked]
    return {
        "gold": float(totals[0]),
        "proxy": float(totals[1]),
        "length": length,
        "frames": shown,
    }


def _picture(env: RewardVecEnv) -> NDArray[Any] | None:
    image = env.unwrapped.envs[0].render()  # type: ignore[attr-defined]
    return image if isinstance(image, np.ndarray) and image.ndim == 3 else None


def _outer(terms: dict[str, float]) -> dict[str, float]:
    return {path: value for path, value in terms.items() if "/" not in path}
