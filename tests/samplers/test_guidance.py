"""Guidance: in and out of a prompt, its probability, leaks, and pairs of passes and failures."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.core.rollouts import Rollouts
from rewardsmith.samplers.guidance import (
    guidance_probability,
    guided_pairs,
    leaks,
    shared_run,
    unguided,
    with_guidance,
    without_guidance,
)

texts = st.text(max_size=12)
contents = texts | st.lists(st.builds(lambda t: {"type": "text", "text": t}, texts), max_size=2)
turns = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["system", "user"]),
    contents,
)
prompts = texts | st.lists(turns, min_size=1, max_size=3)


@settings(max_examples=80)
@given(prompts, texts)
def test_what_is_put_in_is_taken_out_and_put_in_again(prompt, guidance: str) -> None:
    told = with_guidance(prompt, guidance)
    assert told != prompt
    assert without_guidance(told, guidance) == prompt
    assert with_guidance(without_guidance(told, guidance), guidance) == told


@settings(max_examples=30)
@given(prompts)
def test_what_was_not_put_in_is_not_taken_out(prompt) -> None:
    with pytest.raises(ValueError, match="does not end with the guidance 'a plan'"):
        without_guidance(prompt, "a plan")


def test_rollouts_lose_their_guidance_and_nothing_else() -> None:
    chat = [{"role": "user", "content": "go"}]
    rollouts = Rollouts(
        {
            "prompt": [with_guidance("a", "x"), "b", with_guidance(chat, "z"), "c"],
            "guidance": ["x", "y", "z", None],
            "completion": ["1", "2", "3", "4"],
        },
        {"reward": torch.arange(8.0).view(4, 2)},
        group=[0, 0, 1, 1],
    )
    plain = unguided(rollouts)
    assert plain["prompt"] == ["a", "b", chat, "c"]
    assert plain["completion"] == ["1", "2", "3", "4"]
    assert plain["reward"].equal(rollouts["reward"])
    assert plain.group.tolist() == [0, 0, 1, 1]
    assert plain.grouped
    assert rollouts["prompt"][0] == with_guidance("a", "x")


@settings(max_examples=40)
@given(st.integers(0, 60), st.floats(0.0, 1.0), st.integers(1, 40))
def test_the_probability_falls_in_a_straight_line_to_0(
    batch: int, start: float, anneal: int
) -> None:
    now = guidance_probability(batch, start, anneal)
    assert guidance_probability(0, start, anneal) == start
    assert (now == 0.0) if batch >= anneal else (now == pytest.approx(start * (1 - batch / anneal)))
    assert guidance_probability(batch, start) == start


@settings(max_examples=80)
@given(st.text("ab", max_size=9), st.text("ab", max_size=9), st.floats(0.0, 1.0))
def test_the_longest_common_substring_is_that_of_all_substrings(
    one: str, other: str, tau: float
) -> None:
    pieces = [one[i:j] for i, j in product(range(len(one) + 1), repeat=2) if i <= j]
    longest = max(len(piece) for piece in pieces if piece in other)
    assert shared_run(one, other) == shared_run(other, one) == longest
    assert leaks(one, other, tau) == (longest > tau * len(other))


def test_a_leak_is_a_part_of_the_reference() -> None:
    reference = "return a + b"
    assert leaks("Write: return a + b", reference, 0.99)
    assert not leaks("Write: return a + b", reference, 1.0)
    assert not leaks("Mind the sum of a and b", reference, 0.5)
    assert not leaks("anything", "", 0.0)


def test_passes_are_above_failures_of_the_same_task() -> None:
    verdicts = torch.tensor([True, False, True, False, True, True, False])
    found = guided_pairs(verdicts, ["x", "x", "x", "y", "z", "z", "x"])
    assert list(zip(found.a.tolist(), found.b.tolist(), strict=True)) == [
        (0, 1),
        (0, 6),
        (2, 1),
        (2, 6),
    ]
    assert found.p.eq(1.0).all()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=12))
def test_a_task_without_a_pass_or_without_a_failure_has_no_pair(rows) -> None:
    verdicts = torch.tensor([passed for passed, _ in rows], dtype=torch.bool)
    task = [k for _, k in rows]
    found = guided_pairs(verdicts, task)
    wanted = {
        (i, j)
        for i, j in product(range(len(rows)), repeat=2)
        if task[i] == task[j] and verdicts[i] and not verdicts[j]
    }
    assert len(found) == len(wanted)
    assert set(zip(found.a.tolist(), found.b.tolist(), strict=True)) == wanted


def test_a_run_on_which_flaky_tests_disagree_is_in_no_pair() -> None:
    verdicts = torch.tensor([[True, True], [True, False], [False, False]])
    found = guided_pairs(verdicts, [0, 0, 0], runs=2)
    assert (found.a.tolist(), found.b.tolist()) == ([0], [2])
    with pytest.raises(ValueError, match="run 2 times and 3 are wanted"):
        guided_pairs(verdicts, [0, 0, 0], runs=3)
    with pytest.raises(ValueError, match="3 verdicts, 2 tasks"):
        guided_pairs(verdicts, [0, 0])
