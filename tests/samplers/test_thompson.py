"""VADE: what is believed of prompts, what is drawn from it, and what is refused."""

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
from rewardsmith.samplers.thompson import ThompsonSampling, counted, faded, information

POOL = [{"prompt": f"{i}"} for i in range(40)]


def over(size=40, **options):
    sampler = ThompsonSampling(**options)
    sampler.over(POOL[:size])
    return sampler


def scored(prompts, rewards):
    """One group for each prompt; ``rewards[i]`` are those of its answers, None for no score."""
    flat = [reward for group in rewards for reward in group]
    ids = [prompt for prompt, group in zip(prompts, rewards, strict=True) for _ in group]
    rollouts = Rollouts({"prompt_id": torch.tensor(ids)}, group=ids)
    status = [Status.SCORED if reward is not None else Status.ABSTAINED for reward in flat]
    values = torch.tensor([reward or 0.0 for reward in flat])
    return rollouts, Scores.outcome(values, torch.tensor(status, dtype=torch.int8))


# --- the formulas ---------------------------------------------------------------------------------


def test_the_score_by_hand_and_where_it_is_largest():
    rates = np.array([0.0, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(information(rates), [0.0, 0.25 * 0.5625, 0.125, 0.0])
    np.testing.assert_allclose(information(rates, (1.0, 1.0)), [0.0, 0.1875, 0.25, 0.0])
    np.testing.assert_array_equal(information(rates, (1.0, 0.0)), rates)
    fine = np.linspace(0.0, 1.0, 3001)
    assert fine[information(fine).argmax()] == pytest.approx(1 / 3)
    assert fine[information(fine, (3.0, 1.0)).argmax()] == pytest.approx(3 / 4)


def test_the_update_by_hand():
    alpha, beta = counted(
        np.array([2.0, 1.0]), np.array([4.0, 1.0]), np.array([3.0, 0.5]), np.array([8.0, 2.0])
    )
    np.testing.assert_allclose(alpha, [4.4, 1.2])
    np.testing.assert_allclose(beta, [7.8, 2.2])
    np.testing.assert_allclose(faded(np.array([5.0, 0.5]), 1.0, decay=0.9), [4.6, 0.55])


@given(
    st.integers(1, 16).flatmap(lambda g: st.tuples(st.just(g), st.integers(0, g))),
    st.floats(0.1, 10.0),
)
@settings(max_examples=30)
def test_without_decay_the_posterior_mean_goes_to_the_share_of_right_answers(answers, prior):
    size, right = answers
    alpha = beta = np.array([prior])
    visits = 200
    for _ in range(visits):
        alpha, beta = counted(alpha, beta, np.array([right]), np.array([float(size)]), decay=1.0)
    assert alpha / (alpha + beta) == pytest.approx(right / size, abs=prior / visits)
    assert alpha + beta == pytest.approx(2 * prior + visits * size)


@given(
    st.floats(0.05, 0.99), st.integers(1, 16), st.floats(0.01, 50.0), st.lists(st.floats(0.0, 1.0))
)
@settings(max_examples=50)
def test_no_more_answers_are_remembered_than_the_decay_allows(decay, size, prior, shares):
    alpha = beta = np.array([prior])
    most = size / (1.0 - decay)
    for share in shares:
        before = alpha + beta
        alpha, beta = counted(
            alpha, beta, np.array([share * size]), np.array([float(size)]), decay=decay
        )
        # Each visit comes nearer to the bound, from below or from above.
        assert abs(alpha + beta - most) <= decay * abs(before - most) + 1e-9
        assert alpha + beta <= max(2 * prior, most) + 1e-9


@pytest.mark.parametrize("decay", [0.5, 0.7, 0.9])
def test_after_a_jump_of_the_policy_the_posterior_follows_within_its_memory(decay):
    full = np.array([8.0])
    alpha = beta = np.ones(1)
    for _ in range(200):
        alpha, beta = counted(alpha, beta, np.zeros(1), full, decay=decay)
    means = []
    for _ in range(math.ceil(3 / (1 - decay))):
        alpha, beta = counted(alpha, beta, full, full, decay=decay)
        means.append(float((alpha / (alpha + beta))[0]))
    assert means == pytest.approx([1 - decay ** (k + 1) for k in range(len(means))], rel=1e-9)
    assert means[math.ceil(1 / (1 - decay)) - 1] > 1 - 1 / math.e
    assert means[-1] > 0.95


def test_a_belief_that_no_visit_renews_loses_half_in_as_many_batches_as_the_docstring_says():
    sampler = over(1)
    sampler.observe(*scored([0], [[0.0] * 8]))
    before = sampler.beta[0] - 1.0
    for _ in range(138):
        sampler.begin()
    assert sampler.beta[0] - 1.0 == pytest.approx(before / 2, rel=0.01)
    assert sampler.alpha[0] == pytest.approx(1.0 - 0.15, abs=1e-3)
    for _ in range(5000):
        sampler.begin()
    assert [sampler.alpha[0], sampler.beta[0]] == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("right", "answers", "decay", "message"),
    [
        (9.0, 8.0, 0.7, r"entry 1 has 9 right answers of 8; a sum of rewards in \[0, 1\]"),
        (-1.0, 8.0, 0.7, "entry 1 has -1 right answers of 8"),
        (math.nan, 8.0, 0.7, "entry 1 has nan right answers"),
        (1.0, 8.0, 0.0, r"vade: decay is 0.0, it must lie in \(0, 1\]"),
        (1.0, 8.0, 1.1, "vade: decay is 1.1"),
    ],
)
def test_counts_that_cannot_be_are_refused(right, answers, decay, message):
    two = np.ones(2)
    with pytest.raises(ValueError, match=message):
        counted(two, two, np.array([1.0, right]), np.array([8.0, answers]), decay=decay)


# --- the sampler ----------------------------------------------------------------------------------


def test_the_posterior_of_each_prompt_is_that_of_its_own_answers():
    sampler = over(visit_decay=0.5)
    told = sampler.observe(*scored([7, 2, 9], [[1.0, 0.0, 1.0], [0.0, 0.0], [0.25, 0.25]]))
    expected_alpha, expected_beta = np.ones(40), np.ones(40)
    expected_alpha[[7, 2, 9]], expected_beta[[7, 2, 9]] = [2.5, 0.5, 1.0], [1.5, 2.5, 2.0]
    np.testing.assert_allclose(sampler.alpha, expected_alpha)
    np.testing.assert_allclose(sampler.beta, expected_beta)
    assert told["mixed"] == pytest.approx(1 / 3)
    evidence = expected_alpha + expected_beta
    assert told["pass_rate"] == pytest.approx((expected_alpha / evidence).mean())
    assert told["evidence"] == pytest.approx(evidence.mean())


def test_a_row_without_a_score_is_no_answer_and_a_prompt_without_one_was_not_visited():
    sampler, other = over(), over()
    sampler.observe(*scored([3, 5], [[1.0, None, 0.0, None], [None, None]]))
    other.observe(*scored([3], [[1.0, 0.0]]))
    np.testing.assert_array_equal(sampler.alpha, other.alpha)
    np.testing.assert_array_equal(sampler.beta, other.beta)
    assert sampler.observe(*scored([5], [[None, None]]))["mixed"] == 0.0
    assert [sampler.alpha[5], sampler.beta[5]] == [1.0, 1.0]


def test_with_the_rate_as_score_and_no_decay_it_is_thompson_sampling_of_a_bernoulli_bandit():
    sampler = over(4, powers=(1, 0), visit_decay=1.0, batch_decay=1.0, seed=5)
    arms, world = np.array([0.2, 0.4, 0.6, 0.9]), np.random.default_rng(1)
    alpha, beta, pulls = np.ones(4), np.ones(4), np.zeros(4)
    plain = np.random.default_rng(5)
    for _ in range(200):
        sampler.begin()
        (arm,) = sampler.propose(1)
        # The same bandit, written down plainly; its arms are looked at in a random order.
        order = plain.permutation(4)
        assert arm == order[plain.beta(alpha[order], beta[order]).argmax()]
        won = float(world.random() < arms[arm])
        sampler.observe(*scored([arm], [[won]]))
        alpha[arm], beta[arm] = alpha[arm] + won, beta[arm] + 1.0 - won
        pulls[arm] += 1
    np.testing.assert_array_equal(sampler.alpha, alpha)
    np.testing.assert_array_equal(sampler.beta, beta)
    assert pulls.argmax() == 3
    assert pulls[3] > 120


def test_prompts_that_are_known_to_be_of_middling_difficulty_come_first():
    sampler = over(batch_decay=1.0)
    sampler.alpha, sampler.beta = np.full(40, 0.01), np.full(40, 500.0)
    sampler.alpha[10:20], sampler.beta[10:20] = 500.0, 0.01
    sampler.alpha[20:30], sampler.beta[20:30] = 300.0, 600.0
    sampler.alpha[30:], sampler.beta[30:] = 550.0, 450.0
    sampler.begin()
    assert set(sampler.propose(10)) == set(range(20, 30))
    assert set(sampler.propose(10)) == set(range(30, 40))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(0, 99))
@settings(max_examples=30)
def test_no_prompt_comes_twice_in_a_batch(sizes, seed):
    sampler = over(seed=seed)
    sampler.begin()
    chosen = []
    for size in sizes:
        if len(chosen) + size > 40:
            with pytest.raises(ValueError, match=f"vade: {size} prompts are wanted and"):
                sampler.propose(size)
            break
        chosen += sampler.propose(size)
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(range(40))


def test_ties_are_broken_at_random():
    # Rates that are drawn as exactly 0 score 0, all of them.
    sampler = over(prior=(1e-300, 1.0))
    first = set()
    for _ in range(200):
        sampler.begin()
        first |= set(sampler.propose(1))
    assert len(first) > 30


def test_counts_that_decay_to_nothing_can_still_be_drawn_from():
    sampler = over(2, visit_decay=0.01, batch_decay=1.0)
    for reward in (0.0, 1.0):
        for _ in range(170):
            sampler.observe(*scored([0, 1], [[reward] * 2] * 2))
        assert sampler.alpha.min() > 0.0
        assert sampler.beta.min() > 0.0
        sampler.begin()
        assert sorted(sampler.propose(2)) == [0, 1]


def test_float32_rounding_of_a_full_score_is_a_full_score():
    sampler = over()
    sampler.observe(*scored([0], [[1.0000001, -1e-8]]))
    assert [sampler.alpha[0], sampler.beta[0]] == [1.7, 1.7]


def played(sampler, batches, seed=0):
    """What a trainer does, with answers that depend on the prompt; the prompts that it proposed."""
    world, chosen = np.random.default_rng(seed), []
    for _ in range(batches):
        sampler.begin()
        prompts = sampler.propose(5)
        rewards = (world.random((5, 4)) < np.array(prompts)[:, None] / 40).astype(float).tolist()
        sampler.observe(*scored(prompts, rewards))
        chosen.append(prompts)
    return chosen


def test_a_resumed_run_proposes_the_same_to_the_last_digit():
    whole, first = over(seed=3), over(seed=3)
    played(whole, 10)
    played(first, 10)
    saved = json.loads(json.dumps(first.get_extra_state()))
    played(first, 2, seed=9)
    for made_before_the_pool in (True, False):
        second = ThompsonSampling(seed=77) if made_before_the_pool else over(seed=77)
        second.set_extra_state(saved)
        second.over(POOL)
        np.testing.assert_array_equal(second.alpha, whole.alpha)
        again = over(seed=1)
        again.set_extra_state(whole.get_extra_state())
        assert played(second, 5, seed=1) == played(again, 5, seed=1)
        np.testing.assert_array_equal(second.alpha, again.alpha)
        np.testing.assert_array_equal(second.beta, again.beta)


def test_what_was_learned_is_kept_when_the_same_pool_is_given_again():
    sampler = over()
    played(sampler, 3)
    before = sampler.alpha.copy()
    sampler.over(POOL)
    np.testing.assert_array_equal(sampler.alpha, before)


@pytest.mark.parametrize("junk", [[1.0] * 39, [1.0] * 39 + [0.0], [1.0] * 39 + [math.nan]])
def test_a_state_that_cannot_be_is_refused(junk):
    state = over().get_extra_state()
    state["own"]["beta"] = junk
    with pytest.raises(
        ValueError, match=r"vade: the state's beta is .*numbers above 0, 40 of them"
    ):
        over().set_extra_state(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"powers": (1.0, -1.0)}, r"vade: powers is \(1.0, -1.0\), two numbers from 0"),
        ({"powers": (1.0, 2.0, 3.0)}, "vade: powers is"),
        ({"prior": (0.0, 1.0)}, r"vade: prior is \[0.0, 1.0\]; numbers above 0, 2 of them"),
        ({"prior": (1.0,)}, "vade: prior is"),
        ({"visit_decay": 0.0}, r"vade: visit_decay is 0.0, it must lie in \(0, 1\]"),
        ({"batch_decay": math.nan}, "vade: batch_decay is nan"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ThompsonSampling(**options)


@pytest.mark.parametrize("reward", [1.5, -0.5])
def test_a_reward_that_is_no_rate_is_named_with_its_prompt(reward):
    sampler = over()
    with pytest.raises(
        ValueError, match=rf"row 3, of prompt 8, has the reward {reward}, outside \[0, 1\]; scale"
    ):
        sampler.observe(*scored([4, 8], [[0.0, 1.0], [0.0, reward]]))
    assert (sampler.alpha == 1.0).all()


def test_rollouts_that_do_not_say_which_prompt_they_are_of_are_refused():
    sampler = over()
    scores = Scores.outcome(torch.tensor([1.0, 0.0]))
    with pytest.raises(MissingColumn, match="no column 'prompt_id', needed by vade"):
        sampler.observe(Rollouts({"prompt": ["a", "b"]}), scores)
    for ids in (["a", "b"], torch.tensor([0.5, 1.0])):
        with pytest.raises(ValueError, match="vade: the column 'prompt_id' holds"):
            sampler.observe(Rollouts({"prompt_id": ids}), scores)
    for bad in (-1, 40):
        with pytest.raises(ValueError, match=f"row 1 has the prompt_id {bad}; .* rows 0 to 39"):
            sampler.observe(Rollouts({"prompt_id": torch.tensor([0, bad])}), scores)
    with pytest.raises(ValueError, match="vade has no pool yet"):
        ThompsonSampling().observe(Rollouts({"prompt_id": torch.tensor([0, 1])}), scores)


def test_it_is_built_from_a_spec_and_written_as_one():
    document = parse_document("sampler: {vade: {powers: [1, 1], visit_decay: 0.8}}")
    node = build(document.data["sampler"], document, ("sampler",))
    assert isinstance(node, ThompsonSampling)
    assert (node.powers, node.visit_decay, node.prior) == ((1.0, 1.0), 0.8, (1.0, 1.0))
    assert dump(node) == {"vade": {"powers": [1.0, 1.0], "visit_decay": 0.8}}
    bad = parse_document("sampler:\n  vade: {batch_decay: 2}\n")
    with pytest.raises(SpecError, match="line 2: sampler/vade: vade: batch_decay is 2"):
        build(bad.data["sampler"], bad, ("sampler",))


def test_more_mixed_groups_than_uniform_where_few_prompts_are_in_reach():
    rates, world = np.full(40, 0.01), np.random.default_rng(0)
    rates[:10] = 0.5
    sampler = over(seed=2)
    met = []
    for _ in range(60):
        sampler.begin()
        prompts = sampler.propose(4)
        rewards = (world.random((4, 8)) < rates[prompts, None]).astype(float).tolist()
        met.append(sampler.observe(*scored(prompts, rewards))["mixed"])
    uniform = float((1.0 - rates**8 - (1.0 - rates) ** 8).mean())
    assert uniform < 0.35
    assert np.mean(met[-30:]) > uniform + 0.3
