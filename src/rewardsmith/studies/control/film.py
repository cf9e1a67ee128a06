"""A film of a run: one episode of its final policy, as a few frames with their rewards."""

import base64
import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...adapters.meter import TOTAL
from ...adapters.sb3.env import RewardVecEnv
from ...adapters.sb3.evaluation import act, undisturbed
from ...report.images import png
from ..records import Run, write_json
from ..seeds import spread
from .environments import Gold, make_reward_env
from .policies import final_reward, saved
from .spec import ControlStudy

_KEPT_FRAMES = 32
_SHOWN_FRAMES = 10


def draw(study: ControlStudy, run: Run) -> None:
    """Keep an episode of the final policy as frames, where the environment can be drawn."""
    # Renderers may take the process along.
    write_json(run.folder / "no_film.json", {"reason": "the process that drew it died"})
    try:
        model = saved(study, run, "policy")
        reward, seed = final_reward(study, run, model), spread(run.seed, "film")
        env = make_reward_env(study, reward, 1, seed, training=False, render=True)
        _check_display()
        strip = film(
            model,
            env,
            Gold(study),
            seed=seed,
            deterministic=study.section.evaluation.deterministic,
        )
        env.close()
        if strip is None:
            raise RuntimeError("the environment draws nothing")
    except Exception as error:  # noqa: BLE001 - many environments cannot be drawn without a display
        write_json(run.folder / "no_film.json", {"reason": repr(error)})
        return
    for frame in strip["frames"]:
        frame["png"] = base64.b64encode(frame["png"]).decode()
    write_json(run.folder / "film.json", {"seed": run.seed, **strip})
    (run.folder / "no_film.json").unlink()


def _check_display() -> None:
    """Refuse to let MuJoCo look for a display that is not there: it ends the whole process.

    Raises:
        RuntimeError: there is none, and no other way to draw was asked for.
    """
    shown = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if "mujoco" in sys.modules and not shown and "MUJOCO_GL" not in os.environ:
        raise RuntimeError("MuJoCo has no display to draw on: set MUJOCO_GL=egl or osmesa")


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
