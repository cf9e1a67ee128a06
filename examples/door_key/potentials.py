"""Hints for MiniGrid's DoorKey: pick up the key, open the door, reach the goal."""

import gymnasium
import numpy as np
from minigrid.core.world_object import Door, Key

import rewardsmith as rs


class KeyAndDoor(gymnasium.Wrapper):
    """Tells in ``info`` where the agent stands, what it holds, and whether the door is open."""

    def reset(self, **kwargs):
        obs, info = self.env.reset(**kwargs)
        grid = self.unwrapped.grid
        self.door = next(cell for cell in grid.grid if isinstance(cell, Door))
        return obs, {**info, **self._progress()}

    def step(self, action):
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, {**info, **self._progress()}

    def _progress(self):
        return {
            "place": (*self.unwrapped.agent_pos, self.unwrapped.agent_dir),
            "has_key": isinstance(self.unwrapped.carrying, Key),
            "door_open": self.door.is_open,
        }


def key_then_door(has_key, door_open):
    """A potential: 0.2 with the key in hand (or the door open), 0.5 more once the door is open."""
    return 0.2 * (has_key | door_open) + 0.5 * door_open


def situation(place, has_key, door_open):
    """A key for counting: the agent's cell and direction, the key in hand, the door open."""
    return np.column_stack([place, has_key, door_open])


@rs.reward(step=True)
def holding_key(has_key):
    """1 for each step that ends with the key in hand."""
    return np.asarray(has_key, dtype=float)
