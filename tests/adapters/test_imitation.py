"""Our rewards for imitation and its nets for us, against nets of the same signature."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from tests import laws
from tests.adapters.worlds import GAMMA, Walk, level

import rewardsmith as rs
from rewardsmith.adapters.imitation import ImitationReward, reward_fn
from rewardsmith.core.acting import Step, Terms
from rewardsmith.core.errors import ScoreError
from rewardsmith.core.function import Function
from rewardsmith.core.learning import learn
from rewardsmith.core.outcome import Status
from rewardsmith.core.reward import Reward
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.count import CountBonus
from rewardsmith.signals.env_reward import EnvReward
from rewardsmith.transforms.potential import PotentialShaping
from rewardsmith.transforms.running import RunningNorm


def effort(action: Any) -> Any:
    return -np.abs(action)


def moved(obs: Any, next_obs: Any) -> Any:
    return level(next_obs) - level(obs)


def shaped() -> Reward:
    return PotentialShaping(rs.WeightedSum({"a": Function(effort, step=True)}), level)


def transitions(n: int = 5) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(0)
    state, next_state = rng.normal(size=(2, n, 2)).astype(np.float32)
    return state, rng.normal(size=n), next_state, np.arange(n) % 2 == 0


# --- ours for imitation ---------------------------------------------------------------------------


@pytest.mark.filterwarnings(laws.TYPE_CHECKS)
@given(rollouts=laws.control_rollouts(obs="vector"))
@settings(max_examples=10)
def test_it_pays_each_transition_what_forward_scores(rollouts: Rollouts) -> None:
    reward = shaped()
    fn = reward_fn(reward, done="terminated", gamma=GAMMA)
    rows, steps = rollouts.action_mask.nonzero(as_tuple=True)
    flat = {name: rollouts[name][rows, steps].numpy() for name in ("obs", "action", "next_obs")}
    done = rollouts["terminated"][rows, steps].numpy()
    paid = fn(flat["obs"], flat["action"], flat["next_obs"], done)
    scored = reward(rollouts).values[rows, steps].numpy()
    assert paid.dtype == np.float32
    assert paid.shape == (len(rows),)
    np.testing.assert_allclose(paid, scored, rtol=1e-5, atol=1e-6)


def test_done_is_what_the_caller_says_it_is() -> None:
    state, action, next_state, done = transitions()
    base = -np.abs(action) - level(state)
    over = reward_fn(shaped(), done="terminated", gamma=GAMMA)(state, action, next_state, done)
    cut = reward_fn(shaped(), done="truncated", gamma=GAMMA)(state, action, next_state, done)
    np.testing.assert_allclose(cut, base + GAMMA * level(next_state), rtol=1e-5)
    np.testing.assert_allclose(over, base + GAMMA * level(next_state) * ~done, rtol=1e-5)
    with pytest.raises(ValueError, match="reads terminated, and imitation's done does not tell"):
        reward_fn(shaped(), gamma=GAMMA)


def test_without_done_an_optional_end_is_not_there() -> None:
    def ends(action: Any, truncated: Any = None) -> Any:
        return action if truncated is None else 100.0 * truncated

    state, action, next_state, done = transitions()
    reward = Function(ends, step=True)
    with pytest.raises(ValueError, match="say done="):
        reward_fn(reward)
    paid = reward_fn(reward, done="truncated")(state, action, next_state, done)
    assert paid.tolist() == [100.0, 0.0, 100.0, 0.0, 100.0]


def test_transitions_may_come_in_any_order() -> None:
    fn = reward_fn(shaped(), done="terminated", gamma=GAMMA)
    batch = transitions()
    order = np.array([3, 1, 4, 0, 2])
    np.testing.assert_array_equal(fn(*(c[order] for c in batch)), fn(*batch)[order])


def looking_back() -> Reward:
    plain = Function(effort, step=True)
    inner = PotentialShaping(plain, lambda obs, action: level(obs) + action, advice="look_back")
    return rs.WeightedSum({"back": inner, "plain": plain})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (looking_back, r"any order, but back: potential_shaping\(.*remembers the steps before"),
        (EnvReward, "tells a reward state, action, next_state and done; .* reads env_reward"),
        (lambda: PotentialShaping(Function(effort, step=True), laws.of_info), "also reads x:"),
        (lambda: Function(lambda first: first, step=True), "also reads first"),
        (lambda: Function(lambda action, first=None: action, step=True), "also reads first"),
        (lambda: Function(effort), "cannot be computed while acting"),
    ],
)
def test_what_cannot_serve_is_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reward_fn(make(), done="terminated", gamma=GAMMA)


def test_no_reward_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="expected a Reward, got function"):
        reward_fn(effort)  # type: ignore[arg-type]


def test_asking_changes_nothing_that_learns() -> None:
    bonus = CountBonus(1.0, revisits=False)
    reward = RunningNorm(rs.WeightedSum({"effort": Function(effort, step=True), "new": bonus}))
    state, action, next_state, done = transitions()
    learn(reward, Rollouts(steps={"action": action[None], "next_obs": next_state[None]}))
    before = pickle.dumps(reward.state_dict())
    fn = reward_fn(reward)
    first = fn(state, action, next_state, done, update_stats=True)
    np.testing.assert_array_equal(fn(state, action, next_state, done), first)
    fn(next_state, action, state, done)
    assert pickle.dumps(reward.state_dict()) == before
    assert set(bonus.counts.values()) == {1}


def test_observations_may_be_dicts_and_imitations_class_around_them() -> None:
    class DictObs:
        def __init__(self, d: dict[str, Any]) -> None:
            self.d = d

        def unwrap(self) -> dict[str, Any]:
            return self.d

    state, action, next_state, done = transitions()
    fn = reward_fn(Function(moved, step=True))
    plain = fn(state, action, next_state, done)
    here, there = {"position": state}, {"position": next_state}
    np.testing.assert_array_equal(fn(here, action, there, done), plain)
    np.testing.assert_array_equal(fn(DictObs(here), action, DictObs(there), done), plain)


def test_a_reward_that_is_no_number_names_row_and_part() -> None:
    state, action, next_state, done = transitions()
    action[2] = np.nan
    fn = reward_fn(rs.WeightedSum({"effort": Function(effort, step=True)}))
    with pytest.raises(ScoreError, match="part 'effort', row 2: bad_value: nan"):
        fn(state, action, next_state, done)


# --- imitation's for us ---------------------------------------------------------------------------


class Net(torch.nn.Module):
    """A reward net that normalizes, by imitation's signatures."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, *args: Any) -> Any:
        raise AssertionError("takes preprocessed tensors")

    def predict(self, state: Any, action: Any, next_state: Any, done: Any) -> Any:
        with torch.no_grad():
            value = self.layer(torch.as_tensor(state))[:, 0].numpy()
        return value + 0.1 * np.asarray(action) - 5.0 * np.asarray(done)

    def predict_processed(
        self, state: Any, action: Any, next_state: Any, done: Any, update_stats: bool = True
    ) -> Any:
        if update_stats:
            self.seen += len(state)
        return 2.0 * self.predict(state, action, next_state, done)


@pytest.mark.filterwarnings(laws.TYPE_CHECKS)
@example(rollouts=laws.mixed_rollouts("vector"), done="ended")
@given(
    rollouts=laws.control_rollouts(obs="vector"),
    done=laws.st.sampled_from(["ended", "terminated"]),
)
@settings(max_examples=10)
def test_it_acts_as_it_scores(rollouts: Rollouts, done: Any) -> None:
    torch.manual_seed(0)
    laws.assert_step_equals_forward(ImitationReward(Net(), done), rollouts)


def test_the_net_is_asked_as_imitation_asks_it_without_moving_its_statistics() -> None:
    net = Net()
    reward = ImitationReward(net)
    rollouts = laws.mixed_rollouts("vector")
    rows, steps = rollouts.action_mask.nonzero(as_tuple=True)
    flat = [rollouts[name][rows, steps].numpy() for name in ("obs", "action", "next_obs")]
    ended = (rollouts["terminated"] | rollouts["truncated"])[rows, steps].numpy()
    scores = reward(rollouts)
    assert float(net.seen) == 0.0
    asked = net.predict_processed(*flat, ended)
    np.testing.assert_allclose(scores.values[rows, steps].numpy(), asked, rtol=1e-6)
    terminated = rollouts["terminated"][rows, steps].numpy()
    told_less = ImitationReward(net, "terminated")(rollouts).values[rows, steps].numpy()
    np.testing.assert_allclose(told_less - asked, 10.0 * (ended & ~terminated), atol=1e-5)


def test_padding_and_dummy_steps_never_reach_the_net() -> None:
    def strict(state: Any, action: Any, next_state: Any, done: Any) -> Any:
        assert np.isfinite(state).all()
        assert np.isfinite(action).all()
        return np.ones(len(state))

    rollouts = laws.mixed_rollouts("vector")
    scores = ImitationReward(strict)(rollouts)
    assert torch.equal(scores.values, rollouts.action_mask.float())


def test_predict_serves_where_nothing_is_processed_and_a_function_where_nothing_predicts() -> None:
    class Plain:
        def predict(self, state: Any, action: Any, next_state: Any, done: Any) -> Any:
            return np.full(len(state), 3.0)

    s = Step(*[np.zeros((4, 2))] * 3, None, *[np.zeros(4, bool)] * 3, np.ones(4, bool))  # type: ignore[arg-type]
    for net, expected in ((Plain(), 3.0), (lambda a, b, c, d: d + 0.5, 0.5)):
        assert ImitationReward(net).step(s, None, Terms())[0].tolist() == [expected] * 4
    with pytest.raises(TypeError, match="int has no predict_processed or predict"):
        ImitationReward(3)
    with pytest.raises(ValueError, match="done is 'yes'"):
        ImitationReward(Net(), "yes")  # type: ignore[arg-type]


def test_one_broken_transition_voids_its_row_only() -> None:
    def touchy(state: Any, action: Any, next_state: Any, done: Any) -> Any:
        if (np.asarray(action) > 1).any():
            raise RuntimeError("too much")
        return np.where(np.asarray(action) < 0, np.nan, 1.0)

    columns = {name: torch.zeros(3, 2, 1) for name in ("obs", "next_obs")}
    ends = {name: torch.zeros(3, 2, dtype=torch.bool) for name in ("terminated", "truncated")}
    action = torch.tensor([[0.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    scores = ImitationReward(touchy)(Rollouts(steps={**columns, **ends, "action": action}))
    assert scores.status.tolist() == [Status.SCORED, Status.FAILED, Status.BAD_VALUE]
    assert scores.errors[1] == ("", "step 1: raised RuntimeError: too much")
    assert scores.errors[2] == ("", "step 0: returned nan")
    assert scores.failed_at is not None
    assert scores.failed_at.nonzero().tolist() == [[1, 1], [2, 0]]


def test_while_acting_a_broken_net_is_named() -> None:
    def broken(state: Any, action: Any, next_state: Any, done: Any) -> Any:
        raise RuntimeError("no weights")

    env = rs.wrap(Walk(), rs.WeightedSum({"env": EnvReward(), "net": ImitationReward(broken)}))
    env.reset()
    with pytest.raises(ScoreError, match=r"part 'net'.*raised RuntimeError: no weights"):
        env.step(0)


def test_it_is_part_of_a_tree_that_pays_and_saves() -> None:
    class Small(Net):
        def predict(self, state: Any, action: Any, next_state: Any, done: Any) -> Any:
            return np.asarray(state, dtype=np.float64)[:, 0]

    reward = rs.WeightedSum({"env": EnvReward(), "net": ImitationReward(Small())})
    assert "ImitationReward(net=Small, done='ended')" in repr(reward)
    env = rs.wrap(Walk(), reward)
    env.reset(seed=0)
    _, paid, *_, info = env.step(1)
    assert info["reward_terms"] == {"env": 2.0, "net": 0.0, "total": 2.0}
    assert paid == 2.0
    other = copy.deepcopy(reward)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 1.0
    other.load_state_dict(reward.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(other.parameters(), reward.parameters(), strict=True)
    )


def test_no_step_at_all_abstains() -> None:
    columns = {name: torch.zeros(2, 1) for name in ("obs", "next_obs", "action")}
    ends = {name: torch.zeros(2, 1, dtype=torch.bool) for name in ("terminated", "truncated")}
    none = torch.zeros(2, 1, dtype=torch.bool)
    scores = ImitationReward(lambda *_: 1 / 0)(
        Rollouts(steps={**columns, **ends}, mask=~none, action_mask=none)
    )
    assert scores.status.tolist() == [Status.ABSTAINED] * 2
