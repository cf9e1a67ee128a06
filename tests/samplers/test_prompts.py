from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.samplers.drift import pool_of, restored

from rewardsmith.samplers.dynamic import DynamicSampling
from rewardsmith.samplers.prompts import PromptSampler, Shuffled


class InOrder(PromptSampler):
    """The least that a sampler has to be."""

    def choose(self, n):
        return [row for row in range(self.size) if row not in self.taken][:n]


def over(sampler, size):
    sampler.over([{}] * size)
    return sampler


def test_a_subclass_that_says_what_to_choose_is_a_sampler():
    sampler = over(InOrder(), 5)
    sampler.begin()
    assert sampler.propose(2) == [0, 1]
    assert sampler.propose(2) == [2, 3]
    assert sampler.free().tolist() == [False, False, False, False, True]
    sampler.begin()
    assert sampler.propose(1) == [0]


def test_the_base_selects_all_and_learns_nothing():
    pool = pool_of(3)
    sampler = InOrder()
    sampler.over(pool)
    rollouts, scores = pool.answers([0, 1], 2, 0, np.random.default_rng(0))
    assert sampler.observe(rollouts, scores) == {}
    assert sampler.select(rollouts, scores).all()
    assert (sampler.rounds, sampler.short, sampler.temperature) == (1, "raise", None)


def test_a_sampler_that_does_not_choose_says_so():
    with pytest.raises(NotImplementedError, match="PromptSampler does not define choose"):
        over(PromptSampler(), 2).propose(1)


@given(
    size=st.integers(1, 12),
    asked=st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=12),
    seed=st.integers(0, 99),
)
@settings(max_examples=100)
def test_every_row_comes_once_in_a_pass_whatever_is_asked_for(size, asked, seed):
    sampler = over(Shuffled(seed), size)
    total = Counter(dict.fromkeys(range(size), 0))
    for rounds in asked:
        sampler.begin()
        batch = []
        for n in rounds:
            if n <= size - len(batch):
                got = sampler.propose(n)
                assert len(got) == n
                batch += got
                total.update(got)
                # No row is a whole pass ahead of another.
                assert max(total.values()) - min(total.values()) <= 1
        assert len(set(batch)) == len(batch)


def test_passes_differ_in_their_order():
    sampler = over(Shuffled(), 20)
    passes = []
    for _ in range(3):
        sampler.begin()
        passes.append(sampler.propose(20))
    assert all(sorted(order) == list(range(20)) for order in passes)
    assert len({tuple(order) for order in passes}) == 3


def test_a_row_that_the_batch_has_had_comes_first_in_the_next():
    for seed in range(30):
        sampler = over(Shuffled(seed), 4)
        sampler.begin()
        sampler.propose(3)
        sampler.begin()
        last, *begun = sampler.propose(3)
        # The second pass has given two other rows; those of it that are left come next.
        sampler.begin()
        assert set(sampler.propose(2)) == set(range(4)) - set(begun)
        assert last not in begun


def test_every_row_is_as_often_first():
    first = Counter()
    for seed in range(400):
        sampler = over(Shuffled(seed), 4)
        first.update(sampler.propose(1))
    assert all(60 < count < 140 for count in first.values())


@given(seed=st.integers(0, 99), before=st.integers(0, 7), within=st.integers(0, 5))
@settings(max_examples=50)
def test_a_restored_one_goes_on_to_the_bit_also_within_a_batch(seed, before, within):
    sampler = over(Shuffled(seed), 7)
    for _ in range(before):
        sampler.begin()
        sampler.propose(3)
    sampler.begin()
    sampler.propose(within)
    again = restored(sampler, over(Shuffled(1000), 7))
    assert again.taken == sampler.taken
    assert again.propose(2) == sampler.propose(2)
    for _ in range(5):
        sampler.begin()
        again.begin()
        assert again.propose(5) == sampler.propose(5)
    assert again._generator.bit_generator.state == sampler._generator.bit_generator.state


def test_a_run_with_another_seed_has_other_orders_in_all_of_a_tree():
    orders = []
    for seed in (1, 1, 2):
        sampler = over(DynamicSampling(Shuffled(5)), 30)
        sampler.reseed(seed)
        sampler.begin()
        orders.append(sampler.propose(10))
    assert orders[0] == orders[1] != orders[2]


def test_the_same_data_may_be_given_again():
    sampler = over(Shuffled(), 6)
    sampler.begin()
    first = sampler.propose(4)
    over(sampler, 6)
    assert sorted([*first, *sampler.propose(2)]) == list(range(6))
