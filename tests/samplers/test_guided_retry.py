"""Guided retry: who is tried again, with which words, what a retry changes, and when nothing."""

import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.core.document import parse_document
from rewardsmith.core.errors import SpecError
from rewardsmith.core.rollouts import Rollouts
from rewardsmith.core.scores import Scores
from rewardsmith.core.spec import build, dump
from rewardsmith.samplers.guided_retry import GuidedRetry, Hint
from rewardsmith.samplers.prompts import PromptSampler, Shuffled
from rewardsmith.samplers.retries import (
    hint_prompt,
    retry_bonus,
    retry_candidates,
    retry_replacements,
)

unit = st.floats(0.0, 1.0, width=32)


def of(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def counts(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


def batch(values, group, parts=None, status=None, **columns):
    """Rollouts of texts and their scores."""
    n = len(values)
    status = None if status is None else torch.tensor(status, dtype=torch.int8)
    made = {name: Scores.outcome(torch.tensor(part)) for name, part in (parts or {}).items()}
    scores = Scores.outcome(torch.tensor(values), status, parts=made)
    rows = {
        "prompt": [f"task {g}" for g in group],
        "completion": [f"answer {i}" for i in range(n)],
        "prompt_id": torch.tensor(group),
        **columns,
    }
    return Rollouts(rows, group=group), scores


def scored(*values):
    return Scores.outcome(torch.tensor(values))


# --- candidates -----------------------------------------------------------------------------------


def test_the_best_of_a_failed_group_are_tried_again_those_that_satisfy_more_first() -> None:
    rewards = of(0.5, 0.2, 0.5, 1.0, 0.0, 0.5 - 5e-7)
    found = retry_candidates(rewards, [0, 0, 0, 1, 1, 0], counts(1, 9, 3, 4, 0, 3))
    assert found == [[2, 5, 0]]


def test_at_most_so_many_of_a_group_are_tried_again() -> None:
    assert retry_candidates(torch.zeros(40), [0] * 40, counts(*range(40))) == [[*range(39, 23, -1)]]
    assert retry_candidates(torch.zeros(4), [0, 0, 1, 1], counts(0, 0, 0, 0), most=1) == [[0], [2]]


def test_samples_without_a_score_are_no_candidates_and_solve_nothing() -> None:
    keep = torch.tensor([False, True, False, False])
    assert retry_candidates(
        of(1.0, 0.0, 0.0, 0.0), [0, 0, 1, 1], counts(0, 0, 0, 0), keep=keep
    ) == [[1]]


@pytest.mark.parametrize(("best", "failed"), [(0.7, True), (0.8, False), (0.8 - 5e-7, False)])
def test_a_group_at_the_threshold_is_solved(best: float, failed: bool) -> None:
    assert bool(retry_candidates(of(best, 0.1), [0, 0], counts(0, 0), threshold=0.8)) is failed


# --- the bonus ------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.tuples(unit, unit), min_size=1, max_size=6), unit)
def test_the_bonus_telescopes_between_the_sample_and_its_retry(
    pairs: list[tuple[float, float]], alpha: float
) -> None:
    r, rho = (torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))
    bonus = retry_bonus(r, rho, alpha)
    shaped = r + bonus
    assert bool((shaped >= torch.minimum(r, rho) - 1e-12).all())
    assert bool((shaped <= torch.maximum(r, rho) + 1e-12).all())
    assert float(bonus.sum()) == pytest.approx(alpha * float((rho - r).sum()), abs=1e-12)
    torch.testing.assert_close(retry_bonus(r, rho, alpha) + retry_bonus(rho, r, alpha), 0 * r)


def test_a_worse_retry_lowers_its_sample_and_the_best_of_the_attempts_counts() -> None:
    rollouts, scores = batch([0.5, 0.5, 0.0], [0, 0, 0])
    sampler = GuidedRetry(alpha=0.1, attempts=2, replace=0)
    hints = sampler.hints(rollouts, scores)
    assert [hint.row for hint in hints] == [0, 0, 1, 1]
    improved = sampler.improve(rollouts, scores, hints, scored(0.2, 0.1, 0.3, 0.9))
    assert improved.bonus.tolist() == pytest.approx([-0.03, 0.04, 0.0])
    assert improved.bonus.dtype == torch.float64
    assert improved.replace == {}


# --- replacement ----------------------------------------------------------------------------------


def test_the_worst_sample_is_overwritten_and_takes_no_bonus() -> None:
    rollouts, scores = batch([0.5, 0.1, 0.3], [0, 0, 0])
    sampler = GuidedRetry()
    hints = sampler.hints(rollouts, scores)
    improved = sampler.improve(rollouts, scores, hints, scored(0.75))
    assert improved.replace == {1: 0}
    assert improved.bonus.tolist() == pytest.approx([0.05 * 0.25, 0.0, 0.0])
    assert improved.metrics == {"retries": 1.0, "retry_improved": 1.0, "retry_replaced": 1.0}
    # All tie: the second is a candidate and overwritten, its bonus is of an answer that is gone.
    rollouts, scores = batch([0.0, 0.0], [0, 0])
    hints = sampler.hints(rollouts, scores)
    improved = sampler.improve(rollouts, scores, hints, scored(0.0, 1.0))
    assert improved.replace == {1: 1}
    assert improved.bonus.tolist() == [0.0, 0.0]


def test_a_retry_below_the_best_replaces_nothing() -> None:
    assert retry_replacements(of(0.5, 0.0), [0, 0], counts(0), of(0.4)) == {}
    assert retry_replacements(of(0.5, 0.0), [0, 0], counts(0), of(0.5)) == {1: 0}
    # It overwrites nothing that is as good.
    assert retry_replacements(of(0.5, 0.5), [0, 0], counts(0, 1), of(0.5, 0.5)) == {}


def test_a_sample_without_a_score_goes_first_and_a_retry_without_one_does_nothing() -> None:
    keep, usable = torch.tensor([True, True, False]), torch.tensor([False, True])
    found = retry_replacements(
        of(0.5, 0.1, 0.0), [0, 0, 0], counts(0, 0), of(0.0, 0.6), keep=keep, usable=usable, most=2
    )
    assert found == {2: 1}
    rollouts, scores = batch([0.5, 0.0], [0, 0])
    sampler = GuidedRetry()
    broken = Scores.outcome(torch.tensor([0.0]), torch.tensor([3], dtype=torch.int8))
    improved = sampler.improve(rollouts, scores, sampler.hints(rollouts, scores), broken)
    assert improved.replace == {}
    assert improved.bonus.tolist() == [0.0, 0.0]


samples = st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75]), st.integers(0, 2), st.booleans(), unit)


@settings(max_examples=100)
@given(
    st.lists(samples, min_size=2, max_size=12),
    st.integers(0, 3),
    st.sampled_from(["worst", "random"]),
    st.integers(0, 3),
)
def test_the_best_sample_survives_and_groups_stay_as_large_as_they_were(
    drawn: list, most: int, overwrite: str, seed: int
) -> None:
    rewards, keep = of(*(row[0] for row in drawn)), torch.tensor([row[2] for row in drawn])
    group, nothing = [row[1] for row in drawn], torch.zeros(len(drawn), dtype=torch.int64)
    failed = retry_candidates(rewards, group, nothing, keep=keep)
    rows = [row for rows in failed for row in rows]
    source, retried = counts(*rows), of(*(drawn[row][3] for row in rows))
    found = retry_replacements(
        rewards,
        group,
        source,
        retried,
        keep=keep,
        most=most,
        overwrite=overwrite,
        generator=np.random.default_rng(seed),
    )
    after, there = rewards.clone(), keep.clone()
    for row, retry in found.items():
        assert group[row] == group[int(source[retry])]
        assert float(retried[retry]) > (float(rewards[row]) if keep[row] else -1.0)
        after[row], there[row] = retried[retry], True
    assert len(set(found.values())) == len(found)
    for k in set(group):
        rows = torch.tensor([g == k for g in group])
        assert sum(group[row] == k for row in found) <= most
        if bool((rows & keep).any()):
            best = rewards[rows & keep].max()
            survivors = [
                row
                for row in (rows & keep & (rewards >= best - 1e-6)).nonzero().flatten().tolist()
                if row not in found
            ]
            assert survivors
            assert float(after[rows & there].max()) >= float(best)
    if most == 0:
        assert found == {}


def test_at_random_any_sample_but_the_best_is_overwritten() -> None:
    met = set()
    for seed in range(40):
        generator = np.random.default_rng(seed)
        found = retry_replacements(
            of(0.1, 0.5, 0.2, 0.3),
            [0] * 4,
            counts(1),
            of(0.9),
            overwrite="random",
            generator=generator,
        )
        met |= found.keys()
    assert met == {0, 2, 3}


# --- hints ----------------------------------------------------------------------------------------


def test_a_hint_tells_what_the_draft_has_and_misses() -> None:
    parts = {"short": [1.0, 0.0], "rhymes": [0.0, 1.0 - 5e-7]}
    rollouts, scores = batch([0.5, 0.2], [0, 0], parts)
    (hint,) = GuidedRetry().hints(rollouts, scores)
    assert hint.row == 0
    assert hint.prompt == hint_prompt("task 0", "answer 0", ["short"], ["rhymes"])
    for word in ("task 0", "answer 0", "does well in:\n- short", "falls short in:\n- rhymes"):
        assert word in hint.prompt
    told = {"rhymes": "Lines rhyme."}
    (hint,) = GuidedRetry(describe=told).hints(rollouts, scores)
    assert "falls short in:\n- Lines rhyme." in hint.prompt
    assert "well" not in hint.prompt


def test_the_draft_that_satisfies_more_comes_first() -> None:
    parts = {"a": [0.0, 1.0, 1.0], "b": [0.5, 0.0, 1.0]}
    rollouts, scores = batch([0.5, 0.5, 0.5], [0, 0, 0], parts)
    assert [hint.row for hint in GuidedRetry().hints(rollouts, scores)] == [2, 1, 0]


def test_a_part_without_a_score_is_not_told() -> None:
    rollouts, scores = batch([0.5], [0], {"a": [1.0], "b": [0.0]})
    scores.parts["b"].status[0] = 1
    (hint,) = GuidedRetry().hints(rollouts, scores)
    assert hint.prompt == hint_prompt("task 0", "answer 0", ["a"], [])
    assert "It is not right yet." in hint.prompt


@pytest.mark.parametrize("completion", ["4", [{"role": "assistant", "content": "4"}]])
def test_a_chat_gets_the_draft_and_the_hint_as_turns(completion) -> None:
    prompt = [{"role": "user", "content": "1 + 2?"}]
    made = hint_prompt(prompt, completion, [], ["right"])
    assert [turn["role"] for turn in made] == ["user", "assistant", "user"]
    assert made[0] == prompt[0]
    assert made[1]["content"] == "4"
    assert "- right" in made[2]["content"]
    assert len(prompt) == 1
    assert "4" in hint_prompt("1 + 2?", completion, [], ["right"])


def own_words(prompt, completion, satisfied, unmet):
    return f"{prompt}|{completion}|{satisfied}|{unmet}"


def test_a_prompter_has_the_word() -> None:
    rollouts, scores = batch([0.5], [0], {"a": [1.0], "b": [0.0]})
    (hint,) = GuidedRetry(prompter=own_words).hints(rollouts, scores)
    assert hint == Hint(0, "task 0|answer 0|['a']|['b']")


# --- nothing changes ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"attempts": 0}, {"alpha": 0.0, "replace": 0}])
def test_without_a_budget_or_a_use_it_is_the_other_sampler(options: dict) -> None:
    rollouts, scores = batch([0.0, 5.0], [0, 0])  # nothing is looked at, either
    sampler, plain = GuidedRetry(seed=3, **options), Shuffled(seed=3)
    for each in (sampler, plain):
        each.over([{"prompt": str(i)} for i in range(7)])
    for _ in range(5):
        sampler.begin()
        plain.begin()
        assert sampler.propose(4) == plain.propose(4)
        assert sampler.taken == plain.taken
        assert sampler.hints(rollouts, scores) == []
        assert bool(sampler.select(rollouts, scores).all())
    improved = sampler.improve(rollouts, scores, [], scored())
    assert improved.replace == {}
    assert improved.bonus.tolist() == [0.0, 0.0]


def test_each_of_the_two_can_be_alone() -> None:
    rollouts, scores = batch([0.5, 0.0], [0, 0])
    for options, replaced, bonus in (
        ({"alpha": 0.0}, {1: 0}, [0.0, 0.0]),
        ({"alpha": 0.5, "replace": 0}, {}, [0.25, 0.0]),
    ):
        sampler = GuidedRetry(**options)
        improved = sampler.improve(rollouts, scores, sampler.hints(rollouts, scores), scored(1.0))
        assert improved.replace == replaced
        assert improved.bonus.tolist() == bonus


def test_a_batch_that_is_solved_has_no_hints() -> None:
    rollouts, scores = batch([1.0, 0.0, 1.0], [0, 0, 1])
    sampler = GuidedRetry()
    assert sampler.hints(rollouts, scores) == []
    assert sampler.improve(rollouts, scores, [], scored()).bonus.tolist() == [0.0] * 3


# --- guidance -------------------------------------------------------------------------------------


def guided(values=(0.0, 0.0, 0.0), group=(0, 1, 2), **columns):
    columns = {"plan": ["look left", "look right", None], **columns}
    return batch(list(values), list(group), **columns)


def test_guidance_is_the_hint_and_a_row_without_any_gets_none() -> None:
    rollouts, scores = guided()
    hints = GuidedRetry(guidance="plan").hints(rollouts, scores)
    assert [hint.row for hint in hints] == [0, 1]
    assert hints[1].prompt == "task 1\n\nGuidance: look right"


def test_guidance_that_tells_the_answer_is_rejected_with_one_warning() -> None:
    rollouts, scores = guided(answer=["left", "up", "down"])
    sampler = GuidedRetry(guidance="plan", reference="answer")
    with pytest.warns(UserWarning, match=r"row 0 of the data has more than 0\.5 of its 'answer'"):
        hints = sampler.hints(rollouts, scores)
    assert [hint.row for hint in hints] == [1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(sampler.hints(rollouts, scores)) == 1
        restored = GuidedRetry(guidance="plan", reference="answer")
        restored.load_state_dict(sampler.state_dict())
        assert len(restored.hints(rollouts, scores)) == 1
        lenient = GuidedRetry(guidance="plan", reference="answer", leak=1.0)
        assert len(lenient.hints(rollouts, scores)) == 2


def test_guidance_fades_to_nothing() -> None:
    rollouts, scores = batch([0.0] * 300, [*range(300)])
    sampler = GuidedRetry(probability=0.8, anneal=4)
    share = []
    for _ in range(6):
        sampler.begin()
        share.append(len(sampler.hints(rollouts, scores)) / 300)
    assert share == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0, 0.0], abs=0.1)
    assert share[4:] == [0.0, 0.0]
    assert GuidedRetry(probability=0.0).hints(rollouts, scores) == []


def test_a_group_is_guided_as_a_whole() -> None:
    rollouts, scores = batch([0.0] * 80, [i // 4 for i in range(80)])
    hints = GuidedRetry(probability=0.5).hints(rollouts, scores)
    met = [sum(hint.row // 4 == k for hint in hints) for k in range(20)]
    assert set(met) == {0, 4}


# --- the other sampler, state, specs --------------------------------------------------------------


class Halving(PromptSampler):
    """Selects the even rows, asks twice, and cools down with every observation."""

    rounds, short, temperature = 2, "repeat", 1.0

    def choose(self, n: int) -> list[int]:
        return self.free().nonzero()[0][:n].tolist()

    def observe(self, rollouts: Rollouts, scores: Scores) -> dict[str, float]:
        self.temperature = self.temperature / 2
        return {"seen": float(len(rollouts))}

    def select(self, rollouts: Rollouts, scores: Scores) -> torch.Tensor:
        return torch.arange(len(rollouts)) % 2 == 0

    def why(self) -> str:
        return "odd rows are left out"


def test_it_asks_the_other_sampler_for_everything_else() -> None:
    rollouts, scores = batch([0.0, 1.0], [0, 0])
    sampler = GuidedRetry(of=Halving())
    sampler.over([{"prompt": str(i)} for i in range(4)])
    sampler.begin()
    assert (sampler.rounds, sampler.short, sampler.temperature) == (2, "repeat", 1.0)
    assert sampler.propose(2) + sampler.propose(2) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="1 prompts are wanted and 0 of the 4"):
        sampler.propose(1)
    assert sampler.observe(rollouts, scores) == {"seen": 2.0}
    assert sampler.temperature == 0.5
    assert sampler.select(rollouts, scores).tolist() == [True, False]
    assert sampler.why() == "odd rows are left out"


def test_a_sampler_that_makes_answers_itself_is_refused() -> None:
    child = Halving()
    child.generates = True
    for other in (child, GuidedRetry()):
        with pytest.raises(ValueError, match=r"guided_retry: .* makes answers itself"):
            GuidedRetry(of=other)


def test_a_restored_sampler_goes_on_where_it_was() -> None:
    rollouts, scores = batch([0.0] * 30, [*range(30)])
    pool = [{"prompt": str(i)} for i in range(9)]

    def steps(sampler, n):
        told = []
        for _ in range(n):
            sampler.begin()
            rows = sampler.propose(2)
            hints = sampler.hints(rollouts, scores)
            retried = scored(*[1.0] * len(hints))
            told.append((rows, hints, sampler.improve(rollouts, scores, hints, retried).replace))
        return told

    options = {"probability": 0.7, "anneal": 9, "overwrite": "random", "seed": 5}
    whole, first = GuidedRetry(**options), GuidedRetry(**options)
    for sampler in (whole, first):
        sampler.over(pool)
    expected = steps(whole, 6)
    assert steps(first, 3) == expected[:3]
    second = GuidedRetry(**{**options, "seed": 0})
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second.over(pool)
    assert steps(second, 3) == expected[3:]


def test_it_is_written_down_and_read_back() -> None:
    sampler = GuidedRetry(
        of=Shuffled(seed=4), alpha=0.1, prompter=own_words, describe={"a": "It is short."}
    )
    again = build(dump(sampler), parse_document("reward: {}"))
    assert repr(again) == repr(sampler)
    assert again.arguments().keys() == sampler.arguments().keys()
    assert again.prompter is own_words
    with pytest.raises(SpecError, match="context"):
        build({"guided_retry": {"context": "both"}}, parse_document("reward: {}"))


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reward", [-0.5, 1.5])
def test_rewards_outside_0_and_1_under_a_threshold_of_1_are_refused(reward: float) -> None:
    rollouts, scores = batch([0.0, reward], [0, 0])
    with pytest.raises(ValueError, match=rf"guided_retry: row 1 has the reward {reward:g}.*scale"):
        GuidedRetry().hints(rollouts, scores)
    lenient = GuidedRetry(threshold=2.0)
    (hint,) = lenient.hints(rollouts, scores)
    lenient.improve(rollouts, scores, [hint], scored(1.7))
    rollouts, scores = batch([0.0], [0])
    hints = GuidedRetry().hints(rollouts, scores)
    with pytest.raises(ValueError, match=rf"guided_retry: retry 0 has the reward {reward:g}"):
        GuidedRetry().improve(rollouts, scores, hints, scored(reward))


def test_a_row_that_was_not_scored_may_hold_anything() -> None:
    rollouts, scores = batch([0.0, 0.5], [0, 0], status=[3, 0])
    assert [hint.row for hint in GuidedRetry().hints(rollouts, scores)] == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overwrite": "best"}, "overwrite is 'best', not one of worst, random"),
        ({"context": "both"}, "context is 'both', not one of original, hint"),
        ({"alpha": 1.5}, r"alpha is 1.5, it must lie in \[0, 1\]"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"probability": -0.1}, "probability is -0.1"),
        ({"leak": 2.0}, "leak is 2.0"),
        ({"attempts": -1}, "attempts is -1, it must be at least 0"),
        ({"replace": -1}, "replace is -1"),
        ({"most": 0}, "most is 0, it must be at least 1"),
        ({"anneal": 0}, "anneal is 0 batches"),
        ({"retry_temperature": -1.0}, "retry_temperature is -1.0"),
        ({"threshold": float("nan")}, "threshold nan"),
        ({"guidance": "plan", "prompter": own_words}, "give one of them"),
        ({"reference": "answer"}, "give both"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"guided_retry: .*{message}"):
        GuidedRetry(**options)


def test_scores_that_are_not_of_the_hints_are_refused() -> None:
    rollouts, scores = batch([0.0], [0])
    sampler = GuidedRetry(attempts=2)
    hints = sampler.hints(rollouts, scores)
    with pytest.raises(ValueError, match="1 scores for the answers to 2 hints"):
        sampler.improve(rollouts, scores, hints, scored(1.0))


def test_a_part_that_is_not_there_is_named_with_those_that_are() -> None:
    rollouts, scores = batch([0.0], [0], {"a": [1.0], "b": [0.0]})
    with pytest.raises(ValueError, match="the part 'c', and the parts are a, b"):
        GuidedRetry(describe={"c": "..."}).hints(rollouts, scores)


def test_a_prompt_that_is_neither_text_nor_chat_is_named() -> None:
    rollouts, scores = batch([0.0], [0], prompt=[7])
    with pytest.raises(ValueError, match="a prompt is int 7; a text or a list of messages"):
        GuidedRetry().hints(rollouts, scores)
