"""RuleReasoner's sampler: counts, shares that follow the rewards, passes, and what is refused."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.core.document import parse_document
from rewardsmith.core.errors import MissingColumn, SpecError
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores, Status
from rewardsmith.core.spec import build, dump
from rewardsmith.samplers.domains import DomainSampling, domain_counts

SIZES = {"sums": 12, "words": 6, "codes": 3}
POOL = [{"domain": name} for name, size in SIZES.items() for _ in range(size)]
NAME = [row["domain"] for row in POOL]


def over(pool=POOL, **options):
    sampler = DomainSampling(**options)
    sampler.over(pool)
    return sampler


def scored(domains, rewards):
    rollouts = Rollouts({"domain": domains}, group=list(range(len(domains))))
    status = [Status.SCORED if reward is not None else Status.ABSTAINED for reward in rewards]
    values = torch.tensor([reward or 0.0 for reward in rewards])
    return rollouts, Scores.outcome(values, torch.tensor(status, dtype=torch.int8))


def batches(sampler, n, rewards):
    """So many batches, in each of which every domain has the mean reward that is given."""
    for _ in range(n):
        sampler.begin()
        sampler.observe(*scored(list(rewards), list(rewards.values())))


def of_each(chosen):
    return {name: sum(NAME[row] == name for row in chosen) for name in SIZES}


# --- counts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "shares", "free", "counts"),
    [
        (10, [0.5, 0.3, 0.2], [99, 99, 99], [5, 3, 2]),
        (10, [0.48, 0.33, 0.19], [99, 99, 99], [5, 4, 1]),
        (7, [1.0, 1.0, 1.0], [99, 99, 99], [3, 2, 2]),
        (8, [0.1, 0.2, 0.7], [99, 99, 99], [0, 2, 6]),
        (10, [0.8, 0.1, 0.1], [4, 99, 99], [4, 3, 3]),
        (10, [0.8, 0.15, 0.05], [4, 99, 99], [4, 5, 1]),
        (10, [0.8, 0.2, 0.0], [4, 3, 99], [4, 3, 3]),
        (3, [0.0, 1.0, 0.0], [5, 1, 5], [1, 1, 1]),
        (30, [0.1, 0.2, 0.7], [99, 99, 99], [3, 6, 21]),
        (28, [9 / 28, 18 / 28, 1 / 28], [99, 99, 99], [9, 18, 1]),  # 28 (1 / 28) is below 1
        (0, [1.0, 0.0, 0.0], [0, 0, 0], [0, 0, 0]),
    ],
)
def test_counts_by_hand(n, shares, free, counts):
    made = domain_counts(n, np.array(shares), np.array(free, dtype=np.int64))
    assert made.tolist() == counts


@given(
    st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 20)), min_size=1, max_size=6),
    st.integers(0, 60),
)
@settings(max_examples=100)
def test_counts_sum_to_the_batch_and_no_domain_gives_more_than_it_has(domains, n):
    shares = np.array([share for share, _ in domains])
    free = np.array([room for _, room in domains], dtype=np.int64)
    if n > free.sum():
        with pytest.raises(ValueError, match=f"rulereasoner: {n} prompts by the shares"):
            domain_counts(n, shares, free)
        return
    counts = domain_counts(n, shares, free)
    assert counts.sum() == n
    assert ((counts >= 0) & (counts <= free)).all()
    if shares.sum() > 0 and (free >= n).all():
        assert (np.abs(counts - n * (shares / shares.sum())) < 1.0 + 1e-6).all()


@pytest.mark.parametrize("share", [-0.1, math.nan, math.inf])
def test_shares_that_are_none_are_refused(share):
    with pytest.raises(ValueError, match="fewer prompts, or shares from 0, are needed"):
        domain_counts(2, np.array([share, 1.0]), np.array([5, 5]))


# --- what is proposed -----------------------------------------------------------------------------


def test_at_first_all_domains_have_the_same_share_or_that_of_their_size():
    sampler = over()
    assert sampler.shares == pytest.approx(dict.fromkeys(SIZES, 1 / 3))
    sampler.begin()
    assert of_each(sampler.propose(9)) == {"sums": 3, "words": 3, "codes": 3}
    roots = np.array([12, 6, 3]) ** -0.5
    weighted = over(initial="inverse_root")
    assert list(weighted.shares.values()) == pytest.approx((roots / roots.sum()).tolist())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 99))
@settings(max_examples=40)
def test_no_prompt_comes_twice_in_a_batch_and_what_a_domain_lacks_others_give(sizes, seed):
    sampler = over(seed=seed)
    sampler.begin()
    chosen = []
    for size in sizes:
        if len(chosen) + size > len(POOL):
            sampler.begin()
            chosen = []
        chosen += sampler.propose(size)
        assert len(set(chosen)) == len(chosen)
        assert all(count <= SIZES[name] for name, count in of_each(chosen).items())


def test_a_domain_that_is_used_up_leaves_its_part_to_the_others():
    sampler = over()
    sampler.begin()
    assert of_each(sampler.propose(15)) == {"sums": 6, "words": 6, "codes": 3}
    assert of_each(sampler.propose(6)) == {"sums": 6, "words": 0, "codes": 0}


def test_every_row_of_a_domain_comes_once_in_each_pass_and_passes_differ():
    sampler = over()
    times, orders = np.zeros(len(POOL), dtype=int), []
    for _ in range(24):
        sampler.begin()
        chosen = sampler.propose(6)
        times[chosen] += 1
        orders.append([row for row in chosen if NAME[row] == "sums"])
        for name in SIZES:
            own = times[[of == name for of in NAME]]
            assert own.max() - own.min() <= 1
    assert times.tolist() == [4] * 12 + [8] * 6 + [16] * 3
    passes = {str(orders[at : at + 6]) for at in range(0, 24, 6)}
    assert len(passes) == 4


def test_a_pass_that_ends_within_a_batch_goes_on_without_the_rows_of_the_batch():
    sampler = over(POOL[-3:])
    for _ in range(30):
        sampler.begin()
        assert len(set(sampler.propose(2))) == 2
        assert len({*sampler.taken, *sampler.propose(1)}) == 3


@pytest.mark.parametrize("seed", range(4))
def test_a_row_that_comes_later_for_its_batch_is_not_lost_to_its_pass(seed):
    sampler, times = over(POOL[-3:], seed=seed), np.zeros(3, dtype=int)
    for _ in range(24):
        sampler.begin()
        times[sampler.propose(2)] += 1
    assert times.tolist() == [16] * 3


def test_domains_are_mixed_within_a_batch():
    sampler = over()
    firsts = set()
    for _ in range(20):
        sampler.begin()
        firsts.add(NAME[sampler.propose(9)[0]])
    assert firsts == set(SIZES)


# --- shares ---------------------------------------------------------------------------------------


def test_shares_move_when_as_many_batches_are_through_as_one_observation_has():
    sampler = over(every=3, share_temperature=0.5)
    means = {"sums": 0.9, "words": 0.4, "codes": 0.1}
    batches(sampler, 3, means)
    assert sampler.shares == pytest.approx(dict.fromkeys(SIZES, 1 / 3))
    sampler.begin()
    expected = np.exp((1.0 - np.array(list(means.values()))) / 0.5)
    expected /= expected.sum()
    assert list(sampler.shares.values()) == pytest.approx(expected.tolist(), rel=1e-6)
    before = sampler.shares
    sampler.observe(*scored(["sums"], [0.0]))
    batches(sampler, 2, {"sums": 0.0})
    assert sampler.shares == before
    sampler.begin()
    assert sampler.shares["sums"] > before["sums"]


def test_a_mean_is_over_the_scored_rows_of_all_batches_of_an_observation():
    whole, parts = over(every=2), over(every=1)
    whole.begin()
    whole.observe(*scored(["sums", "sums", "sums", "codes"], [1.0, 0.0, None, 0.5]))
    whole.begin()
    told = whole.observe(*scored(["sums", "codes", "words"], [0.5, None, None]))
    assert told["reward/sums"] == 0.5
    assert told.keys() == {"share/sums", "share/words", "share/codes", "reward/sums"}
    whole.begin()
    parts.begin()
    parts.observe(*scored(["sums", "codes"], [0.5, 0.5]))
    parts.begin()
    assert whole.shares == pytest.approx(parts.shares, rel=1e-12)


def test_shortfalls_that_are_the_same_give_the_same_shares():
    sampler = over(every=1, initial="inverse_root", target=0.6)
    batches(sampler, 2, {"sums": 0.6, "words": 0.8, "codes": 1.0})
    assert sampler.shares == pytest.approx(dict.fromkeys(SIZES, 1 / 3))


def test_temperatures_far_out_are_uniform_and_the_furthest_behind():
    means = {"sums": 0.5, "words": 0.2, "codes": 0.9}
    for temperature, expected in ((1e9, [1 / 3] * 3), (1e-6, [0.0, 1.0, 0.0])):
        sampler = over(every=1, share_temperature=temperature)
        batches(sampler, 2, means)
        assert list(sampler.shares.values()) == pytest.approx(expected, abs=1e-8)
    # Nothing but words, as far as they go.
    assert of_each(sampler.propose(5)) == {"sums": 0, "words": 5, "codes": 0}


def test_a_domain_that_was_in_none_of_the_observations_keeps_its_share():
    sampler = over(every=2, memory=2)
    batches(sampler, 4, {"sums": 0.1, "words": 0.5, "codes": 0.8})
    batches(sampler, 3, {"sums": 0.3, "codes": 0.4})
    before = sampler.shares
    # From here on, words are in neither of the two observations that count.
    batches(sampler, 6, {"sums": 0.9, "codes": 0.1})
    after = sampler.shares
    assert after["words"] == pytest.approx(before["words"], rel=1e-12)
    assert after["codes"] > before["codes"]
    batches(sampler, 4, {})
    assert sampler.shares == pytest.approx(after, rel=1e-12)


@given(
    st.lists(st.dictionaries(st.sampled_from(list(SIZES)), st.floats(0.0, 1.0)), max_size=10),
    st.floats(0.0, 0.33),
)
@settings(max_examples=25)
def test_shares_are_shares_and_batches_are_full_whatever_the_rewards(steps, floor):
    sampler = over(every=1, floor=floor)
    for step in steps:
        batches(sampler, 1, step)
        assert sum(sampler.shares.values()) == pytest.approx(1.0, abs=1e-12)
        assert all(share >= floor - 1e-12 for share in sampler.shares.values())
        assert len(sampler.propose(7)) == 7


def test_domains_may_be_numbers_and_lie_inside_of_a_column():
    pool = [{"meta": {"kind": np.int64(i % 2)}} for i in range(6)]
    sampler = over(pool, column="meta.kind", every=1)
    rollouts = Rollouts({"meta": [{"kind": 0}, {"kind": 1}]})
    sampler.begin()
    told = sampler.observe(rollouts, Scores.outcome(torch.tensor([0.0, 1.0])))
    assert (told["reward/0"], told["reward/1"]) == (0.0, 1.0)
    in_a_tensor = over([{"domain": 3}, {"domain": 4}])
    told = in_a_tensor.observe(*scored(torch.tensor([4, 3]), [0.25, 1.0]))
    assert (told["reward/3"], told["reward/4"]) == (1.0, 0.25)


# --- state ----------------------------------------------------------------------------------------


def played(sampler, n, seed):
    world, chosen = np.random.default_rng(seed), []
    for _ in range(n):
        sampler.begin()
        chosen.append(sampler.propose(5))
        names = [NAME[row] for row in chosen[-1]]
        sampler.observe(*scored(names, world.random(5).tolist()))
    return chosen, sampler.shares


def test_a_resumed_run_proposes_the_same_to_the_last_digit():
    first = over(every=4, seed=3)
    played(first, 10, 0)
    saved = json.loads(json.dumps(first.get_extra_state()))
    expected = played(first, 9, 1)
    for after_the_pool in (True, False):
        second = over(every=4, seed=5) if after_the_pool else DomainSampling(every=4)
        second.set_extra_state(saved)
        second.over(POOL)
        assert played(second, 9, 1) == expected


def test_a_state_of_other_data_is_refused():
    sampler = over()
    sampler.begin()
    sampler.propose(3)
    state = sampler.get_extra_state()
    other = [{"domain": name.upper()} for name in NAME]
    turned = POOL[::-1]
    names = [*NAME[1:], NAME[0]]
    moved = [{"domain": name} for name in names]
    for pool in (other, turned, moved):
        fresh = DomainSampling()
        fresh.set_extra_state(state)
        with pytest.raises(ValueError, match="give the same data, or a fresh sampler"):
            fresh.over(pool)
        with pytest.raises(ValueError, match="give the same data, or a fresh sampler"):
            over(pool).set_extra_state(state)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "rulereasoner: every is 0, it must be a whole number from 1"),
        ({"every": 2.5}, r"rulereasoner: every is 2\.5"),
        ({"initial": "size"}, "rulereasoner: initial is 'size', not uniform or inverse_root"),
        ({"target": 1.5}, r"rulereasoner: target is 1\.5, it must be from 0 to 1"),
        ({"share_temperature": 0.0}, r"rulereasoner: temperature is 0\.0"),
        ({"memory": 0}, "rulereasoner: memory is 0"),
        ({"decay": "linear"}, "rulereasoner: decay is 'linear'"),
        ({"floor": 1.0}, r"rulereasoner: floor is 1\.0"),
    ],
)
def test_bad_options_are_refused_when_it_is_made(options, message):
    with pytest.raises(ValueError, match=message):
        DomainSampling(**options)


def test_a_floor_that_is_too_high_for_the_domains_of_the_pool_is_refused():
    with pytest.raises(
        ValueError, match=r"floor is 0\.4; 3 domains leave room for less than 0\.33"
    ):
        over(floor=0.4)


def test_rows_without_a_domain_are_refused():
    with pytest.raises(
        ValueError, match=r"row 1 of the data set has no column 'topic', it has dom"
    ):
        over([{"topic": "a"}, {"domain": "a"}], column="topic")
    for value in (None, True, 0.5):
        with pytest.raises(ValueError, match=rf"row 0 has {value!r} in the column 'domain'; a dom"):
            over([{"domain": value}])
    with pytest.raises(ValueError, match="rulereasoner: the data set has no rows"):
        over([])


def test_rollouts_of_no_domain_or_an_unknown_one_are_refused():
    sampler = over()
    scores = Scores.outcome(torch.tensor([1.0]))
    with pytest.raises(MissingColumn, match="no column 'domain', needed by rulereasoner"):
        sampler.observe(Rollouts({"prompt": ["a"]}), scores)
    with pytest.raises(ValueError, match=r"row 0 is of the domain 'word', .*did you mean 'words'"):
        sampler.observe(Rollouts({"domain": ["word"]}), scores)
    with pytest.raises(ValueError, match="rulereasoner has no pool yet"):
        DomainSampling().observe(Rollouts({"domain": ["words"]}), scores)


@pytest.mark.parametrize("reward", [-0.5, 1.5])
def test_a_reward_outside_0_to_1_is_named_with_its_domain(reward):
    sampler = over(every=1)
    sampler.begin()
    with pytest.raises(
        ValueError, match=rf"row 1, of domain 'words', has the reward {reward}, outside \[0, 1\]"
    ):
        sampler.observe(*scored(["sums", "words"], [0.5, reward]))
    sampler.begin()
    assert sampler.shares == pytest.approx(dict.fromkeys(SIZES, 1 / 3))


def test_it_is_built_from_a_spec_and_written_as_one():
    document = parse_document("sampler: {rulereasoner: {column: topic, every: 4, floor: 0.1}}")
    node = build(document.data["sampler"], document, ("sampler",))
    assert isinstance(node, DomainSampling)
    assert (node.column, node.every, node.floor) == ("topic", 4, 0.1)
    assert node.temperature is None  # of generation, which it leaves alone
    assert dump(node) == {"rulereasoner": {"column": "topic", "every": 4, "floor": 0.1}}
    bad = parse_document("sampler:\n  rulereasoner: {memory: 0}\n")
    with pytest.raises(SpecError, match="line 2: sampler/rulereasoner: rulereasoner: memory is 0"):
        build(bad.data["sampler"], bad, ("sampler",))
