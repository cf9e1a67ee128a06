import numpy as np
import pytest
import torch
from tests.samplers.drift import pool_of, restored, train

from rewardsmith.core.scores import Scores
from rewardsmith.samplers.dynamic import DynamicSampling
from rewardsmith.samplers.predictive import PredictiveSampling
from rewardsmith.samplers.prompts import Shuffled


def fresh(pool, **options):
    sampler = DynamicSampling(**options)
    sampler.over(pool)
    sampler.begin()
    return sampler


def test_a_trainer_generates_until_the_batch_is_full_of_groups_that_differ():
    pool = pool_of(400)
    batches = train(fresh(pool), pool, n=10, group=4, steps=12)
    assert all(len(batch.selected) >= 10 for batch in batches)
    assert any(len(batch.rounds) > 1 for batch in batches)
    for batch in batches:
        assert len(set(batch.selected)) == len(batch.selected)
        assert set(batch.selected) <= set(batch.proposed)


def test_only_groups_with_right_and_wrong_answers_are_selected():
    pool = pool_of(200)
    sampler = fresh(pool)
    rollouts, scores = pool.answers(sampler.propose(150), 4, 30, np.random.default_rng(1))
    right = scores.values.reshape(150, 4).sum(dim=1)
    kept = sampler.select(rollouts, scores).reshape(150, 4)[:, 0]
    assert (kept == ((right > 0) & (right < 4))).all()
    assert 0 < kept.sum() < 150
    told = sampler.observe(rollouts, scores)
    assert told == {"kept": pytest.approx(float(kept.float().mean()))}


def test_the_share_kept_is_what_the_true_rates_say():
    pool = pool_of(600)
    rollouts, scores = pool.answers(range(600), 8, 50, np.random.default_rng(2))
    expected = pool.mixed(8, 50)
    told = fresh(pool).observe(rollouts, scores)
    error = np.sqrt((expected * (1 - expected)).sum()) / 600
    assert abs(told["kept"] - expected.mean()) < 4 * error


def test_every_round_proposes_a_whole_batch_unless_told_otherwise():
    pool = pool_of(40)
    sampler = fresh(pool)
    assert [len(sampler.propose(n)) for n in (8, 2, 1)] == [8, 8, 8]
    # What the pool has left is less than a batch.
    assert [len(sampler.propose(n)) for n in (8, 3)] == [8, 8]
    sampler.begin()
    assert len(sampler.propose(3)) == 3
    only = fresh(pool, whole=False)
    assert [len(only.propose(n)) for n in (8, 2, 1)] == [8, 2, 1]


def test_the_last_round_takes_what_the_pool_has_left():
    sampler = fresh(pool_of(11))
    assert [len(sampler.propose(n)) for n in (8, 2)] == [8, 3]
    with pytest.raises(ValueError, match="2 prompts are wanted and 0 of the 11"):
        sampler.propose(2)


def test_the_size_of_the_batch_is_remembered_within_it():
    pool = pool_of(40)
    sampler = fresh(pool)
    sampler.propose(9)
    again = restored(sampler, fresh(pool, of=Shuffled(9)))
    assert again.propose(1) == sampler.propose(1)
    assert len(again.taken) == 18


def test_a_batch_of_constant_groups_ends_after_the_last_round():
    pool = pool_of(100, difficulty=50.0, spread=0.0)
    sampler = fresh(pool, max_rounds=3)
    (batch,) = train(sampler, pool, n=5, steps=1)
    assert [len(rows) for rows in batch.rounds] == [5, 5, 5]
    assert batch.selected == []
    assert sampler.short == "raise"
    assert sampler.why() == (
        "the answers to each other prompt are scored alike; give prompts that are solved "
        "sometimes, more answers to each, or more than 3 rounds"
    )


def test_rounds_and_what_happens_without_enough_are_its_own_and_not_the_childs():
    sampler = DynamicSampling(PredictiveSampling())
    assert (sampler.rounds, sampler.short) == (10, "raise")


def test_a_constant_length_reward_does_not_hide_the_answer():
    pool = pool_of(4)
    rollouts, scores = pool.answers([0, 1], 2, 0, np.random.default_rng(0))
    total = torch.tensor([0.9, 0.8, 0.7, 1.0])
    scores = Scores.outcome(
        total, parts={"correct": Scores.outcome(torch.tensor([1.0, 1.0, 0.0, 1.0]))}
    )
    assert fresh(pool).observe(rollouts, scores) == {"kept": 1.0}
    assert fresh(pool, measure="correct").observe(rollouts, scores) == {"kept": 0.5}


def test_no_round_at_all_is_refused():
    with pytest.raises(ValueError, match="dapo_filter: max_rounds is 0, it has to be 1 or more"):
        DynamicSampling(max_rounds=0)


def test_it_is_written_with_its_child():
    sampler = DynamicSampling(Shuffled(3), max_rounds=4, measure="correct")
    assert repr(sampler).splitlines() == [
        "dapo_filter(max_rounds=4, measure='correct')",
        "└─ of: shuffled(seed=3)",
    ]
