"""What a policy earns, by gold and by its training reward, without disturbing its training."""

import copy
import inspect
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..adapters.meter import TOTAL
from ..adapters.sb3 import RewardVecEnv
from ..core.acting import Floats
from ..core.reward import Reward
from ..report.images import png
from ..report.moments import PairMoments
from .environments import Gold

_KEPT_FRAMES = 64
_SHOWN_FRAMES = 10


@contextmanager
def undisturbed(model: Any, seed: int) -> Iterator[None]:
    """Seed the generators anew, and give training its own back: evaluation leaves no trace."""
    # An exploring DQN draws its actions from the action space.
    space = model.action_space
    drawn = copy.deepcopy(space._np_random)
    space.seed(seed)
    kept = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)  # SB3 draws from the global generator
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.random.set_rng_state(kept[2])
        space._np_random = drawn


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
    """Play whole episodes and account for them.

    Every environment plays the same number of episodes, whatever their lengths, so that short ones
    are not over-represented; rounds are added until ``minimum_steps`` were played.

    Returns:
        The fields of a record that do not depend on the run: ``episodes``, ``length``, ``gold``,
        ``proxy`` (means, and each episode's under ``gold_episodes`` and ``proxy_episodes``),
        ``parts``, ``variance`` and ``moments`` of the steps' (proxy, gold) pairs.
    """
    n = env.num_envs
    target = -(-episodes // n)
    played = np.zeros(n, dtype=np.int64)
    steps: list[dict[str, Floats]] = []
    counts: list[NDArray[np.bool_]] = []
    running = np.zeros((3, n))
    ended: list[tuple[float, float, float]] = []
    share = coefficients(env.reward)
    with undisturbed(model, seed):
        env.seed(seed)
        obs: Any = env.reset()
        memory, begins = None, np.ones(n, dtype=np.bool_)
        while True:
            counted = played < target
            if not counted.any():
                if sum(int(c.sum()) for c in counts) >= minimum_steps:
                    break
                target += 1
                continue
            action, memory = act(model, env, obs, memory, begins, deterministic)
            obs, _, dones, _ = env.step(action)
            begins = dones
            assert env.meter.last is not None
            now = {"gold": gold.step(env.meter.last), "proxy": env.meter.terms[TOTAL]}
            now |= {f"part:{path}": c * env.meter.terms[path] for path, c in share.items()}
            steps.append(now)
            counts.append(counted)
            running += np.stack([now["gold"], now["proxy"], np.ones(n)])
            for i in np.flatnonzero(dones):
                if counted[i]:
                    ended.append((float(running[0, i]), float(running[1, i]), float(running[2, i])))
                    played[i] += 1
                running[:, i] = 0.0
    return _account(env.reward, steps, counts, ended)


def act(
    model: Any, env: RewardVecEnv, obs: Any, memory: Any, begins: Any, deterministic: bool
) -> tuple[Any, Any]:
    """A policy's actions, with what recurrent policies remember and masked ones must know."""
    known: dict[str, Any] = {"state": memory, "episode_start": begins}
    if "action_masks" in inspect.signature(model.predict).parameters:
        known["action_masks"] = np.stack(env.env_method("action_masks"))
    return model.predict(obs, deterministic=deterministic, **known)  # type: ignore[no-any-return]


def coefficients(reward: Reward) -> dict[str, float]:
    """The parts that add up to the reward, with their factors; what is no sum is one part."""
    return reward.coefficients() or {TOTAL: 1.0}


def _account(
    reward: Reward,
    steps: list[dict[str, Floats]],
    counts: list[NDArray[np.bool_]],
    ended: list[tuple[float, float, float]],
) -> dict[str, Any]:
    mask = np.stack(counts)
    columns = {name: np.stack([step[name] for step in steps])[mask] for name in steps[0]}
    proxy = columns["proxy"]
    whole = {"total": reward.default_name()}
    parts = {}
    for name, values in columns.items():
        if name.startswith("part:"):
            path = name.removeprefix("part:")
            parts[whole.get(path, path)] = {
                "sum": float(values.sum() / len(ended)),
                "magnitude": float(np.abs(values).mean()),
                "covariance": float(((values - values.mean()) * (proxy - proxy.mean())).mean()),
            }
    golds, proxies, lengths = zip(*ended, strict=True)
    return {
        "episodes": len(ended),
        "length": float(np.mean(lengths)),
        "gold": float(np.mean(golds)),
        "gold_episodes": list(golds),
        "proxy": float(np.mean(proxies)),
        "proxy_episodes": list(proxies),
        "parts": parts,
        "variance": float(proxy.var()),
        "moments": PairMoments.of(proxy, columns["gold"]).to_dict(),
    }


def film(
    model: Any, env: RewardVecEnv, gold: Gold, *, seed: int, deterministic: bool, steps: int = 1000
) -> dict[str, Any] | None:
    """One episode of a policy as a few frames with their rewards; None where nothing renders.

    ``env`` holds one environment. Memory stays flat: every other frame is dropped whenever 64 are
    held.
    """
    frames: list[dict[str, Any]] = []
    stride, length, totals = 1, 0, np.zeros(2)
    with undisturbed(model, seed):
        env.seed(seed)
        obs: Any = env.reset()
        memory, begins = None, np.ones(1, dtype=np.bool_)
        done = False
        frame = _frame(env, 0)
        if frame is None:
            return None
        frames.append(frame)
        while not done and length < steps:
            action, memory = act(model, env, obs, memory, begins, deterministic)
            # SB3 resets by itself at the end, so the state before the last action is the last seen.
            latest = _frame(env, length)
            obs, _, dones, _ = env.step(action)
            assert env.meter.last is not None
            assert latest is not None
            done, begins, length = bool(dones[0]), dones, length + 1
            terms = {path: float(values[0]) for path, values in env.meter.terms.items()}
            totals += [float(gold.step(env.meter.last)[0]), terms[TOTAL]]
            latest |= {"step": length, "total": terms.pop(TOTAL), "parts": _outer(terms)}
            if (length - 1) % stride == 0 or done:
                frames.append(latest)
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


def _frame(env: RewardVecEnv, step: int) -> dict[str, Any] | None:
    image = env.unwrapped.envs[0].render()  # type: ignore[attr-defined]
    if not isinstance(image, np.ndarray) or image.ndim != 3:
        return None
    return {"step": step, "png": png(image), "parts": {}, "total": 0.0}


def _outer(terms: dict[str, float]) -> dict[str, float]:
    return {path: value for path, value in terms.items() if "/" not in path}
