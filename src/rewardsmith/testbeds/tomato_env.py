"""The tomato world as a Gymnasium environment, step by step the same as its tables.

`gymnasium.make("rewardsmith.testbeds.tomato_env:Tomato-v0")` imports this file, which registers
`Tomato-v0` on import; the class also works without an id.
"""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.envs.registration import register, registry
from numpy.typing import NDArray

from .tomato import HORIZON, Position, reachable, tomato_field

_PIXELS = 16
_WALL, _FREE, _DRY, _WATERED, _BUCKET, _AGENT = (
    (90, 90, 90),
    (235, 230, 215),
    (200, 60, 40),
    (60, 160, 70),
    (50, 100, 200),
    (20, 20, 20),
)


class TomatoEnv(gymnasium.Env[Any, Any]):
    """Water tomatoes for 100 steps; `tomato.py` has the rules.

    Actions: 0 right, 1 left, 2 down, 3 up. `info` holds, at reset and at every step, `state` (its
    row in the tables of `tomato_mdp`), and after a step also `true_reward` and `proxy_reward`. The
    episode is never terminated; it is truncated at the horizon.

    Args:
        reward: which one `step` pays: "true" or "proxy".
        noise: probability that a uniformly random action replaces the chosen one.
        horizon: steps until truncation.
        observation: "features" is Box [35] float32 (the agent's cell one-hot over 26, then one bit
            per tomato); "state" is Discrete(463), the row in the tables.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: an argument has another value.
    """

    # Gymnasium declares it per instance, so ClassVar would not type-check.
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        reward: Literal["true", "proxy"] = "true",
        noise: float = 0.0,
        horizon: int = HORIZON,
        observation: Literal["features", "state"] = "features",
        render_mode: str | None = None,
    ) -> None:
        if reward not in ("true", "proxy"):
            raise ValueError(f'reward must be "true" or "proxy", got {reward!r}')
        if observation not in ("features", "state"):
            raise ValueError(f'observation must be "features" or "state", got {observation!r}')
        if horizon < 1:
            raise ValueError(f"horizon must be at least 1, got {horizon}")
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f'render_mode must be None or "rgb_array", got {render_mode!r}')
        if not 0.0 <= noise <= 1.0:
            raise ValueError(f"noise must lie in [0, 1], got {noise}")
        # Rules and numbering only: the dense tables would cost every parallel copy 20 MB.
        self._field = tomato_field()
        self._index = {p: i for i, p in enumerate(reachable(self._field))}
        self._pays, self._noise, self._horizon = reward, noise, horizon
        self._observes = observation
        self.render_mode = render_mode
        self.action_space = gymnasium.spaces.Discrete(self._field.target.shape[1])
        if observation == "state":
            self.observation_space = gymnasium.spaces.Discrete(len(self._index))
        else:
            width = len(self._field.cells) + len(self._field.tomatoes)
            self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (width,), np.float32)
        self._position = Position(self._field.start, 0)
        self._time = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start with the agent at its mark and every tomato dry."""
        super().reset(seed=seed)
        self._position = Position(self._field.start, 0)
        self._time = 0
        return self._observation(), {"state": self._index[self._position]}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action; ValueError if it is none of the four."""
        if not self.action_space.contains(action):
            raise ValueError(f"action must be 0, 1, 2 or 3, got {action!r}")
        if self._noise > 0 and self.np_random.random() < self._noise:
            action = self.np_random.integers(self._field.target.shape[1])
        self._position = self._field.step(self._position, int(action))
        self._time += 1
        true, proxy = self._field.rewards(self._position)
        info = {
            "state": self._index[self._position],
            "true_reward": true,
            "proxy_reward": proxy,
        }
        paid = true if self._pays == "true" else proxy
        return self._observation(), paid, False, self._time >= self._horizon, info

    def _observation(self) -> Any:
        if self._observes == "state":
            return self._index[self._position]
        return self._field.features(self._position)

    def render(self) -> NDArray[np.uint8] | None:
        """[160, 160, 3] uint8 picture of colored cells, or None without a render mode.

        Red is a dry tomato, green a watered one, blue the bucket; the agent is a dark square in
        its cell, so that what it stands on stays visible.
        """
        if self.render_mode is None:
            return None
        field = self._field
        rows, columns = len(field.lines), len(field.lines[0])
        colors = np.full((rows, columns, 3), _WALL, dtype=np.uint8)
        colors[tuple(field.cells.T)] = _FREE
        colors[tuple(field.cells[field.bucket])] = _BUCKET
        for cell, wet in zip(field.tomatoes, field.bits(self._position), strict=True):
            colors[tuple(field.cells[cell])] = _WATERED if wet else _DRY
        picture = colors.repeat(_PIXELS, axis=0).repeat(_PIXELS, axis=1)
        top, left = field.cells[self._position.cell] * _PIXELS
        inner = slice(_PIXELS // 4, _PIXELS - _PIXELS // 4)
        picture[top : top + _PIXELS, left : left + _PIXELS][inner, inner] = _AGENT
        return picture


# A reload of this file would otherwise warn that it overrides itself.
if "Tomato-v0" not in registry:
    register(id="Tomato-v0", entry_point="rewardsmith.testbeds.tomato_env:TomatoEnv")
