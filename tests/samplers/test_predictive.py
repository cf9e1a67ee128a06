import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.samplers.drift import pool_of, restored, train

from rewardsmith.samplers.predictive import PredictiveSampling, oversampling

SHARES = st.lists(st.floats(0, 1), max_size=25)


def fresh(pool, **options):
    sampler = PredictiveSampling(**options)
    sampler.over(pool)
    sampler.begin()
    return sampler


def see(sampler, pool, differ, of):
    """A batch of which the first groups differ; returns what the sampler tells of it."""
    rollouts, scores = pool.answers(range(of), 2, 0, np.random.default_rng(0))
    scores.values[:] = 0.0
    scores.values[: 2 * differ : 2] = 1.0
    return sampler.observe(rollouts, scores)


@pytest.mark.parametrize(
    ("kept", "factor"),
    [
        ([], 1.5),
        ([0.5], 2.0),
        ([0.25, 0.75], 2.0 * 1.25),
        ([1.0, 1.0], 1.2),
        ([0.1], 5.0),
        ([0.0, 0.0], 5.0),
        ([0.0, 1.0], 2.0 * 1.5),
    ],
)
def test_the_factor_is_the_formula(kept, factor):
    assert oversampling(kept) == pytest.approx(factor)


@given(kept=SHARES, least=st.floats(1, 3), more=st.floats(0, 5))
@settings(max_examples=50)
def test_the_factor_lies_within_its_bounds(kept, least, more):
    factor = oversampling(kept, first=least, least=least, most=least + more)
    assert least <= factor <= least + more


def test_the_first_factor_is_not_held_to_the_bounds():
    assert oversampling([], first=1.0, least=1.2) == 1.0


@given(share=st.floats(0.05, 1.0), step=st.floats(0.01, 0.5))
@settings(max_examples=50)
def test_the_less_is_kept_the_more_is_asked_for(share, step):
    assert oversampling([share]) >= oversampling([min(1.0, share + step)])


def test_floor_n_f_prompts_are_proposed_in_one_round():
    pool = pool_of(100)
    sampler = fresh(pool)
    assert len(sampler.propose(7)) == 10  # 1.5 x 7
    assert see(sampler, pool, 2, of=10) == {"kept": 0.2, "factor": 5.0}
    sampler.begin()
    assert len(sampler.propose(7)) == 35
    assert see(sampler, pool, 14, of=35)["kept"] == 0.4
    sampler.begin()
    # mean 0.3, std 0.1
    assert len(sampler.propose(7)) == int(7 * 1.1 / 0.3)
    assert (sampler.rounds, sampler.short) == (1, "repeat")


def test_only_the_last_batches_count():
    pool = pool_of(20)
    sampler = fresh(pool, window=2)
    factors = [see(sampler, pool, differ, of=20)["factor"] for differ in (0, 10, 10)]
    assert factors == pytest.approx([5.0, 5.0, 2.0])


def test_a_pool_that_is_nearly_used_up_gives_what_it_has():
    sampler = fresh(pool_of(10))
    assert len(sampler.propose(6)) == 9
    assert len(sampler.propose(1)) == 1
    assert len(fresh(pool_of(7)).propose(7)) == 7


def test_what_was_kept_is_remembered():
    pool = pool_of(20)
    sampler = fresh(pool)
    see(sampler, pool, 5, of=20)
    again = restored(sampler, fresh(pool))
    assert again.factor == sampler.factor == 4.0
    assert see(again, pool, 7, of=20) == see(sampler, pool, 7, of=20)


def test_under_slow_drift_one_round_nearly_fills_the_batches():
    pool = pool_of(2000)
    sampler = fresh(pool)
    batches = train(sampler, pool, n=40, group=8, steps=25, pace=2)
    assert all(len(batch.rounds) == 1 for batch in batches)
    assert np.mean([min(len(batch.selected), 40) / 40 for batch in batches[1:]]) > 0.98
    proposed = sum(len(batch.proposed) for batch in batches)
    wanted = sum(40 / pool.mixed(8, 2 * step).mean() for step in range(25))
    assert wanted < proposed < 1.2 * wanted


def test_where_shares_fall_fast_a_short_memory_proposes_more():
    pool = pool_of(2000)
    share = {}
    for window in (3, 20):
        batches = train(fresh(pool, window=window, most=9.0), pool, n=40, group=8, steps=25)
        share[window] = np.mean([min(len(batch.selected), 40) / 40 for batch in batches])
    assert share[3] > share[20] + 0.05


def test_what_was_measured_is_told_where_nothing_is_selected():
    assert PredictiveSampling(measure="correct").why() == (
        "the answers to each other prompt are scored alike by 'correct'; give prompts that are "
        "solved sometimes, or more answers to each"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"first": 0.9},
        {"least": 0.5},
        {"least": 3.0, "most": 2.0},
        {"most": float("inf")},
        {"most": float("nan")},
        {"window": 0},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"predictive_sampling: first=.*have to be 1 or more"):
        PredictiveSampling(**options)
