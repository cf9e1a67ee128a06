"""``learn``: before-updates, score, after-updates; each node once, with its own scores."""

import copy
import io
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import laws

from rewardsmith.core import algebra
from rewardsmith.core.learning import learn
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.running import Centered, RunningNorm

pytestmark = pytest.mark.filterwarnings(laws.TYPE_CHECKS)


class Diary(Reward):
    """Writes down what happens to it; each score tells how often it was updated."""

    def __init__(self, name: str, diary: list[Any], when: Any = "after") -> None:
        super().__init__()
        self.name, self.diary, self.when, self.updates = name, diary, when, 0
        self.declare(granularity="outcome")

    def forward(self, rollouts: Rollouts) -> Scores:
        self.diary.append(("score", self.name, torch.is_grad_enabled()))
        return Scores.outcome(torch.full((len(rollouts),), float(self.updates)))

    def update(self, rollouts: Rollouts, scores: Scores | None) -> dict[str, float]:
        seen = None if scores is None else scores.values.tolist()
        self.diary.append(("update", self.name, seen))
        self.updates += 1
        return {"updates": float(self.updates)}


class Wrapped(Diary):
    """The same, around a child."""

    def __init__(self, name: str, diary: list[Any], of: Reward, when: Any = "after") -> None:
        super().__init__(name, diary, when)
        self.of = of

    def forward(self, rollouts: Rollouts) -> Scores:
        inner = self.of(rollouts)
        self.diary.append(("score", self.name, torch.is_grad_enabled()))
        return Scores.outcome(inner.values + 100.0, parts={"of": inner})


def test_the_order_and_what_each_node_is_given() -> None:
    diary: list[Any] = []
    early, late = Diary("early", diary, "before"), Diary("late", diary)
    around = Wrapped("around", diary, early, "before")
    outer = Wrapped("outer", diary, late)
    tree = algebra.WeightedSum({"a": around, "b": outer})
    scores, metrics = learn(tree, laws.text(1))
    assert diary == [
        ("update", "early", None),
        ("update", "around", None),
        ("score", "early", False),
        ("score", "around", False),
        ("score", "late", False),
        ("score", "outer", False),
        ("update", "late", [0.0]),
        ("update", "outer", [100.0]),
    ]
    assert scores.values.tolist() == [101.0 + 100.0]
    assert metrics == {f"{path}/updates": 1.0 for path in ("a", "a/of", "b", "b/of")}


def test_a_root_and_a_shared_node_are_updated_once() -> None:
    diary: list[Any] = []
    shared = Diary("shared", diary)
    tree = algebra.WeightedSum({"one": shared, "two": algebra.Scale(shared, 2.0)})
    _, metrics = learn(tree, laws.text(2))
    assert shared.updates == 1
    assert [entry[0] for entry in diary] == ["score", "update"]
    assert list(metrics.values()) == [1.0]
    _, metrics = learn(shared, laws.text(2))
    assert metrics == {"updates": 2.0}


def test_what_does_not_learn_is_only_scored() -> None:
    tree = algebra.Scale(EnvReward(), 2.0)
    rollouts = Rollouts(steps={"env_reward": torch.ones(1, 2)})
    scores, metrics = learn(tree, rollouts)
    assert not tree.learns
    assert metrics == {}
    assert scores.values.tolist() == [[2.0, 2.0]]


def batch(seed: int) -> Rollouts:
    return laws.mixed_rollouts("vector", seed)


def everything() -> Reward:
    """A tree whose every kind of state depends on the order of what it saw."""
    bonus = CountBonus(0.5)
    return algebra.WeightedSum(
        {
            "norm": RunningNorm(algebra.WeightedSum({"env": EnvReward(), "bonus": bonus})),
            "mean": Centered(RunningNorm(EnvReward("speed"), center=False)),
            "cells": CountBonus(1.0, key=laws.cell),
            "bonus": bonus,
        }
    )


def assert_states_equal(left: Reward, right: Reward) -> None:
    ours, theirs = left.state_dict(), right.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value == theirs[name], name


@given(stream=st.lists(st.integers(0, 99), min_size=1, max_size=3), data=st.data())
@settings(max_examples=6)
def test_resuming_is_exact(stream: list[int], data: st.DataObject) -> None:
    undisturbed, before = everything(), everything()
    cut = data.draw(st.integers(0, len(stream)))
    for seed in stream:
        learn(undisturbed, batch(seed))
    for seed in stream[:cut]:
        learn(before, batch(seed))
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    resumed = everything()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for seed in stream[cut:]:
        learn(resumed, batch(seed))
    assert_states_equal(resumed, undisturbed)
    rollouts = batch(100)
    assert torch.equal(resumed(rollouts).values, undisturbed(rollouts).values)


def test_a_state_that_was_saved_is_not_changed_by_learning_on() -> None:
    reward = everything()
    learn(reward, batch(0))
    saved = reward.state_dict()
    kept = copy.deepcopy(saved)
    learn(reward, batch(1))
    assert saved == kept
    assert saved != reward.state_dict()


@given(rollouts=laws.control_rollouts(), reward=laws.acting_trees())
@settings(max_examples=12)
def test_scoring_changes_nothing_and_gives_the_same_again(
    rollouts: Rollouts, reward: Reward
) -> None:
    laws.prepared(reward, batch(0))
    columns = copy.deepcopy((rollouts.steps, rollouts.mask, rollouts.action_mask))
    state = copy.deepcopy(reward.state_dict())
    first = dict(reward(rollouts).walk())
    second = dict(reward(rollouts).walk())
    laws.assert_step_equals_forward(reward, rollouts)
    assert state == reward.state_dict()
    for path, scores in first.items():
        assert torch.equal(scores.values, second[path].values), path
    after = (rollouts.steps, rollouts.mask, rollouts.action_mask)
    torch.testing.assert_close(after, columns, rtol=0, atol=0, equal_nan=True)


def test_moments_stay_float64_whatever_the_module_becomes() -> None:
    whole, halved = everything(), everything().half()
    for seed in range(3):
        learn(whole, batch(seed))
        learn(halved, batch(seed))
    halved.to(torch.float16)
    assert_states_equal(whole, halved)
    assert torch.equal(whole(batch(9)).values, halved(batch(9)).values)
