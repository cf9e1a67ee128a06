"""Rollouts to test on: as environments give them, with everything unread spoiled; and texts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from rewardsmith.core.rollouts import Rollouts

OBSERVATIONS = ("vector", "image", "dict")


@st.composite
def control_rollouts(draw: st.DrawFn, obs: str | None = None) -> Rollouts:
    """Rows of one or several episodes, as environments give them.

    They end terminated or truncated or are cut off, are ragged, and hold dummy steps after an end
    (next-step autoreset). Whatever nobody may read (dummy steps, padding) is NaN.
    """
    plan = draw(st.lists(episode_plans(), min_size=1, max_size=3))
    kind = draw(st.sampled_from(OBSERVATIONS)) if obs is None else obs
    return from_plan(plan, kind, seed=draw(st.integers(0, 2**16)))


def episode_plans() -> st.SearchStrategy[list[tuple[int, str, bool]]]:
    """A row: for each episode its length, how it ends, and whether a dummy step follows."""
    episode = st.tuples(
        st.integers(1, 4), st.sampled_from(["terminated", "truncated", "cut"]), st.booleans()
    )
    return st.lists(episode, min_size=1, max_size=3)


def from_plan(plan: list[list[tuple[int, str, bool]]], obs: str, seed: int) -> Rollouts:
    """Rollouts of that plan with random contents."""
    rng = np.random.default_rng(seed)
    rows = [_row(row, obs, rng) for row in plan]
    horizon = max(len(row["mask"]) for row in rows)
    columns = {name: _stack([row[name] for row in rows], horizon) for name in rows[0]}
    mask, acted = columns.pop("mask"), columns.pop("acted")
    return Rollouts(steps=columns, mask=mask, action_mask=acted)


def mixed_rollouts(obs: str, seed: int = 0) -> Rollouts:
    """Every way in which episodes end, follow each other and are padded, once."""
    rows = [
        [(3, "terminated", True), (2, "truncated", True), (1, "cut", False)],
        [(4, "terminated", False), (1, "terminated", True)],
        [(2, "truncated", True)],
        [(2, "cut", False)],
    ]
    return from_plan(rows, obs, seed)


def _row(plan: list[tuple[int, str, bool]], obs: str, rng: np.random.Generator) -> dict[str, Any]:
    kinds, first = [], []
    for length, end, dummy in plan:
        kinds += ["live"] * (length - 1) + [end]
        first += [True] + [False] * (length - 1)
        if dummy and end != "cut":
            kinds.append("dummy")
            first.append(False)
    t = len(kinds)
    acted = np.array([kind != "dummy" for kind in kinds])
    terminated = np.array([kind == "terminated" for kind in kinds])
    # A cut in the middle of a row goes on in no episode, as after a truncation.
    truncated = np.array([kind in ("truncated", "cut") for kind in kinds])
    truncated[-1] &= kinds[-1] == "truncated"
    before, after = _observations(obs, t, rng), _observations(obs, t, rng)
    x, x_next = _numbers(t, rng), _numbers(t, rng)
    for i in range(1, t):
        if not first[i]:
            for old, new in ((before, after), ({"x": x}, {"x": x_next})):
                for key in old:
                    old[key][i] = new[key][i - 1]
    step: dict[str, Any] = {
        "obs": before if obs == "dict" else before["only"],
        "next_obs": after if obs == "dict" else after["only"],
        "action": _numbers(t, rng),
        "env_reward": _numbers(t, rng),
        "prev_info": {"x": x},
        "info": {"x": x_next, "speed": _numbers(t, rng)},
    }
    return {
        **_spoil(step, ~acted),
        "terminated": terminated,
        "truncated": truncated,
        "first": np.array(first),
        "mask": np.ones(t, dtype=bool),
        "acted": acted,
    }


def _observations(obs: str, t: int, rng: np.random.Generator) -> dict[str, Any]:
    image = rng.integers(0, 3, (t, 2, 2, 1), dtype=np.uint8)
    if obs == "image":
        return {"only": image}
    # A few values only, so that states come back and their counts are above 1.
    vector = rng.integers(-1, 2, (t, 2)).astype(np.float32)
    return {"only": vector} if obs == "vector" else {"position": vector, "image": image}


def _numbers(t: int, rng: np.random.Generator) -> Any:
    return rng.normal(size=t).astype(np.float32)


def _spoil(column: Any, where: Any) -> Any:
    if isinstance(column, Mapping):
        return {name: _spoil(value, where) for name, value in column.items()}
    column[where] = np.nan if column.dtype.kind == "f" else 7
    return column


def _stack(columns: list[Any], horizon: int) -> Any:
    if isinstance(columns[0], Mapping):
        return {key: _stack([c[key] for c in columns], horizon) for key in columns[0]}
    rest, dtype = columns[0].shape[1:], columns[0].dtype
    padding = np.nan if dtype.kind == "f" else 0
    stacked = np.full((len(columns), horizon, *rest), padding, dtype=dtype)
    for i, column in enumerate(columns):
        stacked[i, : len(column)] = column
    return torch.from_numpy(stacked)


def text(n: int, **columns: Any) -> Rollouts:
    """N text rollouts."""
    return Rollouts.from_text([f"p{i}" for i in range(n)], [f"c{i}" for i in range(n)], **columns)
