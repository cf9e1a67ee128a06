import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.testbeds import PassRates


@given(seed=st.integers(0, 50), step=st.floats(0, 1e6), more=st.floats(0, 1e6))
@settings(max_examples=50)
def test_rates_are_probabilities_that_never_fall(seed, step, more):
    rates = PassRates(30, seed)
    now, then = rates.rates(step), rates.rates(step + more)
    assert now.shape == (30,)
    assert ((now >= 0.0) & (now <= 1.0)).all()
    assert (then >= now).all()


def test_rates_are_logistic():
    rates = PassRates(50, 3)
    rate = rates.rates(70)
    assert np.log(rate / (1 - rate)) == pytest.approx(rates.speed * 70 - rates.difficulty)


def test_prompts_rise_at_different_speeds_from_where_they_start():
    rates = PassRates(2000, 1, difficulty=1.0, spread=0.5, speed=0.1, speeds=0.7)
    assert np.mean(rates.difficulty) == pytest.approx(1.0, abs=0.05)
    assert np.std(rates.difficulty) == pytest.approx(0.5, abs=0.05)
    assert np.median(rates.speed) == pytest.approx(0.1, rel=0.1)
    assert np.std(np.log(rates.speed)) == pytest.approx(0.7, abs=0.05)
    assert abs(np.corrcoef(rates.difficulty, rates.speed)[0, 1]) < 0.1


def test_the_seed_decides():
    one, same, other = (PassRates(20, seed).rates(10) for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).all()


def test_mixed_is_the_probability_that_a_group_is_not_constant():
    rates = PassRates(5, 0)
    p = rates.rates(40)
    listed = sum(
        np.prod([p if right else 1 - p for right in answers], axis=0)
        for answers in itertools.product([False, True], repeat=4)
        if len(set(answers)) == 2
    )
    assert rates.mixed(4, 40) == pytest.approx(listed)
    assert rates.mixed(1, 40) == pytest.approx(np.zeros(5))


def test_answers_are_right_as_often_as_the_rates_say():
    rates = PassRates(6, 2, difficulty=0.0, spread=1.0)
    _, scores = rates.answers(range(6), 4000, 30, np.random.default_rng(0))
    p = rates.rates(30)
    error = np.sqrt(p * (1 - p) / 4000)
    assert (np.abs(scores.values.reshape(6, 4000).mean(dim=1).numpy() - p) < 4 * error).all()


def test_answers_come_in_groups_with_the_columns_of_the_pool():
    rates = PassRates(5, 0, columns={"domain": list("abcde")})
    rollouts, scores = rates.answers([4, 2, 4], 2, 100, np.random.default_rng(0))
    assert rollouts["prompt_id"].dtype == torch.int64
    assert rollouts["prompt_id"].tolist() == [4, 4, 2, 2, 4, 4]
    assert rollouts["prompt"] == [f"prompt {row}" for row in (4, 4, 2, 2, 4, 4)]
    assert rollouts["domain"] == list("eeccee")
    # A prompt that comes twice has two groups.
    assert rollouts.group.tolist() == [0, 0, 1, 1, 2, 2]
    assert rollouts.grouped
    assert scores.scored.all()
    assert [{"right": 1.0, "wrong": 0.0}[text] for text in rollouts["completion"]] == (
        scores.values.tolist()
    )


def test_all_randomness_is_the_generators():
    rates = PassRates(50, 0)
    one, same, other = (
        rates.answers(range(50), 4, 60, np.random.default_rng(seed))[1].values for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_it_is_a_data_set():
    rates = PassRates(3, 0, columns={"answer": [7, 8, 9]})
    assert len(rates) == 3
    assert list(rates) == [
        {"prompt_id": row, "prompt": f"prompt {row}", "answer": 7 + row} for row in range(3)
    ]


@pytest.mark.parametrize(
    "options", [{"n": 0}, {"spread": -1.0}, {"speed": 0.0}, {"speeds": float("nan")}]
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="n has to be 1 or more, the speed more than 0"):
        PassRates(**options)


def test_a_column_of_another_length_is_refused():
    with pytest.raises(ValueError, match="column 'answer' has 2 values for 3"):
        PassRates(3, columns={"answer": [1, 2]})


@pytest.mark.parametrize(("prompts", "group"), [([3], 1), ([-1], 1), ([], 2), ([0], 0)])
def test_answers_to_no_prompt_of_the_pool_are_refused(prompts, group):
    with pytest.raises(ValueError, match="one answer or more, for rows 0 to 2, is needed"):
        PassRates(3).answers(prompts, group, 0, np.random.default_rng(0))
