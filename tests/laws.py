"""The laws that every reward obeys, what they are tested on, and small rewards to test with.

The law of acting: scanning ``step`` over T equals ``forward`` on [N, T], for the values, statuses
and scored steps of every part under its path.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from rewardsmith.core import algebra, gate
from rewardsmith.core.acting import scan
from rewardsmith.core.function import Function
from rewardsmith.core.learning import learn
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms import pointwise, potential, running

# The runtime type checks of the tests look at random items of containers, which hypothesis sees.
TYPE_CHECKS = "ignore:Do not use the `random` module inside strategies"
GAMMA = 0.9
OBSERVATIONS = ("vector", "image", "dict")
SCORED, ABSTAINED, TIMEOUT, FAILED, BAD_VALUE, UNSCORED = range(6)


def assert_step_equals_forward(reward: Reward, rollouts: Rollouts) -> None:
    """The law of acting, on one reward and some rollouts."""
    acted, scored = dict(scan(reward, rollouts).walk()), dict(reward(rollouts).walk())
    assert acted.keys() == scored.keys()
    # Float32 on one side, float64 on the other: parts that cancel leave the rounding of the parts.
    size = max(float(scores.values.abs().max()) for scores in scored.values())
    for path, scores in scored.items():
        assert torch.equal(acted[path].status, scores.status), path
        assert scores.at is not None
        assert torch.equal(acted[path].at, scores.at), path
        torch.testing.assert_close(
            acted[path].values, scores.values, rtol=1e-4, atol=1e-5 * max(1.0, size), msg=path
        )


# --- rollouts -------------------------------------------------------------------------------------


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


# --- rewards --------------------------------------------------------------------------------------


class Given(Reward):
    """The scores that it is given; its calls are counted."""

    def __init__(self, scores: Scores) -> None:
        super().__init__()
        self.scores, self.calls = scores, 0
        self.declare(granularity=scores.granularity)

    def forward(self, rollouts: Rollouts) -> Scores:
        self.calls += 1
        return self.scores


def outcome(values: list[float], status: list[int] | None = None) -> Given:
    """A reward with these outcome scores; a row that broke says so."""
    status = [SCORED] * len(values) if status is None else status
    errors = {i: ("", f"broke {s}") for i, s in enumerate(status) if s > ABSTAINED}
    scores = Scores.outcome(
        torch.tensor(values), torch.tensor(status, dtype=torch.int8), errors=errors
    )
    return Given(scores)


def dense(values: list[list[float]], at: Any = None, status: list[int] | None = None) -> Given:
    """A reward with these dense scores, by default at every step."""
    status = [SCORED] * len(values) if status is None else status
    errors = {i: ("", f"broke {s}") for i, s in enumerate(status) if s > ABSTAINED}
    table = torch.tensor(values)
    where = torch.ones_like(table, dtype=torch.bool) if at is None else torch.tensor(at)
    return Given(Scores.dense(table, where, torch.tensor(status, dtype=torch.int8), errors=errors))


# Plain functions: importable, so that trees that hold them can be written down.


def height(obs: Any) -> Any:
    """A potential of observations of any kind."""
    leaf = obs["position"] if isinstance(obs, Mapping) else obs
    return leaf.reshape(len(leaf), -1).astype(np.float64).mean(axis=1)


def of_info(x: Any) -> Any:
    """A potential of a key of info."""
    return 2.0 * x


def with_action(obs: Any, action: Any) -> Any:
    """A potential of states and actions."""
    return height(obs) + 0.5 * action


def effort(action: Any, terminated: Any) -> Any:
    """A step function of the step's own fields."""
    return np.where(terminated, 1.0, -np.abs(action))


def progress(x: Any, speed: Any) -> Any:
    """A step function of keys of info."""
    return x - 0.5 * speed


def cell(x: Any) -> Any:
    """A key of a state for counting."""
    return np.nan_to_num(np.round(x)).astype(np.int64)


def _effort() -> Function:
    return Function(effort, step=True)


Tree = Callable[[], Reward]

ACTING: dict[str, list[Tree]] = {
    "env_reward": [EnvReward, lambda: EnvReward("speed")],
    "count_bonus": [lambda: CountBonus(0.5), lambda: CountBonus(1.0, key=cell)],
    "function": [
        _effort,
        lambda: Function(progress, step=True),
        lambda: Function(effort, step=True, on_step_failure="skip"),
    ],
    "weighted_sum": [
        lambda: algebra.WeightedSum({"e": EnvReward(), "f": _effort()}, {"e": -2.0, "f": 0.3})
    ],
    "weighted_mean": [
        lambda: algebra.WeightedMean({"e": EnvReward(), "f": _effort()}, {"e": 3.0, "f": 0.5})
    ],
    "product": [lambda: algebra.Product({"e": EnvReward(), "f": _effort()})],
    "min": [lambda: algebra.Min({"e": EnvReward(), "f": _effort()})],
    "scale": [lambda: algebra.Scale(EnvReward(), -1.7)],
    "shift": [lambda: algebra.Shift(EnvReward(), 0.25)],
    "gate": [
        lambda: gate.Gate(EnvReward(), _effort(), 0.1),
        lambda: gate.Gate(EnvReward(), _effort(), 0.1, strict=True, accumulate=True),
        lambda: gate.Gate(EnvReward(), CountBonus(), -0.5, on_abstained="open"),
    ],
    "clip": [lambda: pointwise.Clip(EnvReward(), -0.5, 0.4)],
    "bounded": [lambda: pointwise.Bounded(EnvReward(), -1.0, 2.0, 0.5)],
    "symlog": [lambda: pointwise.Symlog(EnvReward())],
    "centered": [lambda: running.Centered(EnvReward())],
    "running_norm": [
        lambda: running.RunningNorm(EnvReward(), eps=0.01),
        lambda: running.RunningNorm(EnvReward(), center=False, eps=0.01),
    ],
    "potential_shaping": [
        lambda: potential.PotentialShaping(EnvReward(), height, GAMMA),
        lambda: potential.PotentialShaping(EnvReward(), of_info),
        lambda: potential.PotentialShaping(EnvReward(), with_action, GAMMA, "look_back"),
    ],
}
"""Every reward of the catalog that can be computed while acting, by its method's name."""

LEAVES: tuple[Tree, ...] = tuple(
    tree for name in ("env_reward", "count_bonus", "function") for tree in ACTING[name]
)


def acting_trees() -> st.SearchStrategy[Reward]:
    """Nested trees of acting rewards; some hold one node at two paths."""
    leaf = st.sampled_from(LEAVES).map(lambda make: make())
    return st.recursive(leaf, _above, max_leaves=6)


def _above(below: st.SearchStrategy[Reward]) -> st.SearchStrategy[Reward]:
    factor = st.sampled_from([-1.5, 0.25, 1.0, 2.0])
    parts = st.lists(below, min_size=1, max_size=3).map(
        lambda rewards: {f"p{i}": reward for i, reward in enumerate(rewards)}
    )
    return st.one_of(
        st.builds(lambda p, w: algebra.WeightedSum(p, dict.fromkeys(p, w)), parts, factor),
        st.builds(algebra.WeightedMean, parts),
        st.builds(algebra.Min, parts),
        st.builds(lambda a, b: pointwise.Symlog(algebra.multiply(a, b)), below, below),
        below.map(lambda reward: algebra.WeightedSum({"one": reward, "again": reward})),
        st.builds(algebra.Scale, below, factor),
        st.builds(algebra.Shift, below, factor),
        st.builds(gate.Gate, below, below, st.just(0.1003), st.booleans(), st.booleans()),
        below.map(lambda reward: pointwise.Clip(reward, -2.0, 1.0)),
        below.map(pointwise.Bounded),
        below.map(pointwise.Symlog),
        below.map(running.Centered),
        below.map(lambda reward: running.RunningNorm(reward, eps=0.1)),
        below.map(lambda reward: potential.PotentialShaping(reward, of_info)),
        below.map(
            lambda reward: potential.PotentialShaping(reward, with_action, advice="look_back")
        ),
    )


def prepared(reward: Reward, rollouts: Rollouts) -> Reward:
    """The reward with the learner's gamma, and a state that says something."""
    reward.bind(gamma=GAMMA)
    learn(reward, rollouts)
    return reward
