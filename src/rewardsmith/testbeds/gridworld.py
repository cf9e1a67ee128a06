"""Grid worlds drawn as text, as exact tabular MDPs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from ._mdp import TabularMDP

WALL, START, GOAL, PIT = "#", "S", "G", "P"
_FREE = ". "
# Row and column steps of the actions right, left, down, up.
STEPS = ((0, 1), (0, -1), (1, 0), (-1, 0))


@dataclass(frozen=True, eq=False)
class Gridworld:
    """A grid world and where its states lie.

    Args:
        mdp: the exact MDP; actions are 0 right, 1 left, 2 down, 3 up.
        cells: [S, 2] int64 row and column of each state, in reading order.
    """

    mdp: TabularMDP
    cells: Int[np.ndarray, "s 2"]


def read_map(text: str, allowed: str) -> list[str]:
    """The map's lines without blank ones above and below, padded with walls to one width.

    Raises:
        ValueError: the map is empty or holds a character that is not allowed (named with its row
            and column).
    """
    lines = text.rstrip().split("\n")
    while lines and not lines[0].strip():
        lines = lines[1:]
    if not lines:
        raise ValueError("the map is empty")
    for row, line in enumerate(lines):
        for column, mark in enumerate(line):
            if mark not in allowed:
                raise ValueError(
                    f"map row {row}, column {column}: unknown mark {mark!r}; use one of {allowed!r}"
                )
    width = max(len(line) for line in lines)
    return [line.ljust(width, WALL) for line in lines]


def moves(lines: list[str]) -> tuple[Int[np.ndarray, "s 2"], Int[np.ndarray, "s 4"]]:
    """Cells that are no wall, and where each of the four steps leads from each of them.

    A step into a wall or over the edge stays where it is.

    Returns:
        cells [S, 2] (row, column) in reading order; next cell [S, 4], as indices into cells.
    """
    found = [(r, c) for r, line in enumerate(lines) for c, mark in enumerate(line) if mark != WALL]
    index = {cell: i for i, cell in enumerate(found)}
    target = [
        [index.get((r + dr, c + dc), i) for dr, dc in STEPS] for i, (r, c) in enumerate(found)
    ]
    return (
        np.array(found, dtype=np.int64).reshape(-1, 2),
        np.array(target, dtype=np.int64).reshape(-1, len(STEPS)),
    )


def gridworld_mdp(
    text: str,
    *,
    discount: float = 0.99,
    slip: float = 0.0,
    goal_reward: float = 1.0,
    pit_reward: float = -1.0,
    step_reward: float = 0.0,
) -> Gridworld:
    """Turn a drawn map into an MDP.

    Marks: `#` wall, `S` start (several: one of them, uniformly), `G` goal, `P` pit, `.` or a
    space: free. Goals and pits are terminal; the edge of the map is a wall.

        r(s, a, s') = step_reward + goal_reward * [s' goal] + pit_reward * [s' pit]

    Args:
        text: the map; lines may differ in length, short ones are filled with walls.
        discount: gamma.
        slip: probability in [0, 1] that the move goes sideways, half of it to either side.
        goal_reward: paid on entering a goal.
        pit_reward: paid on entering a pit.
        step_reward: paid on every step.

    Returns:
        Gridworld(mdp, cells).

    Raises:
        ValueError: the map is empty, has an unknown mark or no start; slip is out of range; a
            reward is not finite.
    """
    if not 0.0 <= slip <= 1.0:
        raise ValueError(f"slip must lie in [0, 1], got {slip}")
    lines = read_map(text, WALL + START + GOAL + PIT + _FREE)
    cells, target = moves(lines)
    mark = np.array([lines[r][c] for r, c in cells], dtype="<U1")
    if not (mark == START).any():
        raise ValueError(f"the map has no start: mark at least one cell with {START!r}")
    states, actions = target.shape
    terminal = (mark == GOAL) | (mark == PIT)
    transition = np.zeros((states, actions, states))
    rows = np.arange(states)
    for action in range(actions):
        # Actions come in opposite pairs (0, 1) and (2, 3): the sideways ones are the other pair.
        left, right = (2, 3) if action < 2 else (0, 1)
        for way, probability in ((action, 1 - slip), (left, slip / 2), (right, slip / 2)):
            transition[rows, action, target[:, way]] += probability
    transition[terminal] = np.eye(states)[terminal, None, :]
    arrival = step_reward + goal_reward * (mark == GOAL) + pit_reward * (mark == PIT)
    reward = np.broadcast_to(arrival, transition.shape).copy()
    reward[terminal] = 0.0
    start = (mark == START) / (mark == START).sum()
    return Gridworld(TabularMDP(transition, reward, discount, start, terminal), cells)
