"""The count bonus: its formula, when it counts, and what a state's key is."""

import math
import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.core.acting import Step, Terms, scan
from rewardsmith.core.errors import ScoreError
from rewardsmith.core.learning import learn
from rewardsmith.core.outcome import Status
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.signals.count import CountBonus, digests


def visits(states: list[list[int]], acted: list[list[bool]] | None = None) -> Rollouts:
    action_mask = None if acted is None else torch.tensor(acted)
    column = torch.tensor(states)
    return Rollouts(
        steps={"next_obs": column},
        mask=torch.ones(column.shape, dtype=torch.bool),
        action_mask=action_mask,
    )


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=4))
@settings(max_examples=25)
def test_it_pays_by_the_counts_of_the_last_update(batches: list[list[int]]) -> None:
    reward, counts = CountBonus(2.0, revisits=False), dict.fromkeys(range(4), 0)
    for batch in batches:
        scores, metrics = learn(reward, visits([batch]))
        expected = [2.0 / math.sqrt(1 + counts[state]) for state in batch]
        np.testing.assert_allclose(scores.values[0], expected, rtol=1e-6)
        for state in batch:
            counts[state] += 1
        assert metrics == {"states": sum(count > 0 for count in counts.values())}


def test_who_stays_in_a_new_state_is_paid_less_and_less() -> None:
    reward = CountBonus(1.0)
    learn(reward, visits([[7, 8]]))
    first = torch.tensor([[True, False, False, True, False]])
    stays = Rollouts(steps={"next_obs": torch.tensor([[7, 7, 7, 7, 9]]), "first": first})
    expected = [[1 / math.sqrt(1 + seen) for seen in (1, 2, 3, 1, 0)]]
    # A new episode starts from the counts of the last update.
    np.testing.assert_allclose(reward(stays).values, expected, rtol=1e-6)
    np.testing.assert_allclose(scan(reward, stays).values, expected, rtol=1e-6)


def test_an_update_takes_the_visits_of_an_episode_that_goes_on() -> None:
    def one(state: int, first: bool) -> Step:
        flags = np.array([first])
        nothing = np.zeros(1, dtype=bool)
        obs = np.array([[state]])
        return Step(obs, None, obs, None, nothing, nothing, flags, np.ones(1, dtype=bool))

    reward = CountBonus(1.0, key=lambda obs: obs.reshape(-1))
    carry = reward.start(1)
    paid = []
    for t in range(4):
        if t == 2:
            learn(reward, visits([[7, 7]]))
        values, carry = reward.step(one(7, t == 0), carry, Terms())
        paid.append(float(values[0]))
    assert paid == pytest.approx([1.0, 1 / math.sqrt(2), 1 / math.sqrt(3), 1 / math.sqrt(4)])


def test_dummy_steps_are_not_counted() -> None:
    reward = CountBonus()
    learn(reward, visits([[1, 2, 1]], [[True, False, True]]))
    assert sorted(reward.counts.values()) == [2]


def test_a_key_says_which_states_are_the_same() -> None:
    reward = CountBonus(1.0, key=lambda obs: obs // 10)
    learn(reward, visits([[1, 5, 12]]))
    assert reward.counts == {0: 2, 1: 1}
    assert reward(visits([[9, 15, 25]])).values[0].tolist() == pytest.approx(
        [1 / math.sqrt(3), 1 / math.sqrt(2), 1.0]
    )


def test_a_key_may_have_several_numbers() -> None:
    reward = CountBonus(1.0, key=lambda obs: np.stack([obs // 10, obs % 2], axis=1))
    learn(reward, visits([[1, 3, 12]]))
    assert reward.counts == {(0, 1): 2, (1, 0): 1}


def late(obs: Any) -> Any:
    raise TimeoutError("no answer")


def late_on_reading(obs: Any) -> Any:
    yield from late(obs)


@pytest.mark.parametrize(
    ("key", "status", "message"),
    [
        (lambda obs: obs[:0], Status.BAD_VALUE, "the key gives 0 keys for 1 states"),
        (lambda obs: [0] * 5, Status.BAD_VALUE, "the key gives 5 keys for 1 states"),
        (lambda obs: 7, Status.BAD_VALUE, "the key gives int 7 for 1 states"),
        (lambda obs: obs.sum(), Status.BAD_VALUE, "the key gives int64 .* for 1 states"),
        (lambda obs: [{}], Status.BAD_VALUE, "a key cannot be counted: dict {}"),
        (lambda obs: [({}, 1)], Status.BAD_VALUE, "a key cannot be counted: tuple"),
        (lambda obs: 1 / 0, Status.FAILED, "the key raised ZeroDivisionError"),
        (late, Status.TIMEOUT, "the key raised TimeoutError: no answer"),
        (late_on_reading, Status.TIMEOUT, "the key raised TimeoutError: no answer"),
    ],
)
def test_a_key_that_breaks_gives_a_status(key: Any, status: Status, message: str) -> None:
    reward = CountBonus(1.0, key=key)
    rollouts = visits([[1, 2]])
    scores, _ = learn(reward, rollouts)
    assert scores.status.tolist() == [status]
    assert re.match(f"step 0: {message}", scores.errors[0][1])
    assert reward.counts == {}
    with pytest.raises(ScoreError, match=f"part 'of': {status.name.lower()}: {message}"):
        scan(2.0 * reward, rollouts)


def test_a_row_tells_of_the_worst_that_broke() -> None:
    def key(obs: Any) -> Any:
        return late(obs) if obs[0] == 1 else [{}] if obs[0] == 2 else [1 / 0]

    scores = CountBonus(1.0, key=key)(visits([[1, 2, 3, 2]]))
    assert scores.status.tolist() == [Status.BAD_VALUE]
    assert scores.errors == {0: ("", "step 1: a key cannot be counted: dict {}")}


def test_only_the_state_that_breaks_the_key_is_void() -> None:
    reward = CountBonus(1.0, key=lambda obs: [{1: "a", 2: "b"}[int(o)] for o in obs])
    scores, _ = learn(reward, visits([[1, 2], [1, 7]]))
    assert scores.status.tolist() == [0, 3]
    assert reward.counts == {"a": 2, "b": 1}


def test_counts_of_numpy_keys_can_be_saved() -> None:
    reward = CountBonus(1.0, key=lambda obs: [(o, np.round(o, 1)) for o in obs])
    learn(reward, visits([[1, 2]]))
    assert {type(n) for key in reward.counts for n in key} <= {int, float}


@pytest.mark.parametrize(
    "key",
    [
        lambda obs: torch.from_numpy(obs) // 10,
        lambda obs: list(torch.from_numpy(obs) // 10),
        lambda obs: [(o, torch.tensor([[1.5, 2.0]])) for o in torch.from_numpy(obs) // 10],
    ],
)
def test_a_key_may_be_of_tensors(key: Any) -> None:
    reward = CountBonus(1.0, key=key)
    learn(reward, visits([[1, 5, 12]]))
    assert sorted(reward.counts.values()) == [1, 2]
    # Plain numbers, which can be saved.
    assert pickle.loads(pickle.dumps(reward.state_dict())) == reward.state_dict()
    assert scan(reward, visits([[9]])).values.tolist() == [[pytest.approx(1 / math.sqrt(3))]]


def test_a_key_may_be_read_from_info() -> None:
    reward = CountBonus(1.0, key=lambda room: list(room))
    rollouts = Rollouts(steps={"info": {"room": torch.tensor([[3, 3]])}})
    learn(reward, rollouts)
    assert reward.counts == {3: 2}
    assert reward.needs == {"room"}
    assert CountBonus().needs == {"next_obs"}


@pytest.mark.parametrize("beta", [-1.0, math.nan, math.inf])
def test_a_beta_that_is_none(beta: float) -> None:
    with pytest.raises(ValueError, match="it must be a number >= 0"):
        CountBonus(beta)


def test_digests_tell_observations_apart() -> None:
    image = np.zeros((3, 2, 2), dtype=np.uint8)
    image[1, 0, 0] = 1
    assert digests(image)[0] == digests(image)[2] != digests(image)[1]
    mixed = {"image": image, "mission": np.array([0, 0, 1])}
    assert len(set(digests(mixed))) == 3
    # The order in which an environment names the parts is no difference.
    assert digests(mixed) == digests(dict(reversed(mixed.items())))
    # Nor is how an array lies in memory.
    assert digests(np.asfortranarray(image)) == digests(image)
