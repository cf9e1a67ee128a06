"""The laws that every reward obeys, what they are tested on, and small rewards to test with.

The law of acting: scanning ``step`` over T equals ``forward`` on [N, T], for the values, statuses
and scored steps of every part under its path.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from tests.generated import control_rollouts as control_rollouts
from tests.generated import mixed_rollouts as mixed_rollouts
from tests.generated import text as text

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
