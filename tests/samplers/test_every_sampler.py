"""What holds of every sampler of prompts, in the order that a trainer calls it in."""

import numpy as np
import pytest
import torch
from tests.samplers.drift import pool_of, restored, train

from rewardsmith import samplers
from rewardsmith.core.catalog import find, methods
from rewardsmith.samplers.domains import DomainSampling
from rewardsmith.samplers.dynamic import DynamicSampling
from rewardsmith.samplers.guided_retry import GuidedRetry
from rewardsmith.samplers.lookahead import Lookahead
from rewardsmith.samplers.predictive import PredictiveSampling
from rewardsmith.samplers.prompts import PromptSampler, Shuffled
from rewardsmith.samplers.temperature import BalancedTemperature
from rewardsmith.samplers.thompson import ThompsonSampling

MAKERS = {
    "shuffled": lambda seed: Shuffled(seed),
    "dapo_filter": lambda seed: DynamicSampling(Shuffled(seed), max_rounds=4),
    "dapo_filter of vade": lambda seed: DynamicSampling(ThompsonSampling(seed=seed)),
    "predictive_sampling": lambda seed: PredictiveSampling(Shuffled(seed), window=3),
    "vade": lambda seed: ThompsonSampling(seed=seed),
    "rulereasoner": lambda seed: DomainSampling(every=2, seed=seed),
    "b_star": lambda seed: BalancedTemperature(Shuffled(seed), hold=1),
    "guided_retry": lambda seed: GuidedRetry(seed=seed),
    "latr": lambda seed: Lookahead(Shuffled(seed)),
    "latr of dapo_filter": lambda seed: Lookahead(DynamicSampling(Shuffled(seed))),
}
"""How each sampler is made with a seed; a name may be followed by more."""

every = pytest.mark.parametrize("name", MAKERS)


def made(name, pool, seed=0):
    sampler = MAKERS[name](seed)
    sampler.over(pool)
    return sampler


def test_every_sampler_of_the_catalog_is_tried_here():
    known = {entry.name for entry in methods() if entry.kind == "sampler"}
    in_catalog = {
        name
        for name in known
        if isinstance(find(name), type) and issubclass(find(name), PromptSampler)
    }
    assert {name.partition(" ")[0] for name in MAKERS} == in_catalog


def test_every_name_of_the_room_resolves_and_no_other_does():
    names = sorted(samplers._HOMES)
    assert set(names) <= set(dir(samplers))
    assert {"PromptSampler", "Shuffled", "DynamicSampling", "PredictiveSampling"} <= set(names)
    kinds = [thing for name in names if isinstance(thing := getattr(samplers, name), type)]
    assert len(kinds) >= 10
    assert all(issubclass(kind, PromptSampler) for kind in kinds)
    with pytest.raises(AttributeError, match="no attribute 'Suffled'"):
        samplers.Suffled  # noqa: B018


@every
def test_no_row_comes_twice_within_a_batch(name):
    pool = pool_of(31)
    batches = train(made(name, pool), pool, n=7, steps=12)
    assert len(batches) == 12
    for batch in batches:
        assert len(set(batch.proposed)) == len(batch.proposed) >= 7
        assert all(0 <= row < 31 and type(row) is int for row in batch.proposed)


@every
def test_a_whole_pool_can_be_proposed_and_no_more(name):
    pool = pool_of(9)
    sampler = made(name, pool)
    sampler.begin()
    got = sampler.propose(5)
    got += sampler.propose(9 - len(got)) if len(got) < 9 else []
    assert sorted(got) == list(range(9))
    with pytest.raises(ValueError, match=r"1 prompts are wanted and 0 of the 9"):
        sampler.propose(1)
    sampler.begin()
    assert len(sampler.propose(9)) == 9


@every
def test_the_same_seed_proposes_the_same_and_another_does_not(name):
    pool = pool_of()
    one, same, other = (
        [batch.rounds for batch in train(made(name, pool, seed), pool)] for seed in (3, 3, 4)
    )
    assert one == same
    assert one != other


@every
@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("pool_first", [True, False])
def test_it_goes_on_from_its_state_as_if_nothing_had_happened(name, at, pool_first):
    pool = pool_of(23)

    def resumed(sampler):
        # The seed of the new one is another: everything comes from the state.
        fresh = MAKERS[name](77)
        if pool_first:
            fresh.over(pool)
        restored(sampler, fresh)
        fresh.over(pool)
        return fresh

    whole = train(made(name, pool), pool, steps=6)
    parted = train(made(name, pool), pool, steps=6, swap=resumed, at=at)
    assert [batch.rounds for batch in whole] == [batch.rounds for batch in parted]
    assert [batch.told for batch in whole] == [batch.told for batch in parted]
    assert [batch.selected for batch in whole] == [batch.selected for batch in parted]


@every
def test_a_state_is_a_copy(name):
    pool = pool_of()
    sampler = made(name, pool)
    train(sampler, pool, steps=2)
    kept = restored(sampler, made(name, pool, 5))
    state = sampler.state_dict()
    train(sampler, pool, steps=3, seed=1)
    again = made(name, pool, 6)
    again.load_state_dict(state)
    kept.begin()
    again.begin()
    assert kept.propose(6) == again.propose(6)


@every
def test_a_pool_smaller_than_a_batch_is_refused(name):
    pool = pool_of(5)
    sampler = made(name, pool)
    sampler.begin()
    with pytest.raises(ValueError, match=r"6 prompts are wanted and 5 of the 5 in the data set"):
        sampler.propose(6)


@every
def test_a_pool_of_another_size_is_refused(name):
    pool = pool_of(12)
    sampler = made(name, pool)
    train(sampler, pool, steps=1)
    with pytest.raises(ValueError, match=r"13 rows, and what this sampler remembers is of 12"):
        sampler.over(pool_of(13))
    with pytest.raises(ValueError, match=r"the state is of 12 rows, the data set has 13"):
        restored(sampler, made(name, pool_of(13)))


@every
def test_without_a_pool_nothing_is_proposed(name):
    with pytest.raises(ValueError, match=r"has no pool yet; call over\(dataset\)"):
        MAKERS[name](0).propose(1)


@every
def test_an_empty_pool_is_refused(name):
    with pytest.raises(ValueError, match="the data set has no rows"):
        MAKERS[name](0).over([])


@every
def test_whole_groups_are_selected_and_metrics_are_finite_numbers(name):
    pool = pool_of()
    sampler = made(name, pool)
    sampler.begin()
    proposed = sampler.propose(20)
    rollouts, scores = pool.answers(proposed, 4, 40, np.random.default_rng(0))
    told = sampler.observe(rollouts, scores)
    assert all(type(value) is float and np.isfinite(value) for value in told.values())
    selected = sampler.select(rollouts, scores)
    assert selected.dtype == torch.bool
    by_group = selected.reshape(len(proposed), 4)
    assert bool((by_group.all(dim=1) == by_group.any(dim=1)).all())
