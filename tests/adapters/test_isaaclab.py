"""Reward terms of a manager-based environment, on a small environment of the same signature."""

import pickle
import types
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

import rewardsmith as rs
from rewardsmith.adapters.isaaclab import RewardManager, reward_of, terms_of
from rewardsmith.core.errors import ScoreError
from rewardsmith.core.function import Function
from rewardsmith.core.gate import Gate
from rewardsmith.core.learning import learn
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.spec import dumps, loads
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping
from rewardsmith.transforms.running import RunningNorm


class Env:
    """Three robots; what terms read is set by hand."""

    num_envs, device, max_episode_length_s = 3, "cpu", 20.0

    def __init__(self) -> None:
        self.speed = torch.tensor([1.0, 2.0, 3.0])
        self.termination_manager = types.SimpleNamespace(
            terminated=torch.tensor([False, True, False]),
            time_outs=torch.tensor([False, False, True]),
        )


@dataclass
class Term:
    func: Any
    weight: float
    params: dict[str, Any] = field(default_factory=dict)


def speed(env: Any, scale: float = 1.0) -> Any:
    return scale * env.speed


def alive(env: Any) -> Any:
    return env.speed > 1.5


class Stateful:
    """A term that remembers: how often it was asked since the reset."""

    def __init__(self) -> None:
        self.asked = torch.zeros(3)

    def __call__(self, env: Any) -> Any:
        self.asked += 1
        return self.asked.clone()

    def reset(self, env_ids: Any = None) -> None:
        self.asked[slice(None) if env_ids is None else env_ids] = 0


def terms(**more: Any) -> dict[str, Term]:
    return {"run": Term(speed, 2.0, {"scale": 0.5}), "alive": Term(alive, -1.0), **more}


# --- terms as a tree ------------------------------------------------------------------------------


def test_terms_become_a_weighted_sum_of_columns() -> None:
    reward = reward_of(terms())
    assert dumps(loads(dumps(reward))) == dumps(reward)
    assert dumps(reward) == dumps(
        rs.WeightedSum(
            {"run": EnvReward("run"), "alive": EnvReward("alive")}, {"run": 2.0, "alive": -1.0}
        )
    )
    recorded = Rollouts(steps={"run": torch.ones(1, 2), "alive": torch.tensor([[0.0, 1.0]])})
    assert reward(recorded).values.tolist() == [[2.0, 1.0]]


def test_terms_come_from_a_mapping_a_config_or_a_manager() -> None:
    given = terms()
    manager = types.SimpleNamespace(active_terms=list(given), get_term_cfg=given.__getitem__)
    config = types.SimpleNamespace(**given, unused=None)
    assert terms_of(manager) == terms_of(config) == terms_of(given) == given


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"run": 3.0}, TypeError, "'run' is no reward term: it has no func"),
        ({"run": Term(Stateful, 1.0)}, TypeError, "only a reward manager resolves"),
        ({"run": Term("mdp:speed", 1.0)}, TypeError, "only a reward manager resolves"),
        ({"obs": Term(speed, 1.0)}, ValueError, "cannot be called 'obs'"),
        ({"type": Term(speed, 1.0)}, ValueError, "part name 'type' is taken"),
        ({"run": Term(speed, float("nan"))}, ValueError, "the weight of part 'run' is nan"),
        ({}, ValueError, "at least one part"),
    ],
)
def test_what_is_no_term_is_refused(wrong: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        reward_of(wrong)


# --- in the place of their manager ----------------------------------------------------------------


def test_it_pays_the_terms_times_the_step() -> None:
    env = Env()
    manager = RewardManager(reward_of(terms()), terms(), env)
    paid = manager.compute(dt=0.1)
    # 2 * 0.5 * speed - 1 * alive, per second.
    assert paid.tolist() == pytest.approx([0.1, 0.1, 0.2])
    assert paid.dtype == torch.float32
    assert manager.active_terms == ["run", "alive"]
    assert manager.get_active_iterable_terms(1) == [("run", [2.0]), ("alive", [-1.0])]


def test_it_logs_what_the_parts_contributed_to_the_episodes() -> None:
    env = Env()
    manager = RewardManager(reward_of(terms()), terms(), env)
    for _ in range(4):
        manager.compute(dt=0.5)
    extras = manager.reset(torch.tensor([0, 2]))
    # Four steps of half a second, over at most 20: the mean of robots 0 and 2.
    assert {name: float(value) for name, value in extras.items()} == pytest.approx(
        {"Episode_Reward/run": (2.0 + 6.0) / 2 / 20, "Episode_Reward/alive": -(0.0 + 2.0) / 2 / 20}
    )
    assert all(value.ndim == 0 for value in extras.values())
    manager.compute(dt=0.5)
    after = manager.reset()
    assert float(after["Episode_Reward/run"]) == pytest.approx((0.5 + 5.0 + 1.5) / 3 / 20)


def test_any_reward_of_the_terms_can_take_their_place() -> None:
    env = Env()
    gated = Gate(EnvReward("alive"), reward_of(terms()), 0.5)
    manager = RewardManager(gated, terms(), env)
    assert manager.compute(dt=1.0).tolist() == [0.0, 1.0, 2.0]
    # No sum of its parts: they are logged as they are.
    assert manager.get_active_iterable_terms(0) == [("condition", [0.0]), ("of", [1.0])]
    assert set(manager.reset()) == {"Episode_Reward/condition", "Episode_Reward/of"}
    alone = RewardManager(EnvReward("run"), terms(), env)
    alone.compute(dt=1.0)
    assert alone.get_active_iterable_terms(2) == [("env_reward", [1.5])]


def ends(run: Any, terminated: Any, truncated: Any, first: Any) -> Any:
    return 1.0 * terminated + 10.0 * truncated + 100.0 * first


def test_ends_and_beginnings_are_told() -> None:
    manager = RewardManager(Function(ends, step=True), terms(), Env())
    assert manager.compute(1.0).tolist() == [100.0, 101.0, 110.0]
    assert manager.compute(1.0).tolist() == [0.0, 1.0, 10.0]
    manager.reset([1])
    assert manager.compute(1.0).tolist() == [0.0, 101.0, 10.0]


class Count(EnvReward):
    """Counts the steps of the episode."""

    def start(self, n: int) -> Any:
        return np.zeros(n)

    def step(self, s: Any, carry: Any, out: Any) -> Any:
        carry = np.where(s.first, 1.0, carry + 1.0)
        return carry, carry


def test_memory_is_carried_until_an_environment_is_reset() -> None:
    manager = RewardManager(Count("run"), terms(), Env())
    manager.compute(1.0)
    assert manager.compute(1.0).tolist() == [2.0, 2.0, 2.0]
    manager.reset(torch.tensor([2]))
    assert manager.compute(1.0).tolist() == [3.0, 3.0, 1.0]


def test_terms_are_asked_once_a_step_and_reset_with_their_environments() -> None:
    stateful = Stateful()
    given = terms(asked=Term(stateful, 1.0))
    twice = rs.WeightedSum({"a": EnvReward("asked"), "b": EnvReward("asked")})
    manager = RewardManager(twice, given, Env())
    assert manager.compute(1.0).tolist() == [2.0] * 3
    manager.reset(torch.tensor([1]))
    assert manager.compute(1.0).tolist() == [4.0, 2.0, 4.0]


def test_a_term_of_weight_zero_is_not_asked() -> None:
    def broken(env: Any) -> Any:
        raise AssertionError("asked")

    given = terms(off=Term(broken, 0.0))
    manager = RewardManager(reward_of(given), given, Env())
    assert manager.compute(1.0).tolist() == pytest.approx([1.0, 1.0, 2.0])
    assert float(manager.reset()["Episode_Reward/off"]) == 0.0


def test_a_curriculum_turns_terms_off_and_on() -> None:
    given = terms()
    manager = RewardManager(reward_of(given), given, Env())
    run = manager.get_term_cfg("run")
    assert run is given["run"]
    for weight, paid in ((0.0, [0.0, -1.0, -1.0]), (2.0, [1.0, 1.0, 2.0])):
        # As IsaacLab's modify_reward_weight does: the same object, changed.
        run.weight = weight
        manager.set_term_cfg("run", run)
        assert manager.compute(1.0).tolist() == pytest.approx(paid)
    manager.set_term_cfg("run", Term(speed, 2.0, {"scale": 1.0}))
    assert manager.compute(1.0).tolist() == pytest.approx([2.0, 3.0, 5.0])
    # The caller's own terms are the caller's.
    assert given["run"] is run


@pytest.mark.parametrize(
    ("name", "term", "error", "message"),
    [
        ("run", Term(speed, 5.0), ValueError, r"weight 5.0 of the term 'run' .* Only 0 and 2.0 "),
        ("off", Term(speed, 1.0), ValueError, "would change nothing: the reward has weights of it"),
        ("runn", Term(speed, 2.0), ValueError, "no term 'runn'; did you mean 'run'"),
        ("run", Term(Stateful, 2.0), TypeError, "only a reward manager resolves"),
        ("run", 3.0, TypeError, "'run' is no reward term: it has no func"),
    ],
)
def test_a_term_that_would_change_nothing_is_refused(
    name: str, term: Any, error: Any, message: str
) -> None:
    given = terms(off=Term(alive, 0.0))
    manager = RewardManager(reward_of(given), given, Env())
    with pytest.raises(error, match=message):
        manager.set_term_cfg(name, term)
    assert manager.terms == given
    with pytest.raises(ValueError, match="there is no term 'height'; valid names: alive, off, run"):
        manager.get_term_cfg("height")


def test_one_of_ours_can_take_the_place_of_another() -> None:
    env = Env()
    gated = RewardManager(Gate(EnvReward("alive"), EnvReward("run"), 0.5), terms(), env)
    assert gated.active_terms == ["condition", "of"]
    assert terms_of(gated) == terms()
    plain = RewardManager(reward_of(gated), gated, env)
    assert plain.compute(1.0).tolist() == pytest.approx([1.0, 1.0, 2.0])


def test_what_was_learned_stays_as_it_is() -> None:
    bonus = CountBonus(1.0, key=lambda run: run)
    reward = RunningNorm(rs.WeightedSum({"run": EnvReward("run"), "new": bonus}))
    learn(reward, Rollouts(steps={"run": torch.tensor([[0.5, 1.0, 1.0]])}))
    before = pickle.dumps(reward.state_dict())
    assert bonus.counts == {0.5: 1, 1.0: 2}
    manager = RewardManager(reward, terms(), Env())
    for _ in range(3):
        manager.compute(1.0)
        manager.reset([1])
    assert pickle.dumps(reward.state_dict()) == before


@pytest.mark.parametrize(
    ("func", "message"),
    [
        (lambda env: 1 / 0, "part 'x': failed: raised ZeroDivisionError"),
        (lambda env: torch.ones(2), r"part 'x'.*the term 'x': .*shape \[2\], expected \[3\]"),
        (lambda env: "fast", "part 'x'.*returned str 'fast'"),
        (lambda env: torch.tensor([0.0, torch.inf, 0.0]), "part 'x', row 1: bad_value: inf"),
    ],
)
def test_a_term_that_breaks_is_named(func: Any, message: str) -> None:
    given = terms(x=Term(func, 1.0))
    with pytest.raises(ScoreError, match=message):
        RewardManager(reward_of(given), given, Env()).compute(1.0)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (EnvReward("height"), "reads height; there are the terms alive, run, and first, term"),
        (PotentialShaping(EnvReward("run"), lambda obs: obs, 0.9), "reads next_obs, obs;"),
        (Function(lambda run: run), "cannot be computed while acting"),
    ],
)
def test_what_cannot_be_computed_there_is_refused(reward: Reward, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RewardManager(reward, terms(), Env())
