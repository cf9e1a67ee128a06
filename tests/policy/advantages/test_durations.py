from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from rewardsmith.core.advantages import Advantages
from rewardsmith.policy.advantages.durations import (
    completion_probabilities,
    completion_shares,
    completion_weights,
    duration_weight,
    duration_weights,
)

TIMES = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=20).map(torch.tensor)


def centered(*values, keep=None):
    made = torch.tensor(values, dtype=torch.float64)
    mask = torch.ones(len(made), dtype=torch.bool) if keep is None else torch.tensor(keep)
    return Advantages(made, mask)


# --- weights --------------------------------------------------------------------------------------


@given(TIMES, st.floats(0.001, 1000), st.sampled_from([None, 1.0, 3.0]))
def test_their_mean_is_one_and_the_unit_does_not_matter(times, c, cap):
    weights = duration_weights(times, "cutoff", cap)
    assert float(weights.mean()) == pytest.approx(1.0)
    torch.testing.assert_close(duration_weights(times.double() * c, "cutoff", cap), weights)


@given(st.floats(0.01, 1e4), st.integers(1, 10))
def test_equal_durations_change_nothing(time, n):
    weights = duration_weights(torch.full((n,), time), "cutoff")
    torch.testing.assert_close(weights, torch.ones(n, dtype=torch.float64))


@given(TIMES)
def test_steady_actors_need_no_weight(times):
    assert duration_weights(times, "steady").tolist() == [1.0] * len(times)


def test_a_cap_keeps_one_extreme_action_from_taking_all_the_weight():
    times = torch.tensor([1.0, 1.0, 2.0, 1000.0, 1.0])
    assert duration_weights(times, "cutoff")[0] < 0.01
    capped = duration_weights(times, "cutoff", cap=3.0)
    np.testing.assert_allclose(capped, np.array([1, 1, 2, 3, 1]) / 1.6)
    # Of an even number, the lower one in the middle.
    even = duration_weights(torch.tensor([1.0, 1.0, 2.0, 4.0]), "cutoff", cap=2.0)
    np.testing.assert_allclose(even, np.array([1, 1, 2, 2]) / 1.5)


@pytest.mark.parametrize("time", [0.0, -1.0, float("nan"), float("inf")])
def test_a_duration_that_is_none(time):
    with pytest.raises(ValueError, match="action 1 is"):
        duration_weights(torch.tensor([1.0, time]), "cutoff")
    with pytest.raises(ValueError, match="action 1 is"):
        duration_weights(torch.tensor([1.0, time]), "steady")
    rows = centered(1.0, -1.0)
    with pytest.raises(ValueError, match="the weight of action 1 is"):
        duration_weight(rows, torch.tensor([1.0, time]), baseline="centered")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: duration_weights(torch.ones(2), "fast"), "mode"),
        (lambda: duration_weights(torch.ones(2), "cutoff", cap=0.5), "cap is 0.5"),
        (lambda: duration_weights(torch.ones(2), "cutoff", cap=float("nan")), "cap is nan"),
        (lambda: duration_weights(torch.ones(0), "cutoff"), "n > 0"),
        (lambda: completion_weights(torch.tensor([0.5, 1.5])), "above 1"),
        (lambda: completion_weights(torch.tensor([0.5, 0.0])), "action 1 is 0"),
        (lambda: completion_shares(["a"], [True, False]), "1 kinds of actions, 2 flags"),
        (lambda: completion_shares(["a"], [False]), "no action was completed"),
    ],
)
def test_refusals(call, told):
    with pytest.raises((ValueError, TypeCheckError), match=told):
        call()


# --- advantages -----------------------------------------------------------------------------------


def test_advantages_are_multiplied():
    rows = centered(1.0, -1.0, 0.5, -0.5)
    weights = duration_weights(torch.tensor([1.0, 1.0, 2.0, 4.0]), "cutoff")
    told = duration_weight(rows, weights, baseline="centered")
    np.testing.assert_allclose(told.values, [0.5, -0.5, 0.5, -1.0])
    assert told.metrics["duration/largest"] == 2.0
    assert told.metrics["duration/effective"] == pytest.approx(64 / 22 / 4)
    assert told.metrics["duration/off_center"] == 0.0
    chance = completion_weights(torch.tensor([0.5, 1.0]))
    np.testing.assert_allclose(chance, [4 / 3, 2 / 3])
    told = duration_weight(centered(1.0, -1.0), chance, baseline="centered")
    np.testing.assert_allclose(told.values, [4 / 3, -2 / 3])


def test_weights_of_what_does_not_train_are_not_read():
    rows = centered(1.0, 7.0, -8.0, keep=[True, False, True])
    told = duration_weight(rows, torch.tensor([0.5, float("nan"), 1.5]), baseline="centered")
    np.testing.assert_allclose(told.values, [0.5, 7.0, -12.0])
    nobody = replace(rows, keep=torch.zeros(3, dtype=torch.bool))
    alone = duration_weight(nobody, torch.zeros(3), baseline="centered")
    assert torch.equal(alone.values, nobody.values)
    # A run's log has the same columns in every batch.
    assert alone.metrics.keys() == told.metrics.keys()


def test_all_steps_of_a_row_get_its_weight():
    values = torch.tensor([[1.0, 1.0, 1.0], [-1.0, 0.0, 0.0]])
    rows = Advantages(values, torch.ones(2, dtype=torch.bool))
    told = duration_weight(rows, torch.tensor([0.5, 1.5]), baseline="centered")
    np.testing.assert_allclose(told.values, [[0.5, 0.5, 0.5], [-1.5, 0.0, 0.0]])
    assert told.values.dtype == torch.float32


def test_raw_returns_are_refused():
    rows, weights = centered(0.9, 0.6, 0.9), torch.tensor([1.4, 0.2, 1.4])
    with pytest.raises(ValueError, match="are not centered"):
        duration_weight(rows, weights, baseline="centered")
    with pytest.raises((ValueError, TypeCheckError), match="baseline"):
        duration_weight(rows, weights, baseline="none")
    told = duration_weight(rows, weights, baseline="learned")
    assert told.metrics["duration/off_center"] == pytest.approx(1.0)
    by_step = Advantages(torch.tensor([[0.9, 0.9], [0.6, 0.0]]), torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="are not centered"):
        duration_weight(by_step, torch.ones(2), baseline="centered")


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=16), st.data())
def test_what_is_centered_in_float32_passes_whatever_is_filtered(returns, data):
    values = torch.tensor(returns, dtype=torch.float32)
    keep = data.draw(st.lists(st.booleans(), min_size=len(returns), max_size=len(returns)))
    rows = Advantages(values - values.mean(), torch.tensor(keep))
    assume(float(rows.values.abs().mean()) >= 1e-2)  # less is nothing but rounding
    duration_weight(rows, torch.ones(len(values)), baseline="centered")


def test_rows_without_an_advantage_are_not_part_of_the_mean():
    nan = float("nan")
    rows = centered(1.0, nan, -1.0, keep=[True, False, True])
    told = duration_weight(rows, torch.ones(3), baseline="centered")
    assert told.metrics["duration/off_center"] == 0.0
    steps = torch.tensor([[1.0, 1.0], [2.0, nan], [-1.0, -1.0]])
    rows = Advantages(steps, torch.tensor([True, False, True]))
    told = duration_weight(rows, torch.ones(3), baseline="centered")
    assert told.metrics["duration/off_center"] == 0.0


def test_either_mean_of_steps_may_be_the_one_that_was_subtracted():
    mask = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    # Over steps: four of 1/5 and one of -4/5. Over rows: all steps of a row are 1/2 or -1/2.
    over_steps = (torch.tensor([[1.0], [0.0]]) - 0.8) * mask
    over_rows = (torch.tensor([[1.0], [0.0]]) - 0.5) * mask
    for values in (over_steps, over_rows):
        rows = Advantages(values, torch.ones(2, dtype=torch.bool))
        told = duration_weight(rows, torch.ones(2), baseline="centered")
        assert told.metrics["duration/off_center"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("n", [1, 3])
def test_weights_are_one_for_each_row(n):
    with pytest.raises(ValueError, match=rf"weights have the shape \[{n}\], rows \[2\]"):
        duration_weight(centered(1.0, -1.0), torch.ones(n), baseline="centered")


# --- actors that are cut off, and actors that are not ---------------------------------------------

SHORT, LONG, ACTORS = 1.0, 10.0, 16


def window(p_slow, T, rng, windows=1):
    """Two arms, by actors that run action after action until T.

    Returns which completed actions are slow, their durations, and all the starts.
    """
    most = int(T / SHORT) + 1
    slow = rng.random((ACTORS * windows, most)) < p_slow
    took = np.where(slow, LONG, SHORT)
    ends = took.cumsum(axis=1)
    starts = ends - took
    return slow[ends <= T], took[ends <= T], starts[starts < T]


def test_the_share_of_slow_actions_that_a_window_completes():
    rng = np.random.default_rng(0)
    windows = {12.0: 2000, 30.0: 1000, 3000.0: 4}
    share = {T: window(0.5, T, rng, n)[0].mean() for T, n in windows.items()}
    assert share[12.0] == pytest.approx(0.37, abs=0.02)
    assert share[30.0] == pytest.approx(0.42, abs=0.02)
    assert share[3000.0] == pytest.approx(0.5, abs=0.02)  # not 1 / 11: none is lost


def test_shares_tell_what_is_lost():
    rng = np.random.default_rng(0)
    slow = rng.random((4000, 13)) < 0.5
    took = np.where(slow, LONG, SHORT)
    ends = took.cumsum(axis=1)
    begun = ends - took < 12.0
    told = completion_shares(slow[begun].tolist(), (ends <= 12.0)[begun].tolist())
    assert told[True].started == pytest.approx(0.5, abs=0.02)
    assert told[True].completed == pytest.approx(0.37, abs=0.02)
    assert sum(share.completed for share in told.values()) == pytest.approx(1.0)


PI = np.array([0.1, 0.2, 0.3, 0.25, 0.15])
TIME = np.array([1.0, 9.0, 4.0, 2.0, 6.0])
PAYS = np.array([0.3, 0.9, 0.5, 0.8, 0.1])


def gradient(arms, weights, baseline):
    """Of REINFORCE over the logits of a softmax, in the mean over some actions."""
    paid = PAYS[arms] - (PAYS[arms].mean() if baseline else 0.0)
    values = weights * paid
    return np.bincount(arms, values, minlength=len(PI)) / len(arms) - values.mean() * PI


def likeness(found):
    """The cosine to the gradient of actors that wait for each other."""
    right = PI * (PAYS - PI @ PAYS)
    return found @ right / np.linalg.norm(found) / np.linalg.norm(right)


@pytest.mark.parametrize("baseline", [True, False])
def test_weights_are_right_where_actors_repeat_an_action_in_a_given_time(baseline):
    """The paper's law: an action is completed pi T / dt times in a time T."""
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(PI), p=PI, size=4000)
    arms = np.repeat(chosen, (36 / TIME[chosen]).astype(int))
    weighted = duration_weights(torch.from_numpy(TIME[arms]), "cutoff").numpy()
    alike = likeness(gradient(arms, weighted, baseline))
    assert alike > 0.99
    assert likeness(gradient(arms, np.ones(len(arms)), baseline)) < 0.98


@pytest.mark.parametrize("T", [12.0, 30.0])
@pytest.mark.parametrize("baseline", [True, False])
def test_inverse_probabilities_are_exact_where_a_window_cuts_off(T, baseline):
    rng = np.random.default_rng(1)
    arms = rng.choice(len(PI), p=PI, size=(60_000, int(T) + 1))
    ends = TIME[arms].cumsum(axis=1)
    starts = ends - TIME[arms]
    arms, starts = arms[ends <= T], torch.from_numpy(starts[starts < T])
    took = torch.from_numpy(TIME[arms])
    probability = completion_probabilities(took, starts, T)
    exact = completion_weights(probability, rescale=False).numpy()
    # Unbiased: as much as was started.
    shares = np.bincount(arms, exact, minlength=len(PI)) / len(starts)
    np.testing.assert_allclose(shares, PI, atol=0.005)
    by = {
        "none": np.ones(len(arms)),
        "duration": duration_weights(took, "cutoff").numpy(),
        "exact": completion_weights(probability).numpy(),
    }
    alike = {name: likeness(gradient(arms, w, baseline)) for name, w in by.items()}
    assert alike["exact"] > 0.99
    assert alike["exact"] > alike["none"]
    # Weights by duration lean too far here, as the module says.
    assert alike["exact"] > alike["duration"]


def test_without_a_baseline_what_is_lost_makes_a_fast_arm_look_good():
    rng = np.random.default_rng(0)
    slow, took, _ = window(0.3, 12.0, rng, 4000)
    product = np.where(slow, 0.9, 0.6) * np.where(slow, 0.7, -0.3)
    weighted = duration_weights(torch.from_numpy(took), "cutoff").numpy()
    assert product.mean() < 0 < (weighted * product).mean()


def learn(T, slow_pays, fast_pays, *, weighted, baseline, seed, steady=False, updates=400):
    """The probability of the slow arm that REINFORCE ends with; the mean of 0.3 per step."""
    rng, theta = np.random.default_rng(seed), 0.0
    for _ in range(updates):
        p = 1 / (1 + np.exp(-theta))
        if steady:
            slow = rng.random(ACTORS * 4) < p
            took = np.where(slow, LONG, SHORT)
        else:
            slow, took, _ = window(p, T, rng)
        if not len(slow):
            continue
        paid = np.where(slow, slow_pays, fast_pays) + 0.1 * rng.normal(size=len(slow))
        values = torch.from_numpy(paid - paid.mean() if baseline else paid)
        rows = Advantages(values, torch.ones(len(slow), dtype=torch.bool))
        if weighted:
            weights = duration_weights(torch.from_numpy(took), "cutoff")
            rows = duration_weight(rows, weights, baseline="centered" if baseline else "learned")
        theta += 0.5 * float((rows.values.numpy() * np.where(slow, 1 - p, -p)).mean())
    return 1 / (1 + np.exp(-theta))


@pytest.mark.parametrize(
    ("steady", "better", "baseline", "weighted", "right"),
    [
        # Cut off, the slow arm is better: without a baseline only the weight finds it.
        (False, True, False, False, False),
        (False, True, False, True, True),
        # With a baseline nothing is needed.
        (False, True, True, False, True),
        (False, True, True, True, True),
        # Nobody is cut off, the slow arm is worse: without a baseline the weight misleads.
        (True, False, False, True, False),
        (True, False, False, False, True),
        (True, False, True, True, True),
        (True, False, True, False, True),
    ],
)
def test_the_cells_of_the_bandit(steady, better, baseline, weighted, right):
    """Where the weight helps, where nothing is needed, and where it misleads."""
    slow_pays, fast_pays = (0.9, 0.6) if better else (0.6, 0.9)
    ends = [
        learn(
            12.0,
            slow_pays,
            fast_pays,
            weighted=weighted,
            baseline=baseline,
            seed=seed,
            steady=steady,
        )
        for seed in range(3)
    ]
    slow_wins = better == right
    assert all(p > 0.9 for p in ends) if slow_wins else all(p < 0.1 for p in ends), ends


# --- probabilities --------------------------------------------------------------------------------


def test_probabilities_by_hand():
    starts = torch.tensor([0.0, 3.0, 7.0, 9.0])
    told = completion_probabilities(torch.tensor([1.0, 3.0, 10.0]), starts, 10.0)
    assert told.tolist() == [1.0, 0.75, 0.25]


@pytest.mark.parametrize(
    ("times", "starts", "told"),
    [
        ([1.0, 2.0], [0.0], "every action has a start"),
        ([1.0], [11.0], "outside the window"),
        ([1.0], [-0.1], "outside the window"),
        ([9.5], [1.0, 2.0], "no start left as much"),
    ],
)
def test_probabilities_that_cannot_be(times, starts, told):
    with pytest.raises(ValueError, match=told):
        completion_probabilities(torch.tensor(times), torch.tensor(starts), 10.0)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_rounding_refuses_no_action_that_ended_with_the_window(kind):
    durations, starts = torch.tensor([0.9], dtype=kind), torch.tensor([0.1], dtype=kind)
    probability = completion_probabilities(durations, starts, 1.0)
    assert probability.tolist() == [1.0]
    assert probability.dtype == torch.float64
    with pytest.raises(ValueError, match=r"action 0 took 0\.91, and no start left as much of 1"):
        completion_probabilities(durations + 0.01, starts, 1.0)


def test_weights_carry_no_gradient_into_advantages():
    rows = centered(1.0, -1.0)
    weights = torch.tensor([1.0, 1.0], requires_grad=True)
    assert not duration_weight(rows, weights, baseline="centered").values.requires_grad
