"""The torchrl transform, on tensordicts and specs of the same signature."""

import pickle
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from tests import laws
from tests.generated import from_plan

import rewardsmith as rs
from rewardsmith.adapters.torchrl import Account, part_paths, transform
from rewardsmith.core.acting import Step, Terms
from rewardsmith.core.errors import MissingColumn, ScoreError
from rewardsmith.core.function import Function
from rewardsmith.core.learning import learn
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping
from rewardsmith.transforms.running import RunningNorm


class Table:
    """A tensordict: entries by key, nested ones by a tuple of keys."""

    def __init__(self, batch: tuple[int, ...], **entries: Any) -> None:
        self.batch_size, self.entries = torch.Size(batch), entries

    def get(self, key: Any, default: Any = None) -> Any:
        head, *rest = key if isinstance(key, tuple) else (key,)
        found = self.entries.get(head, default)
        return found.get(tuple(rest), default) if rest and found is not default else found

    def set(self, key: Any, value: Any) -> None:
        head, *rest = key if isinstance(key, tuple) else (key,)
        if rest:
            self.entries.setdefault(head, Table(tuple(self.batch_size))).set(tuple(rest), value)
        else:
            self.entries[head] = value

    def keys(self) -> Any:
        return self.entries.keys()


class Plain:
    """The spec of actions that are what they are."""

    def to_numpy(self, value: Any, safe: bool) -> Any:
        return value.numpy()


class OneHot:
    """The spec of actions that are one-hot vectors."""

    def to_numpy(self, value: Any, safe: bool) -> Any:
        return value.argmax(-1).numpy()


PLAIN = {"action": Plain()}


def account(reward: Reward, **options: Any) -> Account:
    given = {"gamma": None, "missing": "raise", "obs": "observation", "training": True}
    return Account(reward, **(given | options))


def stepped(of: Account, batch: tuple[int, ...] = (2,), spec: Any = PLAIN, **entries: Any) -> Table:
    """One step of environments that pay 1 and go on, after the reset if there was none."""
    shape = (*batch, 1)
    plain = {
        "reward": torch.ones(shape),
        "terminated": torch.zeros(shape, dtype=torch.bool),
        "truncated": torch.zeros(shape, dtype=torch.bool),
        "observation": torch.zeros(*batch, 2),
    }
    before = Table(batch, action=entries.pop("action", torch.zeros(batch)))
    if of.batch != batch:
        of.reset(Table(batch), Table(batch, observation=torch.zeros(*batch, 2)))
    after = Table(batch, **(plain | entries))
    of.step(before, after, spec)
    return after


# --- what is paid ---------------------------------------------------------------------------------


def replayed(of: Account, rollouts: Rollouts) -> Iterator[Table]:
    """The tensordicts of environments that do what the rollouts did, one per step."""

    def entry(column: Any, t: int, only: Any = None) -> Any:
        if isinstance(column, dict):
            return Table((n,), **{name: entry(inner, t, only) for name, inner in column.items()})
        found = column[:, t].clone()
        if only is not None:
            found[~only] = torch.nan if found.is_floating_point() else 7
        return found

    n, steps = len(rollouts), rollouts.steps
    first = rollouts.first()
    for t in range(rollouts.n_steps):
        if bool(first[:, t].any()):
            # Where nothing was reset, nothing may be read.
            obs, x = (entry(c, t, first[:, t]) for c in (steps["obs"], steps["prev_info"]["x"]))
            marks = Table((n,)) if t == 0 else Table((n,), _reset=first[:, t, None])
            of.reset(marks, Table((n,), observation=obs, x=x[:, None]))
        before = Table((n,), action=entry(steps["action"], t), _step=rollouts.action_mask[:, t])
        after = Table(
            (n,),
            observation=entry(steps["next_obs"], t),
            reward=steps["env_reward"][:, t, None].float(),
            x=steps["info"]["x"][:, t, None],
            speed=steps["info"]["speed"][:, t, None],
            **{name: steps[name][:, t, None] for name in ("terminated", "truncated")},
        )
        of.step(before, after, PLAIN)
        yield after


# Some environments are reset while others go on.
STAGGERED = [
    [(2, "terminated", False), (3, "cut", False)],
    [(4, "truncated", True), (1, "cut", False)],
    [(6, "cut", False)],
]
TREES = [
    tree
    for name in ("env_reward", "function", "weighted_sum", "gate", "potential_shaping")
    for tree in laws.ACTING[name]
    if "skip" not in repr(tree())
]


@pytest.mark.filterwarnings(laws.TYPE_CHECKS)
@pytest.mark.parametrize("i", range(len(TREES)))
@example(laws.mixed_rollouts("dict"))
@example(from_plan(STAGGERED, "vector", 0))
@given(rollouts=laws.control_rollouts())
@settings(max_examples=4)
def test_it_pays_what_forward_scores(i: int, rollouts: Rollouts) -> None:
    reward = TREES[i]()
    reward.bind(gamma=laws.GAMMA)
    scores, live = reward(rollouts), rollouts.action_mask
    for t, after in enumerate(replayed(account(reward, training=False), rollouts)):
        for path, part in scores.walk():
            key = ("reward_terms", path) if path else "reward"
            paid = after.get(key)
            assert paid.shape == (len(rollouts), 1)
            assert paid.dtype == torch.float32
            expected = torch.where(live[:, t], part.values[:, t], 0.0)
            torch.testing.assert_close(paid[:, 0], expected, rtol=1e-4, atol=1e-5)
        kept = after.get("env_reward")[:, 0]
        assert torch.equal(kept[live[:, t]], rollouts["env_reward"][:, t][live[:, t]].float())


def total(obs: Any, next_obs: Any, action: Any) -> Any:
    return (next_obs - obs).sum(axis=1) + 10.0 * np.asarray(action)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_any_batch_of_environments(batch: tuple[int, ...]) -> None:
    of = account(Function(total, step=True))
    obs = torch.arange(float(np.prod(batch)) * 2).reshape(*batch, 2)
    actions = torch.arange(int(np.prod(batch))).reshape(batch)
    after = stepped(of, batch, observation=obs, action=actions)
    torch.testing.assert_close(
        after.get("reward"), obs.sum(-1, keepdim=True) + 10.0 * actions[..., None]
    )


def test_an_action_is_an_index_where_torchrl_has_one_hot_vectors() -> None:
    one_hot = torch.nn.functional.one_hot(torch.tensor([2, 0]), 3)
    after = stepped(account(Function(total, step=True)), action=one_hot, spec={"action": OneHot()})
    assert after.get("reward").tolist() == [[20.0], [0.0]]


def test_environments_may_write_into_the_same_memory() -> None:
    of = account(Function(total, step=True))
    shared = torch.zeros(2, 2)
    of.reset(Table((2,)), Table((2,), observation=shared))
    for _ in range(3):
        shared += 1.0
        assert stepped(of, observation=shared).get("reward").tolist() == [[2.0], [2.0]]


def test_environments_may_be_stepped_as_they_are() -> None:
    of = account(Function(total, step=True))
    before = Table((2,), observation=torch.ones(2, 2), action=torch.zeros(2))
    ends = {name: torch.zeros(2, 1, dtype=torch.bool) for name in ("terminated", "truncated")}
    after = Table((2,), observation=torch.full((2, 2), 4.0), reward=torch.ones(2, 1), **ends)
    of.step(before, after, PLAIN)
    assert after.get("reward").tolist() == [[6.0], [6.0]]


def test_an_environment_may_tell_only_that_it_is_done() -> None:
    def ends(terminated: Any, truncated: Any) -> Any:
        return terminated + 10.0 * truncated

    done = torch.tensor([[True], [False]])
    after = stepped(account(Function(ends, step=True)), terminated=None, truncated=None, done=done)
    assert after.get("reward").tolist() == [[1.0], [0.0]]


# --- parts ----------------------------------------------------------------------------------------


def test_every_part_has_a_key_beforehand() -> None:
    inner = PotentialShaping(EnvReward(), laws.height, 0.9)
    reward = rs.WeightedSum({"shaped": inner, "scaled": 0.5 * EnvReward()})
    assert part_paths(reward) == ["shaped", "scaled", "shaped/of", "shaped/shaping", "scaled/of"]
    out = Terms()
    s = Step(*[np.zeros((1, 2))] * 3, np.ones(1), *[np.zeros(1, bool)] * 3, np.ones(1, bool))  # type: ignore[arg-type]
    reward.step(s, None, out)
    assert set(out.values) == set(part_paths(reward))


def test_a_part_that_nobody_announced_is_refused() -> None:
    class Talks(EnvReward):
        def step(self, s: Any, carry: Any, out: Any) -> Any:
            values, carry = super().step(s, carry, out)
            out["aside"] = values
            return values, carry

    with pytest.raises(ValueError, match=r"parts \['aside'\] show only in the reward's step"):
        stepped(account(Talks()))


def test_what_breaks_is_told_or_counted_as_missing() -> None:
    def pay(speed: Any) -> Any:
        return speed

    reward = rs.WeightedSum({"env": EnvReward(), "pay": Function(pay, step=True)})
    speed = torch.tensor([[1.0], [torch.nan]])
    with pytest.raises(ScoreError, match="part 'pay', row 1: bad_value: nan"):
        stepped(account(reward), speed=speed)
    after = stepped(account(reward, missing=-1.0), speed=speed)
    assert after.get("reward").tolist() == [[2.0], [-1.0]]
    assert after.get(("reward_terms", "env")).tolist() == [[1.0], [1.0]]
    assert after.get(("reward_terms", "pay")).isnan().tolist() == [[False], [True]]


def test_a_part_that_raises_is_told_too() -> None:
    def pay(speed: Any) -> Any:
        raise RuntimeError("no speed")

    reward = rs.WeightedSum({"env": EnvReward(), "pay": Function(pay, step=True)})
    with pytest.raises(ScoreError, match=r"part 'pay'.*: failed: raised RuntimeError: no speed"):
        stepped(account(reward), speed=torch.zeros(2, 1))
    after = stepped(account(reward, missing=0.5), speed=torch.zeros(2, 1))
    assert after.get("reward").tolist() == [[0.5], [0.5]]
    assert bool(after.get(("reward_terms", "pay")).isnan().all())


def test_a_missing_entry_is_named_with_those_there_are() -> None:
    with pytest.raises(MissingColumn, match=r"no column 'height'.*present: .*speed"):
        stepped(account(Function(lambda height, speed: height, step=True)), speed=torch.zeros(2, 1))
    with pytest.raises(MissingColumn, match="no column 'obs'"):
        stepped(account(Function(lambda obs: obs, step=True), obs="pixels"))


# --- learning -------------------------------------------------------------------------------------


def test_it_learns_from_the_steps_since_the_last_time() -> None:
    reward = RunningNorm(EnvReward())
    of = account(reward)
    stepped(of)
    stepped(of)
    assert reward.moments.count == 0
    assert of.learn() == {"mean": 1.0, "std": 0.0}
    assert reward.moments.count == 4
    assert of.learn() == {}
    skipping = Table((2,), action=torch.zeros(2), _step=torch.tensor([[True], [False]]))
    after = Table((2,), reward=torch.ones(2, 1), done=torch.zeros(2, 1, dtype=torch.bool))
    with pytest.raises(ValueError, match="a step that some environments skip"):
        of.step(skipping, after, PLAIN)


def test_evaluation_leaves_what_was_learned_as_it_is() -> None:
    bonus = CountBonus(1.0)
    reward = RunningNorm(rs.WeightedSum({"env": EnvReward(), "new": bonus}))
    steps = {"env_reward": torch.tensor([[1.0, 3.0]]), "next_obs": torch.zeros(1, 2, 2)}
    learn(reward, Rollouts(steps=steps))
    before = pickle.dumps(reward.state_dict())
    evaluated = account(reward, training=False)
    for k in range(3):
        stepped(evaluated, observation=torch.full((2, 2), float(k)))
    assert evaluated.learn() == {}
    assert pickle.dumps(reward.state_dict()) == before
    # In training the same steps are learned from.
    learning = account(reward)
    stepped(learning)
    assert learning.learn()
    assert pickle.dumps(reward.state_dict()) != before


def test_where_nothing_was_reset_the_last_observation_stands() -> None:
    of = account(Function(lambda obs: obs["a"]["b"][:, 0], step=True))

    def seen(*values: float) -> Table:
        inner = Table((2,), b=torch.tensor(values)[:, None])
        return Table((2,), observation=Table((2,), a=inner))

    of.reset(Table((2,)), seen(1.0, 2.0))
    of.reset(Table((2,), _reset=torch.tensor([[False], [True]])), seen(8.0, 9.0))
    obs = seen(0.0, 0.0).get("observation")
    assert stepped(of, observation=obs).get("reward").tolist() == [[1.0], [9.0]]


# --- the transform --------------------------------------------------------------------------------


class Unbounded:
    def __init__(self, shape: Any, device: Any, dtype: Any) -> None:
        self.shape, self.device, self.dtype = torch.Size(shape), device, dtype


class RewardSpec(dict[Any, Any]):
    """A composite of specs by key."""

    shape = torch.Size([2])

    def keys(self, nested: bool = False, leaves: bool = False) -> Any:
        return super().keys()


class Transform(torch.nn.Module):
    def __init__(self, in_keys: Any, out_keys: Any) -> None:
        super().__init__()
        self.in_keys, self.out_keys = in_keys, out_keys
        self.parent = types.SimpleNamespace(full_action_spec=PLAIN)


@pytest.fixture
def torchrl(monkeypatch: pytest.MonkeyPatch) -> None:
    data, transforms = types.ModuleType("torchrl.data"), types.ModuleType("torchrl.envs.transforms")
    vars(data)["Unbounded"], vars(transforms)["Transform"] = Unbounded, Transform
    for name in ("torchrl", "torchrl.envs"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchrl.data", data)
    monkeypatch.setitem(sys.modules, "torchrl.envs.transforms", transforms)


@pytest.mark.usefixtures("torchrl")
def test_the_transform_pays_announces_learns_and_is_saved() -> None:
    reward = RunningNorm(EnvReward())
    made = transform(reward)
    keys = ["reward", "env_reward", ("reward_terms", "of")]
    assert made.out_keys == keys
    spec = made.transform_reward_spec(RewardSpec(reward=Unbounded((2, 1), "cpu", torch.float64)))
    assert list(spec) == keys
    assert all(
        (s.shape, s.device, s.dtype) == ((2, 1), "cpu", torch.float32) for s in spec.values()
    )
    reset = Table((2,))
    assert made._reset(Table((2,)), reset) is reset
    after = Table((2,), reward=torch.full((2, 1), 3.0), done=torch.zeros(2, 1, dtype=torch.bool))
    assert made._step(Table((2,)), after) is after
    assert after.get("reward").tolist() == [[3.0], [3.0]]
    assert made._call(after) is after
    assert made.learn() == {"mean": 3.0, "std": 0.0}
    assert made.state_dict().keys() == {"reward._extra_state"}
    with pytest.raises(NotImplementedError, match="score the rollouts"):
        made(after)


@pytest.mark.usefixtures("torchrl")
def test_environments_that_cannot_pay_it_are_refused() -> None:
    made = transform(EnvReward())
    one = Unbounded((2, 1), None, torch.float32)
    with pytest.raises(ValueError, match=r"reward is \[2, 3\], expected one number for each"):
        made.transform_reward_spec(RewardSpec(reward=Unbounded((2, 3), None, torch.float32)))
    with pytest.raises(ValueError, match=r"no 'reward' but \['score'\]"):
        made.transform_reward_spec(RewardSpec(score=one))
    with pytest.raises(ValueError, match="already pays a reward of ours"):
        made.transform_reward_spec(RewardSpec(reward=one, env_reward=one))
    made.parent._torchrl_native_autoreset = True
    with pytest.raises(ValueError, match="native_autoreset=True"):
        made.transform_reward_spec(RewardSpec(reward=one))


@pytest.mark.usefixtures("torchrl")
def test_what_cannot_act_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="cannot be computed while acting"):
        transform(Function(lambda reward: reward))


def test_without_torchrl_only_the_call_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchrl", None)
    with pytest.raises(ImportError):
        transform(EnvReward())
